"""What a training depends on, and what is kept of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch

from moereg.checks import check_choice, check_positive
from moereg.data.augmentation import Augmentation
from moereg.similarity import lncc, mse, mutual_information

# In the "mixed" ones weights stay float32; "64-true" is for comparisons that rounding must not blur.
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
SIMILARITIES: dict[str, Callable] = {"lncc": lncc, "mse": mse, "mi": mutual_information}
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run depends on, besides the model and the pairs."""

    steps: int = 300
    learning_rate: float = 1e-3  # peak, see `moereg.training.schedule`
    schedule: str = "cosine"  # of the rate after the warm-up: "cosine" to zero, or "constant"
    warmup: int | None = None  # steps; None: a twentieth of the steps, or 100 where the rate is constant
    similarity: str = "lncc"  # "lncc", "mse" or "mi" (32 bins)
    window: int = 9  # of "lncc", voxels, odd
    first_window: int | None = None  # that it shrinks from, over the first half of the steps; None: it stays the same
    smoothness: float = 0.1  # weight of diffusion(u), u in voxels
    labels: float = 0.0  # weight of 1 - soft Dice; above zero the training is weakly supervised
    motion: float = 0.0  # weight of the endpoint error, voxels, where a pair's true displacement is known
    balance: float = 0.01  # weight of the load-balance loss
    z: float = 0.001  # weight of the z loss
    information: float = 0.0  # weight of minus the information that experts carry about the place
    folds: float = 0.0  # weight of the fold penalty
    inverse: float = 0.0  # weight of the inverse consistency error, voxels squared
    force: float = 0.5  # weight of the deep supervision of forces, for models that have any
    augmentation: Augmentation | None = None  # of every pair, drawn anew at each step
    pairs_per_step: int = 1  # in one pass, on one device; each counts twice, once per direction
    accumulate: int = 1  # passes whose gradients add up to one step
    average: float = 0.0  # decay of a moving average of the weights, which then is the result; 0: the last weights are
    seed: int = 0  # order of the pairs
    device: str = "auto"  # "auto", "cpu", "cuda", "mps"
    precision: Precision = "32-true"  # of lightning Fabric; "bf16-mixed" on a recent GPU
    checkpointing: bool = False  # keep fewer activations, compute them again in the backward pass
    compile: bool = False  # the network, with torch.compile
    checkpoint_every: int = 100  # steps

    # Of the terms of the loss.
    WEIGHTS: ClassVar = ("smoothness", "labels", "motion", "balance", "z", "information", "folds", "inverse", "force")
    # They change how a result is computed, not which (up to rounding): a checkpoint may go on with others.
    MACHINERY: ClassVar = (
        "device", "checkpoint_every", "pairs_per_step", "accumulate", "checkpointing", "compile",
    )  # fmt: skip

    def __post_init__(self):
        check_choice("similarity", self.similarity, tuple(SIMILARITIES))
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, get_args(Precision))
        if not _is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from zero on, below 2^32, got {self.seed!r}.")
        for name in ("steps", "pairs_per_step", "accumulate", "checkpoint_every", "window"):
            check_positive(name, getattr(self, name), integer=True)
        check_positive("learning_rate", self.learning_rate)
        for name in self.WEIGHTS:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be zero or more, got {value!r}.")
        for name in ("checkpointing", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        if self.warmup is not None and (not _is_whole(self.warmup) or self.warmup < 0):
            raise ValueError(f"warmup must be a whole number of steps from zero on, or none, got {self.warmup!r}.")
        if not _is_number(self.average) or not 0 <= self.average < 1:
            raise ValueError(f"average must be a decay from zero on, below one, got {self.average!r}.")
        if self.augmentation is not None and not isinstance(self.augmentation, Augmentation):
            raise ValueError(f"augmentation must be an Augmentation, got {type(self.augmentation).__name__}.")
        self._check_windows()

    def _check_windows(self) -> None:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, so that it has a middle voxel, got {self.window!r}.")
        if self.first_window is None:
            return
        if not _is_whole(self.first_window) or self.first_window % 2 == 0 or self.first_window < self.window:
            raise ValueError(
                f"first_window must be odd and at least as wide as window ({self.window}), got {self.first_window!r}."
            )


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass
class History:
    """One entry per step."""

    loss: list[float] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    dice: list[float | None] = field(default_factory=list)  # of the step's batch; None between measurements
    seconds: float = 0.0  # of training, over all runs of a resumed training
    lengthened: list[list[int]] = field(default_factory=list)  # (step at which, steps that were planned until then)


def best_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is a GPU, else Apple's MPS, else the CPU.

    Raises:
        ValueError: an unknown name, or a device that this machine does not have.
    """
    check_choice("device", name, ("auto", "cpu", "cuda", "mps"))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        raise ValueError(f"device must be one that this machine has, got {name!r}; 'auto' picks one.")
    return torch.device(name)


def check_precision(precision: str, device: torch.device) -> None:
    """Require a precision that the device computes in; none is exchanged for another one.

    Raises:
        ValueError: float16 on a CPU, bfloat16 on a GPU without it, float64 on Apple's MPS.
    """
    kind = device.type
    if precision == "16-mixed" and kind == "cpu":
        can = "'32-true', '64-true' or 'bf16-mixed'"
        raise ValueError(f"precision must be {can} on a CPU, got '16-mixed', which needs a GPU.")
    if precision == "bf16-mixed" and kind == "cuda" and not torch.cuda.is_bf16_supported():
        can = "'32-true', '64-true' or '16-mixed'"
        raise ValueError(f"precision must be {can} on this GPU, got 'bf16-mixed', which it has not.")
    if precision == "64-true" and kind == "mps":
        raise ValueError("precision must be '32-true' or mixed on MPS, got '64-true', which it has not.")

"""What a training depends on, and what is kept of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch

from moereg.checks import check_choice, check_positive
from moereg.data.augmentation import Augmentation
from moereg.similarity import lncc, mse, mutual_information

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]  # weights stay float32
SIMILARITIES: dict[str, Callable] = {"lncc": lncc, "mse": mse, "mi": mutual_information}


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run depends on, besides the model and the pairs."""

    steps: int = 300
    learning_rate: float = 1e-3  # peak; linear warm-up over 5 % of the steps, then cosine to zero
    similarity: str = "lncc"  # "lncc" (window 9), "mse" or "mi" (32 bins)
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
    pairs_per_step: int = 1  # each counts twice, once per direction
    seed: int = 0  # order of the pairs
    device: str = "auto"  # "auto", "cpu", "cuda", "mps"
    precision: Precision = "32-true"  # of lightning Fabric; "bf16-mixed" on a recent GPU
    checkpoint_every: int = 100  # steps

    # Of the terms of the loss.
    WEIGHTS: ClassVar = ("smoothness", "labels", "motion", "balance", "z", "information", "folds", "inverse", "force")

    def __post_init__(self):
        check_choice("similarity", self.similarity, tuple(SIMILARITIES))
        check_choice("precision", self.precision, get_args(Precision))
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from zero on, below 2^32, got {self.seed!r}.")
        check_positive("steps", self.steps, integer=True)
        check_positive("pairs_per_step", self.pairs_per_step, integer=True)
        check_positive("checkpoint_every", self.checkpoint_every, integer=True)
        check_positive("learning_rate", self.learning_rate)
        for name in self.WEIGHTS:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more, got {getattr(self, name)!r}.")


@dataclass
class History:
    """One entry per step."""

    loss: list[float] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    dice: list[float | None] = field(default_factory=list)  # of the step's batch; None between measurements
    seconds: float = 0.0  # of training, over all runs of a resumed training


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

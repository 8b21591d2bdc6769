"""What runs of an experiment have in common, and how one network of them is trained.

Every variant sees the same pairs in the same order for the same steps; the only other thing that changes is the seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.models import build
from moereg.training import TrainingConfig, fit

OnRows = Callable[[list[dict]], None]  # called with rows as soon as they are known


def nothing(rows: list[dict]) -> None:
    """The default of `on_rows`."""


@dataclass(frozen=True)
class Task:
    """Pairs to train on and pairs to measure on, under one name."""

    name: str
    train: Pairs
    test: Pairs

    @property
    def dims(self) -> int:
        """Spatial axes of the pairs."""
        return len(self.test[0].shape)


@dataclass(frozen=True)
class Protocol:
    """What all runs of an experiment have in common."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    model: str = "shmoareg"
    sizes: dict = field(default_factory=dict)  # of the model, before a variant changes them


def train_one(
    task: Task,
    protocol: Protocol,
    seed: int,
    *,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    training: dict | None = None,
    on_step: Callable[[int, nn.Module], None] | None = None,
    **sizes,
) -> nn.Module:
    """One network, its weights and the order of its pairs drawn from `seed`; on the CPU when it is done.

    Args:
        wrap: what is made of the network before it is trained.
        training: options of the training that differ from the protocol's.
        on_step: see `moereg.training.fit`.
        sizes: of the network, where they differ from the protocol's.
    """
    torch.manual_seed(seed)
    model = wrap(build(protocol.model, **{"dims": task.dims} | protocol.sizes | sizes))
    config = replace(protocol.training, seed=seed, **(training or {}))
    fit(model, task.train, config, progress=False, on_step=on_step)
    return model.cpu()


def count_parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())

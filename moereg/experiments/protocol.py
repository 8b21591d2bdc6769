"""What runs of an experiment have in common, and how one network of them is trained.

Every variant sees the same pairs in the same order for the same steps; the only other thing that changes is the seed.
Fifty networks take an hour: inside `with kept_in(folder):` each is kept there, and an experiment that was broken off
goes on from those it finds.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

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


@dataclass
class Store:
    """A folder of trained networks. Empty it when the code of networks or of training changes."""

    folder: Path
    earlier: float = 0.0  # seconds of training that runs before this one have spent on what was found here


_STORE: ContextVar[Store | None] = ContextVar("store", default=None)


@contextmanager
def kept_in(folder: str | Path) -> Iterator[Store]:
    """While this lasts, `train_one` keeps its networks in the folder and takes from it what is there already."""
    store = Store(Path(folder))
    token = _STORE.set(store)
    try:
        yield store
    finally:
        _STORE.reset(token)


def seconds_of_earlier_runs() -> float:
    """What was spent on networks that `train_one` found in `kept_in`, so far."""
    store = _STORE.get()
    return 0.0 if store is None else store.earlier


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
        on_step: see `moereg.training.fit`. A training that is watched is never taken from `kept_in`.
        sizes: of the network, where they differ from the protocol's.
    """
    torch.manual_seed(seed)
    model = wrap(build(protocol.model, **{"dims": task.dims} | protocol.sizes | sizes))
    config = replace(protocol.training, seed=seed, **(training or {}))
    store = _STORE.get()
    if store is None or on_step is not None:
        fit(model, task.train, config, progress=False, on_step=on_step)
        return model.cpu()
    began = time.perf_counter()
    history = fit(
        model, task.train, config, progress=False, out=store.folder / _identity(task, model, config), resume=True
    )
    store.earlier += max(0.0, history.seconds - (time.perf_counter() - began))
    return model.cpu()


def _identity(task: Task, model: nn.Module, config: TrainingConfig) -> str:
    """A name for one training: network before it, options, and pairs (their number and the first one stand for all)."""
    pair = task.train[0]
    options = {key: value for key, value in asdict(config).items() if key not in ("device", "checkpoint_every")}
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parts = [type(model).__name__, str(getattr(model, "sizes", "")), task.name, len(task.train), options, trained]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for tensor in (pair.moving, pair.fixed, *model.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def count_parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())

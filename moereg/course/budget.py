"""One notebook, two budgets: "smoke" runs on two CPU cores within a minute, "full" is for one GPU.

A notebook asks once, in its first cell, and says beside every size what it is under either budget:

    budget = Budget.from_env()
    steps = budget.pick(smoke=60, full=3000)

The text is the same and no cell is skipped; the environment variable `MOEREG_BUDGET` decides ("smoke" if it is unset).

What a notebook may cost it declares in its header (`moereg: budget:` with `smoke_seconds`, `full_seconds`,
`peak_memory_mb`). Seconds are those of the reference machine, on which `calibration_seconds()` is `REFERENCE_SECONDS`;
`slowness()` is how much longer this machine takes, so that a slow or busy one is not blamed for the notebook.
"""

import os
import time
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F

Value = TypeVar("Value")
NAMES = ("smoke", "full")

REFERENCE_SECONDS = 0.25  # calibration_seconds() on the machine on which budgets were declared: two cores, idle
TOLERANCE = 1.25  # a declared number may be exceeded by a quarter


@dataclass(frozen=True)
class Budget:
    """How much a notebook may spend.

    `name` is "smoke" or "full"; `device` is where it runs: smoke always on the CPU, full on the GPU if there is one.
    """

    name: str = "smoke"

    def __post_init__(self):
        if self.name not in NAMES:
            raise ValueError(f"MOEREG_BUDGET must be 'smoke' or 'full', got {self.name!r}.")

    @classmethod
    def from_env(cls) -> "Budget":
        """The budget that `MOEREG_BUDGET` names, smoke where it is unset or empty.

        Raises:
            ValueError: it names something else.
        """
        return cls(os.environ.get("MOEREG_BUDGET") or "smoke")

    def pick(self, *, smoke: Value, full: Value) -> Value:
        """One of two values: `steps = budget.pick(smoke=60, full=3000)`."""
        return smoke if self.name == "smoke" else full

    @property
    def device(self) -> torch.device:
        """Where to put models and images."""
        return torch.device("cuda" if self.name == "full" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Declared:
    """What a notebook's header says that it costs."""

    smoke_seconds: float  # on the reference machine
    full_seconds: float  # on one GPU
    peak_memory_mb: float  # of the kernel under smoke

    @classmethod
    def from_metadata(cls, metadata: dict, notebook: str = "the notebook") -> "Declared":
        """Read `metadata["moereg"]["budget"]` of a notebook.

        Raises:
            ValueError: a number is missing, unknown, or not positive.
        """
        entries = dict(metadata.get("moereg", {}).get("budget", {}))
        if set(entries) != set(cls.__dataclass_fields__):
            wanted = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"{notebook} must declare moereg.budget with {wanted} in its header, got {entries}.")
        if not all(isinstance(value, int | float) and value > 0 for value in entries.values()):
            raise ValueError(f"{notebook} must declare positive numbers in moereg.budget, got {entries}.")
        return cls(**{name: float(value) for name, value in entries.items()})

    def complaints(self, *, seconds: float, peak_memory_mb: float, slowness: float = 1.0) -> list[str]:
        """What was exceeded by more than a quarter in a smoke run; empty if nothing was.

        Args:
            slowness: this machine's time for the calibration workload over the reference machine's.
        """
        allowed = self.smoke_seconds * TOLERANCE * max(1.0, slowness)
        found = []
        if seconds > allowed:
            found.append(
                f"took {seconds:.1f} s, declared {self.smoke_seconds:g} s "
                f"({allowed:.1f} s allowed: a quarter more, on a machine {max(1.0, slowness):.2f} times as slow)"
            )
        if peak_memory_mb > self.peak_memory_mb * TOLERANCE:
            found.append(
                f"peaked at {peak_memory_mb:.0f} MB, declared {self.peak_memory_mb:g} MB (a quarter more allowed)"
            )
        return found


def calibration_seconds(repeats: int = 3) -> float:
    """Median seconds of a fixed piece of work like a small training: 3-D convolutions, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 8, 24, 24, 24, generator=generator)
    weight = torch.randn(16, 8, 3, 3, 3, generator=generator, requires_grad=True)
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        for _ in range(30):
            F.conv3d(image, weight, padding=1).square().mean().backward()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[1:])[repeats // 2]  # the first one warms up


def slowness() -> float:
    """This machine's calibration time over the reference machine's: 2 where everything takes twice as long."""
    return calibration_seconds() / REFERENCE_SECONDS

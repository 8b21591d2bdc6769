"""The table of measurements, as README.md beside this file."""

import platform
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from cases import Case

README = Path(__file__).parent / "README.md"
TEXT = """# Speed

Written by `make bench` on {today}; no number here is typed by hand.

{machine}

Forward and backward (Demons: twenty iterations), float32, batch 1. Both implementations run in turn in one process,
and the medians of their times are compared. They agree in value and in every gradient: "difference" is the norm of
the largest one, relative. A dash means that the two compute different things on purpose (another kind of expert) and
only the cost is compared.

{speed}

Peak memory is what one step adds to the resident size of a process of its own, in which the inputs exist and
the libraries are loaded (largest resident size of the kernel's record, `peak_memory.py`).

{memory}

What is compared with what stands in `cases.py`. Times depend on the machine and on what else it does, ratios less so.
Nothing in the test suite asserts a time.
"""


@dataclass
class Row:
    """One case, measured; medians in seconds."""

    case: Case
    ours: float | None = None
    theirs: float | None = None
    difference: float | None = None
    our_bytes: int | None = None
    their_bytes: int | None = None


def readme(rows: list[Row]) -> str:
    """The whole file."""
    return TEXT.format(today=date.today(), machine=machine(), speed=speed_table(rows), memory=memory_table(rows))


def machine() -> str:
    """One sentence on where the numbers come from."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "numpy"))
    return (
        f"{processor()}, {torch.get_num_threads()} threads, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({torch.backends.cpu.get_cpu_capability()})" if names else platform.processor()


def speed_table(rows: list[Row]) -> str:
    """Times in milliseconds."""
    table = [
        "| operation | against | ours, ms | theirs, ms | times as fast | aim | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.ours is None:
            continue
        ratio = row.theirs / row.ours
        difference = "–" if row.difference is None else f"{row.difference:.0e}"
        table.append(
            f"| {row.case.name} | {row.case.against} | {1e3 * row.ours:.1f} | {1e3 * row.theirs:.1f} "
            f"| {mark(f'{ratio:.1f}', ratio >= row.case.faster)} | at least {row.case.faster:g} | {difference} |"
        )
    return "\n".join(table)


def memory_table(rows: list[Row]) -> str:
    """Peaks in MiB."""
    table = ["| operation | ours, MiB | theirs, MiB | share | aim |", "|---|---|---|---|---|"]
    for row in rows:
        if row.our_bytes is None:
            continue
        share = row.our_bytes / row.their_bytes
        table.append(
            f"| {row.case.name} | {row.our_bytes / 2**20:.0f} | {row.their_bytes / 2**20:.0f} "
            f"| {mark(f'{share:.2f}', share <= row.case.memory)} | at most {row.case.memory:g} |"
        )
    return "\n".join(table)


def mark(number: str, reached: bool) -> str:
    """A number that misses its aim says so."""
    return number if reached else f"{number} (missed)"

"""The tables of measurements, as README.md, speed.json and limit.png beside this file."""

import json
import platform
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from cases import Case
from growth import COUNTED
from matplotlib.figure import Figure

from moereg.metrics.cost import growth_exponent, steepest

FOLDER = Path(__file__).parent
GROWN = ("shmoareg", "drivenmorph", "rman", "segreg", "voxelmorph")
EXPONENT = 1.05  # of time and memory in voxels, at most
TEXT = """# Speed

Written by `make bench` on {today}; no number here is typed by hand. {met} of {aims} aims are met.

{machine}

Forward and backward (inference: forward; Demons: twenty iterations), float32, batch 1 (training steps: 2, both
directions). Both implementations run in turn in one process, and the medians of their times are compared. They agree in
value and in every gradient: "difference" is the norm of the largest one, relative. A dash means that the two compute
different things on purpose and only the cost is compared.

{speed}

{scratch}

Beside another process that keeps a core busy, with idle threads that sleep (`OMP_WAIT_POLICY=PASSIVE`, which commands
set for themselves; threads that spin take many times as long there):

{beside}

{compiled}

Peak memory is what one step adds to the resident size of a process of its own, in which the inputs exist and
the libraries are loaded (largest resident size of the kernel's record, `moereg/metrics/cost.py`).

{memory}

How one pair's time and memory grow with the number of voxels, from {smallest}^3 to {largest}^3. "Steepest" is the
largest exponent between two neighbouring sizes, where a step upwards would show.

{growth}

Time against the limit: the multiply-adds of one pair at {limit_edge}^3 over those that this machine does per second
in a large matrix product ({peak:.0f} thousand million), as a share of the time that the pair takes.

![Bars: the share of the machine's peak that each model reaches](limit.png)

{limit}

What is compared with what stands in `cases.py`. TransMorph is not among it: the package of that name is another
project. Times depend on the machine and on what else it does, ratios less so.
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
    dice: tuple[float, float] | None = None  # ours and the other's, where a pair was registered

    @property
    def complete(self) -> bool:
        """Whether everything that the case asks for was measured."""
        return bool((self.ours or not self.case.rounds) and (self.our_bytes or not self.case.memory))


@dataclass
class Measured:
    """All of one run."""

    rows: dict[str, Row] = field(default_factory=dict)
    grown: dict[str, list[dict]] = field(default_factory=dict)
    beside: dict[str, dict] = field(default_factory=dict)
    compiled: dict[str, float] = field(default_factory=dict)
    limit: dict[str, float] = field(default_factory=dict)


def aims(measured: Measured) -> list[dict]:
    """Every aim as a row: what, the aim, what was measured, whether it is met."""
    found = []
    for row in measured.rows.values():
        if row.ours and row.case.aim is not None:
            found.append(_aim(row.case.name, "share of the other's time", row.case.aim, row.ours / row.theirs))
        if row.dice:
            found.append(_aim(f"{row.case.name}: Dice", "less than the other's by", 0.0, row.dice[1] - row.dice[0]))
        if row.our_bytes:
            share = row.our_bytes / row.their_bytes
            found.append(_aim(row.case.name, "share of the other's memory", row.case.memory, share))
    for variant, times in measured.beside.items():
        share = times["ours"] / times["theirs"]
        found.append(_aim(f"Demons, {variant}, beside a busy core", "share of the other's time", 1.0, share))
    if measured.compiled:
        name, share = f"SHMoAReg by torch.compile, {measured.compiled['size']}^3", compiled_share(measured.compiled)
        found.append(_aim(name, "share of its own time", 1.0, share))
    for model, grown in measured.grown.items():
        voxels = [row["edge"] ** 3 for row in grown]
        for what in ("seconds", "bytes"):
            exponent = growth_exponent(voxels, [row[what] for row in grown])
            found.append(_aim(f"growth of {what}, {model}", "exponent in voxels", EXPONENT, exponent))
    return found


def _aim(what: str, kind: str, at_most: float, value: float) -> dict:
    return {"what": what, "kind": kind, "aim": at_most, "measured": value, "met": value <= at_most}


def text(measured: Measured) -> str:
    """What stands on the screen, complete or not."""
    rows = list(measured.rows.values())
    tables = speed_table(rows), compiled_text(measured.compiled), memory_table(rows), beside_table(measured)
    return "\n\n".join((*tables, growth_table(measured)))


def write(measured: Measured) -> Path:
    """All three files; returns the page."""
    judged = aims(measured)
    record = {"date": str(date.today()), "machine": machine(), "aims": judged, "growth": measured.grown}
    record |= {"limit": limit_rows(measured), "peak": measured.limit["multiply_adds_per_second"]}
    (FOLDER / "speed.json").write_text(json.dumps(record, indent=1) + "\n")
    draw_limit(measured).savefig(FOLDER / "limit.png", dpi=110)
    rows, edges = list(measured.rows.values()), [row["edge"] for row in measured.grown[GROWN[0]]]
    page = TEXT.format(
        today=date.today(), machine=machine(), met=sum(aim["met"] for aim in judged), aims=len(judged),
        speed=speed_table(rows), scratch=scratch_text(rows), beside=beside_table(measured),
        compiled=compiled_text(measured.compiled), memory=memory_table(rows),
        growth=growth_table(measured), smallest=min(edges), largest=max(edges), limit=limit_table(measured),
        limit_edge=COUNTED, peak=measured.limit["multiply_adds_per_second"] / 1e9,
    )  # fmt: skip
    (FOLDER / "README.md").write_text(page)
    return FOLDER / "README.md"


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
        "| operation | against | ours, ms | theirs, ms | share | aim | | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.ours is None:
            continue
        share = row.ours / row.theirs
        difference = "–" if row.difference is None else f"{row.difference:.0e}"
        aim = ("–", "") if row.case.aim is None else (f"at most {row.case.aim:.2f}", word(share <= row.case.aim))
        table.append(
            f"| {row.case.name} | {row.case.against} | {1e3 * row.ours:.1f} | {1e3 * row.theirs:.1f} "
            f"| {share:.2f} | {aim[0]} | {aim[1]} | {difference} |"
        )
    return "\n".join(table)


def scratch_text(rows: list[Row]) -> str:
    """Dice of the pair that was registered from scratch."""
    said = [
        f"Dice of {row.case.name}: {row.dice[0]:.3f}, {row.case.against} {row.dice[1]:.3f} "
        f"({word(row.dice[0] >= row.dice[1])}: at least as much)."
        for row in rows
        if row.dice
    ]
    return "\n".join(said)


def memory_table(rows: list[Row]) -> str:
    """Peaks in MiB."""
    table = ["| operation | ours, MiB | theirs, MiB | share | aim | |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row.our_bytes is None:
            continue
        share = row.our_bytes / row.their_bytes
        table.append(
            f"| {row.case.name} | {row.our_bytes / 2**20:.0f} | {row.their_bytes / 2**20:.0f} "
            f"| {share:.2f} | at most {row.case.memory:g} | {word(share <= row.case.memory)} |"
        )
    return "\n".join(table)


def beside_table(measured: Measured) -> str:
    """Demons of 64^3 beside a busy core."""
    table = ["| Demons, 64^3 | ours, ms | SimpleITK, ms | share | aim | |", "|---|---|---|---|---|---|"]
    for variant, times in measured.beside.items():
        share = times["ours"] / times["theirs"]
        table.append(
            f"| {variant} | {1e3 * times['ours']:.0f} | {1e3 * times['theirs']:.0f} | {share:.2f} | at most 1 "
            f"| {word(share <= 1)} |"
        )
    return "\n".join(table)


def compiled_share(compiled: dict) -> float:
    """Of the time that the network takes as it is."""
    return compiled["compiled"] / compiled["plain"]


def compiled_text(compiled: dict) -> str:
    """What inductor makes of SHMoAReg."""
    if not compiled:
        return "torch.compile was not measured: there is no C++ compiler here."
    return (
        f"torch.compile (inductor), SHMoAReg, one pair of {compiled['size']}^3: {compiled_share(compiled):.2f} of its "
        f"time without, after {compiled['seconds_of_compiling']:.0f} s of compiling; relative difference "
        f"{compiled['difference']:.0e}."
    )


def growth_table(measured: Measured) -> str:
    """Exponents of time and memory."""
    table = [
        "| model | time: exponent | steepest | | memory: exponent | steepest | |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, grown in measured.grown.items():
        voxels, cells = [row["edge"] ** 3 for row in grown], []
        for what in ("seconds", "bytes"):
            values = [row[what] for row in grown]
            exponent = growth_exponent(voxels, values)
            cells += [f"{exponent:.2f}", f"{steepest(voxels, values):.2f}", word(exponent <= EXPONENT)]
        table.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(table)


def limit_rows(measured: Measured) -> list[dict]:
    """Multiply-adds, seconds, and the share of the machine's peak that each model reaches."""
    peak, found = measured.limit["multiply_adds_per_second"], []
    for model, grown in measured.grown.items():
        row = next(row for row in grown if row["edge"] == COUNTED)
        share = row["multiply_adds"] / peak / row["seconds"]
        found.append({"model": model, "multiply_adds": row["multiply_adds"], "seconds": row["seconds"], "share": share})
    return found


def limit_table(measured: Measured) -> str:
    """The figure's numbers."""
    table = ["| model | multiply-adds, millions | ms | share of the peak |", "|---|---|---|---|"]
    for row in limit_rows(measured):
        table.append(
            f"| {row['model']} | {row['multiply_adds'] / 1e6:.0f} | {1e3 * row['seconds']:.0f} | {row['share']:.0%} |"
        )
    return "\n".join(table)


def draw_limit(measured: Measured) -> Figure:
    """Bars, one per model."""
    rows = limit_rows(measured)
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.barh([row["model"] for row in rows], [100 * row["share"] for row in rows], color="#3b6ea5")
    axes.invert_yaxis()
    axes.set_xlabel("multiply-adds per second, % of a large matrix product's")
    return figure


def word(reached: bool) -> str:
    """What the table says of an aim."""
    return "met" if reached else "missed"

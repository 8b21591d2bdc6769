"""`make bench`: time and peak memory of each case beside the other implementation. Asserts values, never time."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import torch
from cases import CASES
from report import Row

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_speed(case, benchmark, rows):
    ours, theirs = case.build(case.size)
    difference = largest_difference(ours(), theirs()) if case.same else None
    assert difference is None or difference < case.tolerance

    # Both in turn, so that whatever else the machine does meets both.
    seconds = []

    def other():
        started = time.perf_counter()
        theirs()
        seconds.append(time.perf_counter() - started)

    benchmark.pedantic(ours, setup=other, rounds=case.rounds, iterations=1)
    row = rows.setdefault(case.name, Row(case))
    row.difference, row.ours, row.theirs = difference, benchmark.stats.stats.median, median(seconds)
    benchmark.extra_info.update(theirs=row.theirs, ratio=row.theirs / row.ours)


@pytest.mark.parametrize("case", [case for case in CASES if case.memory], ids=lambda case: case.name)
def test_peak_memory(case, rows):
    row = rows.setdefault(case.name, Row(case))
    row.our_bytes, row.their_bytes = (peak_memory(case.name, side) for side in ("ours", "theirs"))


def largest_difference(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> float:
    """Over the value and every gradient: norm of the difference relative to the norm.

    Not the largest entry: the slope of linear interpolation jumps at voxel centres, and where rounding puts a position
    on the other side of one, a single entry of the gradient differs without being wrong.
    """
    pairs = zip(ours, theirs, strict=True)
    return max(float(((one - other).norm() / other.norm()).detach()) for one, other in pairs)


def peak_memory(name: str, side: str) -> int:
    script = Path(__file__).parent / "peak_memory.py"
    run = subprocess.run([sys.executable, "-W", "ignore", script, name, side], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return int(run.stdout.split()[-1])

"""`make bench`: time and peak memory of each case beside the other implementation. Asserts values, never time."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import torch
from cases import CASES, scratch_pair
from report import GROWN, Row

from moereg.fields import warp_labels
from moereg.metrics import dice

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("case", [case for case in CASES if case.rounds], ids=lambda case: case.name)
def test_speed(case, benchmark, rows):
    ours, theirs = case.build(case.size)
    values = ours(), theirs()
    difference = largest_difference(*values) if case.same else None
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
    if case.operation == "a pair from scratch":
        row.dice = tuple(mean_dice(field, case.size) for (field,) in values)
    benchmark.extra_info.update(theirs=row.theirs, ratio=row.theirs / row.ours)


@pytest.mark.parametrize("case", [case for case in CASES if case.memory], ids=lambda case: case.name)
def test_peak_memory(case, rows):
    row = rows.setdefault(case.name, Row(case))
    row.our_bytes, row.their_bytes = (int(script("peak_memory.py", case.name, side)) for side in ("ours", "theirs"))


@pytest.mark.parametrize("model", GROWN)
def test_growth(model, grown):
    grown[model] = json.loads(script("growth.py", model))


@pytest.mark.parametrize("variant", ["thirion", "symmetric", "diffeomorphic"])
def test_beside_a_busy_core(variant, beside):
    beside[variant] = json.loads(script("beside.py", variant))


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
def test_compiled(compiled):
    compiled |= json.loads(script("compiled.py", "48"))
    assert compiled["difference"] < 1e-3


def test_peak_of_the_machine(limit):
    """Multiply-adds per second of a large matrix product, the best of a few."""
    one = torch.rand(2048, 2048)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        one @ one
        times.append(time.perf_counter() - began)
    limit["multiply_adds_per_second"] = 2048**3 / min(times)


def mean_dice(displacement: torch.Tensor, size: int) -> float:
    pair = scratch_pair(size)
    scores = dice(warp_labels(pair.moving_labels[None], displacement)[0], pair.fixed_labels)
    return sum(scores.values()) / len(scores)


def largest_difference(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> float:
    """Over the value and every gradient: norm of the difference relative to the norm.

    Not the largest entry: the slope of linear interpolation jumps at voxel centres, and where rounding puts a position
    on the other side of one, a single entry of the gradient differs without being wrong.
    """
    pairs = zip(ours, theirs, strict=True)
    return max(float(((one - other).norm() / other.norm()).detach()) for one, other in pairs)


def script(name: str, *arguments: str) -> str:
    """Last line of what a script beside this file prints, in a process of its own."""
    command = [sys.executable, "-W", "ignore", Path(__file__).parent / name, *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]

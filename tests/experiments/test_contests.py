"""Trained models beside methods without weights: whose numbers are whose, and who is called better."""

import importlib

import pytest

from moereg.data import phantoms
from moereg.experiments import Protocol, Task, contest, contest_rows
from moereg.experiments.contests import contest_sentence
from moereg.models.registry import MODELS, Entry
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import Shifts, slab_pair


def test_every_method_once_and_every_model_with_every_seed(fitted, toys_err, no_surfaces, monkeypatch):
    """Methods err by 3 and 1 voxels; the toy by its size, and by as much more as its seed says."""
    module = importlib.import_module("moereg.experiments.contests")
    monkeypatch.setattr(module, "METHODS", {"far": Shifts(3.0, 0.0), "near": Shifts(1.0, 0.0), "not asked": None})
    monkeypatch.setitem(MODELS, "second", Entry(MODELS["toy"].sizes, MODELS["toy"].make))
    toys_err(lambda toy, _: toy.sizes.shift + toy.born)
    protocol = Protocol(TrainingConfig(steps=3, device="cpu"), seeds=(0, 2), model="shmoareg", sizes={"widths": (4,)})
    told = []
    task = Task("slabs", [slab_pair(5)], [slab_pair(), slab_pair()])
    rows = contest_rows(
        task, protocol, ["toy", "second"], sizes={"second": {"shift": 4.0}}, methods=["far", "near"],
        on_rows=told.extend,
    )  # fmt: skip
    assert [(r["task"], r["method"], r["seed"], r["epe"], r["dice"]) for r in rows] == [
        ("slabs", "far", None, 3.0, 1 - 3 / 8),
        ("slabs", "near", None, 1.0, 1 - 1 / 8),
        ("slabs", "toy", 0, 0.0, 1.0),
        ("slabs", "toy", 2, 2.0, 1 - 2 / 8),
        ("slabs", "second", 0, 4.0, 1 - 4 / 8),
        ("slabs", "second", 2, 6.0, 1 - 6 / 8),
    ]
    assert told == rows
    assert [row.get("parameters") for row in rows] == [None, None, 1, 1, 5, 5]
    assert all(row["training_seconds"] >= 0 for row in rows[2:])
    assert all(row["per_pair"]["epe"] == [row["epe"]] * 2 and row["seconds_per_pair"] > 0 for row in rows)
    assert [(call.config.seed, call.config.steps, call.pairs) for call in fitted.calls] == [
        (seed, 3, task.train) for seed in (0, 2, 0, 2)
    ]


def test_training_seconds_are_those_of_the_training(fitted, monkeypatch):
    module = importlib.import_module("moereg.experiments.contests")
    clock = iter([100.0, 112.34])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "evaluate", lambda methods, pairs, surfaces: dict.fromkeys(methods, MEASURED))
    task = Task("slabs", [slab_pair()], [slab_pair()])
    [row] = contest_rows(task, Protocol(TrainingConfig(steps=1), seeds=(0,)), ["toy"], methods=[])
    assert row["training_seconds"] == 12.3


MEASURED = {
    "dice": 1.0, "epe": 0.0, "fold_fraction": 0.0, "seconds_per_pair": 1.0,
    "pairs": [{"dice_mean": 1.0, "epe": 0.0, "fold_fraction": 0.0}],
}  # fmt: skip


def test_classical_demons_are_measured_for_what_they_are():
    pairs = [phantoms.make("abdomen", (24, 24), 0)]
    before, demons = contest_rows(Task("t", pairs, pairs), Protocol(), [], methods=["identity", "demons-thirion"])
    assert demons["dice"] > before["dice"] + 0.05


def rows_of(task="t", folds=0.001, **values):
    return [
        {"task": task, "method": name, "seed": seed if len(dices) > 1 else None, "dice": dice, "epe": None,
         "fold_fraction": folds * seed}
        for name, dices in values.items()
        for seed, dice in enumerate(dices)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "against_rival", "against_demons"),
    [
        # rival 0.69, 0.70, 0.71 seed by seed; the best Demons 0.7 at all times; 4.303 * 0.01 / sqrt(3) = 0.025
        ((0.80, 0.81, 0.82), "better than rival (0.700; difference +0.110 [+0.110, +0.110])", "better than"),
        ((0.61, 0.60, 0.59), "worse than rival (0.700; difference -0.100 [-0.150, -0.050])", "worse than"),
        ((0.69, 0.72, 0.70), "not told apart from rival (0.700; difference +0.003 [-0.035, +0.041])", "not told apart"),
    ],
)
def test_a_difference_is_judged_by_the_one_rule(ours, against_rival, against_demons):
    rows = rows_of(**{"demons-log": (0.5,), "demons-thirion": (0.7,), "rival": (0.69, 0.70, 0.71), "m": ours})
    finding = contest(rows, "m", ["rival"])
    assert finding.question == "Where does m stand?"
    assert finding.rows == rows
    assert finding.sentence == contest_sentence(rows, "m", ["rival"])
    mean = sum(ours) / 3
    assert finding.sentence.startswith(f"On t, m reaches Dice {mean:.3f}: {against_demons}")
    assert " demons-thirion (0.700; difference " in finding.sentence  # the better one of the classical
    assert "demons-log" not in finding.sentence
    assert f", {against_rival}; at most 0.20% of voxels fold." in finding.sentence
    assert draw(finding).axes


def test_the_best_demons_is_that_of_the_task_and_no_other_method():
    rows = rows_of("first", **{"demons-log": (0.6,), "demons-thirion": (0.5,), "identity": (0.9,), "m": (0.5, 0.6)})
    rows += rows_of("second", folds=0.5, **{"demons-log": (0.1,), "demons-thirion": (0.2,), "m": (0.3, 0.5)})
    assert contest_sentence(rows, "m", []) == (
        "On first, m reaches Dice 0.550: not told apart from demons-log (0.600; difference -0.050 [-0.685, +0.585]); "
        "at most 0.10% of voxels fold. "
        "On second, m reaches Dice 0.400: not told apart from demons-thirion (0.200; difference +0.200 "
        "[-1.071, +1.471]); at most 50.00% of voxels fold."
    )

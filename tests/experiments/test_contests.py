"""Trained models beside methods without weights."""

import pytest

from moereg.data import phantoms
from moereg.experiments import Protocol, Task, contest, contest_rows
from moereg.training import TrainingConfig
from moereg.viz import draw


def test_every_method_once_and_every_model_with_every_seed():
    pairs = [phantoms.make("abdomen", (24, 24), seed) for seed in range(2)]
    sizes = {"drivenmorph": {"widths": (4, 6), "attention_levels": (1,)}}
    protocol = Protocol(TrainingConfig(steps=1, device="cpu"), seeds=(0, 1), sizes=sizes)
    rows = contest_rows(Task("small", pairs, pairs), protocol, ["drivenmorph"], methods=["identity", "demons-thirion"])
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("identity", None),
        ("demons-thirion", None),
        ("drivenmorph", 0),
        ("drivenmorph", 1),
    ]
    before, demons = rows[:2]
    assert demons["dice"] > before["dice"] + 0.05
    assert rows[2]["parameters"] > 0
    finding = contest(rows, "drivenmorph", [])
    assert "demons-thirion" in finding.sentence
    assert draw(finding).axes


def rows_of(**values):
    return [
        {"task": "t", "method": name, "seed": seed, "dice": dice, "epe": None, "fold_fraction": 0.001 * seed}
        for name, dices in values.items()
        for seed, dice in enumerate(dices)
    ]


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        ((0.80, 0.81, 0.82), "ahead of"),
        ((0.60, 0.61, 0.62), "behind"),
        ((0.66, 0.71, 0.76), "level with"),
    ],
)
def test_a_difference_counts_beyond_the_spread_of_seeds(ours, word):
    rows = rows_of(**{"demons-log": (0.5,), "demons-thirion": (0.7,), "rival": (0.69, 0.70, 0.71), "m": ours})
    sentence = contest(rows, "m", ["rival"]).sentence
    assert f"{word} rival (0.700 +- 0.010)" in sentence
    assert f"{word} demons-thirion (0.700)" in sentence  # the better one of the classical
    assert "at most 0.20% of voxels fold" in sentence

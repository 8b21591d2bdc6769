"""How many pairs, how many steps, which motion? A toy whose error is put together from what it was trained with."""

import pytest

from moereg.experiments import Protocol, Task, amount
from moereg.experiments.amount import amount_sentence, mean_of, share_left
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import Shifts, slab_pair

PROTOCOL = Protocol(TrainingConfig(steps=7, device="cpu"), seeds=(0, 1), model="toy")


def pairs(count, missing):
    return [slab_pair(missing, name=f"{missing}") for _ in range(count)]


def test_share_left_is_error_over_motion():
    assert share_left(Shifts(1.0, 0.0), pairs(2, 4)) == pytest.approx(0.75)
    assert share_left(Shifts(-1.0, 0.0), pairs(2, 4)) == pytest.approx(1.25)


def test_every_number_of_pairs_and_steps_and_the_other_motion(fitted, toys_err, no_surfaces):
    # Moves by one voxel for each pair it was trained on, less a tenth for each seed.
    toys_err(lambda toy, recursions: len(toy.pairs) - 0.1 * toy.config.seed)
    usual, other = Task("usual", pairs(3, 4), pairs(2, 4)), Task("other", pairs(3, 2), pairs(2, 2))
    told = []
    tests, runs = {"a": pairs(1, 4), "b": pairs(1, 8)}, ((1, 2), (3, 2), (1, 5), (3, 5))
    finding = amount(usual, other, tests, PROTOCOL, runs=runs, control=(3, 5), on_rows=told.extend)
    assert told == finding.rows
    assert [(row["trained"], row["steps"], row["pairs"], row["seed"]) for row in told] == [
        (trained, steps, count, seed)
        for trained, steps, count in (
            ("usual", 2, 1), ("usual", 2, 3), ("usual", 5, 1), ("usual", 5, 3), ("other", 5, 3),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    assert [(len(call.pairs), call.config.steps, call.config.seed) for call in fitted.calls[:3]] == [
        (1, 2, 0), (1, 2, 1), (3, 2, 0),
    ]  # fmt: skip
    assert told[0]["unseen"] == pytest.approx(3 / 4)
    assert told[1]["unseen"] == pytest.approx(3.1 / 4)
    assert told[0]["left"] == pytest.approx({"a": 3 / 4, "b": 7 / 8})
    assert told[-2]["seen"] == pytest.approx(1 / 2)  # of its own motion, two voxels
    assert told[-2]["unseen"] == pytest.approx(1 / 4)
    assert told[0]["folds"] == 0
    assert finding.sentence == amount_sentence(told)
    short, long = draw(finding).axes
    means = [line for line in short.lines if line.get_label() == "unseen pairs"]
    assert list(means[0].get_ydata()) == pytest.approx([3.05 / 4, 1.05 / 4])
    assert long.get_title(loc="left") == "5 steps"


def row(trained, count, steps, unseen, left):
    return {"trained": trained, "pairs": count, "steps": steps, "seed": 0, "unseen": unseen, "left": left}


def test_the_sentence_by_hand():
    rows = [
        row("usual", 1, 10, 0.5, {"usual": 0.5, "far": 0.8}),
        row("usual", 9, 10, 0.9, {"usual": 0.9, "far": 0.9}),
        row("usual", 1, 99, 0.5, {"usual": 0.5, "far": 0.8}),
        row("usual", 9, 99, 0.25, {"usual": 0.25, "far": 0.6}),
        row("far", 9, 99, 0.3, {"usual": 0.3, "far": 0.7}),
    ]
    assert amount_sentence(rows) == (
        "After 10 steps, of the motion of unseen pairs is left: 50% with 1, 90% with 9; least with 1. "
        "After 99 steps, of the motion of unseen pairs is left: 50% with 1, 25% with 9; least with 9. "
        "With 9 pairs and 99 steps, trained on usual, the network leaves 25% of usual, 60% of far; "
        "trained on far, the network leaves 30% of usual, 70% of far."
    )


def test_a_control_without_its_counterpart_is_refused():
    task = Task("t", [], [])
    with pytest.raises(ValueError, match=r"control must be one of runs, \(\(1, 2\),\), got \(3, 2\)"):
        amount(task, task, {}, PROTOCOL, runs=((1, 2),), control=(3, 2))


def test_no_such_rows():
    with pytest.raises(ValueError, match=r"rows must hold some with {'pairs': 2}, got none"):
        mean_of([row("usual", 1, 10, 0.5, {})], "unseen", pairs=2)

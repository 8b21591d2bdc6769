"""The sweep over recursions in a form of one step, and what its sentences say about numbers that are known."""

import json
from pathlib import Path

import pytest
from moereg.evaluation.recursion import RecursionProtocol, change, recursion_sweep, statements, verdict

from moereg.data import phantoms
from moereg.experiments import Task
from moereg.training import TrainingConfig
from moereg.viz import draw

ATTENTION = ("mutual", "self", "none")


def rows_of(dice):
    """Rows whose Dice is `dice(attention, trained, recursions)`, with a little that differs by seed."""
    return [
        {
            "attention": kind, "trained": trained, "recursions": k, "seed": seed, "asd": 1.0,
            "dice": dice(kind, trained, k) + 0.01 * seed, "seconds_per_pair": 0.01 * k,
        }
        for kind in ATTENTION for trained in (1, 2, 3) for k in (1, 2, 3) for seed in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(24, 24), (16, 16, 16)])
def test_every_network_is_measured_with_every_recursion(shape):
    pairs = [phantoms.make("abdomen", shape, seed) for seed in range(2)]
    sizes = {"widths": (4, 4, 4, 4), "heads": 1, "head_dim": 4}
    protocol = RecursionProtocol(
        TrainingConfig(steps=1, device="cpu"), seeds=(0,), trained=(1, 2), recursions=(1, 3), attention=ATTENTION,
        sizes=sizes,
    )  # fmt: skip
    seen = []
    finding = recursion_sweep(Task("small", pairs[:1], pairs[1:]), protocol, on_rows=seen.extend)
    assert [(r["trained"], r["attention"], r["recursions"]) for r in finding.rows] == [
        (trained, kind, k) for trained in (1, 2) for kind in ATTENTION for k in (1, 3)
    ]
    assert seen == finding.rows
    assert {r["attention"]: r["parameters"] for r in finding.rows}["mutual"] == finding.rows[2]["parameters"]
    figure = draw(finding)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["Dice", "surface distance, mm"]


def test_changes_are_paired_by_seed():
    rows = rows_of(lambda kind, trained, k: 0.5 + 0.1 * k)
    mean, error = change(rows, {"recursions": 3}, {"recursions": 1})
    assert mean == pytest.approx(0.2)
    assert error == pytest.approx(0, abs=1e-9)
    assert [verdict(m, e) for m, e in ((0.1, 0.01), (-0.1, 0.01), (0.1, 0.1), (0.004, 0.0))] == [
        "more", "less", "open", "open",
    ]  # fmt: skip


def test_sentences_where_everything_is_as_the_paper_says():
    better = {"mutual": 0.1, "self": 0.0, "none": 0.0}
    said = statements(rows_of(lambda kind, trained, k: better[kind] + (0.1 * k if trained > 1 else -0.1 * k)))
    assert "further recursions help' holds:" in said["beyond"]
    assert "(+0.100 +- 0.000 of it beyond the 2 of training)" in said["beyond"]
    assert "hurt' holds: -0.200" in said["once"]
    assert said["attention"].count("holds (+0.100") == 2
    assert "3 recursions take 3.0 times as long as one (10 and 30 ms)" in said["time"]


def test_sentences_where_nothing_is_as_the_paper_says():
    better = {"mutual": 0.0, "self": 0.1, "none": 0.0}
    said = statements(rows_of(lambda kind, trained, k: better[kind] + (-0.1 * k if trained > 1 else 0.1 * k)))
    assert "help' does not hold, the opposite does" in said["beyond"]
    assert "is not seen" in said["once"]
    assert "themselves does not hold, the opposite does" in said["attention"]
    assert "without attention is not seen" in said["attention"]


def test_a_network_that_is_best_in_between():
    said = statements(rows_of(lambda kind, trained, k: {1: 0.5, 2: 0.6, 3: 0.4}[k]))
    assert "holds beyond 2: Dice is best with 2 recursions and changes by -0.200 +- 0.000" in said["once"]


def test_what_is_recorded_says_what_its_rows_say():
    record = json.loads((Path(__file__).parents[2] / "data" / "experiments" / "rman.json").read_text())
    [finding], [protocol] = record["findings"], record["protocols"]
    assert finding["sentence"] == " ".join(statements(finding["rows"]).values())
    runs = len(protocol["seeds"]) * len(protocol["trained"]) * len(protocol["attention"])
    assert len(finding["rows"]) == runs * len(protocol["recursions"])

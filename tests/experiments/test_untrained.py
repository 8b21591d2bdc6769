"""Methods without training, compared pair by pair; what is recorded is what its rows say."""

import json
from pathlib import Path

import pytest

from moereg.apply.methods import DEFAULT
from moereg.experiments.untrained import means, untrained_sentences
from tools import untrained

RECORD = json.loads(Path("data/registering/untrained.json").read_text(encoding="utf-8"))


def row(pair, method, dice, epe=None, seconds=1.0):
    return {"set": "s", "pair": pair, "method": method, "dice": dice, "epe": epe, "folds": 0.0, "seconds": seconds}


def test_only_pairs_that_both_have_are_compared():
    rows = [
        row("a", "greedy", 0.8, 1.0), row("b", "greedy", 0.9, 1.0), row("c", "greedy", 0.1, 1.0),
        row("a", "other", 0.6, 2.0, 4.0), row("b", "other", 0.7, 2.0, 4.0),
    ]  # fmt: skip
    (said,) = untrained_sentences(rows, "greedy")
    assert said.startswith("s: greedy against other, 2 pairs: Dice 0.850 and 0.650, better (+0.200 ")
    assert "endpoint error 1.000 and 2.000, better" in said
    assert said.endswith("0.25 of its CPU seconds.")
    expected = {"set": "s", "method": "greedy", "pairs": 3, "dice": pytest.approx(0.6), "epe": 1.0}
    assert means(rows)[0] == expected | {"folds": 0.0, "seconds": 1.0}


def test_a_single_pair_is_called_one():
    (said,) = untrained_sentences([row("a", "greedy", 0.8), row("a", "other", 0.6)], "greedy")
    assert "1 pair: Dice 0.800 and 0.600 (+0.200, a single value)" in said


def test_the_record_is_what_its_rows_say():
    assert RECORD["sentences"] == untrained_sentences(RECORD["rows"], DEFAULT)
    assert RECORD["means"] == means(RECORD["rows"])
    assert RECORD["protocol"]["default"] == DEFAULT


def test_no_pair_that_is_judged_was_tuned_on():
    """Neither the pair nor, of hippocampi, one of its people; every method saw the same pairs, ANTs' slow one fewer."""
    tuned = {(row["set"], name) for row in RECORD["tuned on"] for name in subjects_of(row)}
    judged = {(row["set"], name) for row in RECORD["rows"] for name in subjects_of(row)}
    assert tuned
    assert judged.isdisjoint(tuned)
    for name, count in untrained.PAIRS.items():
        for method in untrained.METHODS:
            seen = [row["pair"] for row in RECORD["rows"] if (row["set"], row["method"]) == (name, method)]
            assert len(seen) == len(set(seen))
            assert len(seen) == count or method == "SyNCC"


def subjects_of(row):
    return row["pair"].split("-") if row["set"] == "hippocampus" else [row["pair"]]

"""Thresholds of the verdict: from right cases of one half, by the stated rule; and what is recorded is what is used."""

import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from moereg.apply import calibration
from moereg.apply.verdict import THRESHOLDS, Thresholds
from tools import trust

RECORD = json.loads(Path("data/registering/verdict.json").read_text(encoding="utf-8"))


def row(outcome="right", *, folds=0.0, error=0.5, similarity=(0.2, 0.2, 0.8)):
    return {
        "outcome": outcome, "folds": folds, "inverse_error": error, "uncovered": 0.0, "similarity": list(similarity),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("after", "answer"), [(0.75, "right"), (0.76, "neither"), (0.99, "neither"), (1.0, "wrong"), (2.0, "wrong")]
)
def test_what_right_and_wrong_mean(after, answer):
    assert calibration.outcome(1.0, after) == answer


def test_no_wrong_case_is_trusted_and_as_many_right_ones_as_that_allows():
    """Errors of right cases from 0.1 to 1, of wrong ones from 0.75 on."""
    rows = [row(error=n / 10, similarity=(0.2, 0.2, 0.5 + n / 100)) for n in range(1, 11)]
    bad = [row("wrong", error=e, similarity=(0.2, 0.2, 0.7)) for e in (0.75, 0.85, 4.0)]
    found = calibration.calibrated([*rows, *bad, row("neither", error=9.0)])
    assert found.inverse_error == (0.7, 1.0)
    kept = {
        name: getattr(THRESHOLDS, name) for name in ("folds", "similarity", "similarity_lost", "uncovered", "residual")
    }
    assert {name: getattr(found, name) for name in kept} == kept
    # What is not trusted anyway does not tighten the rest.
    apart = [*rows, row("wrong", error=0.1, similarity=(0.1, 0.1, 0.2)), row("wrong", error=0.1, folds=0.3)]
    assert calibration.calibrated(apart).inverse_error == (1.0, 1.0)
    assert calibration.calibrated([row(error=0.1234), row("wrong", error=2.0)]).inverse_error == (0.13, 0.13)
    for alone in ("right", "wrong"):
        with pytest.raises(ValueError, match="must hold right and wrong registrations"):
            calibration.calibrated([row(alone)])


def test_cases_are_counted_by_outcome_and_word():
    limits = Thresholds(inverse_error=(1.0, 3.0))
    rows = [row(), row(error=2.0), row("wrong", error=4.0), row("wrong"), row("neither")]
    counts = calibration.counted(rows, limits)
    assert counts == {
        "right": {"yes": 1, "with care": 1, "no": 0},
        "neither": {"yes": 1, "with care": 0, "no": 0},
        "wrong": {"yes": 1, "with care": 0, "no": 1},
    }
    assert calibration.sentence(counts) == (
        "Of 2 registrations that went right the verdict trusts 1, trusts 1 with care, and refuses 0; of 2 that went "
        "wrong it refuses 1, trusts 0 with care, and is mistaken in 1."
    )


def subjects_of(row):
    """Hippocampi have two people a pair; of phantoms and templates the seed tells one from another."""
    return row["pair"].split("-") if row["set"] == "hippocampus" else [row["pair"]]


def test_the_record_is_what_its_rows_say_and_the_verdict_uses_it():
    assert asdict(THRESHOLDS) == {
        name: tuple(value) if isinstance(value, list) else value for name, value in RECORD["thresholds"].items()
    }
    again = json.loads(json.dumps(trust.judged(RECORD["rows"])))
    assert again == {key: RECORD[key] for key in again}
    subjects = [
        {(row["set"], name) for row in RECORD["rows"] if row["part"] == part for name in subjects_of(row)}
        for part in trust.PARTS
    ]
    for one, other in itertools.combinations(subjects, 2):
        assert one
        assert one.isdisjoint(other)
    fresh = [(row["set"], row["pair"]) for row in RECORD["rows"] if row["part"] == 2]
    assert len(fresh) == len(trust.CASES) * sum(trust.FRESH.values())
    assert RECORD["sentence"] == calibration.sentence(RECORD["fresh"])
    assert all(r["outcome"] == calibration.outcome(*r["errors"]) for r in RECORD["rows"])

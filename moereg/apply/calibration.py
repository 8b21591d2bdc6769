"""Thresholds of the verdict from registrations whose outcome is known, and how often the verdict is right.

A registration went right where it took away at least `RIGHT` of what the labels (or, where the true displacement is
known, the endpoint error) were apart before it; wrong where it left them no nearer than they were. Between the two it
counts for neither.

    with care from     such that no wrong registration is trusted, and of the limits that reach this those that trust
                       the most right ones; of equals the loosest
    no trust from      what no right registration reached

Both are read off one half of the cases, the verdict is tried on the other, whose subjects are others. Chosen are the
limits of inverse consistency and of the similarity. The others keep their place: a fold is impossible however well the
labels fit, and of how much the moving image covers the cases say nothing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moereg.apply.verdict import THRESHOLDS, Findings, Thresholds, verdict

RIGHT = 0.25  # share of the error that a right registration takes away at least
WORDS = ("yes", "with care", "no")


def outcome(before: float, after: float) -> str:
    """ "right", "wrong" or "neither", from errors: 1 - Dice, or voxels."""
    return "right" if after <= (1 - RIGHT) * before else "wrong" if after >= before else "neither"


def findings_of(row: dict) -> Findings:
    """What was measured of a recorded case."""
    return Findings(tuple(row["similarity"]), row["folds"], row["inverse_error"], row["uncovered"])


def calibrated(rows: Sequence[dict], start: Thresholds = THRESHOLDS) -> Thresholds:
    """Thresholds from the right cases among `rows`, by the module's rule."""
    cases = {kind: [findings_of(row) for row in rows if row["outcome"] == kind] for kind in ("right", "wrong")}
    right, wrong = (np.array([(case.inverse_error, -case.similarity[2]) for case in of]) for of in cases.values())
    if not len(right) or not len(wrong):
        raise ValueError(f"rows must hold right and wrong registrations, got {len(right)} and {len(wrong)}.")
    open_ = [np.array([_is_open(case, start) for case in of]) for of in cases.values()]
    error, alike = _best_limits(right, wrong, open_)
    return replace(
        start,
        inverse_error=(_up(error), _up(right[:, 0].max())),
        similarity=(_down(-alike), _down(-right[:, 1].max())),
    )


def _is_open(found: Findings, start: Thresholds) -> bool:
    """Whether what is not chosen here leaves a case trusted."""
    lost = max(found.similarity[:2]) - found.similarity[2]
    return found.folds <= start.folds[0] and lost <= start.similarity_lost[0]


def _best_limits(right: np.ndarray, wrong: np.ndarray, open_: list[np.ndarray]) -> np.ndarray:
    """Limits `(error, minus similarity)` among the values of right cases: who lies above none of them is trusted."""
    best, chosen = (-np.inf, -np.inf), right.max(0)
    for limits in itertools.product(*(np.unique(column)[::-1] for column in right.T)):  # the loosest first
        trusted = [
            ((cases <= np.array(limits)).all(1) & free).sum() for cases, free in zip((right, wrong), open_, strict=True)
        ]
        if (-trusted[1], trusted[0]) > best:
            best, chosen = (-trusted[1], trusted[0]), np.array(limits)
    return chosen


def counted(rows: Sequence[dict], thresholds: Thresholds) -> dict[str, dict[str, int]]:
    """outcome -> word of the verdict -> how many cases."""
    counts = {kind: dict.fromkeys(WORDS, 0) for kind in ("right", "neither", "wrong")}
    for row in rows:
        told = verdict(findings_of(row), thresholds)
        counts[row["outcome"]][next(word for word in WORDS if told.startswith(f"Trust: {word}"))] += 1
    return counts


def sentence(counts: dict[str, dict[str, int]]) -> str:
    """How often the verdict was right on cases that its thresholds were not made from."""
    right, wrong = counts["right"], counts["wrong"]
    return (
        f"Of {sum(right.values())} registrations that went right the verdict trusts {right['yes']}, trusts "
        f"{right['with care']} with care, and refuses {right['no']}; of {sum(wrong.values())} that went wrong it "
        f"refuses {wrong['no']}, trusts {wrong['with care']} with care, and is mistaken in {wrong['yes']}."
    )


def _up(value: float) -> float:
    """Two digits, rounded away from zero."""
    return _digits(value, lambda digits: np.ceil(digits - 1e-9))


def _down(value: float) -> float:
    return _digits(value, lambda digits: np.floor(digits + 1e-9))


def _digits(value: float, rounded) -> float:
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(np.round(rounded(value / unit) * unit, 12))

"""Thresholds of the verdict from registrations whose outcome is known, and how often the verdict is right.

A registration went right where it took away at least `RIGHT` of what the labels (or, where the true displacement is
known, the endpoint error) were apart before it; wrong where it left them no nearer than they were. Between the two it
counts for neither.

    with care from     such that no wrong registration is trusted, and of the limits that reach this those that trust
                       the most right ones; of equals the loosest
    no trust from      what no right registration reached

Both are read off one part of the cases (`tools/trust.py`), the verdict is tried on another, fresh one, whose subjects
are others. Chosen are the limits of inverse consistency alone. The others keep their place: a fold is impossible
however well the labels fit, the similarity falls with noise (a right registration of noisy scans has less of it than a
wrong one of clean ones), and of how much the moving image covers the cases say nothing.
"""

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
    right, wrong = (np.array([case.inverse_error for case in of]) for of in cases.values())
    if not len(right) or not len(wrong):
        raise ValueError(f"rows must hold right and wrong registrations, got {len(right)} and {len(wrong)}.")
    open_ = [np.array([_is_open(case, start) for case in of]) for of in cases.values()]
    return replace(start, inverse_error=(_up(_best_limit(right, wrong, open_)), _up(right.max())))


def _is_open(found: Findings, start: Thresholds) -> bool:
    """Whether what is not chosen here leaves a case trusted."""
    lost = max(found.similarity[:2]) - found.similarity[2]
    return (
        found.folds <= start.folds[0]
        and lost <= start.similarity_lost[0]
        and found.similarity[2] >= start.similarity[0]
    )


def _best_limit(right: np.ndarray, wrong: np.ndarray, open_: list[np.ndarray]) -> float:
    """Among the errors of right cases: who lies above it is not trusted."""
    best, chosen = (-np.inf, -np.inf), float(right.max())
    for limit in np.unique(right)[::-1]:  # the loosest first
        trusted = [((cases <= limit) & free).sum() for cases, free in zip((right, wrong), open_, strict=True)]
        if (-trusted[1], trusted[0]) > best:
            best, chosen = (-trusted[1], trusted[0]), float(limit)
    return chosen


def counted(rows: Sequence[dict], thresholds: Thresholds) -> dict[str, dict[str, int]]:
    """outcome -> word of the verdict -> how many cases."""
    counts: dict[str, dict[str, int]] = {kind: dict.fromkeys(WORDS, 0) for kind in ("right", "neither", "wrong")}
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
    """Two digits, rounded up."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.round(np.ceil(value / unit - 1e-9) * unit, 12))

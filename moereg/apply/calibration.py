"""Thresholds of the verdict from registrations whose outcome is known, and how often the verdict is right.

A registration went right where it took away at least `RIGHT` of what the labels (or, where the true displacement is
known, the endpoint error) were apart before it; wrong where it left them no nearer than they were. Between the two it
counts for neither.

    with care from     what 95 of 100 right registrations stay below
    no trust from      what no right registration reached

Both are read off one half of the cases, the verdict is tried on the other, whose subjects are others. Quantities of
which the cases say nothing keep their place: how much of the fixed image the moving one covers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moereg.apply.verdict import THRESHOLDS, Findings, Thresholds, verdict

RIGHT = 0.25  # share of the error that a right registration takes away at least
CARE = 0.95  # share of right registrations that stay below
LEAST = {"folds": (1e-4, 1e-3), "inverse_error": (0.1, 0.3), "similarity_lost": (0.005, 0.01)}
WORDS = ("yes", "with care", "no")


def outcome(before: float, after: float) -> str:
    """ "right", "wrong" or "neither", from errors: 1 - Dice, or voxels."""
    return "right" if after <= (1 - RIGHT) * before else "wrong" if after >= before else "neither"


def findings_of(row: dict) -> Findings:
    """What was measured of a recorded case."""
    return Findings(tuple(row["similarity"]), row["folds"], row["inverse_error"], row["uncovered"])


def calibrated(rows: Sequence[dict], start: Thresholds = THRESHOLDS) -> Thresholds:
    """Thresholds from the right cases among `rows`, by the module's rule."""
    right = [findings_of(row) for row in rows if row["outcome"] == "right"]
    if not right:
        raise ValueError("rows must hold right registrations, got none.")
    found = {}
    for name, values in (
        ("folds", [case.folds for case in right]),
        ("inverse_error", [case.inverse_error for case in right]),
        ("similarity_lost", [max(case.similarity[:2]) - case.similarity[2] for case in right]),
    ):
        limits = float(np.quantile(values, CARE)), max(values)
        found[name] = tuple(max(_up(limit), least) for limit, least in zip(limits, LEAST[name], strict=True))
    alike = [case.similarity[2] for case in right]
    found["similarity"] = (_down(float(np.quantile(alike, 1 - CARE))), _down(min(alike)))
    return replace(start, **found)


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
        f"{right['with care']} with care, and refuses {right['no']}; of {sum(wrong.values())} that went wrong it refuses "
        f"{wrong['no']}, trusts {wrong['with care']} with care, and is mistaken in {wrong['yes']}."
    )


def _up(value: float) -> float:
    """Two digits, rounded away from zero."""
    return _digits(value, np.ceil)


def _down(value: float) -> float:
    return _digits(value, np.floor)


def _digits(value: float, rounded) -> float:
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(np.round(rounded(value / unit - 1e-9) * unit, 12))

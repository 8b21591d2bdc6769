"""Chapter 12, SegReg."""

import math
from collections.abc import Sequence


def merge(answer: float, *, weights: Sequence[float], partial: Sequence[float]) -> tuple[bool, str]:
    """The merged displacement of one voxel, from the weights of the regions and their partial fields."""
    right = sum(w * p for w, p in zip(weights, partial, strict=True))
    hard = partial[max(range(len(weights)), key=lambda r: weights[r])]
    if math.isclose(answer, right, abs_tol=5e-3):
        return True, "Weight times partial field, added over regions. The weights add up to one."
    if math.isclose(answer, hard, abs_tol=5e-3):
        return False, "That is the hard merge: the region of the voxel alone. Here the weights are soft."
    if math.isclose(answer, sum(partial) / len(partial), abs_tol=5e-3):
        return False, "That is the plain mean. Each partial field counts as much as its region weighs at the voxel."
    return False, "Multiply each partial field by its region's weight, then add."


def cost(answer: int, *, labels: int, pairs: int) -> tuple[bool, str]:
    """How many items does the backbone register for some pairs with so many organs, in both directions?"""
    right = (labels + 1) * pairs * 2
    if answer == right:
        return True, f"{labels} organs and the background, for {pairs} pairs in two directions: one batch of {right}."
    if answer == labels * pairs * 2:
        return False, "The background is a region as well: without it, everything between the organs would stand still."
    if answer == (labels + 1) * pairs:
        return False, "`fit` puts both directions of a pair into the batch."
    return False, "Regions times pairs times directions."


def systematic(answer: str, *, rows: Sequence[dict]) -> tuple[bool, str]:
    """Which systematic error of a segmentation costs the registration more: "grown" or "shrunk" organs?"""
    own = [row for row in rows if row["way"] == "grown or shrunk"]

    def mean(amount: float, key: str) -> float:
        values = [row[key] for row in own if row["amount"] == amount]
        return sum(values) / len(values)

    truth = mean(0.0, "dice")
    loss = {
        "grown": truth - mean(max(row["amount"] for row in own), "dice"),
        "shrunk": truth - mean(min(row["amount"] for row in own), "dice"),
    }
    said = ", ".join(f"{value:.3f} for {name}" for name, value in loss.items())
    if answer not in loss:
        return False, 'Answer "grown" or "shrunk".'
    if answer == max(loss, key=loss.__getitem__):
        why = (
            "An outline that is wrong in the same way in both images still matches; an organ that is shrunk away has "
            "no region of its own left."
        )
        return True, f"Dice lost at the largest amount: {said}. {why}"
    return False, f"Dice lost at the largest amount: {said}."


EXERCISES = {
    "segreg-merge": merge,
    "segreg-cost": cost,
    "segreg-systematic": systematic,
}

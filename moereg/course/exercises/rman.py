"""Chapter 11, RMAn."""

import math
from collections.abc import Sequence


def compose(answer: float) -> tuple[bool, str]:
    """phi_1 is 3 for x >= 10 and 0 before, psi_2 is 2 everywhere: phi_2 at x = 9?"""
    if math.isclose(answer, 5, abs_tol=1e-6):
        return True, "psi_2 looks at x = 11, and what stands there was already fetched from 3 further on: 2 + 3."
    if math.isclose(answer, 2, abs_tol=1e-6):
        return False, "You took phi_1 at x = 9. The second pass fetches from 9 + psi_2, and phi_1 is read *there*."
    if math.isclose(answer, 3, abs_tol=1e-6):
        return False, "That is phi_1 at the right place. The step psi_2 that leads there counts as well."
    return False, "phi_2[x] = psi_2[x] + phi_1[x + psi_2[x]]."


def memory(answer: int, *, shape: Sequence[int], window: int, stride: int) -> tuple[bool, str]:
    """How many attention scores does one head hold for an image, with windows?"""
    tokens, inside, everything, uncut = 1, 1, 1, 1
    for size in shape:
        along = -(-size // stride)
        windows = -(-along // window)
        edge = -(-along // windows)
        tokens, inside, everything, uncut = tokens * windows * edge, inside * edge, everything * along, uncut * window
    if answer == tokens * inside:
        return True, f"{tokens} tokens, and each looks at the {inside} of its window: {tokens * inside} scores."
    if answer == everything**2:
        return False, "That is every token against every token. A token sees its own window only."
    if answer == tokens * uncut:
        return False, f"Windows are cut as even as possible: of at most {window} tokens an axis, here {inside} in all."
    if answer == tokens:
        return False, "Those are the tokens. How many scores has each?"
    return False, "Tokens along an axis: the size over the stride. Then windows, then tokens in one. Multiply."


def recursions(answer: int, *, rows: Sequence[dict]) -> tuple[bool, str]:
    """With how many recursions would you run the network that was trained with one?"""
    means: dict[int, list[float]] = {}
    for row in rows:
        if (row["attention"], row["trained"]) == ("mutual", 1):
            means.setdefault(row["recursions"], []).append(row["dice"])
    dice = {k: sum(values) / len(values) for k, values in means.items()}
    best = max(dice, key=dice.__getitem__)
    listed = ", ".join(f"{k}: {value:.3f}" for k, value in sorted(dice.items()))
    if answer == best:
        return True, f"Dice by recursions is {listed}. It never saw an image that was nearly registered."
    if answer in dice:
        return False, f"Dice by recursions is {listed}."
    return False, f"One of {', '.join(map(str, sorted(dice)))}: look at the first column of the figure."


EXERCISES = {
    "rman-compose": compose,
    "rman-memory": memory,
    "rman-recursions": recursions,
}

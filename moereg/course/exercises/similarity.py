"""Chapter 02, similarity and regularity."""

import math
from collections.abc import Collection


def inverted(answer: float) -> tuple[bool, str]:
    """The LNCC loss of an image with its negative 1 - I, where the windows are not flat."""
    if math.isclose(answer, -1, abs_tol=1e-6):
        return True, "The correlation is -1 in every window, and it is squared: the loss is as low as for equal images."
    if math.isclose(answer, 1, abs_tol=1e-6):
        return False, "The correlation of I with 1 - I is -1. What does the formula do with its sign?"
    if math.isclose(answer, 0, abs_tol=1e-6):
        return False, "Zero would mean that one image says nothing about the other. Here it says everything."
    return False, "Put J = 1 - I into covariance and variances; they differ from those of I by a sign at most."


def noise(answer: float, *, window: int) -> tuple[bool, str]:
    """About how low is LNCC for two 2-D images of independent noise?"""
    expected = -1 / (window**2 - 1)
    if math.isclose(answer, expected, rel_tol=0.2):
        return True, f"Two rows of n = {window**2} random numbers have a squared correlation of 1 / (n - 1) on average."
    if math.isclose(answer, 0, abs_tol=1e-6):
        return False, "The correlation is zero on average; its square is not. Few voxels correlate by chance."
    if answer > 0:
        return False, "It is a loss: alike is negative."
    return False, f"A window has {window**2} voxels. Try it: lncc of two torch.randn(1, 1, 96, 96)."


def regulariser(answer: str) -> tuple[bool, str]:
    """Which regulariser costs nothing for a body that is stretched evenly by a tenth?"""
    if answer in ("bending", "bending_energy"):
        return True, "u(x) = 0.1 x has constant first derivatives; all second derivatives are zero."
    if answer in ("diffusion", "both"):
        return False, "Diffusion adds up squared first derivatives. What is du/dx for u(x) = 0.1 x?"
    return False, "Answer 'diffusion', 'bending' or 'both'."


def capture(answer: Collection[str], *, ranges: dict[str, tuple[int, int]], shift: int) -> tuple[bool, str]:
    """Which losses lead downhill to the goal from `shift`? `ranges` holds the capture range of each."""
    right = {name for name, (low, high) in ranges.items() if low <= shift <= high}
    given = {answer} if isinstance(answer, str) else set(answer)
    if given == right:
        return True, f"Their ranges hold {shift}. From there the others slide into some other fit, or nowhere."
    if strangers := given - set(ranges):
        return False, f"There is no curve {sorted(strangers)[0]!r}. Choose among {', '.join(ranges)}."
    if wrong := sorted(given - right):
        low, high = ranges[wrong[0]]
        return False, f"{wrong[0]} is caught from {low} to {high} only. Beyond, its slope says nothing."
    return False, f"{sorted(right - given)[0]} does so too: {shift} lies inside its band."


EXERCISES = {
    "similarity-inverted": inverted,
    "similarity-noise": noise,
    "similarity-regulariser": regulariser,
    "similarity-capture": capture,
}

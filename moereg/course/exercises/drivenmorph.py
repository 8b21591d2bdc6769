"""Chapter 10, DrivenMorph."""

import math


def longest(answer: float) -> tuple[bool, str]:
    """All features are multiplied by 1000, L = 1. How long, in voxels, can an update be at most?"""
    if math.isclose(answer, 1, abs_tol=1e-6):
        return (
            True,
            "d and J grow alike, so u stays as it was; and lambda = sum d^2 / (4 L^2) bounds it by L in any case.",
        )
    if math.isclose(answer, 1000, abs_tol=1e-3):
        return (
            False,
            "u = (J J^T + lambda I)^-1 J d: a factor in the features appears squared above and below, and cancels.",
        )
    return False, "Put J -> 1000 J and d -> 1000 d into the formula."


def stream(answer: str) -> tuple[bool, str]:
    """A pair from another scanner: the same tissue has other intensities. Which stream has to learn that?"""
    if answer == "difference":
        return (
            True,
            "It decides what counts as different. Once it says that nothing differs, the deformation stream rests.",
        )
    if answer == "deformation":
        return (
            False,
            "That one turns differences into motion and never sees an image: a wrong difference becomes motion.",
        )
    return False, "Answer 'difference' or 'deformation'."


def control(answer: str, *, rows: list[dict]) -> tuple[bool, str]:
    """Which control comes closer to the trained force at the coarsest level, 'other pair' or 'untrained'?"""
    coarsest = max(row["level"] for row in rows)
    first = {row["control"]: row["angle"] for row in rows if (row["level"], row["round"]) == (coarsest, 1)}
    angles = {name: first[name] for name in ("other pair", "untrained")}
    closest = min(angles, key=angles.__getitem__)
    told = ", ".join(f"{name} {angle:.0f}" for name, angle in angles.items())
    if answer == closest:
        return True, f"Degrees from the missing displacement: {told}, trained {first['own']:.0f}."
    if answer in angles:
        return False, f"Degrees from the missing displacement: {told}; the smaller angle is the closer one."
    return False, "Answer 'other pair' or 'untrained'."


EXERCISES = {
    "drivenmorph-longest": longest,
    "drivenmorph-stream": stream,
    "drivenmorph-control": control,
}

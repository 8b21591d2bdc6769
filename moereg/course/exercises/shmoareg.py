"""Chapter 09, SHMoAReg."""

import math


def compose(answer: float) -> tuple[bool, str]:
    """The field so far is u(x) = 0.1 x, the residual r = 1 everywhere. The new displacement at x = 10?"""
    if math.isclose(answer, 2.1, abs_tol=1e-6):
        return True, "r + u(x + r) = 1 + 0.1 * 11: the earlier field is read where the residual points to."
    if math.isclose(answer, 2.0, abs_tol=1e-6):
        return (
            False,
            "That adds the fields at x = 10. The residual acts on the *warped* image: u must be read at x + r.",
        )
    return False, "compose(u, r)(x) = r(x) + u(x + r(x))."


def control(answer: str) -> tuple[bool, str]:
    """Which control does 'experts know the organs' need: 'shuffled' labels or labels of an 'other' subject?"""
    if answer == "other":
        return True, (
            "Gates are smooth maps and so are organs: any two smooth maps share some information. Labels of another "
            "subject are as smooth and lie in about the same place; only what exceeds them is about this subject."
        )
    if answer == "shuffled":
        return False, "Shuffled labels are not smooth any more, so every smooth map looks informative beside them."
    return False, "Answer 'shuffled' or 'other'."


def missed(answer: str, *, rows: list[dict]) -> tuple[bool, str]:
    """Random gates in which direction cost most?"""
    costs = {row["what"]: row["epe_change"] for row in rows if row["change"] == "random gates"}
    worst = max(costs, key=costs.__getitem__)
    if answer == worst:
        return True, f"{costs[worst]:+.3f} voxels. Compare it with how far tissue moves in that direction."
    if answer in costs:
        return False, f"There it is {costs[answer]:+.3f} voxels, elsewhere more."
    return False, f"Name one of {', '.join(costs)}."


EXERCISES = {
    "shmoareg-compose": compose,
    "shmoareg-control": control,
    "shmoareg-missed": missed,
}

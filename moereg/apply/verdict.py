"""Does a registration deserve trust? One rule, its thresholds in one place.

Inverse consistency has the limits that part right from wrong registrations of one part of
`data/registering/verdict.json`, which also says how often the verdict is right on fresh pairs, registered and judged
once after the limits stood (`moereg.apply.calibration`). The rule sees no anatomy. It tells a failed registration from
one that is worth looking at; a good verdict does not replace looking.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Thresholds:
    """(with care from, no trust from) of every quantity that the rule looks at."""

    folds: tuple[float, float] = (0.0005, 0.01)  # share of voxels whose Jacobian determinant is zero or less
    inverse_error: tuple[float, float] = (0.96, 3.5)  # mean voxels between a point and where both directions lead it
    uncovered: tuple[float, float] = (0.15, 0.5)  # share of the fixed image for which the moving one has no tissue
    similarity_lost: tuple[float, float] = (0.005, 0.02)  # local correlation that was there before and is not after
    similarity: tuple[float, float] = (0.25, 0.1)  # local correlation after: below
    residual: float = 0.5  # mm: an inverse that misses a point by more is warned of


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Findings:
    """What was measured of one registration. Similarity is the local correlation, 0 to 1."""

    similarity: tuple[float, float, float]  # before, after the linear alignment, after the deformation
    folds: float
    inverse_error: float  # voxels
    uncovered: float


def verdict(found: Findings, thresholds: Thresholds = THRESHOLDS) -> str:
    """One sentence: trust, trust with care, or no trust, and every reason with its number and threshold."""
    reasons: list[tuple[int, str]] = []

    def look(value: float, limits: tuple[float, float], text: str, *, below: bool = False) -> None:
        over = [value < limit if below else value > limit for limit in limits]
        if any(over):
            level = 1 if over[1] else 0
            reasons.append((level, f"{text} ({'below' if below else 'above'} {limits[level]:g})"))

    lost = max(found.similarity[:2]) - found.similarity[2]
    look(found.folds, thresholds.folds, f"the share of folded voxels is {found.folds:.4f}")
    look(found.inverse_error, thresholds.inverse_error, f"both directions differ by {found.inverse_error:.2f} voxels")
    look(found.uncovered, thresholds.uncovered, f"the moving image leaves {found.uncovered:.2f} of the fixed one empty")
    look(lost, thresholds.similarity_lost, f"the images agree less than before, by {lost:.3f}")
    look(found.similarity[2], thresholds.similarity, f"local correlation is {found.similarity[2]:.2f}", below=True)
    if not reasons:
        return "Trust: yes, by every threshold of the rule; the rule sees no anatomy, so look at the pictures."
    worst = max(level for level, _ in reasons)
    told = "; ".join(text for level, text in sorted(reasons, reverse=True))
    return f"Trust: {('with care', 'no')[worst]}: {told}."


def told_inverse(residual: Tensor, reached: Tensor) -> str:
    """The residual of an inverse in words; a warning where it is large."""
    if residual.numel() == 0:
        return "warning: the inverse leads nowhere into the fixed image"
    worst, mean = float(residual.max()), float(residual.mean())
    share = float(reached.double().mean())
    line = (
        f"inverse: misses by {mean:.4f} mm on average, {worst:.3f} mm at worst, on the {share:.0%} of voxels it reaches"
    )
    large = worst > THRESHOLDS.residual
    return f"warning: {line}; where it misses it is no inverse: the field folds or is rough there" if large else line

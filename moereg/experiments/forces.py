"""Does the force of DrivenMorph point where the tissue has to go? The paper's claim, with two controls.

Every round of the network has a force, and a displacement that is still missing at that moment. Where the truth u is
known, the displacement missing after the field s is the r with `compose(s, r) = u`, so `r(x) = u(x) - s(x + r)`.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from moereg.data.pairs import Pair, Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.statistics import labels_on_grid, rank_correlation
from moereg.fields import sample
from moereg.filters import halve
from moereg.models import DrivenStep

CONTROLS = ("own", "other pair", "untrained")
FAR = 0.25  # voxels of the level: a shorter missing displacement has no direction worth measuring
FEW = 30  # voxels: fewer than that say nothing


def force_against_truth(model: nn.Module, pairs: Pairs, *, untrained: nn.Module) -> Finding:
    """Angle and rank correlation between force and missing displacement, per level and round, means over pairs.

    Controls: the missing displacement of *another* pair (what a force that knows typical motion, but not this pair,
    would reach), and the force of an `untrained` network of the same sizes (what the Demons formula does by itself).

    Args:
        model, untrained: DrivenMorph.
        pairs: never trained on, of one shape, with known displacement; two or more.

    Raises:
        ValueError: fewer than two pairs, or one without its true displacement.
    """
    if len(pairs) < 2 or any(pair.displacement is None for pair in pairs):
        raise ValueError("pairs must be two or more, each with its true displacement.")
    measured: dict[tuple[int, int, str], list[tuple[float, float]]] = {}
    for number, pair in enumerate(pairs):
        other = pairs[(number + 1) % len(pairs)]
        runs = ((model, pair), (model, other), (untrained, pair))
        for control, (network, source) in zip(CONTROLS, runs, strict=True):
            with torch.no_grad():
                driven = network.eval()(pair.moving[None], pair.fixed[None]).driven
            rounds: dict[int, int] = {}
            for step in driven:
                rounds[step.level] = rounds.get(step.level, 0) + 1
                result = force_against_missing(step, source)
                if result is not None:
                    measured.setdefault((step.level, rounds[step.level], control), []).append(result)
    rows = [
        {
            "level": level,
            "round": turn,
            "control": control,
            "angle": float(np.mean([angle for angle, _ in values])),
            "rank_correlation": float(np.mean([rank for _, rank in values])),
            "pairs": len(values),
        }
        for (level, turn, control), values in measured.items()
    ]
    return Finding("Does the force point where the tissue has to go?", rows, force_sentence(rows, len(pairs)))


def missing_displacement(step: DrivenStep, truth: Float[Tensor, "1 dims *space"], *, iterations: int = 10) -> Tensor:
    """What the field before this round lacks to be the truth, on the round's grid and in its voxels."""
    while truth.shape[2:] != step.before.shape[2:]:
        truth = halve(truth) / 2
    missing = truth - step.before
    for _ in range(iterations):
        missing = truth - sample(step.before, missing)
    return missing


def force_against_missing(step: DrivenStep, pair: Pair) -> tuple[float, float] | None:
    """Mean angle in degrees (90 is chance) and rank correlation of lengths; None where hardly anything is missing."""
    missing = missing_displacement(step, pair.require("displacement")[None])[0]
    inside = _region(pair, missing.shape[1:])
    force, missing = step.force[0][:, inside], missing[:, inside]
    lengths = force.norm(dim=0), missing.norm(dim=0)
    told = (lengths[0] > 1e-6) & (lengths[1] > FAR)
    if told.sum() < FEW:
        return None
    cosine = (force * missing).sum(0)[told] / (lengths[0] * lengths[1])[told]
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).mean()
    return float(angle), rank_correlation(*lengths)


def _region(pair: Pair, grid: torch.Size) -> Bool[Tensor, "*grid"]:
    region = torch.ones(1, *pair.shape, dtype=torch.bool) if pair.region is None else pair.region
    return labels_on_grid(region.long(), -(-pair.shape[0] // grid[0])) > 0


def force_sentence(rows: list[dict], pairs: int) -> str:
    """First rounds only: what later rounds of a level are to correct is the error of the first."""
    first = [row for row in rows if row["round"] == 1]
    levels = sorted({row["level"] for row in first}, reverse=True)

    def values(control: str, key: str, form: str) -> str:
        found = {row["level"]: row[key] for row in first if row["control"] == control}
        return ", ".join(format(found[level], form) if level in found else "-" for level in levels)

    angles, ranks = (
        [values(control, key, form) for control in CONTROLS]
        for key, form in (("angle", ".0f"), ("rank_correlation", "+.2f"))
    )
    return (
        f"Levels coarse to fine, first rounds, {pairs} pairs: the trained force is {angles[0]} degrees away from the "
        f"missing displacement, {angles[1]} from another pair's (90 is chance), and without training {angles[2]}; "
        f"the lengths have rank correlations {ranks[0]}, against {ranks[1]} and {ranks[2]}."
    )

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
from moereg.nn import NeuralDemonsLayer

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

    Returns:
        Rows by "level", "round" and "control", with "angle", "rank_correlation", the number of "pairs" where anything
        was missing, and the "angles" of those by the pair's number.

    Raises:
        ValueError: fewer than two pairs, or one without its true displacement.
    """
    if len(pairs) < 2 or any(pair.displacement is None for pair in pairs):
        raise ValueError("pairs must be two or more, each with its true displacement.")
    measured: dict[tuple[int, int, str], dict[int, tuple[float, float]]] = {}
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
                    measured.setdefault((step.level, rounds[step.level], control), {})[number] = result
    rows = [
        {
            "level": level,
            "round": turn,
            "control": control,
            "angle": float(np.mean([angle for angle, _ in values.values()])),
            "rank_correlation": float(np.mean([rank for _, rank in values.values()])),
            "pairs": len(values),
            "angles": {number: angle for number, (angle, _) in values.items()},
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
    """First rounds with both measures; of later rounds, which are to correct what the first left, the angles."""
    levels = sorted({row["level"] for row in rows}, reverse=True)
    turns = sorted({row["round"] for row in rows})

    def values(turn: int, control: str, key: str, form: str) -> str:
        found = {row["level"]: row[key] for row in rows if (row["round"], row["control"]) == (turn, control)}
        return ", ".join(format(found[level], form) if level in found else "-" for level in levels)

    first, *later = turns
    angles = {turn: [values(turn, control, "angle", ".0f") for control in CONTROLS] for turn in turns}
    ranks = [values(first, control, "rank_correlation", "+.2f") for control in CONTROLS]
    sentence = (
        f"Levels coarse to fine, first rounds, {pairs} pairs: the trained force is {angles[first][0]} degrees away "
        f"from the missing displacement, {angles[first][1]} from another pair's (90 is chance), and without training "
        f"{angles[first][2]}; the lengths have rank correlations {ranks[0]}, against {ranks[1]} and {ranks[2]}."
    )
    for turn in later:
        own, other, untrained = angles[turn]
        sentence += f" Round {turn}: {own} degrees, {other} from another pair's, without training {untrained}."
    return sentence


def driving_measures(model: nn.Module, pairs: Pairs) -> dict[str, float | None]:
    """How well a trained DrivenMorph's forces point, and how wide it smooths them, for `ablation(more=...)`.

    Returns:
        "angle" and "later_angle": degrees between force and missing displacement, first and later rounds, means over
        levels and pairs (None without any); "sigma": width of the learned smoothing, voxels of a level, mean over
        levels and axes.
    """
    found: dict[str, list[float]] = {"angle": [], "later_angle": []}
    for pair in pairs:
        with torch.no_grad():
            driven = model.eval()(pair.moving[None], pair.fixed[None]).driven
        seen: set[int] = set()
        for step in driven:
            measured = force_against_missing(step, pair)
            if measured is not None:
                found["later_angle" if step.level in seen else "angle"].append(measured[0])
            seen.add(step.level)
    widths = [layer.sigma.mean().item() for layer in model.modules() if isinstance(layer, NeuralDemonsLayer)]
    angles = {name: float(np.mean(values)) if values else None for name, values in found.items()}
    return angles | {"sigma": float(np.mean(widths))}

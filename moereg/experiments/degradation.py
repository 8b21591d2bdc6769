"""How accurate is SegReg with worse and worse label maps? Nothing is trained here."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from moereg.data.pairs import Pairs
from moereg.data.phantoms.motion import smooth_pattern
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.regions import measure, over_pairs
from moereg.fields import warp_labels
from moereg.models import SegReg

NOISE = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # voxels by which boundaries are displaced
GROWTH = (-3, -2, -1, 0, 1, 2, 3)  # voxels by which organs are grown, or shrunk
POINT = ("dice", "epe", "seam_fold_fraction", "other_fold_fraction", "quality")
LINEAR = 0.9  # a fit whose R^2 is at least this is called near-linear


def boundary_noise(
    labels: Int[Tensor, "1 *space"], voxels: float, generator: torch.Generator
) -> Int[Tensor, "1 *space"]:
    """Every boundary displaced at random by up to so many voxels along each axis, in waves of about 8 voxels."""
    shape = tuple(labels.shape[1:])
    waves = [smooth_pattern(shape, min(1.0, 8 / min(shape)), generator) for _ in shape]
    return warp_labels(labels[None], voxels * torch.stack(waves)[None])[0]


def grown(labels: Int[Tensor, "1 *space"], voxels: int) -> Int[Tensor, "1 *space"]:
    """Over-segmentation: every organ grown into the background by so many voxels; under-segmentation below zero.

    Where two organs meet, the larger label takes the voxel; shrinking leaves background between them.
    """
    pool = F.max_pool3d if labels.ndim == 4 else F.max_pool2d
    values = labels.to(torch.float32)[None]
    for _ in range(abs(voxels)):
        largest, smallest = pool(values, 3, 1, 1), -pool(-values, 3, 1, 1)
        values = torch.where(values == 0, largest, values) if voxels > 0 else values * (largest == smallest)
    return values[0].to(labels.dtype)


def quality_sweep(models: Sequence[SegReg], pairs: Pairs, *, seeds: Sequence[int] = (0, 1, 2)) -> Finding:
    """Accuracy against the quality of the segmentation, for label maps degraded in two ways. Nothing is trained.

    One row per way, amount and model, means over pairs; `models[i]` was trained with `seeds[i]`.
    """
    rows = []
    for seed, model in zip(seeds, models, strict=True):
        for way, amounts in (("boundary noise", NOISE), ("grown or shrunk", GROWTH)):
            for amount in amounts:
                generator = torch.Generator().manual_seed(seed)  # the same waves at every amount
                measured = []
                for pair in pairs:
                    moving = _degraded(pair.require("moving_labels"), way, amount, generator)
                    fixed = _degraded(pair.require("fixed_labels"), way, amount, generator)
                    measured.append(measure(model, pair, labels=(moving, fixed)))
                rows.append({"way": way, "amount": float(amount), "seed": seed, **over_pairs(measured)})
    return Finding("Is accuracy linear in the quality of the segmentation?", rows, quality_sentence(rows))


def _degraded(labels: Tensor, way: str, amount: float, generator: torch.Generator) -> Tensor:
    return boundary_noise(labels, amount, generator) if way == "boundary noise" else grown(labels, int(amount))


def line(rows: Sequence[dict]) -> dict[str, float]:
    """Least squares `dice = intercept + slope quality` over the rows: slope, intercept, R^2 and largest residual."""
    quality, accuracy = (np.array([row[key] for row in rows]) for key in ("quality", "dice"))
    slope, intercept = np.polyfit(quality, accuracy, 1)
    residuals = accuracy - (intercept + slope * quality)
    spread = float(((accuracy - accuracy.mean()) ** 2).sum())
    r2 = 1 - float((residuals**2).sum()) / spread if spread > 0 else float("nan")
    return {"slope": float(slope), "intercept": float(intercept), "r2": r2, "residual": float(np.abs(residuals).max())}


def mean_points(rows: Sequence[dict], way: str) -> list[dict]:
    """One point per amount, the mean over seeds."""
    own = [row for row in rows if row["way"] == way]
    points = []
    for amount in dict.fromkeys(row["amount"] for row in own):
        here = [row for row in own if row["amount"] == amount]
        means = {key: float(np.mean([row[key] for row in here])) for key in POINT}
        points.append({"amount": amount} | means)
    return points


def quality_sentence(rows: Sequence[dict]) -> str:
    """A line through the points of each way, and what grown and shrunk organs do."""
    parts = []
    for way in dict.fromkeys(row["way"] for row in rows):
        points = mean_points(rows, way)
        found = line(points)
        least, most = (f(point["quality"] for point in points) for f in (min, max))
        linear = "near-linear" if found["r2"] >= LINEAR else "not near-linear"
        parts.append(
            f"{way}, {len(points)} amounts, quality {least:.2f} to {most:.2f}: slope {found['slope']:.2f}, "
            f"R^2 {found['r2']:.3f}, largest distance from the line {found['residual']:.3f} Dice, {linear}"
        )
    return f"{'; '.join(parts)} (near-linear: R^2 of at least {LINEAR}). {_growth_sentence(rows)}"


def _growth_sentence(rows: Sequence[dict]) -> str:
    """A systematic error is the same in both images: does it matter at all? And is a larger outline even better?"""
    points = {point["amount"]: point for point in mean_points(rows, "grown or shrunk")}
    step = min(amount for amount in points if amount > 0)
    larger, as_they_are = ({"way": "grown or shrunk", "amount": amount} for amount in (step, 0.0))
    effects = {key: effect_between(rows, larger, as_they_are, key) for key in ("dice", "epe")}
    said = {key: f"{effect.judged(key)} ({effect.text()})" for key, effect in effects.items()}
    truth, most, least = points[0.0], points[max(points)], points[min(points)]
    return (
        f"From {truth['dice']:.3f} with the truth, Dice goes to {most['dice']:.3f} where both images' organs are grown "
        f"by {most['amount']:g} voxels (quality {most['quality']:.2f}), and to {least['dice']:.3f} where they are "
        f"shrunk by {-least['amount']:g} (quality {least['quality']:.2f}). Grown by {step:g} against the truth: Dice "
        f"{said['dice']}, endpoint error {said['epe']}."
    )

"""Metrics of registrations: overlap, surface distance, true error, regularity, cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from moereg.data.pairs import Pair
from moereg.fields import warp_labels
from moereg.models.registration import Registration, labels_for
from moereg.regularity import fold_fraction, sd_log_jacobian

Method = Callable[[Tensor, Tensor], Registration]


def shared_labels(first: Int[Tensor, "*a"], second: Int[Tensor, "*b"]) -> list[int]:
    """Labels above zero that occur in both maps, ascending."""
    common = set(first.unique().tolist()) & set(second.unique().tolist())
    return sorted(label for label in common if label > 0)


def dice(warped: Int[Tensor, "1 *space"], fixed: Int[Tensor, "1 *space"]) -> dict[int, float]:
    """Dice overlap `2 |A and B| / (|A| + |B|)`, 0 to 1, for every label above zero that the *fixed* image has.

    A label that was warped out of the image scores zero instead of being left out.
    """
    size = int(max(warped.max(), fixed.max())) + 1
    both = torch.bincount((warped * size + fixed).flatten(), minlength=size * size).reshape(size, size)
    overlap, total = both.diagonal(), both.sum(0) + both.sum(1)
    present = both.sum(0).nonzero()[:, 0].tolist()
    return {label: float(2 * overlap[label] / total[label]) for label in present if label > 0}


def endpoint_error(
    displacement: Float[Tensor, "dims *space"],
    truth: Float[Tensor, "dims *space"],
    region: Bool[Tensor, "1 *space"] | None = None,
) -> float:
    """Mean distance in voxels between two displacements, inside `region` if given."""
    distance = (displacement - truth).square().sum(0, keepdim=True).sqrt()
    return float((distance if region is None else distance[region]).mean())


def surface_distances(
    warped: Int[Tensor, "1 *space"], fixed: Int[Tensor, "1 *space"], spacing: Sequence[float]
) -> tuple[dict[int, float], dict[int, float]]:
    """(95th percentile Hausdorff, average symmetric surface distance) per label in millimetres, by MONAI.

    Labels that are missing in either map are left out: their distance is not defined.
    """
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    hd95, asd = {}, {}
    for label in shared_labels(warped, fixed):
        masks = [(labels == label) for labels in (warped, fixed)]
        box = _bounding_box(masks[0] | masks[1])
        first, second = (mask[box][None].float() for mask in masks)
        options = {"include_background": True, "spacing": list(spacing)}
        hd95[label] = float(compute_hausdorff_distance(first, second, percentile=95, **options))
        asd[label] = float(compute_average_surface_distance(first, second, symmetric=True, **options))
    return hd95, asd


@dataclass(frozen=True)
class PairScore:
    """One method on one pair. What is not known for the pair is None or empty."""

    pair: str
    dice: dict[int, float]
    hd95: dict[int, float]  # mm
    asd: dict[int, float]  # mm
    epe: float | None  # voxels
    fold_fraction: float
    sd_log_jacobian: float
    seconds: float


@torch.no_grad()
def score(method: Method, pair: Pair, *, device: torch.device | str = "cpu", surfaces: bool = True) -> PairScore:
    """Register one pair and measure the result. Seconds are those of the registration alone.

    A model without a segmenter that needs label maps (SegReg) gets the pair's own.
    """
    moving, fixed = pair.moving[None].to(device), pair.fixed[None].to(device)
    known = [None if lab is None else lab[None].to(device) for lab in (pair.moving_labels, pair.fixed_labels)]
    labels = labels_for(method, *known)
    _synchronise(device)
    started = time.perf_counter()
    registration = method(moving, fixed, **labels)
    _synchronise(device)
    seconds = time.perf_counter() - started
    displacement = registration.displacement.float().cpu()
    overlap, hd95, asd = {}, {}, {}
    if pair.moving_labels is not None and pair.fixed_labels is not None:
        warped = warp_labels(pair.moving_labels[None], displacement)[0]
        overlap = dice(warped, pair.fixed_labels)
        if surfaces:
            hd95, asd = surface_distances(warped, pair.fixed_labels, pair.spacing or (1.0,) * (moving.ndim - 2))
    epe = None if pair.displacement is None else endpoint_error(displacement[0], pair.displacement, pair.region)
    folds, spread = float(fold_fraction(displacement)), float(sd_log_jacobian(displacement))
    return PairScore(pair.name, overlap, hd95, asd, epe, folds, spread, seconds)


def identity(moving: Tensor, fixed: Tensor) -> Registration:
    """The method that does nothing: the "before" row of every table."""
    return Registration(moving.new_zeros(moving.shape[0], moving.ndim - 2, *moving.shape[2:]), moving)


def evaluate(
    methods: dict[str, Method],
    pairs: Sequence[Pair],
    *,
    device: torch.device | str = "cpu",
    surfaces: bool = True,
    progress: bool = False,
) -> dict[str, dict]:
    """Every method on every pair: a plain nested dictionary, ready for JSON.

    Returns:
        For each method `dice` (mean over labels, then pairs), `dice_per_label` by label name, `hd95`, `asd` (mm),
        `epe` (voxels), `fold_fraction`, `sd_log_jacobian`, `seconds_per_pair` (median), `pairs`. The mean of nothing
        is None.
    """
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    table = {}
    for name, method in methods.items():
        scores = [
            score(method, pairs[i], device=device, surfaces=surfaces)
            for i in tqdm(range(len(pairs)), desc=f"measure {name}", disable=not progress)
        ]
        table[name] = summarise(scores, pairs[0].label_names)
    return table


def summarise(scores: Sequence[PairScore], label_names: dict[int, str]) -> dict:
    """Means over pairs of one method's scores."""
    labels = sorted({label for s in scores for label in s.dice})
    per_label = {
        label_names.get(label, str(label)): _mean([s.dice[label] for s in scores if label in s.dice])
        for label in labels
    }
    return {
        "dice": _mean([_mean(list(s.dice.values())) for s in scores]),
        "dice_per_label": per_label,
        "hd95": _mean([_mean(list(s.hd95.values())) for s in scores]),
        "asd": _mean([_mean(list(s.asd.values())) for s in scores]),
        "epe": _mean([s.epe for s in scores]),
        "fold_fraction": _mean([s.fold_fraction for s in scores]),
        "sd_log_jacobian": _mean([s.sd_log_jacobian for s in scores]),
        "seconds_per_pair": float(np.median([s.seconds for s in scores])),
        "pairs": [asdict(s) | {"dice_mean": _mean(list(s.dice.values()))} for s in scores],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _bounding_box(mask: Bool[Tensor, "1 *space"]) -> tuple[slice, ...]:
    places = mask[0].nonzero()
    low, high = (places.min(0).values - 1).clamp_min(0), places.max(0).values + 2
    return (slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))


def _synchronise(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()

"""How well two label maps agree, and how far a field is from the truth."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_distance import compute_average_surface_distance

    hd95, asd = {}, {}
    for label in shared_labels(warped, fixed):
        masks = [(labels == label) for labels in (warped, fixed)]
        box = _bounding_box(masks[0] | masks[1])
        first, second = (mask[box][None].float() for mask in masks)
        options = {"include_background": True, "spacing": list(spacing)}
        hd95[label] = float(compute_hausdorff_distance(first, second, percentile=95, **options))
        asd[label] = float(compute_average_surface_distance(first, second, symmetric=True, **options))
    return hd95, asd


def _bounding_box(mask: Bool[Tensor, "1 *space"]) -> tuple[slice, ...]:
    places = mask[0].nonzero()
    low, high = (places.min(0).values - 1).clamp_min(0), places.max(0).values + 2
    return (slice(None), *map(slice, low.tolist(), high.tolist()))

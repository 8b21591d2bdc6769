"""What is printed of a registration: similarity, overlap, folds and consistency, before and after."""

import numpy as np
import torch
from torch import Tensor

from moereg.data.volumes import Grid
from moereg.fields import compose
from moereg.metrics import dice
from moereg.physical import Displacement, pull
from moereg.similarity import lncc

STAGES = ("before", "aligned", "registered")


def local_correlation(moved: Tensor, fixed: Tensor, mask: Tensor | None = None) -> float:
    """Mean squared local correlation of two images `(1, *S)`, 0 to 1, within the mask's box."""
    box = (slice(None), *_box(mask)) if mask is not None else (slice(None),)
    images = [image[box].float()[None] for image in (moved, fixed)]
    thin = [axis for axis in range(2, images[0].ndim) if images[0].shape[axis] == 1]
    if images[0].ndim == 5 and thin:
        images = [image.squeeze(thin[0]) for image in images]
    return -float(lncc(images[0], images[1]))


def overlaps(labels: Tensor, source: Grid, maps: dict[str, Displacement], fixed: Tensor) -> dict[str, dict[int, float]]:
    """Dice per label at every stage; `labels` lie on the moving file's grid, `fixed` on the fixed file's."""
    found = {}
    for stage, field in maps.items():
        moved = pull(labels, source, field, mode="nearest")[0].round().long()
        found[stage] = _dice(moved, fixed)
    return found


def _dice(moved: Tensor, fixed: Tensor) -> dict[int, float]:
    """`dice` of numbers however large: they are counted first."""
    values, places = torch.unique(torch.cat([moved.flatten(), fixed.flatten()]), return_inverse=True)
    start = int(bool(values[0] > 0))  # zero stays the background
    first, second = (places + start).split(moved.numel())
    scores = dice(first.reshape(moved.shape), second.reshape(fixed.shape))
    return {int(values[index - start]): score for index, score in scores.items()}


def mean(scores: dict[int, float]) -> float:
    return float(np.mean(list(scores.values()))) if scores else float("nan")


def inverse_consistency(forward: Tensor, backward: Tensor) -> float:
    """Mean distance in voxels between a point and where both directions, one after the other, lead it."""
    return float(compose(forward, backward).norm(dim=1).mean())


def _box(mask: Tensor) -> tuple[slice, ...]:
    places = mask[0].nonzero()
    low, high = places.min(0).values.tolist(), (places.max(0).values + 1).tolist()
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))

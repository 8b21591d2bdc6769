"""Distance to the surface where one group of labels touches another: where tissue slides, for instance."""

from collections.abc import Collection

import torch
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from moereg.data.phantoms.lung import SLIDING


def distance_to_interface(
    labels: Int[Tensor, "1 *space"],
    inside: Collection[int] = SLIDING,
    *,
    spacing: tuple[float, ...] | None = None,
) -> Float[Tensor, "1 *space"]:
    """How far each voxel lies from the surface between `inside` and all other labels (background, zero, apart).

    The Euclidean distance between voxel centres, less half a voxel: 0.5 on both sides of a flat interface.

    Args:
        labels: `(1, *S)`, a lung phantom's `fixed_labels` for instance.
        inside: labels on one side; those that slide in the lung phantom if not given.
        spacing: millimetres along each axis, to measure in millimetres; voxels if not given.

    Raises:
        ValueError: one of the two sides is empty, or `spacing` does not fit.
    """
    within = torch.isin(labels[0], torch.tensor(sorted(inside), dtype=labels.dtype, device=labels.device)).cpu()
    without = (labels[0].cpu() != 0) & ~within
    if not within.any() or not without.any():
        raise ValueError(
            "labels must hold voxels on both sides of the interface, "
            f"got {int(within.sum())} inside and {int(without.sum())} outside."
        )
    steps = spacing or (1.0,) * within.ndim
    if len(steps) != within.ndim or min(steps) <= 0:
        raise ValueError(f"spacing must be {within.ndim} positive numbers, one per axis, got {spacing!r}.")
    to_inside, to_outside = (
        torch.from_numpy(distance_transform_edt(~side.numpy(), sampling=steps)).float() for side in (within, without)
    )
    distance = torch.maximum(to_inside, to_outside) - 0.5 * min(steps)
    return distance[None].to(labels.device)

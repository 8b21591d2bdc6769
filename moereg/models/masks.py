"""Regions of label maps: which voxel belongs to which, masked images, smoothness within, folds where they meet."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moereg.checks import check_same_space
from moereg.fields import jacobian_determinant


def group_labels(
    labels: Int[Tensor, "batch 1 *space"], groups: tuple[tuple[int, ...], ...]
) -> Int[Tensor, "batch 1 *space"]:
    """Region of every voxel: the place of its label's group, from 1 on, or 0; without groups the label itself."""
    if not groups:
        return labels
    regions = torch.zeros_like(labels)
    for number, group in enumerate(groups, start=1):
        regions[torch.isin(labels, torch.tensor(group, device=labels.device))] = number
    return regions


def region_masks(
    regions: Int[Tensor, "batch 1 *space"], values: tuple[int, ...]
) -> Bool[Tensor, "region batch 1 *space"]:
    """One mask per region."""
    return torch.stack([regions == value for value in values])


def masked(
    image: Float[Tensor, "batch channel *space"],
    regions: Int[Tensor, "batch 1 *space"],
    values: tuple[int, ...],
    present: Bool[Tensor, "region batch"],
    outside: float,
) -> Float[Tensor, "item channel *space"]:
    """The image once per present region, everything else set to `outside`."""
    return torch.where(region_masks(regions, values), image, image.new_tensor(outside))[present]


def dilated(mask: Float[Tensor, "item 1 *space"], voxels: int) -> Float[Tensor, "item 1 *space"]:
    """Every region grown by so many voxels along each axis."""
    pool = F.max_pool3d if mask.ndim == 5 else F.max_pool2d
    return pool(mask, 2 * voxels + 1, stride=1, padding=voxels) if voxels else mask


def diffusion_within(
    field: Float[Tensor, "item dims *space"], mask: Float[Tensor, "item 1 *space"]
) -> Float[Tensor, ""]:
    """`regularity.diffusion` in voxels, counting only differences between two voxels of the mask, over all voxels."""
    dims, total = field.shape[1], field.new_zeros(())
    for axis in range(2, 2 + dims):
        size = field.shape[axis] - 1
        both = mask.narrow(axis, 0, size) * mask.narrow(axis, 1, size)
        total = total + (both * field.diff(dim=axis).square()).mean()
    return dims * total


def seam_folds(
    displacement: Float[Tensor, "batch dims *space"], regions: Int[Tensor, "batch 1 *space"]
) -> dict[str, int]:
    """How many voxels fold at the seams between regions, and how many elsewhere.

    A voxel is at a seam if one of its 3^D neighbours belongs to another region of the fixed image: exactly there the
    central differences of the Jacobian reach across.

    Returns:
        `seam_voxels`, `seam_folds`, `other_voxels`, `other_folds`, over the whole batch.
    """
    check_same_space("displacement", displacement, "regions", regions)
    values = regions.to(torch.float32)  # region numbers are small: exact
    at_seam = dilated(values, 1) != -dilated(-values, 1)
    folded = jacobian_determinant(displacement) <= 0
    return {
        "seam_voxels": int(at_seam.sum()),
        "seam_folds": int((folded & at_seam).sum()),
        "other_voxels": int((~at_seam).sum()),
        "other_folds": int((folded & ~at_seam).sum()),
    }

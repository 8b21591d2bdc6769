"""Linear interpolation of a volume on the CPU, twice as fast as `grid_sample` in three dimensions.

torch vectorises `grid_sample` for pictures but not for volumes, so a volume is read here as pictures. For every output
slice z the input slices it may reach are stacked one below another, and the tall picture is sampled twice:

    out = (1 - w) picture[k H + y, x] + w picture[(k + 1) H + y, x]

k and w are the whole and the fractional part of the position along z. The stacks are overlapping views of one padded
volume, not copies. As rows count up to H times the slices reached, positions are rounded to some 1e-5 voxels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg import fields


def fast_sample(image: Tensor, displacement: Tensor) -> Tensor:
    """`fields.sample` with border padding: `out[x] = image[x + u(x)]`. Without gradients."""
    if image.ndim == 4 or image.device.type != "cpu":
        return fields.sample(image, displacement)
    return torch.stack([_sample_volume(*item) for item in zip(image, displacement, strict=True)])


def _sample_volume(image: Tensor, displacement: Tensor) -> Tensor:
    """`(C, D, H, W)` and `(3, D, H, W)` in voxels."""
    depth, height, width = image.shape[1:]
    slices, rows, columns = (torch.arange(size, dtype=image.dtype) for size in image.shape[1:])
    slices, rows = slices[:, None, None], rows[:, None]
    z = (displacement[0] + slices).clamp_(0, depth - 1)
    weight = z.frac()
    reached = z.floor_().sub_(slices)  # slice below each position, counted from the voxel's own
    first, last = (int(bound) for bound in reached.aminmax())

    padded = F.pad(image[None], (0, 0, 0, 0, -first, last + 1), mode="replicate")[0]
    stacks = padded.unfold(1, last - first + 2, 1)  # (C, D, H, W, slices)
    pictures = stacks.permute(1, 0, 4, 2, 3).flatten(2, 3)  # (D, C, slices * H, W), a view

    # From voxels to [-1, 1] between the centres of the picture's outer pixels
    across, down = 2 / max(width - 1, 1), 2 / (pictures.shape[2] - 1)
    x = torch.add(columns * across - 1, displacement[2], alpha=across)
    y = torch.add(rows * down, displacement[1], alpha=down).clamp_(0, (height - 1) * down)
    y.add_(reached.sub_(first), alpha=height * down).sub_(1)
    grid = torch.stack((x, y), -1)
    below = F.grid_sample(pictures, grid, "bilinear", "border", align_corners=True)
    grid[..., 1] += height * down
    above = F.grid_sample(pictures, grid, "bilinear", "border", align_corners=True)
    # (1 - w) below + w above
    return below.lerp_(above, weight[:, None]).transpose(0, 1)

"""Reading an image at displaced positions: torch's `grid_sample` on this library's displacements, in less time.

    out[x] = image[x + u(x)]                   pull
    out[x] = image[x + u(x)] + u(x)            pull with `add`: a field that follows another one

`grid_sample` wants coordinates in [-1, 1] between the outer voxel *centres*, last axis first, and autograd would keep a
map for each small step that makes them. `plain` is this clear form. On a CPU `Pull` does it with the same numbers in
one node of the graph: coordinates are written once, straight to their places, and the gradient comes back straight as
one of the displacement. `grid_sample` uses one thread per item of a batch there, so a single image is read in as many
pieces as there are threads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MODES, PADDINGS = ("bilinear", "nearest"), ("zeros", "border")  # in the order of torch's numbers for them


def pull(image: Tensor, displacement: Tensor, interpolation: str, padding: str, *, add: bool = False) -> Tensor:
    """`(B, C, *S)` read at `x + u(x)` for a displacement `(B, D, *S)`, plus `u(x)` with `add`; nothing is checked."""
    # In bfloat16 a position in a volume of 200 voxels would be rounded to 0.4 voxels.
    exact = displacement.to(torch.promote_types(displacement.dtype, torch.float32))
    if torch.compiler.is_compiling() or image.device.type != "cpu":
        pulled = plain(image.to(exact.dtype), exact, interpolation, padding)
        return (pulled + exact if add else pulled).to(image.dtype)
    return Pull.apply(image.to(exact.dtype), exact, interpolation, padding, add).to(image.dtype)


def plain(image: Tensor, displacement: Tensor, interpolation: str, padding: str) -> Tensor:
    """The clear form."""
    coordinates = []
    for axis, size in enumerate(image.shape[2:]):
        scale, start = _axis(displacement, axis, size)
        coordinates.append(displacement[:, axis] * scale + start)  # (B, *S)
    grid = torch.stack(coordinates[::-1], -1)
    return F.grid_sample(image, grid, interpolation, padding, align_corners=True)


class Pull(torch.autograd.Function):
    """`plain`, and with `add` the displacement added, as one node."""

    @staticmethod
    def forward(ctx, image: Tensor, displacement: Tensor, interpolation: str, padding: str, add: bool) -> Tensor:
        """See `pull`."""
        dims = displacement.shape[1]
        grid = displacement.new_empty(displacement.shape[0], *displacement.shape[2:], dims)
        for axis, size in enumerate(image.shape[2:]):
            scale, start = _axis(displacement, axis, size)
            torch.add(start, displacement[:, axis], alpha=scale, out=grid[..., dims - 1 - axis])
        ctx.save_for_backward(image, grid)
        ctx.rule = MODES.index(interpolation), PADDINGS.index(padding)
        ctx.add = add
        images, grids = _pieces(image, grid)
        pulled = F.grid_sample(images, grids, interpolation, padding, align_corners=True)
        if len(images) > len(image):  # back from pieces to one
            pulled = pulled.transpose(0, 1).reshape(1, image.shape[1], *grid.shape[1:-1])
        return pulled.add_(displacement) if add else pulled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        """To the image, where it is wanted, and to the displacement."""
        image, grid = ctx.saved_tensors
        images, grids = _pieces(image, grid)
        channels, dims, split = image.shape[1], grid.shape[-1], len(images) > len(image)
        own = gradient
        if split:
            own = gradient.reshape(channels, len(images), *grids.shape[1:-1]).transpose(0, 1)
        rule = (*ctx.rule, True, ctx.needs_input_grad[:2])
        way_back = {2: torch.ops.aten.grid_sampler_2d_backward, 3: torch.ops.aten.grid_sampler_3d_backward}[dims]
        of_image, of_grid = way_back(own.contiguous(), images, grids, *rule)
        if of_image is not None and split:
            of_image = of_image.sum(0, keepdim=True)
        if not ctx.needs_input_grad[1]:
            return of_image, None, None, None, None
        of_grid = of_grid.view(grid.shape)
        of_displacement = gradient.new_empty(grid.shape[0], dims, *grid.shape[1:-1])
        for axis, size in enumerate(image.shape[2:]):
            # d x / d u = scale, and 1 more where u was added
            scale, part = 2 / max(size - 1, 1), of_grid[..., dims - 1 - axis]
            if ctx.add:
                torch.add(gradient[:, axis], part, alpha=scale, out=of_displacement[:, axis])
            else:
                torch.mul(part, scale, out=of_displacement[:, axis])
        return of_image, of_displacement, None, None, None


def _axis(displacement: Tensor, axis: int, size: int) -> tuple[float, Tensor]:
    """One voxel in coordinates of an image of `size` voxels along `axis`, and the coordinates of the field's voxels."""
    scale = 2 / max(size - 1, 1)
    length, behind = displacement.shape[2 + axis], displacement.ndim - 3 - axis
    start = torch.arange(length, dtype=displacement.dtype, device=displacement.device) * scale - 1
    return scale, start.view(-1, *[1] * behind)


def _pieces(image: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """One image and its positions as a batch, an item for each thread; several images as they are."""
    batch, *space, dims = grid.shape
    pieces, points = torch.get_num_threads(), grid[0, ..., 0].numel()
    if batch != 1 or pieces == 1 or points % pieces:
        return image, grid
    flat = grid.view(pieces, *[1] * (len(space) - 1), points // pieces, dims)
    return image.expand(pieces, *image.shape[1:]), flat

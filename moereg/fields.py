"""Displacement fields: how a field is stored, how it moves an image, and how fields are combined.

One convention holds everywhere. A displacement `u` has shape `(B, D, *S)`, is measured in voxels, and its channel `d`
moves along tensor axis `d` (z, y, x for a volume). The field lives on the fixed image's grid and *pulls*:

    warp(moving, u)[x] = moving[x + u(x)]

Grid points are voxel centres, so `x` runs over the integers 0 .. S-1 on each axis. Every function takes 2-D and 3-D.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from moereg.checks import check_choice, check_field, check_image, check_positive, check_same_space
from moereg.pulling import pull

INTERPOLATIONS = {"linear": "bilinear", "nearest": "nearest"}  # ours -> torch's, of two axes and of three


def identity_grid(
    shape: tuple[int, ...] | torch.Size, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "dims *space"]:
    """Voxel coordinates of every grid point: `identity_grid(S)[d, x] = x_d`, in voxels.

    Raises:
        ValueError: a shape that is no tuple of whole numbers from zero on.
    """
    if not torch.compiler.is_compiling():
        _check_shape(shape)
    axes = [torch.arange(size, dtype=dtype, device=device) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def warp(
    image: Float[Tensor, "batch channel *source"],
    displacement: Float[Tensor, "batch dims *space"],
    mode: str = "linear",
    padding: str = "border",
) -> Float[Tensor, "batch channel *space"]:
    """Pull an image through a displacement: `out[x] = image[x + u(x)]`.

    Args:
        image: `(B, C, *S)`. Its grid may differ in size from the field's; voxel 0 of both coincide.
        displacement: `(B, D, *S)` in voxels, on the output's grid.
        mode: "linear" interpolates, "nearest" picks the closest voxel (for labels).
        padding: outside the image read the closest "border" voxel, or "zeros".

    Raises:
        TypeError, ValueError: one sentence naming the argument (integer images, wrong rank, NaN, unequal batch).
    """
    check_image("image", image)
    check_field("displacement", displacement)
    check_choice("mode", mode, ("linear", "nearest"))
    check_choice("padding", padding, ("border", "zeros"))
    if image.shape[0] != displacement.shape[0] or image.ndim != displacement.ndim:
        raise ValueError(
            "image and displacement must have the same batch size and number of axes, "
            f"got {tuple(image.shape)} and {tuple(displacement.shape)}."
        )
    return sample(image, displacement, mode=mode, padding=padding)


def warp_labels(labels: Tensor, displacement: Float[Tensor, "batch dims *space"]) -> Tensor:
    """Pull a whole-number label map `(B, 1, *S)` of any dtype with the nearest voxel, keeping its dtype.

    Every label arrives as it left, whatever the precision of the field.
    """
    exact = torch.promote_types(displacement.dtype, torch.float32)
    if labels.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16) or not (labels.abs() > 2**24).any():
        return warp(labels.to(exact), displacement, mode="nearest").to(labels.dtype)
    # Beyond 2^24 float32 leaves numbers out: the places of the labels are moved in their stead.
    values, places = labels.unique(return_inverse=True)
    return values[warp(places.to(exact), displacement, mode="nearest").long()]


def compose(
    first: Float[Tensor, "batch dims *space"], second: Float[Tensor, "batch dims *space"]
) -> Float[Tensor, "batch dims *space"]:
    """One field that does the work of two: `compose(u, v)(x) = v(x) + u(x + v(x))`.

    `warp(warp(m, u), v)` equals `warp(m, compose(u, v))` up to interpolation: `u` is the field that acted first.
    """
    check_field("first", first)
    check_field("second", second)
    check_same_space("first", first, "second", second, channels=True)
    return follow(first, second)


def exponentiate(velocity: Float[Tensor, "batch dims *space"], steps: int = 7) -> Float[Tensor, "batch dims *space"]:
    """Displacement reached after unit time along a stationary velocity, by scaling and squaring.

    `exp(v) = exp(v / 2^n)^(2^n)`: start from `u = v / 2^n`, which is close to its own flow, and compose `u <- u o u`
    `n` times. `exponentiate(-v)` is the inverse of `exponentiate(v)`. Source: Arsigny et al. 2006.
    """
    check_field("velocity", velocity)
    check_positive("steps", steps, integer=True)
    displacement = velocity / 2**steps
    for _ in range(steps):
        # u <- u o u
        displacement = follow(displacement, displacement)
    return displacement


def invert(
    displacement: Float[Tensor, "batch dims *space"], *, iterations: int = 50, tolerance: float = 1e-3
) -> Float[Tensor, "batch dims *space"]:
    """The field `w` with `x + w(x)` mapped back to `x` by `u`, found by the fixed point `w(x) <- -u(x + w(x))`.

    Converges where `u` has no folds and a Lipschitz constant below one (Chen et al. 2008). Stops as soon as no voxel
    moved by more than `tolerance` voxels, or after `iterations`.
    """
    check_field("displacement", displacement)
    check_positive("iterations", iterations, integer=True)
    inverse = -displacement
    for _ in range(iterations):
        # w(x) <- -u(x + w(x))
        previous, inverse = inverse, -sample(displacement, inverse)
        if (inverse - previous).abs().max() < tolerance:
            break
    return inverse


def jacobian_determinant(displacement: Float[Tensor, "batch dims *space"]) -> Float[Tensor, "batch 1 *space"]:
    """Local volume change of `x -> x + u(x)`: `det(I + grad u)`. One is unchanged, zero or less is a fold.

    Derivatives are central differences (one-sided at the border), exact for a field that is linear in x.
    """
    check_field("displacement", displacement)
    dims = displacement.shape[1]
    require_size("displacement", displacement, 2)
    columns = torch.gradient(displacement, dim=list(range(2, 2 + dims)))  # d/dx_j of every channel
    # J_ij = d u_i / d x_j + (i == j)
    j = [[columns[col][:, row] + (row == col) for col in range(dims)] for row in range(dims)]
    if dims == 2:
        determinant = j[0][0] * j[1][1] - j[0][1] * j[1][0]
    else:
        determinant = (
            j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
            - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
            + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
        )
    return determinant[:, None]


def upsample(coarse: Float[Tensor, "batch channel *half"], shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Bring a map to the next finer grid, where coarse voxel `i` sits on fine voxel `2 i`. Values are not scaled.

    `shape` is the finer size: each axis `2 n - 1` or `2 n` for `n` coarse voxels. This is the geometry of a stride-2
    convolution with kernel 3 and padding 1, so features and fields of a pyramid stay registered for *any* image size.

    Raises:
        ValueError: another shape.
    """
    for size, half in zip(shape, coarse.shape[2:], strict=True):
        if size not in (2 * half - 1, 2 * half):
            raise ValueError(
                f"shape must have 2 n - 1 or 2 n voxels for n coarse ones, got {tuple(shape)} for "
                f"{tuple(coarse.shape[2:])}."
            )
    # One replicated voxel makes the factor exactly two with aligned corners; the surplus is cut off.
    dims = coarse.ndim - 2
    if dims == 3:
        padded, mode = F.pad(coarse, (0, 1) * dims, mode="replicate"), "trilinear"
    else:
        padded, mode = F.pad(coarse, (0, 1) * dims, mode="replicate"), "bilinear"
    doubled = F.interpolate(padded, size=[2 * n - 1 for n in padded.shape[2:]], mode=mode, align_corners=True)
    return doubled[(..., *(slice(0, size) for size in shape))]


def upsample_field(
    coarse: Float[Tensor, "batch dims *half"], shape: tuple[int, ...] | torch.Size
) -> Float[Tensor, "batch dims *space"]:
    """`upsample` for displacements: a step of one coarse voxel is a step of two fine ones."""
    return upsample(2 * coarse, shape)  # doubled where there are fewer voxels: the same numbers


def field_to_image(
    field: Float[Tensor, "batch dims *coarse"],
    *,
    level: int,
    grids: Sequence[torch.Size],
    image: torch.Size,
    stem_stride: int,
) -> Float[Tensor, "batch dims *space"]:
    """Field of one level of a pyramid, in that level's voxels -> field on the image's grid, in the image's voxels.

    Args:
        level: whose field it is, 0 is the finest.
        grids: spatial shape of every level, finest first; each is half of the one before.
        image: spatial shape of the image.
        stem_stride: 1 where the finest level has the image's grid, 2 where it is half of it.
    """
    finer = [*([image] if stem_stride == 2 else []), *grids[:level]]
    for grid in reversed(finer):
        field = upsample_field(field, grid)
    return field


def _check_shape(shape: tuple[int, ...] | torch.Size) -> None:
    sizes = shape if isinstance(shape, tuple | list) else ()
    whole = all(isinstance(size, int | torch.SymInt) and size >= 0 for size in sizes)
    if not sizes or not whole:
        raise ValueError(f"shape must be a tuple of whole numbers, one for each axis, got {shape!r}.")


def require_size(name: str, tensor: Tensor, size: int) -> None:
    """Require at least `size` voxels along every spatial axis.

    Raises:
        ValueError: an axis is shorter.
    """
    if min(tensor.shape[2:]) < size:
        raise ValueError(f"{name} needs at least {size} voxels along every axis, got shape {tuple(tensor.shape)}.")


def sample(image: Tensor, displacement: Tensor, *, mode: str = "linear", padding: str = "border") -> Tensor:
    """`warp` without the input checks, for inner loops."""
    return pull(image, displacement, INTERPOLATIONS[mode], padding)


def follow(first: Tensor, second: Tensor) -> Tensor:
    """`compose` without the input checks, for inner loops."""
    # v(x) + u(x + v(x))
    return pull(first, second, "bilinear", "border", add=True)

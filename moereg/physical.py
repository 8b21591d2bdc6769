"""Displacements in millimetres: what a registration writes, and what can be done with it afterwards.

Inside, a field is in voxels on the fixed image's grid with its axes in canonical order. On disk it stands for the whole
map, linear part and deformation together, on the fixed *file's* own array grid:

    p -> p + d(p)         p a voxel centre of the fixed image, p + d(p) the same tissue in the moving image, mm RAS

so that any program that reads a displacement field pulls the native moving image with it in one interpolation. With the
fixed image's affine A, a deformation u in voxels and the linear map T of `moereg.alignment` (fixed -> moving),

    d(A x) = T A (x + u(x)) - A x

Outside its grid a field goes on as on the border. Outside the moving image, which ITK takes to end half a voxel beyond
its outer centres, there is nothing to show: a value of one's choice.
"""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from torch import Tensor

from moereg import fields
from moereg.data.volumes import Grid

CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])
INVERSE_ITERATIONS = 30
INVERSE_TOLERANCE = 1e-3  # voxels: an inverse that misses by less everywhere is done


@dataclass(frozen=True)
class Displacement:
    """A map from the points of a grid to another image: `p -> p + vectors(p)`, millimetres RAS."""

    vectors: Float[Tensor, "3 *space"]  # float64, channels right, front, head
    grid: Grid


def whole_map(displacement: Float[Tensor, "3 *space"], grid: Grid, matrix: np.ndarray) -> Displacement:
    """Deformation (voxels of `grid`) and linear map in one: `d(A x) = T A (x + u(x)) - A x`."""
    u = displacement.double()
    identity = fields.identity_grid(u.shape[1:], dtype=torch.float64)
    return Displacement(_world(matrix @ grid.affine, identity + u) - _world(grid.affine, identity), grid)


def on_own_axes(field: Displacement, own: Grid) -> Displacement:
    """A field on a canonical grid, its axes exchanged and flipped to those of the file `own`. Vectors stay."""
    back = ornt_transform(CANONICAL, io_orientation(own.affine))
    turned = [apply_orientation(vectors.numpy().T, back).T for vectors in field.vectors]
    return Displacement(torch.from_numpy(np.ascontiguousarray(np.stack(turned))), own)


def as_stored(field: Displacement) -> Displacement:
    """With the digits that a file keeps (float32), so that what is computed from it equals what others compute."""
    return Displacement(field.vectors.float().double(), field.grid)


def in_voxels(field: Displacement) -> Float[Tensor, "3 *space"]:
    """The same map as a displacement in voxels of its own grid, channel d along tensor axis d."""
    inverse = np.linalg.inv(field.grid.affine)
    inverse[:3, 3] = 0
    return _apply(inverse, field.vectors).flip(0)


def pull(
    image: Float[Tensor, "channel *source"] | Integer[Tensor, "channel *source"],
    source: Grid,
    field: Displacement,
    *,
    mode: str = "linear",
    outside: float | None = 0.0,
) -> tuple[Float[Tensor, "channel *space"], Bool[Tensor, "*space"]]:
    """`image`, which lies on `source`, pulled onto the field's grid: out(p) = image(p + d(p)).

    Args:
        mode: "linear", or "nearest" for labels.
        outside: value where `p + d(p)` is not in the image; None repeats its outer voxels.

    Returns:
        The image, float64, and where there was one to read.
    """
    at = _places(field, source)
    steps = at - fields.identity_grid(at.shape[1:], dtype=torch.float64)
    out = fields.sample(image.double()[None], steps[None], mode=mode)[0]
    inside = is_inside(at, source)
    return out if outside is None else torch.where(inside, out, outside), inside


def is_inside(at: Float[Tensor, "3 *space"], grid: Grid) -> Bool[Tensor, "*space"]:
    """Which places, in voxels along tensor axes, lie in an image: up to half a voxel beyond its outer centres."""
    size = torch.tensor(grid.shape, dtype=at.dtype).view(3, *[1] * (at.ndim - 1))
    return ((at >= -0.5) & (at < size - 0.5)).all(0)


def covered(field: Displacement, source: Grid) -> Bool[Tensor, "*space"]:
    """Voxels of the field's grid that the field leads into an image on `source`."""
    return is_inside(_places(field, source), source)


def compose(first: Displacement, second: Displacement) -> Displacement:
    """One field that does the work of two, on the grid of `second`: `d(p) = second(p) + first(p + second(p))`.

    As `fields.compose`: `first` is the field that acted first, `pull(pull(m, first), second)` is
    `pull(m, compose(first, second))` up to interpolation.
    """
    return Displacement(second.vectors + _read(first, _places(second, first.grid)), second.grid)


def jacobian(field: Displacement) -> Float[Tensor, "*space"]:
    """Determinant of the whole map's derivative: cubic millimetres of moving image per one of the fixed image.

    Above one the moving image is larger there and was shrunk; zero or less is a fold.
    """
    voxels = in_voxels(field)
    thin = [axis for axis, size in enumerate(field.grid.shape) if size == 1]
    for axis in thin:  # a slice: nothing changes across it
        voxels = voxels.repeat_interleave(2, dim=1 + axis)
    determinant = fields.jacobian_determinant(voxels[None])[0, 0]
    for axis in thin:
        determinant = determinant.narrow(axis, 0, 1)
    return determinant


def linear_part(field: Displacement) -> np.ndarray:
    """`(4, 4)`: the affine map nearest to `p -> p + d(p)` in the mean of squares over the grid."""
    identity = fields.identity_grid(field.grid.shape, dtype=torch.float64)
    points = _world(field.grid.affine, identity).flatten(1).numpy()
    moved = points + field.vectors.flatten(1).numpy()
    middles = points.mean(1, keepdims=True), moved.mean(1, keepdims=True)
    one, other = points - middles[0], moved - middles[1]
    thin = np.linalg.svd(one @ one.T)[0][:, 2:] if 1 in field.grid.shape else np.zeros((3, 0))
    # Across a slice nothing is known; there it is left as it is.
    spread = one @ one.T + 1e6 * thin @ thin.T
    matrix = np.eye(4)
    matrix[:3, :3] = (other @ one.T + 1e6 * thin @ thin.T) @ np.linalg.inv(spread)
    matrix[:3, 3] = (middles[1] - matrix[:3, :3] @ middles[0])[:, 0]
    return matrix


@dataclass(frozen=True)
class Inverse:
    """What `invert` found."""

    field: Displacement  # q -> the point that is mapped to q
    residual: Float[Tensor, "*space"]  # mm: how far the found point is mapped from q
    reached: Bool[Tensor, "*space"]  # where the found point lies on the grid of the field that was inverted


def invert(field: Displacement, on: Grid | None = None) -> Inverse:
    """The map back, on a grid of one's choice (default: the field's own; best the moving image's).

    For every q the point p with `p + d(p) = q` is sought by Newton's method, started from the inverse of the linear
    part. A step that does not come closer is halved. It converges also where the plain fixed point `p <- q - d(p)` does
    not (a turn, an enlargement by two); in a fold there is no single answer, and the residual says so.
    """
    on = field.grid if on is None else on
    goals = _world(on.affine, fields.identity_grid(on.shape, dtype=torch.float64))
    derivative = _derivative_inverse(field)
    point = _apply(np.linalg.inv(linear_part(field)), goals)
    miss = _miss(field, point, goals)
    step = torch.ones_like(miss[:1])
    smallest = min(field.grid.spacing)
    for _ in range(INVERSE_ITERATIONS):
        left = miss.norm(dim=0)[is_inside(_index(field.grid, point), field.grid)]
        if left.numel() == 0 or float(left.max()) < INVERSE_TOLERANCE * smallest:
            break
        slopes = _sampled(derivative.flatten(0, 1), _index(field.grid, point)).unflatten(0, (3, 3))
        tried = point - step * torch.einsum("ij...,j...->i...", slopes, miss)
        new = _miss(field, tried, goals)
        closer = (new.norm(dim=0) < miss.norm(dim=0))[None]
        point, miss = torch.where(closer, tried, point), torch.where(closer, new, miss)
        step = torch.where(closer, torch.clamp(2 * step, max=1), step / 2)
    reached = is_inside(_index(field.grid, point), field.grid)
    return Inverse(Displacement(point - goals, on), miss.norm(dim=0), reached)


def _miss(field: Displacement, point: Tensor, goal: Tensor) -> Tensor:
    """`p + d(p) - q`"""
    return point + _read(field, _index(field.grid, point)) - goal


def _derivative_inverse(field: Displacement) -> Tensor:
    """`(3, 3, *S)`: inverse of the derivative of `p -> p + d(p)` at every voxel, millimetres; kept from exploding."""
    per_voxel = []
    for axis, size in enumerate(field.grid.shape):
        slope = torch.zeros_like(field.vectors) if size == 1 else torch.gradient(field.vectors, dim=1 + axis)[0]
        per_voxel.append(slope)
    slopes = torch.stack(per_voxel[::-1], 1)  # (3, ijk, *S)
    to_voxels = torch.from_numpy(np.linalg.inv(field.grid.affine[:3, :3]))
    whole = torch.einsum("ij...,jk->ik...", slopes, to_voxels) + torch.eye(3).double().view(3, 3, 1, 1, 1)
    matrices = whole.permute(2, 3, 4, 0, 1)
    folded = torch.linalg.det(matrices) < 0.05
    matrices = torch.where(folded[..., None, None], torch.eye(3).double(), matrices)
    return torch.linalg.inv(matrices).permute(3, 4, 0, 1, 2).contiguous()


# ------------------------------------------------------------------------- points, in millimetres and in voxels


def _apply(matrix: np.ndarray, points: Tensor) -> Tensor:
    """`(4, 4)` on points `(3, *S)`."""
    linear, shift = torch.from_numpy(matrix[:3, :3].copy()), torch.from_numpy(matrix[:3, 3].copy())
    return torch.einsum("ij,j...->i...", linear, points) + shift.view(3, *[1] * (points.ndim - 1))


def _world(affine: np.ndarray, index: Tensor) -> Tensor:
    """Tensor-axis voxels (k, j, i) `(3, *S)` -> millimetres."""
    return _apply(affine, index.flip(0))


def _index(grid: Grid, points: Tensor) -> Tensor:
    """Millimetres -> tensor-axis voxels (k, j, i)."""
    return _apply(np.linalg.inv(grid.affine), points).flip(0)


def _places(field: Displacement, source: Grid) -> Tensor:
    """Where the field leads, in voxels of `source`."""
    identity = fields.identity_grid(field.grid.shape, dtype=torch.float64)
    return _index(source, _world(field.grid.affine, identity) + field.vectors)


def _sampled(values: Tensor, at: Tensor) -> Tensor:
    """Maps `(C, *S)` read at places `(3, *T)`, the border going on outside."""
    steps = at - fields.identity_grid(at.shape[1:], dtype=torch.float64)
    return fields.sample(values[None], steps[None])[0]


def _read(field: Displacement, at: Tensor) -> Tensor:
    return _sampled(field.vectors, at)


def image_of(field: Displacement, *, flat: bool = False) -> nib.Nifti1Image:
    """The NIfTI image that ITK and ANTs read: vectors in millimetres LPS, `(X, Y, Z, 1, 3)`, intent 1007.

    Args:
        flat: of a 2-D file: `(X, Y, 1, 1, 2)`.
    """
    lps = field.vectors * torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    vectors = lps.numpy().T[:, :, :, None].astype(np.float32)
    image = nib.Nifti1Image(vectors[..., :2] if flat else vectors, field.grid.affine)
    image.header.set_intent(1007)
    image.header.set_xyzt_units("mm")
    return image

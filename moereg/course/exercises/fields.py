"""Chapter 01, fields and warps."""

import math

import torch
from torch import Tensor

from moereg import fields
from moereg.course.exercises.functions import Inputs, Task


def pull(answer: float, *, row: int, step: int) -> tuple[bool, str]:
    """A bright spot stands in `row` of the moving image; every voxel looks `step` rows further down. Its row after?"""
    if answer == row - step:
        return (
            True,
            f"Row {row - step} looks at {row - step} + {step} = {row}: the content moves against the field.",
        )
    if answer == row + step:
        return False, "That would be pushing. Which voxel x has x + u(x) at the spot?"
    if answer == row:
        return False, "The spot moves, as every voxel looks elsewhere. Which one finds it?"
    return False, f"Solve x + {step} = {row} for the voxel x that shows the spot."


def fold(answer: float, *, sigma: float) -> tuple[bool, str]:
    """The longest move m of one bump m exp(-r^2 / 2 sigma^2) that does not fold."""
    limit = sigma * math.sqrt(math.e)
    if math.isclose(answer, limit, rel_tol=0.01):
        return True, f"The steepest slope, at r = sigma, is m exp(-1/2) / sigma; it is one for m = {limit:.2f} voxels."
    if math.isclose(answer, sigma, rel_tol=0.01):
        return False, "You took the slope as m / sigma. Differentiate the bump and put r = sigma in."
    if math.isclose(answer, sigma / math.sqrt(math.e), rel_tol=0.01):
        return False, "Upside down: the slope is m exp(-1/2) / sigma, and it must not pass one."
    return False, "Where is the bump steepest? Set its slope there to -1 and solve for m."


def inverse(answer: float) -> tuple[bool, str]:
    """The map sends x to 1.5 x. The displacement of its inverse at x = 30."""
    if math.isclose(answer, -10, abs_tol=1e-6):
        return True, "30 comes from 20, so the inverse moves it by -10. At 20 the field itself moves by +10."
    if math.isclose(answer, -15, abs_tol=1e-6):
        return False, "That is -u(30). The way back starts at 30 but must undo the step that was taken from 20."
    if math.isclose(answer, 20, abs_tol=1e-6):
        return False, "That is where 30 goes. The displacement is the step from 30 to there."
    return False, "Find the y with 1.5 y = 30; the inverse's displacement at 30 is y - 30."


SHAPES = ((7, 8), (7, 8, 7))


def _smooth_fields(count: int) -> Inputs:
    """`count` smooth fields of a few voxels, in 2-D and in 3-D, two in a batch."""
    draw = torch.Generator().manual_seed(11)
    return {
        f"in {len(shape)}-D": tuple(
            fields.upsample_field(1.5 * torch.randn(2, len(shape), *(4,) * len(shape), generator=draw), shape)
            for _ in range(count)
        )
        for shape in SHAPES
    }


def _slopes(u: Tensor) -> Tensor:
    """`(B, *S, D, D)`: entry `i, j` is `d u_i / d x_j`, central differences."""
    return torch.stack(torch.gradient(u, dim=list(range(2, u.ndim))), -1).movedim(1, -2)


def _determinant(slopes: Tensor, identity: Tensor) -> Tensor:
    return torch.linalg.det(identity + slopes)[:, None]


def _diagonal_only(u: Tensor) -> Tensor:
    return (1 + _slopes(u).diagonal(dim1=-2, dim2=-1)).prod(-1)[:, None]


def _divergence(u: Tensor) -> Tensor:
    return 1 + _slopes(u).diagonal(dim1=-2, dim2=-1).sum(-1)[:, None]


def _rolled(u: Tensor) -> Tensor:
    """Differences that read the opposite side at the border."""
    axes = range(2, u.ndim)
    slopes = torch.stack([(u.roll(-1, axis) - u.roll(1, axis)) / 2 for axis in axes], -1).movedim(1, -2)
    return _determinant(slopes, torch.eye(u.shape[1]))


jacobian = Task(
    right=fields.jacobian_determinant,
    inputs=lambda: _smooth_fields(1),
    mistakes={
        "That is the determinant of the slopes of u. The map is x + u(x): the identity belongs to the matrix.": (
            lambda u: _determinant(_slopes(u), torch.zeros(u.shape[1], u.shape[1]))
        ),
        "One is added to the determinant. It belongs to each slope on the diagonal, before the determinant is taken.": (
            lambda u: 1 + _determinant(_slopes(u), torch.zeros(u.shape[1], u.shape[1]))
        ),
        "One is added to every entry of the matrix. The identity has ones on its diagonal only.": (
            lambda u: _determinant(_slopes(u), torch.ones(u.shape[1], u.shape[1]))
        ),
        "That multiplies the diagonal alone. A rotation has slopes beside it; they take part.": _diagonal_only,
        "That is one plus the divergence, which is right for small slopes only.": _divergence,
        "That is the determinant of x - u(x). Fields pull: the map is x + u(x).": (
            lambda u: _determinant(-_slopes(u), torch.eye(u.shape[1]))
        ),
        "The slopes are twice too steep: u(x + 1) - u(x - 1) spans two voxels.": (
            lambda u: _determinant(2 * _slopes(u), torch.eye(u.shape[1]))
        ),
        "Right inside, but at the border `roll` reads the opposite side. Use one-sided differences there.": _rolled,
    },
    praise="The identity plus the slopes, then the determinant: the room of a voxel's tissue in the moving image.",
    hint="Build the matrix of slopes, d u_i / d x_j in row i and column j, add the identity, take the determinant.",
)


compose = Task(
    right=fields.compose,
    inputs=lambda: _smooth_fields(2),
    mistakes={
        "That adds the two: right only where u is the same everywhere. After v one reads u *there*.": (
            lambda u, v: u + v
        ),
        "The order is exchanged: the map of the fixed grid begins with v, and u is read where v ends.": (
            lambda u, v: u + fields.warp(v, u)
        ),
        "That is u where v ends. The way to there, v itself, belongs to the sum.": lambda u, v: fields.warp(u, v),
        "That reads u at x - v(x). Fields pull: read at x + v(x).": lambda u, v: v + fields.warp(u, -v),
    },
    praise="v(x) + u(x + v(x)): first the step on the fixed grid, then what the other field says where it ends.",
    hint="Write down where x + v(x) is sent by the other field, and take x away.",
)

EXERCISES = {
    "fields-jacobian": jacobian,
    "fields-fold": fold,
    "fields-compose": compose,
    "fields-pull": pull,
    "fields-inverse": inverse,
}

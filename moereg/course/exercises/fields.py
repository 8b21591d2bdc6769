"""Chapter 01, fields and warps."""

import math

import torch

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


def determinant(answer: float) -> tuple[bool, str]:
    """The Jacobian determinant of the map with u(x) = (-1.5 row, 0.5 column)."""
    if math.isclose(answer, -0.75, abs_tol=1e-6):
        return True, "(1 - 1.5)(1 + 0.5) = -0.75: rows come in reversed order, the field folds everywhere."
    if math.isclose(answer, 0.75, abs_tol=1e-6):
        return False, "The size is right. The sign says whether the map turns the image over: here rows are reversed."
    if math.isclose(answer, 0.25, abs_tol=1e-6):
        return False, "Do not add one to the product: the identity is added to each derivative on the diagonal first."
    if any(math.isclose(answer, one, abs_tol=1e-6) for one in (-1.5, 0.5)):
        return False, "That is one derivative of u. The map is x + u(x), and it has two axes."
    return False, "Write down x + u(x) for both axes, take the two derivatives, multiply."


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


def _two_fields() -> Inputs:
    """Pairs of smooth fields of a few voxels, in 2-D and in 3-D, two in a batch."""
    draw = torch.Generator().manual_seed(11)
    return {
        f"in {len(shape)}-D": tuple(
            fields.upsample_field(1.5 * torch.randn(2, len(shape), *(4,) * len(shape), generator=draw), shape)
            for _ in range(2)
        )
        for shape in ((9, 12), (7, 8, 9))
    }


compose = Task(
    right=fields.compose,
    inputs=_two_fields,
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
    "fields-compose": compose,
    "fields-pull": pull,
    "fields-determinant": determinant,
    "fields-fold": fold,
    "fields-inverse": inverse,
}

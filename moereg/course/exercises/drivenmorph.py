"""Chapter 10, DrivenMorph."""

import math

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.fields import compose
from moereg.filters import gaussian_taps, smooth, smoothing_matrix

SHAPES = ((8, 10), (6, 7, 8))


def longest(answer: float) -> tuple[bool, str]:
    """All features are multiplied by 1000, L = 1. How long, in voxels, can an update be at most?"""
    if math.isclose(answer, 1, abs_tol=1e-6):
        return (
            True,
            "d and J grow alike, so u stays as it was; and lambda = sum d^2 / (4 L^2) bounds it by L in any case.",
        )
    if math.isclose(answer, 1000, abs_tol=1e-3):
        return (
            False,
            "u = (J J^T + lambda I)^-1 J d: a factor in the features appears squared above and below, and cancels.",
        )
    return False, "Put J -> 1000 J and d -> 1000 d into the formula."


def stream(answer: str) -> tuple[bool, str]:
    """A pair from another scanner: the same tissue has other intensities. Which stream has to learn that?"""
    if answer == "difference":
        return (
            True,
            "It decides what counts as different. Once it says that nothing differs, the deformation stream rests.",
        )
    if answer == "deformation":
        return (
            False,
            "That one turns differences into motion and never sees an image: a wrong difference becomes motion.",
        )
    return False, "Answer 'difference' or 'deformation'."


def control(answer: str, *, rows: list[dict]) -> tuple[bool, str]:
    """Which control comes closer to the trained force at the coarsest level, 'other pair' or 'untrained'?"""
    coarsest = max(row["level"] for row in rows)
    first = {row["control"]: row["angle"] for row in rows if (row["level"], row["round"]) == (coarsest, 1)}
    angles = {name: first[name] for name in ("other pair", "untrained")}
    closest = min(angles, key=angles.__getitem__)
    told = ", ".join(f"{name} {angle:.0f}" for name, angle in angles.items())
    if answer == closest:
        return True, f"Degrees from the missing displacement: {told}, trained {first['own']:.0f}."
    if answer in angles:
        return False, f"Degrees from the missing displacement: {told}; the smaller angle is the closer one."
    return False, "Answer 'other pair' or 'untrained'."


# ---- the force of many features ----


def _solved(difference: Tensor, gradient: Tensor, floor: Tensor, *, rows: Tensor | None = None) -> Tensor:
    """`(sum_c J_c J_c^T + floor I)^-1 sum_c J_c d_c`."""
    matrix = torch.einsum("bci...,bcj...->b...ij", gradient, gradient) if rows is None else rows
    vector = torch.einsum("bci...,bc...->b...i", gradient, difference)
    ridge = floor[..., None, None] * torch.eye(gradient.shape[2], dtype=gradient.dtype)
    return torch.linalg.solve(matrix + ridge, vector).movedim(-1, 1)


def _floor(difference: Tensor, L: float) -> Tensor:
    return difference.square().sum(1) / (4 * L**2)


def _feature_force(difference: Tensor, gradient: Tensor, L: float) -> Tensor:
    return _solved(difference, gradient, _floor(difference, L))


def _one_by_one(difference: Tensor, gradient: Tensor, L: float) -> Tensor:
    """The classical force of every channel by itself, averaged."""
    d = difference[:, :, None]
    return (d * gradient / (gradient.square().sum(2, keepdim=True) + d**2 / (4 * L**2))).mean(1)


def _diagonal(difference: Tensor, gradient: Tensor, L: float) -> Tensor:
    squares = gradient.square().sum(1).movedim(1, -1)
    return _solved(difference, gradient, _floor(difference, L), rows=torch.diag_embed(squares))


def _features() -> Inputs:
    draw = torch.Generator().manual_seed(101)
    return {
        f"in {len(shape)}-D": (
            0.5 + torch.rand(2, 3, *shape, generator=draw),
            torch.randn(2, 3, len(shape), *shape, generator=draw),
            L,
        )
        for shape, L in zip(SHAPES, (0.8, 0.3), strict=True)
    }


force = Task(
    right=_feature_force,
    inputs=_features,
    mistakes={
        "That is the mean of the channels' own forces, each of which sees along its own gradient only. Add the "
        "equations first, then solve once.": _one_by_one,
        "The brake is missing: lambda = sum d^2 / (4 L^2) belongs on the diagonal.": (
            lambda d, J, L: _solved(d, J, 0 * d.sum(1) + 1e-6)
        ),
        "Lambda is the sum over the channels, not their mean.": lambda d, J, L: _solved(
            d, J, _floor(d, L) / d.shape[1]
        ),
        "Lambda is sum d^2 / (4 L^2): the L is not squared.": lambda d, J, L: _solved(d, J, L * _floor(d, L)),
        "J_c J_c^T is a full matrix, D by D. With its diagonal alone the directions do not know of each other.": (
            _diagonal
        ),
        "The sign: d is fixed minus moving, and u = + (...) sum J d.": lambda d, J, L: -_feature_force(d, J, L),
    },
    praise="One small system for each voxel. With one channel it is the classical force.",
    hint="matrix = sum over c of J_c J_c^T, plus lambda I; vector = sum over c of J_c d_c; `torch.linalg.solve`.",
)


# ---- a round of the layer ----


def _smoothed(field: Tensor, taps: Tensor) -> Tensor:
    return smooth(field, [smoothing_matrix(taps, size) for size in field.shape[2:]])


def _round(u: Tensor, force: Tensor, taps: Tensor) -> Tensor:
    return compose(u, _smoothed(force, taps))


def _rounds() -> Inputs:
    draw = torch.Generator().manual_seed(102)
    return {
        f"in {len(shape)}-D": (
            *torch.randn(2, 2, len(shape), *shape, generator=draw),
            gaussian_taps(torch.tensor(0.8), 2),
        )
        for shape in SHAPES
    }


layer_round = Task(
    right=_round,
    inputs=_rounds,
    mistakes={
        "The update is added. The field so far has to be read where the update leads: compose.": (
            lambda u, f, t: u + _smoothed(f, t)
        ),
        "The order of composition: compose(u, update), the update acts first.": (
            lambda u, f, t: compose(_smoothed(f, t), u)
        ),
        "The force is composed as it is. Smooth it first.": lambda u, f, t: compose(u, f) + 0 * t.sum(),
        "The composed field is smoothed: that is elastic smoothing. Here the update alone is smoothed.": (
            lambda u, f, t: _smoothed(compose(u, f), t)
        ),
        "What comes back is the update. Compose the field so far with it.": lambda u, f, t: _smoothed(f, t) + 0 * u,
    },
    praise="Smooth the force, compose: fluid smoothing, as in chapter 03. The layer learns the taps' width alone.",
    hint="update = the force, smoothed along each axis; then update[x] + u[x + update[x]].",
)

EXERCISES = {
    "drivenmorph-force": force,
    "drivenmorph-round": layer_round,
    "drivenmorph-longest": longest,
    "drivenmorph-stream": stream,
    "drivenmorph-control": control,
}

"""Chapter 03, Demons."""

import math

import torch
from torch import Tensor

from moereg.classical import demons_force
from moereg.course.exercises.functions import Inputs, Task
from moereg.filters import gaussian_taps, smooth, smoothing_matrix

SHAPES = ((9, 12), (7, 8, 9))


def ceiling(answer: float, *, sigma: float, wavelength: float, step: float) -> tuple[bool, str]:
    """The highest wave that elastic smoothing holds, in voxels, while a force of length `step` pushes."""
    height = math.exp(sigma**2 * (math.cos(2 * math.pi / wavelength) - 1))
    right = step * height / (1 - height)
    if math.isclose(answer, right, rel_tol=0.02):
        return True, f"A wave keeps {height:.0%} of its height in each smoothing: {step:g} H / (1 - H) = {right:.2f}."
    if math.isclose(answer, right / step, rel_tol=0.02):
        return False, "That is in units of L. The force is no longer than L voxels."
    if math.isclose(answer, step / (1 - height), rel_tol=0.02):
        return False, "The sum begins with H, not with one: also the newest step is smoothed before it counts."
    if math.isclose(answer, step * height, rel_tol=0.02):
        return False, "That is what the first iteration leaves. Add up what all of them leave."
    return False, "H = exp(sigma^2 (cos(2 pi / wavelength) - 1)) in radians; then sum L (H + H^2 + H^3 + ...)."


def half(answer: float, *, difference: float, step: float) -> tuple[bool, str]:
    """The larger of the two gradients at which the force of a given difference is half as long as its bound."""
    longest = abs(difference) / (2 * step)
    right = longest * (2 + math.sqrt(3))
    if math.isclose(answer, right, rel_tol=0.02):
        return True, f"With x = |J| / {longest:g} it is x^2 - 4 x + 1 = 0, and x = 2 + sqrt(3) is the larger solution."
    if math.isclose(answer, longest * (2 - math.sqrt(3)), rel_tol=0.02):
        return False, "There the force is half of L too, on its way up. Which is the larger gradient?"
    if math.isclose(answer, longest, rel_tol=0.02):
        return False, "There it is longest."
    if math.isclose(answer, 2 * longest, rel_tol=0.02):
        return False, "Twice the gradient does not halve it: put it in. |J| is in both numerator and denominator."
    if math.isclose(answer, 2 * abs(difference) / step, rel_tol=0.02):
        return False, "That is optical flow, d / J = L / 2. The brake still counts there."
    return False, "Solve d J / (J^2 + d^2 / (4 L^2)) = L / 2 for J; it is a quadratic equation."


def spacing(answer: float) -> tuple[bool, str]:
    """All voxels become twice as large, the intensities stay. By which factor does a displacement in voxels change?"""
    if math.isclose(answer, 1, abs_tol=1e-6):
        return True, "Gradients per mm halve, h doubles: the force doubles in mm and stays the same in voxels."
    if math.isclose(answer, 2, abs_tol=1e-6):
        return False, "That is the factor in millimetres."
    if math.isclose(answer, 0.5, abs_tol=1e-6):
        return False, "Gradients per mm halve, but that makes the force in mm longer; then divide by the voxel's edge."
    return False, "Put J / 2 and 2 h into the force in mm, and divide by 2 for voxels."


# ---- the force ----


def _right_force(difference: Tensor, gradient: Tensor, L: float) -> Tensor:
    return demons_force(difference, gradient[:, None], max_step=L)


def _braked(difference: Tensor, gradient: Tensor, brake: Tensor) -> Tensor:
    return difference * gradient / (gradient.square().sum(1, keepdim=True) + brake)


def _differences() -> Inputs:
    """Differences and gradients of images between zero and one, none of them zero, with two bounds."""
    draw = torch.Generator().manual_seed(12)
    return {
        f"in {len(shape)}-D": (
            torch.rand(2, 1, *shape, generator=draw) - 1.1,
            0.3 * torch.randn(2, len(shape), *shape, generator=draw),
            L,
        )
        for shape, L in zip(SHAPES, (0.8, 0.25), strict=True)
    }


force = Task(
    right=_right_force,
    inputs=_differences,
    mistakes={
        "That is optical flow: where the gradient is small the step is enormous. The brake is missing.": (
            lambda d, J, L: _braked(d, J, 0 * d)
        ),
        "The brake is d^2 alone, which is right for L = 1/2. Divide it by 4 L^2.": lambda d, J, L: _braked(d, J, d**2),
        "L has to be squared with its 2: d^2 / (4 L^2) is (d / 2L)^2.": lambda d, J, L: _braked(d, J, d**2 / (4 * L)),
        "The sign: d is fixed minus warped, and the moving image is read at x + u.": (
            lambda d, J, L: -_braked(d, J, d**2 / (4 * L**2))
        ),
        "|J|^2 is the sum over all directions. Here each direction has a denominator of its own.": (
            lambda d, J, L: d * J / (J**2 + d**2 / (4 * L**2))
        ),
        "|J|^2 is the square of the length, not the length.": (
            lambda d, J, L: d * J / (J.norm(dim=1, keepdim=True) + d**2 / (4 * L**2))
        ),
    },
    praise="Optical flow where the gradient is strong, nothing where it vanishes, and never longer than L.",
    hint="d J / (|J|^2 + d^2 / (4 L^2)), with |J|^2 the sum of squares over the directions, kept as one channel.",
)


# ---- separable smoothing ----


def _matrices(field: Tensor, taps: Tensor, axes: range) -> Tensor:
    return smooth(
        field,
        [
            smoothing_matrix(taps, size) if axis in axes else torch.eye(size)
            for axis, size in enumerate(field.shape[2:])
        ],
    )


def _zero_outside(field: Tensor, taps: Tensor) -> Tensor:
    radius = len(taps) // 2
    for axis in range(2, field.ndim):
        padded = torch.nn.functional.pad(field.movedim(axis, -1), (radius, radius))
        field = (padded.unfold(-1, len(taps), 1) * taps).sum(-1).movedim(-1, axis)
    return field


def _fields_and_taps() -> Inputs:
    draw = torch.Generator().manual_seed(13)
    return {
        f"in {len(shape)}-D": (
            torch.randn(2, len(shape), *shape, generator=draw),
            gaussian_taps(torch.tensor(sigma), radius),
        )
        for shape, sigma, radius in zip(SHAPES, (1.0, 0.7), (2, 1), strict=True)
    }


smoothing = Task(
    right=lambda field, taps: _matrices(field, taps, range(field.ndim - 2)),
    inputs=_fields_and_taps,
    mistakes={
        "Outside you put zeros, which pull the border towards no motion. Repeat the border's value.": _zero_outside,
        "That is smoothed along the first axis only. The kernel is separable: once along each axis.": (
            lambda field, taps: _matrices(field, taps, range(1))
        ),
        "The first axis is missing: it is smoothed along all the others only.": (
            lambda field, taps: _matrices(field, taps, range(1, field.ndim - 2))
        ),
        "The results along the axes are averaged. Smooth the result of one axis along the next.": (
            lambda field, taps: (
                sum(_matrices(field, taps, range(axis, axis + 1)) for axis in range(field.ndim - 2)) / (field.ndim - 2)
            )
        ),
    },
    praise="A few taps along each axis in turn: in a volume 3 n products for each voxel, not n^3.",
    hint="Along each axis in turn: the weighted mean of 2 r + 1 neighbours, indices clamped to the image.",
)


# ---- the bracket ----


def _bracket(v: Tensor, u: Tensor, gradient_v: Tensor, gradient_u: Tensor) -> Tensor:
    return (gradient_v * u[:, None]).sum(2) - (gradient_u * v[:, None]).sum(2)


def _flows() -> Inputs:
    draw = torch.Generator().manual_seed(14)
    return {
        f"in {len(shape)}-D": tuple(
            torch.randn(2, *(len(shape),) * order, *shape, generator=draw) for order in (1, 1, 2, 2)
        )
        for shape in SHAPES
    }


bracket = Task(
    right=_bracket,
    inputs=_flows,
    mistakes={
        "The sign: [v, u] = -[u, v]. The gradient of v comes first, applied to u.": lambda v, u, gv, gu: _bracket(
            u, v, gu, gv
        ),
        "Each gradient is applied to its own field. (grad v) acts on u, (grad u) on v.": lambda v, u, gv, gu: (
            (gv * v[:, None]).sum(2) - (gu * u[:, None]).sum(2)
        ),
        "The gradients are transposed: the derivative axis j meets the other field's component j.": (
            lambda v, u, gv, gu: (gv * u[:, :, None]).sum(1) - (gu * v[:, :, None]).sum(1)
        ),
        "The two terms are added. What matters is their difference: it is zero for flows that commute.": (
            lambda v, u, gv, gu: (gv * u[:, None]).sum(2) + (gu * v[:, None]).sum(2)
        ),
        "That is the first term alone.": lambda v, u, gv, gu: (gv * u[:, None]).sum(2),
    },
    praise="Zero where the two flows commute, and it changes its sign with their order.",
    hint="Component i is the sum over j of (d v_i / d x_j) u_j - (d u_i / d x_j) v_j.",
)

EXERCISES = {
    "demons-force": force,
    "demons-smooth": smoothing,
    "demons-bracket": bracket,
    "demons-ceiling": ceiling,
    "demons-half": half,
    "demons-spacing": spacing,
}

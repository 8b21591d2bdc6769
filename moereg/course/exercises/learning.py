"""Chapter 04, learning to register."""

import math

import torch
from torch import Tensor

from moereg import fields
from moereg.course.exercises.functions import Inputs, Task
from moereg.regularity import diffusion

SHAPES = ((7, 8), (7, 8, 7))


def pays(answer: float, *, training: float, network: float, search: float) -> tuple[bool, str]:
    """After how many pairs has training cost less than a search for each of them? All times in seconds."""
    right = training / (search - network)
    if right - 0.05 * right <= answer <= right + max(1.0, 0.05 * right):
        return (
            True,
            f"{training:.1f} s of training, {search - network:.3f} s saved by each pair: {math.ceil(right)} pairs.",
        )
    if network > 0 and math.isclose(answer, training / network, rel_tol=0.05):
        return False, "That many passes take as long as the training. Count what each pair saves instead."
    return False, "Each pair saves the search and costs one pass. How many savings make up for the training?"


def first_step(answer: str) -> tuple[bool, str]:
    """Which layers get a gradient in the first step, when the last one's weights are zero?"""
    if answer == "last":
        return (
            True,
            "Its gradient is that of the field times the features, neither is zero. To the layers before, "
            "the gradient passes through the zero weights; from the second step on it arrives.",
        )
    if answer == "all":
        return False, "The chain rule multiplies by the last layer's weights on the way to the layers before it."
    if answer == "none":
        return False, "The field is zero, the slope of the loss at it is not, and neither are the features."
    return False, "Answer 'all', 'last' or 'none'."


def visits(answer: float, *, pairs: int, steps: int, more: int) -> tuple[bool, str]:
    """After how many steps has each of `more` pairs been seen as often as each of `pairs` pairs after `steps`?"""
    right = steps * more / pairs
    if math.isclose(answer, right, rel_tol=1e-6):
        return True, "Equal steps are not equal visits: with more pairs each of them is seen less often."
    if math.isclose(answer, steps, rel_tol=1e-6):
        return False, "After as many steps each of the many pairs has been seen less often."
    if math.isclose(answer, steps * pairs / more, rel_tol=1e-6):
        return False, "Upside down: more pairs need more steps."
    if math.isclose(answer, steps * more, rel_tol=1e-6):
        return False, "Each of the few pairs is not drawn in every step either."
    return False, "Visits of one pair are steps times pairs per step, divided by the number of pairs."


# ---- the loss of one pair ----


def _loss(moving: Tensor, fixed: Tensor, u: Tensor, weight: float) -> Tensor:
    return (fields.warp(moving, u) - fixed).square().mean() + weight * diffusion(u)


def _pairs() -> Inputs:
    """Images and fields of half a voxel, so that no position is beyond the image for long."""
    draw = torch.Generator().manual_seed(15)
    cases = {}
    for shape, weight in zip(SHAPES, (0.5, 0.2), strict=True):
        images = (torch.rand(2, 1, *shape, generator=draw) for _ in range(2))
        u = 0.5 * torch.randn(2, len(shape), *shape, generator=draw)
        cases[f"in {len(shape)}-D"] = (*images, u, weight)
    return cases


loss = Task(
    right=_loss,
    inputs=_pairs,
    mistakes={
        "The fixed image is warped. The field pulls the moving image onto the grid of the fixed one.": (
            lambda m, f, u, w: _loss(f, m, u, w)
        ),
        "That warps with -u. The field already says where to look: x + u(x).": lambda m, f, u, w: _loss(m, f, -u, w),
        "The smoothness is missing: any field that finds like intensities would do.": lambda m, f, u, w: _loss(
            m, f, u, 0
        ),
        "The smoothness counts without its weight.": lambda m, f, u, w: _loss(m, f, u, 1),
        "That rewards roughness: both terms are losses, and they are added.": lambda m, f, u, w: _loss(m, f, u, -w),
        "That punishes long fields, not rough ones: take differences of neighbours.": lambda m, f, u, w: (
            _loss(m, f, u, 0) + w * u.square().sum(1).mean()
        ),
    },
    praise="No label and no true field enters: that is why any pair of scans can be trained on.",
    hint="(warp(moving, u) - fixed)^2, its mean, plus weight times diffusion(u).",
)


# ---- one step of Adam ----


def _adam(
    values: Tensor, slope: Tensor, mean: Tensor, square: Tensor, step: int, rate: float, *, correct: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
    first, second = (mean / (1 - 0.9**step), square / (1 - 0.999**step)) if correct else (mean, square)
    return values - rate * first / (second.sqrt() + 1e-8), mean, square


def _uphill(values: Tensor, slope: Tensor, mean: Tensor, square: Tensor, step: int, rate: float):
    return _adam(values, slope, mean, square, step, -rate)


def _without_root(values: Tensor, slope: Tensor, mean: Tensor, square: Tensor, step: int, rate: float):
    _, mean, square = _adam(values, slope, mean, square, step, rate)
    return values - rate * (mean / (1 - 0.9**step)) / (square / (1 - 0.999**step) + 1e-8), mean, square


def _handing_back_corrected(values: Tensor, slope: Tensor, mean: Tensor, square: Tensor, step: int, rate: float):
    moved, mean, square = _adam(values, slope, mean, square, step, rate)
    return moved, mean / (1 - 0.9**step), square / (1 - 0.999**step)


def _moments() -> Inputs:
    draw = torch.Generator().manual_seed(16)
    cases = {}
    for shape, step in zip(SHAPES, (1, 7), strict=True):
        values, slope, mean = (torch.randn(1, len(shape), *shape, generator=draw) for _ in range(3))
        later = float(step > 1)  # before the first step both running means are zero
        square = later * (0.1 + torch.rand(values.shape, generator=draw))
        cases[f"in {len(shape)}-D, step {step}"] = (values, slope, later * 0.1 * mean, square, step, 0.1)
    return cases


adam = Task(
    right=_adam,
    inputs=_moments,
    mistakes={
        "That goes uphill: the unknowns move against the slope.": _uphill,
        "The running means start at zero and are too small at first. Divide by 1 - 0.9^step and 1 - 0.999^step.": (
            lambda v, g, m, q, step, rate: _adam(v, g, m, q, step, rate, correct=False)
        ),
        "The square root is missing: without it the step is the longer, the flatter the loss is.": _without_root,
        "That is plain descent. Adam divides by how large the slope usually is.": lambda v, g, m, q, step, rate: (
            v - rate * g,
            *_adam(v, g, m, q, step, rate)[1:],
        ),
        "Correct only what the step uses. The running means go on uncorrected.": _handing_back_corrected,
    },
    praise="In the first step every unknown moves by the rate, whatever its slope: only its sign counts.",
    hint="New running means first; then both divided by what they lack; then the step.",
    gradient=False,
)


# ---- scaling and squaring ----


def _velocities() -> Inputs:
    draw = torch.Generator().manual_seed(17)
    return {
        f"in {len(shape)}-D": (
            fields.upsample_field(1.5 * torch.randn(1, len(shape), *(4,) * len(shape), generator=draw), shape),
            number,
        )
        for shape, number in zip(SHAPES, (4, 3), strict=True)
    }


def _doubled(velocity: Tensor, number: int) -> Tensor:
    u = velocity
    for _ in range(number):
        u = fields.compose(u, u)
    return u


def _euler(velocity: Tensor, number: int) -> Tensor:
    u = torch.zeros_like(velocity)
    for _ in range(number):
        u = fields.compose(velocity / number, u)
    return u


squaring = Task(
    right=fields.exponentiate,
    inputs=_velocities,
    mistakes={
        "Begin with a small part of the velocity: each composition doubles the time, so divide by 2^number first.": (
            _doubled
        ),
        "That adds the field to itself and ends at the velocity. Compose: read the field where it leads.": (
            lambda v, n: v.clone()
        ),
        "Those are `number` small steps. Compose the field with itself, and the steps double each time.": _euler,
        "One composition is missing, and the time is half over.": lambda v, n: fields.exponentiate(v / 2, n - 1),
        "Divide by 2^number, not by number.": lambda v, n: _doubled(v / n, n),
    },
    praise="number compositions make 2^number steps along the velocity.",
    hint="u = velocity / 2^number; then number times u = compose(u, u).",
)

EXERCISES = {
    "learning-loss": loss,
    "learning-adam": adam,
    "learning-squaring": squaring,
    "learning-pays": pays,
    "learning-first-step": first_step,
    "learning-visits": visits,
}

"""Greedy diffeomorphic registration by local correlation: SyN's force, without training, in seconds.

Each iteration takes the derivative of the local correlation with respect to where the moving image is read, smooths it
(fluid), makes it a step of a few tenths of a voxel, composes the field with it, and smooths the field (elastic):

    g = K_fluid * ( -dL/dI(x) grad(M o s)(x) - rest(x) )      L = lncc(M o s, F), I = M o s
    m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) |g|^2          step = rate m / (sqrt(v) + floor)
    s <- K_elastic * ( s o (id + step) )

The force is that of the cross-correlation variant of SyN (Avants et al. 2008), the greedy composition that of Joshi et
al. (1995) and of "greedy" (Yushkevich et al. 2016), Adam's moments of a field per voxel that of FireANTs (Jena et al.
2024). Ours: `rest`, the force between the fixed image and itself (the floor in the correlation's denominator asks even
equal images for more contrast), so that equal images stay where they are; one second moment per voxel for the whole
vector, so that a step keeps the direction of the force; a floor under it, and the elastic smoothing, which keep the
field still where the images say nothing; the schedule. Compositions of small smooth steps do not fold.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moereg.checks import check_image, check_positive, check_same_space
from moereg.classical.sampling import fast_sample
from moereg.fields import upsample_field
from moereg.filters import halve, smooth, smoothing_matrices, spatial_gradient
from moereg.models.registration import Registration
from moereg.similarity import lncc

ITERATIONS = (60, 60, 25)  # coarse to fine
RATE = 0.7  # voxels of the level: the length of a step where the force keeps its direction
FLUID, ELASTIC = 1.3, 0.8  # sigma in voxels of the level
FIRST, SECOND = 0.9, 0.99  # b1, b2
FLOOR, LEAST = 0.3, 0.1  # of the divisor: a share of the typical force of the pair, and a force that is nearly none
WINDOW = 7  # voxels; as good as 9 on scans, and better on thin cortex
SMALLEST_AXIS = 12  # voxels of the shortest axis that halving must leave


def greedy_correlation(
    moving: Float[Tensor, "batch 1 *space"],
    fixed: Float[Tensor, "batch 1 *space"],
    *,
    iterations: Sequence[int] = ITERATIONS,
    rate: float = RATE,
    fluid_sigma: float = FLUID,
    elastic_sigma: float = ELASTIC,
    window: int = WINDOW,
    mask: Bool[Tensor, "batch 1 *space"] | None = None,
) -> Registration:
    """Register `moving` to `fixed`; see the module's text. The items of a batch are independent pairs.

    Args:
        moving, fixed: `(B, 1, *S)`, between 0 and 1.
        iterations: of each resolution, coarse to fine; of the coarsest as many are left out as the images are too
            small for.
        rate: length of a step, voxels of the level.
        fluid_sigma, elastic_sigma: Gaussians on the steps and on the field, voxels of the level.
        window: of the local correlation.
        mask: where the fixed image counts; nothing pulls elsewhere.

    Raises:
        TypeError, ValueError: one sentence naming the argument.
    """
    check_image("moving", moving)
    check_image("fixed", fixed)
    check_same_space("moving", moving, "fixed", fixed, channels=True)
    check_positive("rate", rate)
    for count in iterations:
        check_positive("iterations", count, integer=True)
    levels = [(moving, fixed, mask)]
    while len(levels) < len(iterations) and min(levels[-1][1].shape[2:]) >= 2 * SMALLEST_AXIS:
        levels.append(_halved(*levels[-1]))
    field = fixed.new_zeros(fixed.shape[0], fixed.ndim - 2, *levels[-1][1].shape[2:])
    with torch.no_grad():
        for level, count in zip(reversed(levels), iterations[-len(levels) :], strict=True):
            if field.shape[2:] != level[1].shape[2:]:
                field = upsample_field(field, level[1].shape[2:])
            field = _descend(field, *level, count, rate, (fluid_sigma, elastic_sigma), window)
        return Registration(field, fast_sample(moving, field))


def _halved(moving: Tensor, fixed: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    coarse = None if mask is None else mask[(..., *[slice(None, None, 2)] * (mask.ndim - 2))]
    return halve(moving), halve(fixed), coarse


def _descend(
    field: Tensor,
    moving: Tensor,
    fixed: Tensor,
    mask: Tensor | None,
    count: int,
    rate: float,
    sigmas: tuple[float, float],
    window: int,
) -> Tensor:
    """`count` iterations on one level."""
    fluid, elastic = (smoothing_matrices([sigma] * (fixed.ndim - 2), fixed) for sigma in sigmas)
    rest = _force(fixed, fixed, mask, window)
    momentum, power = torch.zeros_like(field), torch.zeros_like(field[:, :1])
    for number in range(1, count + 1):
        # g = K_fluid * ( -dL/dI grad(M o s) - rest )
        force = smooth(_force(fast_sample(moving, field), fixed, mask, window).sub_(rest), fluid)
        momentum.mul_(FIRST).add_(force, alpha=1 - FIRST)
        power.mul_(SECOND).add_(force.square().sum(1, keepdim=True), alpha=1 - SECOND)
        # step = rate m / sqrt(v), both freed of their start at zero
        length = (power / (1 - SECOND**number)).sqrt_()
        typical = length.square().mean(dim=tuple(range(1, length.ndim)), keepdim=True).sqrt_()
        length.add_(typical * FLOOR).add_(LEAST)
        step = momentum * (rate / (1 - FIRST**number)) / length
        # s <- K_elastic * ( s o (id + step) )
        field = smooth(fast_sample(field, step).add_(step), elastic)
    return field


def _force(warped: Tensor, fixed: Tensor, mask: Tensor | None, window: int) -> Tensor:
    """`-dL/dI grad(M o s)`, for a loss that is a sum over voxels: its size does not depend on how many there are."""
    with torch.enable_grad():
        image = warped.detach().requires_grad_()
        shown = image if mask is None else torch.where(mask, image, fixed)
        (slope,) = torch.autograd.grad(lncc(shown, fixed, window), image)
    return spatial_gradient(warped)[:, 0].mul_(slope * -float(fixed.numel()))

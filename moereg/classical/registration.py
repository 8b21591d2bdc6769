"""`demons`: levels, stopping, and what is returned."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from moereg.checks import check_choice, check_field, check_image, check_positive, check_same_space
from moereg.classical.step import VARIANTS, Level, Settings
from moereg.fields import upsample_field
from moereg.filters import halve

MOST_LEVELS, AUTOMATIC_AXIS, SMALLEST_AXIS = 3, 16, 4


@dataclass(frozen=True)
class DemonsResult:
    """What `demons` returns. The iterations of all levels stand one after another, coarse to fine."""

    displacement: Float[Tensor, "batch dims *space"]  # voxels
    warped: Float[Tensor, "batch 1 *space"]
    history: Float[Tensor, "batch iteration"]  # mean squared difference before each iteration, on its level's images
    change: Float[Tensor, "batch iteration"]  # root mean square change of the field (of v for "log"), mm
    factors: tuple[int, ...]  # voxel edge of each iteration's level, in voxels of the images
    velocity: Float[Tensor, "batch dims *space"] | None = None  # v, "log" only, voxels


@torch.no_grad()
def demons(
    moving: Float[Tensor, "batch 1 *space"],
    fixed: Float[Tensor, "batch 1 *space"],
    variant: str = "thirion",
    *,
    iterations: int | Sequence[int] = 50,
    levels: int | None = None,
    elastic_sigma: float | Sequence[float] = 1.0,
    fluid_sigma: float | Sequence[float] = 0.0,
    max_step: float = 0.5,
    spacing: Sequence[float] | None = None,
    tolerance: float = 0.0,
    initial: Float[Tensor, "batch dims *space"] | None = None,
    intensity_threshold: float = 1e-3,
    missing_mass: float = 0.1,
    smooth_before: bool = False,
    progress: bool = False,
) -> DemonsResult:
    """Register `moving` to `fixed` by Demons; the items of a batch are independent pairs.

    Args:
        moving, fixed: `(B, 1, *S)`, of comparable intensities.
        variant: a row of the module's table.
        iterations: on every level, or one number per level, coarse to fine.
        levels: resolutions, each half the next. Default: up to three while the shortest axis keeps 16 voxels.
        elastic_sigma: Gaussian on the field, in voxels of the level, one number or one per axis; 0 is none.
        fluid_sigma: Gaussian on each update, likewise.
        max_step: L, bound of the update before smoothing, in units of h.
        spacing: voxel edges in millimetres in tensor order (z, y, x). Default: one.
        tolerance: a level ends when the fields of all items change by no more than this (root mean square, mm).
        initial: displacement to start from, in voxels; a velocity for "log".
        intensity_threshold: smaller differences exert no force.
        missing_mass: how much of a Gaussian is cut off at most (ITK's "maximum error", with its default).
        smooth_before: smooth the field before each iteration, not after it, and so return it rough.
        progress: show a bar.

    Raises:
        TypeError, ValueError: one sentence naming the argument.
    """
    _check_images(moving, fixed, initial)
    check_choice("variant", variant, VARIANTS)
    check_positive("max_step", max_step)
    _check_range("missing_mass", missing_mass, 1)
    _check_range("tolerance", tolerance)
    _check_range("intensity_threshold", intensity_threshold)
    dims = moving.ndim - 2
    settings = Settings(
        variant=variant,
        elastic=_per_axis("elastic_sigma", elastic_sigma, dims),
        fluid=_per_axis("fluid_sigma", fluid_sigma, dims),
        max_step=max_step,
        threshold=intensity_threshold,
        missing_mass=missing_mass,
        smooth_before=smooth_before,
    )
    spacing = _per_axis("spacing", 1.0 if spacing is None else spacing, dims, positive=True)
    counts = _count_iterations(iterations, _count_levels(levels, moving.shape[2:]))
    pyramid, field = _pyramid(moving, fixed, initial, len(counts))
    records: list[tuple[Tensor, Tensor, int]] = []
    with tqdm(total=sum(counts), desc="demons", unit="iteration", disable=not progress) as bar:
        for index, (images, count) in enumerate(zip(pyramid, counts, strict=True)):
            factor = 2 ** (len(counts) - 1 - index)
            level = Level(*images, tuple(factor * edge for edge in spacing), settings)
            field = upsample_field(field, level.fixed.shape[2:]) if index else field
            for _ in range(count):
                field, difference, change = level.step(field)
                records.append((difference, change, factor))
                bar.update()
                if bool((change <= tolerance).all()):
                    break
    displacement = level.displacement(field)
    history, changes, factors = zip(*records, strict=True)
    velocity = field if variant == "log" else None
    return DemonsResult(
        displacement,
        level.warp(displacement),
        torch.stack(history, 1),
        torch.stack(changes, 1),
        factors,
        velocity,
    )


def _pyramid(
    moving: Tensor, fixed: Tensor, initial: Tensor | None, levels: int
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Both images on every level, coarse to fine, and the first field on the coarsest."""
    dtype = torch.promote_types(torch.promote_types(moving.dtype, fixed.dtype), torch.float32)
    images = [(moving.to(dtype), fixed.to(dtype))]
    if initial is None:
        initial = fixed.new_zeros(fixed.shape[0], fixed.ndim - 2, *fixed.shape[2:])
    field = initial.to(dtype)
    for _ in range(levels - 1):
        images.append((halve(images[-1][0]), halve(images[-1][1])))
        field = halve(field) / 2
    return images[::-1], field


def _check_images(moving: Tensor, fixed: Tensor, initial: Tensor | None) -> None:
    check_image("moving", moving)
    check_image("fixed", fixed)
    check_same_space("moving", moving, "fixed", fixed, channels=True)
    if moving.shape[1] != 1:
        raise ValueError(f"moving and fixed must have one channel, got shape {tuple(moving.shape)}.")
    if initial is not None:
        check_field("initial", initial)
        check_same_space("initial", initial, "fixed", fixed)


def _check_range(name: str, value: float, below: float = math.inf) -> None:
    if not isinstance(value, Real) or not 0 <= value < below:
        rule = "not be negative" if below == math.inf else f"be between 0 and {below}"
        raise ValueError(f"{name} must {rule}, got {value!r}.")


def _per_axis(name: str, value: float | Sequence[float], dims: int, *, positive: bool = False) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Iterable) else (value,) * dims
    finite = all(isinstance(number, Real) and 0 <= number < math.inf for number in values)
    if len(values) != dims or not finite or (positive and 0 in values):
        kind = "positive" if positive else "non-negative"
        raise ValueError(f"{name} must be {kind}, one number or one for each of the {dims} axes, got {value!r}.")
    return tuple(float(number) for number in values)


def _count_levels(levels: int | None, space: Sequence[int]) -> int:
    if levels is None:
        return max(1, min(MOST_LEVELS, int(math.log2(max(min(space) / AUTOMATIC_AXIS, 1))) + 1))
    check_positive("levels", levels, integer=True)
    coarsest = math.ceil(min(space) / 2 ** (levels - 1))
    if levels > 1 and coarsest < SMALLEST_AXIS:
        raise ValueError(
            f"levels must leave at least {SMALLEST_AXIS} voxels along every axis of the coarsest level, "
            f"got {levels} for images of {tuple(space)}."
        )
    return levels


def _count_iterations(iterations: int | Sequence[int], levels: int) -> list[int]:
    counts = list(iterations) if isinstance(iterations, Sequence) else [iterations] * levels
    for count in counts:
        check_positive("iterations", count, integer=True)
    if len(counts) != levels:
        raise ValueError(f"iterations must be one number or one for each of the {levels} levels, got {counts}.")
    return counts

"""Methods without weights, by name: what a trained network has to be compared with.

| name                  | what it does                                                            |
|-----------------------|-------------------------------------------------------------------------|
| "identity"            | nothing: the row "before" of every table                                |
| "demons-VARIANT"      | classical Demons of `moereg.classical`, three resolutions, 60 + 60 + 40 iterations |
| "greedy"              | greedy diffeomorphic descent of the local correlation, 60 + 60 + 25 iterations |

The schedule is ours. More iterations or another smoothing change phantoms' Dice by a few hundredths at most; one voxel
of elastic smoothing was the best of 1, 1.5 and 2.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from moereg.classical.greedy import greedy_correlation
from moereg.classical.registration import demons
from moereg.classical.step import VARIANTS
from moereg.models.registration import Registration

ITERATIONS = (60, 60, 40)  # coarse to fine


def identity(moving: Tensor, fixed: Tensor) -> Registration:
    """The method that does nothing: the "before" row of every table."""
    return Registration(moving.new_zeros(moving.shape[0], moving.ndim - 2, *moving.shape[2:]), moving)


def multiresolution_demons(moving: Tensor, fixed: Tensor, *, variant: str) -> Registration:
    """Register images `(B, 1, *S)` by one Demons variant, at as many of the three resolutions as they are large."""
    levels = sum(min(fixed.shape[2:]) >= 16 * 2**level for level in (1, 2)) + 1
    result = demons(moving, fixed, variant, iterations=ITERATIONS[-levels:], levels=levels)
    return Registration(result.displacement, result.warped)


METHODS: dict[str, Callable[[Tensor, Tensor], Registration]] = {
    "identity": identity,
    **{f"demons-{variant}": partial(multiresolution_demons, variant=variant) for variant in VARIANTS},
    "greedy": greedy_correlation,
}

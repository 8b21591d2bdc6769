"""Chapter 09, SHMoAReg."""

import math

import torch
from torch import Tensor

from moereg import fields
from moereg.course.exercises.functions import Inputs, Task


def compose(answer: float) -> tuple[bool, str]:
    """The field so far is u(x) = 0.1 x, the residual r = 1 everywhere. The new displacement at x = 10?"""
    if math.isclose(answer, 2.1, abs_tol=1e-6):
        return True, "r + u(x + r) = 1 + 0.1 * 11: the earlier field is read where the residual points to."
    if math.isclose(answer, 2.0, abs_tol=1e-6):
        return (
            False,
            "That adds the fields at x = 10. The residual acts on the *warped* image: u must be read at x + r.",
        )
    return False, "compose(u, r)(x) = r(x) + u(x + r(x))."


def control(answer: str) -> tuple[bool, str]:
    """Which control does 'experts know the organs' need: 'shuffled' labels or labels of an 'other' subject?"""
    if answer == "other":
        return True, (
            "Gates are smooth maps and so are organs: any two smooth maps share some information. Labels of another "
            "subject are as smooth and lie in about the same place; only what exceeds them is about this subject."
        )
    if answer == "shuffled":
        return False, "Shuffled labels are not smooth any more, so every smooth map looks informative beside them."
    return False, "Answer 'shuffled' or 'other'."


def missed(answer: str, *, rows: list[dict]) -> tuple[bool, str]:
    """Random gates in which direction cost most?"""
    costs = {row["what"]: row["epe_change"] for row in rows if row["change"] == "random gates"}
    worst = max(costs, key=costs.__getitem__)
    if answer == worst:
        return True, f"{costs[worst]:+.3f} voxels. Compare it with how far tissue moves in that direction."
    if answer in costs:
        return False, f"There it is {costs[answer]:+.3f} voxels, elsewhere more."
    return False, f"Name one of {', '.join(costs)}."


def _levels() -> Inputs:
    """A field of half the size and a residual, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(91)
    return {
        f"in {len(half)}-D": (
            torch.randn(2, len(half), *half, generator=draw),
            torch.randn(2, len(half), *(2 * size for size in half), generator=draw),
        )
        for half in ((4, 5), (3, 2, 4))
    }


def _composed(coarse: Tensor, residual: Tensor) -> Tensor:
    return fields.compose(fields.upsample_field(coarse, residual.shape[2:]), residual)


residual = Task(
    right=_composed,
    inputs=_levels,
    mistakes={
        "The fields are added. The residual acts on the image that the coarse field has warped: read it at x + r.": (
            lambda coarse, residual: residual + fields.upsample_field(coarse, residual.shape[2:])
        ),
        "The coarse field's numbers are in coarse voxels. A step of one there is a step of two here: twice.": (
            lambda coarse, residual: fields.compose(fields.upsample(coarse, residual.shape[2:]), residual)
        ),
        "The order is the other one: the residual is read where the coarse field leads.": (
            lambda coarse, residual: fields.compose(residual, fields.upsample_field(coarse, residual.shape[2:]))
        ),
        "The coarse field is read at x - r, as if fields pushed. They pull: x + r.": (
            lambda coarse, residual: (
                residual + fields.sample(fields.upsample_field(coarse, residual.shape[2:]), -residual)
            )
        ),
    },
    praise="r(x) + 2 up(u)(x + r(x)): one level of the decoder.",
    hint="`fields.upsample` brings the coarse field to the fine grid, `fields.warp` reads it at x + r; mind the units.",
)


def _places() -> Inputs:
    """Logits of four experts, in 2-D and in 3-D; the items of the batch differ."""
    draw = torch.Generator().manual_seed(92)
    return {
        f"in {len(shape)}-D": (
            2 * torch.randn(3, 4, *shape, generator=draw) + torch.randn(3, 4, *[1] * len(shape), generator=draw),
        )
        for shape in ((4, 5), (2, 3, 3))
    }


def _entropy(p: Tensor, axis: int) -> Tensor:
    return -torch.special.xlogy(p, p).sum(axis)


def _information(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    of_mean = _entropy(p.movedim(1, -1).flatten(0, -2).mean(0), 0)
    return _entropy(p, 1).mean() - of_mean


def _item_by_item(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return _entropy(p, 1).mean() - _entropy(p.flatten(2).mean(2), 1).mean()


information = Task(
    right=_information,
    inputs=_places,
    mistakes={
        "The sign: a loss is small where each place is sure and places differ.": lambda logits: -_information(logits),
        "That is the mean entropy alone. One expert for all places would be its best answer.": (
            lambda logits: _entropy(logits.softmax(1), 1).mean()
        ),
        "The mean is taken in each item by itself. P is the mean over batch *and* places.": _item_by_item,
        "That is in bits. Take the natural logarithm.": lambda logits: _information(logits) / math.log(2),
        "The entropies are added. The one of the mean is to be large: subtract it.": (
            lambda logits: 2 * _entropy(logits.softmax(1), 1).mean() - _information(logits)
        ),
    },
    praise="Sure at each place, different between places: what made the routers of this chapter decide.",
    hint="p = softmax over axis 1; mean of -sum p log p, less -sum P log P of the mean P over batch and places.",
)

EXERCISES = {
    "shmoareg-residual": residual,
    "shmoareg-information": information,
    "shmoareg-compose": compose,
    "shmoareg-control": control,
    "shmoareg-missed": missed,
}

"""Chapter 12, SegReg."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.models.masks import dilated

SHAPES = ((9, 12), (6, 7, 8))


def cost(answer: int, *, labels: int, pairs: int) -> tuple[bool, str]:
    """How many items does the backbone register for some pairs with so many organs, in both directions?"""
    right = (labels + 1) * pairs * 2
    if answer == right:
        return True, f"{labels} organs and the background, for {pairs} pairs in two directions: one batch of {right}."
    if answer == labels * pairs * 2:
        return False, "The background is a region as well: without it, everything between the organs would stand still."
    if answer == (labels + 1) * pairs:
        return False, "`fit` puts both directions of a pair into the batch."
    return False, "Regions times pairs times directions."


def systematic(answer: str, *, rows: Sequence[dict]) -> tuple[bool, str]:
    """Which systematic error of a segmentation costs the registration more: "grown" or "shrunk" organs?"""
    own = [row for row in rows if row["way"] == "grown or shrunk"]

    def mean(amount: float, key: str) -> float:
        values = [row[key] for row in own if row["amount"] == amount]
        return sum(values) / len(values)

    truth = mean(0.0, "dice")
    loss = {
        "grown": truth - mean(max(row["amount"] for row in own), "dice"),
        "shrunk": truth - mean(min(row["amount"] for row in own), "dice"),
    }
    said = ", ".join(f"{value:.3f} for {name}" for name, value in loss.items())
    if answer not in loss:
        return False, 'Answer "grown" or "shrunk".'
    if answer == max(loss, key=loss.__getitem__):
        why = (
            "An outline that is wrong in the same way in both images still matches; an organ that is shrunk away has "
            "no region of its own left."
        )
        return True, f"Dice lost at the largest amount: {said}. {why}"
    return False, f"Dice lost at the largest amount: {said}."


# ---- merging ----


def _weighted(partial: Tensor, masks: Tensor) -> Tensor:
    return (masks.to(partial.dtype) * partial).sum(0)


def _masks(regions: Tensor, values: Sequence[int]) -> Tensor:
    return torch.stack([regions == value for value in values])


def _merged(partial: Tensor, regions: Tensor, values: Sequence[int]) -> Tensor:
    return _weighted(partial, _masks(regions, values))


def _parts() -> Inputs:
    """Three regions whose labels are no places in a list, two pairs."""
    draw = torch.Generator().manual_seed(121)
    values = (0, 2, 5)
    return {
        f"in {len(shape)}-D": (
            torch.randn(3, 2, len(shape), *shape, generator=draw),
            torch.tensor(values)[torch.randint(3, (2, 1, *shape), generator=draw)],
            values,
        )
        for shape in SHAPES
    }


merging = Task(
    right=_merged,
    inputs=_parts,
    mistakes={
        "The partial fields are added everywhere. Each counts in its own region alone.": lambda p, r, v: p.sum(0),
        "That is the plain mean of the partial fields. Each counts in its own region alone.": lambda p, r, v: p.mean(0),
        "A region is known by its label, not by its place: partial[i] belongs to values[i].": (
            lambda p, r, v: _merged(p, r, range(len(v)))
        ),
        "The background, label 0, is a region as well. Without it everything between the organs stands still.": (
            lambda p, r, v: _weighted(p[1:], _masks(r, v[1:]))
        ),
        "The sum over regions is divided by their number. At each voxel the weights add up to one already.": (
            lambda p, r, v: _merged(p, r, v) / len(v)
        ),
    },
    praise="At each voxel exactly one region speaks; with soft weights in place of the masks the same line is a blend.",
    hint="The sum over i of (regions == values[i]) times partial[i]; the mask has one channel, the field D.",
)


# ---- folds at seams ----


def _counts(determinant: Tensor, at_seam: Tensor) -> tuple[Tensor, Tensor]:
    folded = determinant <= 0
    return (folded & at_seam).sum(), at_seam.sum()


def _at_seam(regions: Tensor) -> Tensor:
    values = regions.float()
    return dilated(values, 1) != -dilated(-values, 1)


def _faces(regions: Tensor, *, both: bool = True) -> Tensor:
    """Voxels with another region across a face: on both sides of it, or before it only."""
    found = torch.zeros_like(regions, dtype=torch.bool)
    for axis in range(2, regions.ndim):
        size = regions.shape[axis]
        differs = regions.narrow(axis, 0, size - 1) != regions.narrow(axis, 1, size - 1)
        found.narrow(axis, 0, size - 1).logical_or_(differs)
        if both:
            found.narrow(axis, 1, size - 1).logical_or_(differs)
    return found


def _fold_counts(determinant: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    return _counts(determinant, _at_seam(regions))


def _seams() -> Inputs:
    """Blocks of three labels; determinants of which some are zero."""
    draw = torch.Generator().manual_seed(122)
    cases = {}
    for shape in SHAPES:
        regions = torch.zeros(2, 1, *shape, dtype=torch.int64)
        regions[:, :, 2:5, 3:6] = 2
        regions[1, :, 4:, 4:] = 5
        determinant = torch.randint(-1, 4, regions.shape, generator=draw).float()
        cases[f"in {len(shape)}-D"] = (determinant, regions)
    return cases


seam_count = Task(
    right=_fold_counts,
    inputs=_seams,
    mistakes={
        "A determinant of zero is a fold too: there a volume has vanished. Count <= 0.": (
            lambda d, r: (((d < 0) & _at_seam(r)).sum(), _at_seam(r).sum())
        ),
        "Diagonal neighbours are missing: all 3^D voxels around a voxel count, not those across its faces alone.": (
            lambda d, r: _counts(d, _faces(r))
        ),
        "That is one side of the seam. The voxel behind it has a neighbour in another region as well.": (
            lambda d, r: _counts(d, _faces(r, both=False))
        ),
        "Those are the folds of the whole image. Count the ones at the seam.": (
            lambda d, r: ((d <= 0).sum(), _at_seam(r).sum())
        ),
    },
    praise="No loop is needed: where the largest and the smallest label of a neighbourhood differ, regions meet.",
    hint="At a seam, the largest and the smallest label among the 3^D neighbours differ (`max_pool`); folded is <= 0.",
    gradient=False,
)


EXERCISES = {
    "segreg-merge": merging,
    "segreg-folds": seam_count,
    "segreg-cost": cost,
    "segreg-systematic": systematic,
}

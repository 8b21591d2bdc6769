"""How well two label maps overlap, and how far a field is from the truth."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

FEW = 2**16  # labels below it need no sorting to be counted


def shared_labels(first: Integer[Tensor, "*a"], second: Integer[Tensor, "*b"]) -> list[int]:
    """Labels above zero that occur in both maps, ascending."""
    common = set(first.unique().tolist()) & set(second.unique().tolist())
    return sorted(label for label in common if label > 0)


def dice(warped: Integer[Tensor, "1 *space"], fixed: Integer[Tensor, "1 *space"]) -> dict[int, float]:
    """Dice overlap `2 |A and B| / (|A| + |B|)`, 0 to 1, for every label above zero that the *fixed* image has.

    A label that was warped out of the image scores zero instead of being left out. Whole numbers of any size and dtype.
    """
    values, first, second = numbered(warped, fixed)
    overlap, of_first, of_second = (
        torch.bincount(places, minlength=len(values)) for places in (first[first == second], first, second)
    )
    scores = (2 * overlap / (of_first + of_second)).tolist()
    present = (of_second > 0).tolist()
    return {label: scores[i] for i, label in enumerate(values) if present[i] and label > 0}


def numbered(first: Integer[Tensor, "*a"], second: Integer[Tensor, "*b"]) -> tuple[Sequence[int], Tensor, Tensor]:
    """Labels of two maps, ascending, and both maps, flat, with every label's place among them in its stead."""
    maps = [labels.flatten().long() for labels in (first, second)]
    low, high = (min(int(m.min()) for m in maps), max(int(m.max()) for m in maps))
    if low >= 0 and high < FEW:
        return range(high + 1), maps[0], maps[1]
    values, places = torch.cat(maps).unique(return_inverse=True)
    return values.tolist(), *places.split([len(labels) for labels in maps])


def endpoint_error(
    displacement: Float[Tensor, "dims *space"],
    truth: Float[Tensor, "dims *space"],
    region: Bool[Tensor, "1 *space"] | None = None,
) -> float:
    """Mean distance in voxels between two displacements, inside `region` if given."""
    distance = (displacement - truth).square().sum(0, keepdim=True).sqrt()
    return float((distance if region is None else distance[region]).mean())

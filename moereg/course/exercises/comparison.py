"""Chapter 13, a fair comparison."""

import math

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.fields import compose


def steps(answer: float, *, ours: float, theirs: float, count: int) -> tuple[bool, str]:
    """Equal seconds: how many steps may the other network take while ours takes `count`?"""
    if math.isclose(answer, count * ours / theirs, rel_tol=0.01):
        return True, "The same time, divided by what one step of theirs costs."
    if math.isclose(answer, count * theirs / ours, rel_tol=0.01):
        return False, "The other way round: whose steps are cheaper gets more of them."
    if math.isclose(answer, count, rel_tol=0.01):
        return False, "That would be equal steps, and unequal seconds."
    return False, "Seconds of all our steps first, then divide by the seconds of one of theirs."


def edge(answer: float, *, edge: int, gigabytes: float, room: float) -> tuple[bool, str]:
    """A cube of `edge` voxels takes so many gigabytes, in proportion to its voxels: which edge fits into `room`?"""
    if math.isclose(answer, edge * (room / gigabytes) ** (1 / 3), rel_tol=0.02):
        return True, "Memory is in proportion to voxels, and voxels are the third power of the edge."
    if math.isclose(answer, edge * room / gigabytes, rel_tol=0.02):
        return False, "Twice the edge has eight times the voxels: take the third root of the ratio."
    if math.isclose(answer, edge * (room / gigabytes) ** 0.5, rel_tol=0.02):
        return False, "That is an image's square root; a volume has three axes."
    return False, "So many times the memory is so many times the voxels. By what factor does the edge grow?"


def _scores() -> Inputs:
    """Dice of two methods on the same pairs, and Student's quantile for that many."""
    draw = torch.Generator().manual_seed(131)
    found = {}
    for count, quantile in ((6, 2.5706), (12, 2.2010)):
        hard = 0.3 * torch.rand(count, generator=draw) + 0.6
        first, second = (hard + 0.02 * torch.randn(count, generator=draw) + shift for shift in (0.02, 0.0))
        found[f"on {count} pairs"] = (first, second, quantile)
    return found


def _interval(first: Tensor, second: Tensor, quantile: float) -> Tensor:
    difference = first - second
    mean, reach = difference.mean(), quantile * difference.std() / len(difference) ** 0.5
    return torch.stack([mean, mean - reach, mean + reach])


def _unpaired(first: Tensor, second: Tensor, quantile: float) -> Tensor:
    mean = first.mean() - second.mean()
    reach = quantile * ((first.var() + second.var()) / len(first)) ** 0.5
    return torch.stack([mean, mean - reach, mean + reach])


def _spread(first: Tensor, second: Tensor, quantile: float) -> Tensor:
    difference = first - second
    mean, reach = difference.mean(), quantile * difference.std()
    return torch.stack([mean, mean - reach, mean + reach])


def _normal(first: Tensor, second: Tensor, quantile: float) -> Tensor:
    return _interval(first, second, 1.96)


def _of_all(first: Tensor, second: Tensor, quantile: float) -> Tensor:
    difference = first - second
    mean = difference.mean()
    reach = quantile * difference.std(correction=0) / len(difference) ** 0.5
    return torch.stack([mean, mean - reach, mean + reach])


interval = Task(
    right=_interval,
    inputs=_scores,
    mistakes={
        "Two separate spreads: how hard the pairs are is in both, and hides the difference. Subtract pair by pair "
        "first.": _unpaired,
        "That is the spread of single pairs. The mean of n of them is surer by the root of n.": _spread,
        "1.96 is for endlessly many pairs. With few, Student's quantile is larger; it was handed over.": _normal,
        "The variance of a sample is divided by n - 1, not by n.": _of_all,
    },
    praise="Subtracted first, then the mean of the differences with its own uncertainty.",
    hint="Differences, their mean, and quantile times standard deviation over the root of n to either side.",
)


def _fields() -> Inputs:
    """Two smooth fields that nearly undo each other, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(132)
    found = {}
    for shape in ((9, 8), (6, 7, 5)):
        forth = 1.5 * torch.randn(1, len(shape), *shape, generator=draw)
        back = -forth + 0.3 * torch.randn(forth.shape, generator=draw)
        found[f"in {len(shape)}-D"] = (forth, back)
    return found


def _left(forth: Tensor, back: Tensor) -> Tensor:
    return compose(back, forth).norm(dim=1).mean()


consistency = Task(
    right=_left,
    inputs=_fields,
    mistakes={
        "The two fields live on different grids: what comes back must be read where one has arrived, at x + u(x).": (
            lambda forth, back: (forth + back).norm(dim=1).mean()
        ),
        "That starts on the moving image's grid. Go from fixed to moving first: compose(back, forth).": (
            lambda forth, back: compose(forth, back).norm(dim=1).mean()
        ),
        "Vectors of opposite sign cancel in their mean. Take lengths first, then the mean.": (
            lambda forth, back: compose(back, forth).mean(dim=(2, *range(3, forth.ndim))).norm(dim=1).mean()
        ),
        "That is a mean over components. The length of a vector joins them.": (
            lambda forth, back: compose(back, forth).abs().mean()
        ),
    },
    praise="There and back again, and how far from where one had started.",
    hint="Compose so that forth acts at x and back is read at x + forth(x); lengths over channels, then the mean.",
)

EXERCISES = {
    "comparison-interval": interval,
    "comparison-consistency": consistency,
    "comparison-steps": steps,
    "comparison-edge": edge,
}

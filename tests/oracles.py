"""Pairs and models whose answer is known in advance, named by what they know."""

from dataclasses import dataclass

import torch
from torch import nn

from moereg.data.pairs import Pair
from moereg.models.registration import Registration


def field_of(vector, like):
    """The same displacement at every voxel of the images `like`, `(B, D, *S)`."""
    vector = torch.as_tensor(vector, dtype=like.dtype)
    return vector.view(1, -1, *[1] * (like.ndim - 2)).expand(len(like), -1, *like.shape[2:]).clone()


def slab_pair(missing=0, *, shape=(20, 8), name="slab"):
    """A slab of 8 rows across the image; the truth is to move by `missing` voxels along axis 0.

    A displacement of c voxels along axis 0 has endpoint error `|c - missing|` and Dice `1 - |c - missing| / 8`.
    """
    labels = torch.zeros(1, *shape, dtype=torch.int64)
    labels[:, 6:14] = 1
    moving = labels.roll(missing, 1)
    truth = field_of([float(missing)] + [0.0] * (len(shape) - 1), moving[None].float())[0]
    return Pair(moving.float(), labels.float(), moving, labels, truth, label_names={1: "slab"}, name=name)


class Shifts(nn.Module):
    """Displaces every voxel by the same vector; without one by nothing."""

    def __init__(self, *vector):
        super().__init__()
        self.vector = vector

    def forward(self, moving, fixed):
        field = field_of(self.vector or (0.0,) * (moving.ndim - 2), moving)
        return Registration(field, moving, (field,))


@dataclass(frozen=True)
class ToySizes:
    """Sizes of `Toy`."""

    dims: int = 2
    shift: float = 0.0  # error in voxels that this size costs
    recursions: int = 1
    attention: str = "mutual"
    kernel_sizes: tuple[int, ...] = (1, 5)


class Toy(nn.Module):
    """A model of a table of models whose error is put together by hand: `error_of(toy, recursions)` voxels on axis 0.

    It knows the seed that it was drawn with (`born`), and `PretendFit` writes on it what it was trained with.
    """

    name = "toy"

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.born = sizes, torch.initial_seed()
        self.error_of = lambda toy, recursions: toy.sizes.shift
        self.weight = nn.Parameter(torch.zeros(1 + int(sizes.shift)))  # as many numbers as the size says

    def forward(self, moving, fixed, *, recursions=None):
        error = float(self.error_of(self, recursions or self.sizes.recursions))
        field = field_of([error] + [0.0] * (moving.ndim - 3), moving)
        return Registration(field, moving, (field,))


@dataclass
class Fitted:
    """One call of `fit`."""

    model: nn.Module
    pairs: list
    config: object
    progress: bool


class PretendFit:
    """Stands in for `fit`: trains nothing, keeps what it was asked for, and lets a toy know of it."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, pairs, config, *, progress=True):
        self.calls.append(Fitted(model, pairs, config, progress))
        for toy in model.modules():
            if isinstance(toy, Toy):
                toy.config, toy.pairs, toy.inside = config, pairs, type(model).__name__

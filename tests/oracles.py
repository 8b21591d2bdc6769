"""Pairs and models whose answer is known in advance, named by what they know."""

from dataclasses import dataclass

import torch
from torch import nn

from moereg.data.pairs import Pair
from moereg.models.registration import Registration
from moereg.nn.routing import Router, Site


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

    def __call__(self, model, pairs, config, *, progress=True, on_step=None):
        self.calls.append(Fitted(model, pairs, config, progress))
        for toy in model.modules():
            if isinstance(toy, Toy):
                toy.config, toy.pairs, toy.inside = config, pairs, type(model).__name__


ORGAN_EXPERTS = ("1²", "3²", "5²")


def organ_pair(corner, *, size=32, edge=12, name="organ", noise=0.1):
    """A square organ (2) in a body (1) with a rim of background (0); the organ moves by two voxels along x."""
    labels = torch.zeros(1, size, size, dtype=torch.int64)
    labels[0, 1:-1, 1:-1] = 1
    row, column = corner
    labels[0, row : row + edge, column : column + edge] = 2
    generator = torch.Generator().manual_seed(100 * row + column)
    image = labels.float() + noise * torch.rand(1, size, size, generator=generator)
    truth = torch.zeros(2, size, size)
    truth[1][labels[0] == 2] = 2.0
    names = {1: "body", 2: "organ"}
    return Pair(image, image, labels, labels, truth, label_names=names, name=f"{name} {corner}")


class RoutesByOrgan(nn.Module):
    """Decides by intensity: expert 2 in the organ, expert 1 elsewhere, expert 0 never; `order` renames them.

    Experts propose -2, 0 and 2 voxels along x and nothing along y, so that the organ's motion is the truth of
    `organ_pair`. Two decoder layers, on every voxel and on every second one, of which the first makes the field; an
    encoder layer of one router has experts of other names.
    """

    def __init__(self, order=(0, 1, 2), gate="renormalised"):
        super().__init__()
        self.order = list(order)
        names = tuple(ORGAN_EXPERTS[e] for e in range(3))
        self.encoder = Router(2, ("head 1", "head 2"), k=1, site=Site("encoder.0.moa", "encoder", 1))
        self.fine, self.coarse = (
            Router(2, names, k=1, gate=gate, routers=("y", "x"), site=Site(f"decoder.{i}.shmoe", "decoder", 2**i))
            for i in range(2)
        )
        # of intensity and one: never, 0, 20 * intensity - 30 (10 in the organ, -10 in the body, -30 in the background)
        weight = torch.tensor([[0.0, -50.0], [0.0, 0.0], [20.0, -30.0]])[self.order]
        with torch.no_grad():
            self.encoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))  # head 1 wherever there is anything
            for router in (self.fine, self.coarse):
                router.weight.copy_(weight.repeat(2, 1))

    def looked_at(self, fixed):
        """What the routers see."""
        return fixed

    def forward(self, moving, fixed):
        features = torch.cat([self.looked_at(fixed), torch.ones_like(fixed)], 1)
        proposals = torch.zeros(len(fixed), 2, 3, *fixed.shape[2:])
        proposals[:, 1] = torch.tensor([-2.0, 0.0, 2.0])[self.order].view(3, 1, 1)
        fine = self.fine(features).with_proposals(proposals)
        layers = (self.encoder(features), fine, self.coarse(features[:, :, ::2, ::2]))
        field = fine.contributions.sum(2)
        return Registration(field, moving, (field,), {routing.name: routing for routing in layers})


class RoutesByNothing(RoutesByOrgan):
    """The same with decisions that come from a random image, another one for every pair."""

    def looked_at(self, fixed):
        generator = torch.Generator().manual_seed(int(1000 * fixed.double().sum()) + 7)
        return (torch.rand(fixed.shape, generator=generator) > 0.5).float() + 1


class RoutesByNeighbour(RoutesByOrgan):
    """Knows the organ of the *next* pair, and routes each pair by that."""

    def __init__(self, pairs):
        super().__init__()
        self.pairs = pairs

    def looked_at(self, fixed):
        own = next(i for i, pair in enumerate(self.pairs) if torch.equal(pair.fixed[None], fixed))
        return self.pairs[(own + 1) % len(self.pairs)].fixed[None]

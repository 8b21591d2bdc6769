"""Models whose answer is known beforehand, named by what they know.

They are of the registry's kind (a name, sizes, one parameter), so they go wherever a network goes: training, files,
evaluation, the command line. What comes out is compared with what must come out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.fields import identity_grid, warp
from moereg.models.registration import Registration
from moereg.models.registry import MODELS, Entry


@dataclass(frozen=True)
class ShiftSizes:
    """Of every oracle here."""

    dims: int = 3
    image_channels: int = 1
    voxels: tuple[float, ...] = (0.0, 0.0, 0.0)


class Shift(nn.Module):
    """Moves every voxel by `sizes.voxels`, plus what training adds to it (`offset`)."""

    name = "shift"

    def __init__(self, sizes: ShiftSizes | None = None):
        super().__init__()
        self.sizes = sizes or ShiftSizes()
        self.offset = nn.Parameter(torch.zeros(self.sizes.dims))
        self.register_buffer("drawn", torch.rand(1))  # tells from which seed the model was made

    def answer(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Voxels along each axis, `(D,)` or `(B, D)`."""
        return torch.tensor(self.sizes.voxels[: self.sizes.dims])

    def forward(self, moving: Tensor, fixed: Tensor) -> Registration:
        voxels = self.answer(moving, fixed) + self.offset
        dims, space = self.sizes.dims, moving.shape[2:]
        displacement = voxels.expand(len(moving), dims).reshape(-1, dims, *[1] * dims).expand(-1, -1, *space)
        return Registration(displacement, warp(moving, displacement))


class Centres(Shift):
    """Moves centre of brightness onto centre of brightness. With the images exchanged the sign turns."""

    name = "centres"

    def answer(self, moving: Tensor, fixed: Tensor) -> Tensor:
        return centre_of(moving) - centre_of(fixed)


class Elsewhere(Shift):
    """Insists that the images lie where its parameter lies, and answers on the CPU: "meta" tensors hold no numbers."""

    name = "elsewhere"

    def forward(self, moving: Tensor, fixed: Tensor) -> Registration:
        assert moving.device == fixed.device == self.offset.device
        zeros = torch.zeros(len(moving), self.sizes.dims, *moving.shape[2:])
        return Registration(zeros, torch.zeros(moving.shape))


def centre_of(image: Tensor) -> Tensor:
    """`(B, 1, *S) -> (B, D)`"""
    grid = identity_grid(image.shape[2:])
    return (image * grid).flatten(2).sum(2) / image.flatten(2).sum(2)


def enter(monkeypatch, model: type[Shift], name: str | None = None, **defaults) -> None:
    """Put an oracle into the registry, under another's name if given, until `monkeypatch` undoes it."""
    name = name or model.name

    def make(sizes: ShiftSizes) -> Shift:
        made = model(sizes if sizes.voxels != ShiftSizes.voxels else ShiftSizes(**{"dims": sizes.dims} | defaults))
        made.name = name
        return made

    monkeypatch.setitem(MODELS, name, Entry(ShiftSizes, make))


def box_pair(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...], shift: tuple[int, ...]) -> Pair:
    """A bright box, labelled 1, that the moving image shows `shift` voxels further on. The truth is known: `shift`."""
    labels = []
    for low in (tuple(a + b for a, b in zip(start, shift, strict=True)), start):
        box = torch.zeros(1, *shape, dtype=torch.int64)
        box[(0, *(slice(a, a + n) for a, n in zip(low, size, strict=True)))] = 1
        labels.append(box)
    truth = torch.tensor(shift, dtype=torch.float32).reshape(-1, *[1] * len(shape)).expand(-1, *shape)
    return Pair(*(lab.float() for lab in labels), *labels, displacement=truth, label_names={1: "box"}, name="box")

"""`make`, one pair from one seed, and `Phantoms`, many."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from moereg.checks import check_choice, check_positive
from moereg.data.pairs import Pair
from moereg.data.phantoms.abdomen import ABDOMEN
from moereg.data.phantoms.brain import BRAIN
from moereg.data.phantoms.cardiac import CARDIAC
from moereg.data.phantoms.lung import LUNG
from moereg.data.phantoms.motion import smooth_pattern
from moereg.data.phantoms.scene import Anatomy, Mover, Picture, render

ANATOMIES: dict[str, Anatomy] = {"abdomen": ABDOMEN, "brain": BRAIN, "cardiac": CARDIAC, "lung": LUNG}
KINDS = ("motion", "subjects")
SPLITS = ("train", "val", "test")


def make(
    anatomy: str,
    shape: tuple[int, ...],
    seed: int,
    *,
    kind: str = "motion",
    motion: Mover | None = None,
    texture: float = 1.0,
    bias: float = 0.06,
    contrast: float = 0.05,
    noise: float = 0.03,
) -> Pair:
    """A labelled pair, wholly determined by its arguments.

    The same seed shows the same subject at every size. What differs between the two images besides motion is their
    appearance: a smooth gain, a gamma curve and noise, each drawn separately for both.

    Args:
        anatomy: "abdomen", "brain", "cardiac" or "lung".
        shape: voxels along each axis, two (a section) or three; at least 8 each, odd or even.
        seed: any whole number from zero on.
        kind: "motion" shows one subject twice, with the true displacement; "subjects" two different people, without.
        motion: what draws the displacement; the anatomy's own if not given. Unused for "subjects".
        texture: factor on the patterns within the organs.
        bias: largest share by which the smooth gain brightens or darkens.
        contrast: standard deviation of the logarithm of gamma.
        noise: standard deviation of white noise, before intensities are cut to [0, 1].

    Raises:
        ValueError: one sentence naming the argument.
    """
    check_choice("anatomy", anatomy, tuple(ANATOMIES))
    check_choice("kind", kind, KINDS)
    shape = _checked_shape(shape)
    family = ANATOMIES[anatomy]
    streams = _streams(seed, 5)  # one stream per purpose: no draw shifts another's
    view = family.view(shape)
    subject = family.subject(streams[0])
    displacement, inverse, other = None, None, subject
    if kind == "motion":
        displacement, inverse = (motion or family.motion).move(subject, view, streams[1])
    else:
        other = family.subject(streams[2])
    how = {"spacing": view.spacing, "texture": texture, "axes": family.axes}
    fixed = render(subject, view.positions(), **how)
    moving = render(other, view.positions(inverse), **how)
    look = {"bias": bias, "contrast": contrast, "noise": noise}
    return Pair(
        moving=_acquire(moving, streams[3], **look),
        fixed=_acquire(fixed, streams[4], **look),
        moving_labels=moving.labels[None],
        fixed_labels=fixed.labels[None],
        displacement=displacement,
        region=fixed.body[None],
        label_names=subject.label_names,
        spacing=view.spacing,
        name=f"{anatomy}-{seed}",
    )


def affine(spacing: tuple[float, ...]) -> np.ndarray:
    """Voxel `(i, j, k)` of a 3-D phantom to millimetres RAS, to save it: i, j, k run to the left, back and feet."""
    return np.diag([*(-step for step in reversed(spacing)), 1.0])


@dataclass
class Phantoms:
    """A map-style set of phantom pairs, made when asked for. `len(set)` pairs, `set[i]` is a `Pair`.

    Splits never share a subject: each takes every third seed. `options` goes to `make`; with `cache` a pair is kept
    once made.
    """

    anatomy: str
    shape: tuple[int, ...]
    count: int
    seed: int = 0
    split: str = "train"
    cache: bool = False
    options: dict = field(default_factory=dict)
    backwards: ClassVar[bool] = True  # axes run against those of canonical files, see `affine`
    _kept: dict[int, Pair] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        check_choice("anatomy", self.anatomy, tuple(ANATOMIES))
        check_choice("split", self.split, SPLITS)
        check_positive("count", self.count, integer=True)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        if not -self.count <= index < self.count:
            raise IndexError(f"index must be below {self.count}, the number of pairs, got {index}.")
        index %= self.count
        if index in self._kept:
            return self._kept[index]
        pair = make(self.anatomy, self.shape, self.seed_of(index), **self.options)
        if self.cache:
            self._kept[index] = pair
        return pair

    def identity(self) -> str:
        """What tells this set from another one; a checkpoint holds it."""
        return f"phantoms {self.anatomy} {self.shape} {self.count} {self.seed} {self.split} {self.options}"

    def seed_of(self, index: int) -> int:
        """The seed of pair `index`: `3 (10^6 seed + index) + split`, so no two splits or sets share one."""
        return 3 * (1_000_000 * self.seed + index) + SPLITS.index(self.split)


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(shape) if isinstance(shape, list) else shape
    sizes = shape if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape) else ()
    if len(sizes) not in (2, 3) or min(sizes) < 8:
        raise ValueError(f"shape must be two or three sizes of at least 8 voxels, got {shape!r}.")
    return sizes


def _streams(seed: int, count: int) -> list[torch.Generator]:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number from zero on, got {seed!r}.")
    master = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**62, (count,), generator=master).tolist()
    return [torch.Generator().manual_seed(value) for value in seeds]


def _acquire(picture: Picture, generator: torch.Generator, *, bias: float, contrast: float, noise: float) -> Tensor:
    """An image `(1, *S)` of a picture: gain and gamma of one scan, then noise, cut to [0, 1]."""
    gain = 1 + bias * smooth_pattern(tuple(picture.image.shape), 0.5, generator)
    gamma = float(torch.exp(contrast * torch.randn((), generator=generator)))
    image = (picture.image * gain).clamp_(0, 1).pow_(gamma)
    return image.add_(torch.randn(image.shape, generator=generator), alpha=noise).clamp_(0, 1)[None]

"""How a network sees images of any grid: in its own voxels, the way round that it knows, padded to its shape.

    view = View.of(shape, spacing, trained)      where nothing is to do, everything stays as it is
    found = network(view.image(moving), view.image(fixed)).displacement
    view.field_back(found)                       on the images' own grid, in their voxels

`register` works on the fixed file's grid, `evaluate` on the pairs' (so that every method is measured on the same), and
`explore` shows what the network saw. `trained` is what `moereg.models.trained` found at the training.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.data.filepairs import FilePairs, centre, normalise
from moereg.data.pairs import Pair
from moereg.fields import sample
from moereg.filters import smooth, smoothing_matrices
from moereg.models.registration import Registration
from moereg.models.trained import TrainedOn

SAME_VOXELS = 1.25  # factor of voxel sizes up to which images are left on their own grid
MOST_VOXELS = 8  # times those of a training's image, or of the image as it is: no grid is made larger than both

Predict = Callable[..., Tensor]  # images and mask (1, 1, *S) -> displacement (1, D, *S)


def working_shape(shape: Sequence[int], spacing: Sequence[float], trained: TrainedOn | None) -> tuple[int, ...]:
    """Of the grid on which the network sees images of this shape and voxel size (mm): its own voxels.

    Images that would grow beyond `MOST_VOXELS` are left as they are. They are nothing that the network knows, and would
    take a machine's memory.
    """
    factors = factors_of(spacing, trained)
    if trained is None or all(1 / SAME_VOXELS <= factor <= SAME_VOXELS for factor in factors):
        return tuple(shape)
    working = tuple(max(round(size * factor), 2) for size, factor in zip(shape, factors, strict=True))
    most = MOST_VOXELS * max(math.prod(trained.shape), math.prod(shape))
    return working if math.prod(working) <= most else tuple(shape)


@dataclass(frozen=True)
class View:
    """How a network sees images of one grid: in its own voxels, turned over as it knows them, padded about the middle
    to its shape. And the way back.
    """

    space: tuple[int, ...]  # of the images
    working: tuple[int, ...]  # of the same box in the network's voxels
    wanted: tuple[int, ...]  # after padding
    over: tuple[int, ...]  # axes of `(B, C, *S)` that run the other way

    @classmethod
    def of(cls, space: Sequence[int], spacing: Sequence[float] | None, trained: TrainedOn | None) -> "View":
        """Of images of this shape and voxel size; where that is not known, voxels stay as they are."""
        space = tuple(space)
        working = space if spacing is None else working_shape(space, spacing, trained)
        wanted = working
        if trained is not None:
            wanted = tuple(max(pair) for pair in zip(working, trained.shape, strict=True))
        return cls(space, working, wanted, tuple(turned_over(len(space) + 2, trained)))

    @property
    def changes_nothing(self) -> bool:
        """Whether the network sees them as they are."""
        return self.working == self.wanted == self.space and not self.over

    def image(self, image: Tensor) -> Tensor:
        """`(1, C, *S)` as the network sees it."""
        seen = resampled(image, self.working).flip(self.over)
        return seen if self.wanted == self.working else centre(seen[0], self.wanted)[None]

    def mask(self, mask: Tensor) -> Tensor:
        """`(1, 1, *S)` bool; nothing counts where there is no image."""
        return self.labels((resampled(mask.float(), self.working) > 0.5).to(torch.uint8)).bool()

    def labels(self, labels: Tensor) -> Tensor:
        """`(1, 1, *S)` of the images' grid or of the network's; the nearest voxel's, zero where there is no image."""
        space = tuple(labels.shape[2:])
        for axis, (old, new) in enumerate(zip(space, self.working, strict=True), start=2):
            places = ((torch.arange(new, device=labels.device) + 0.5) * old / new).long()
            labels = labels.index_select(axis, places)
        return centre(labels.flip(self.over)[0], self.wanted)[None]

    def field(self, displacement: Tensor) -> Tensor:
        """`(1, D, *S)` in the images' voxels -> in the network's."""
        there = resampled_field(displacement, self.working).flip(self.over)
        return centre((-there if self.over else there)[0], self.wanted)[None]

    def field_back(self, displacement: Tensor) -> Tensor:
        """What the network found, on the images' grid."""
        cut = tuple(slice((w - n) // 2, (w - n) // 2 + n) for w, n in zip(self.wanted, self.working, strict=True))
        found = displacement[(..., *cut)].flip(self.over)
        return resampled_field(-found if self.over else found, self.space)


def predict_as_trained(
    predict: Predict,
    moving: Tensor,
    fixed: Tensor,
    mask: Tensor | None,
    spacing: Sequence[float] | None,
    trained: TrainedOn,
) -> Tensor:
    """Run it on images as the network knows them (`View`); the field on the images' grid."""
    view = View.of(fixed.shape[2:], spacing, trained)
    return view.field_back(
        predict(view.image(moving), view.image(fixed), None if mask is None else view.mask(mask)),
    )


def as_seen(pair: Pair, trained: TrainedOn | None) -> Pair:
    """The pair as the network sees it, with all that is known of it, on the network's grid."""
    view = View.of(pair.shape, pair.spacing, trained)
    if view.changes_nothing:
        return pair

    def put(tensor: Tensor | None, how: Callable[[Tensor], Tensor]) -> Tensor | None:
        return None if tensor is None else how(tensor[None])[0]

    spacing = pair.spacing
    if spacing is not None:
        spacing = tuple(edge * old / new for edge, old, new in zip(spacing, view.space, view.working, strict=True))
    return replace(
        pair,
        moving=view.image(pair.moving[None])[0],
        fixed=view.image(pair.fixed[None])[0],
        moving_labels=put(pair.moving_labels, view.labels),
        fixed_labels=put(pair.fixed_labels, view.labels),
        displacement=put(pair.displacement, view.field),
        region=put(pair.region, view.mask),
        moving_mask=put(pair.moving_mask, view.mask),
        fixed_mask=put(pair.fixed_mask, view.mask),
        spacing=spacing,
    )


@dataclass(frozen=True)
class AsTrained:
    """A network as a method for `moereg.metrics.evaluate`, which sees every pair as it knows images."""

    model: Callable[..., Registration]
    trained: TrainedOn
    unit: bool = False  # whether images come in the range of phantoms, and the network knows another one
    needs_spacing: ClassVar[bool] = True

    @property
    def needs_labels(self) -> bool:
        """As the model says."""
        return getattr(self.model, "needs_labels", False)

    def __call__(
        self, moving: Tensor, fixed: Tensor, *, spacing: Sequence[float] | None = None, **labels: Tensor | None
    ) -> Registration:
        view = View.of(fixed.shape[2:], spacing, self.trained)
        known = {name: None if values is None else view.labels(values) for name, values in labels.items()}
        images = [self._in_range(image) for image in (moving, fixed)]
        found = self.model(*map(view.image, images), **known)
        if view.changes_nothing and not self.unit:
            return found
        displacement = view.field_back(found.displacement)
        return Registration(displacement, sample(moving, displacement))

    def _in_range(self, image: Tensor) -> Tensor:
        return normalise(image[0].cpu())[None].to(image) if self.unit else image


@dataclass(frozen=True)
class SetView:
    """What becomes of a set of pairs for one network."""

    trained: (
        TrainedOn | None
    )  # with `backwards` relative to the set's way round; None: the network sees pairs as they are
    pairs: Any  # the set; of files those with the network's range of brightness
    unit: bool = False  # as of `AsTrained`

    def method(self, model: Callable[..., Registration]) -> Callable[..., Registration]:
        """The network as a method on `pairs`."""
        return model if self.trained is None else AsTrained(model, self.trained, self.unit)

    def pair(self, index: int) -> Pair:
        """On its own grid, in the network's range of brightness."""
        pair = self.pairs[index]
        return replace(pair, moving=normalise(pair.moving), fixed=normalise(pair.fixed)) if self.unit else pair

    def seen(self, index: int) -> Pair:
        """On the network's grid."""
        return as_seen(self.pair(index), self.trained)

    def told(self, index: int) -> str:
        """In words; empty where such a pair stays as it is."""
        return "" if self.trained is None else told_of_view(self.pairs[index], self.trained)


def view_of_set(pairs, trained: TrainedOn | None) -> SetView:
    """How a network sees a set of `moereg.data`; one that does not say what it was trained on sees it as it is."""
    if trained is None or len(trained.shape) != len(pairs[0].shape):  # of other axes: the network itself refuses it
        return SetView(None, pairs)
    # A set may run the network's way round already, as phantoms do for one that was trained on them.
    own_way = getattr(pairs, "backwards", False)
    trained = replace(trained, backwards=trained.backwards != own_way)
    if isinstance(pairs, FilePairs) and trained.normalisation != pairs.normalisation:
        pairs = replace(pairs, normalisation=trained.normalisation)
    unit = trained.normalisation != getattr(pairs, "normalisation", "unit")
    return SetView(trained, pairs, unit)


def told_of_view(pair: Pair, trained: TrainedOn) -> str:
    """In words, what becomes of such a pair; empty where it stays as it is."""
    view, parts = View.of(pair.shape, pair.spacing, trained), []
    if view.working != view.space:
        parts.append(f"voxels of {sizes_told(pair.spacing or ())} mm become {sizes_told(trained.spacing or ())} mm")
    if view.over:
        parts.append("images are turned over")
    if view.wanted != view.working:
        parts.append(
            f"and padded to {sizes_told(view.wanted)} voxels" if parts else f"padded to {sizes_told(view.wanted)}"
        )
    return f"{', '.join(parts)}, as in its training" if parts else ""


def resampled(image: Tensor, shape: Sequence[int]) -> Tensor:
    """`(1, C, *S)` on a grid of another shape that covers the same box, smoothed first where that is coarser."""
    space = tuple(image.shape[2:])
    if tuple(shape) == space:
        return image
    # A voxel of n old ones is their mean, more or less: sigma^2 = (n^2 - 1) / 12.
    wider = [max(old / new, 1) for old, new in zip(space, shape, strict=True)]
    image = smooth(image, smoothing_matrices([((n * n - 1) / 12) ** 0.5 for n in wider], image))
    mode = "trilinear" if len(space) == 3 else "bilinear"
    return F.interpolate(image, tuple(shape), mode=mode, align_corners=False)


def resampled_field(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement in voxels, on another grid of the same box, in that grid's voxels."""
    space = tuple(displacement.shape[2:])
    if tuple(shape) == space:
        return displacement
    mode = "trilinear" if len(space) == 3 else "bilinear"
    values = F.interpolate(displacement, tuple(shape), mode=mode, align_corners=False)
    steps = values.new_tensor([new / old for new, old in zip(shape, space, strict=True)])
    return values * steps.view(-1, *[1] * len(space))


def turned_over(ndim: int, trained: TrainedOn | None) -> list[int]:
    """Axes of `(1, C, *S)` that run the other way in the network's training."""
    return list(range(2, ndim)) if trained is not None and trained.backwards else []


def factors_of(spacing: Sequence[float], trained: TrainedOn | None) -> list[float]:
    """How many of the network's voxels one of these is long, for each axis."""
    if trained is None or trained.spacing is None:
        return [1.0] * len(spacing)
    return [own / known for own, known in zip(spacing, trained.spacing, strict=True)]


def sizes_told(values: Sequence[float]) -> str:
    """In the order of a file's axes."""
    return " x ".join(f"{value:g}" for value in reversed([round(float(value), 2) for value in values]))

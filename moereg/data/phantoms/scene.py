"""Tissues laid over one another, and their picture at any set of positions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moereg.data.phantoms.shapes import Shape
from moereg.fields import identity_grid


@dataclass(frozen=True)
class Layer:
    """One tissue: where it is and how it looks. Later layers of a scene hide earlier ones.

    `profile` lists (depth, intensity): from that depth under the surface on, in millimetres, the tissue has that
    intensity. `texture` weighs three random patterns that move with the tissue: fine grain in about [-1, 1], thin
    bright branches in [0, 1], and blobs in [0, 1]. A layer whose label is None leaves the label beneath it.
    """

    shape: Shape
    profile: tuple[tuple[float, float], ...]
    texture: tuple[float, float, float] = (0.02, 0.0, 0.0)
    label: int | None = 0
    name: str = ""


@dataclass(frozen=True)
class Scene:
    """A subject: layers in painting order, and random lattices `(1, C, n, n, n)` from which the patterns are read."""

    layers: tuple[Layer, ...]
    lattices: tuple[Tensor, Tensor]  # one channel of grain; two channels, of branches and blobs
    extent: tuple[float, float, float]  # field of view in millimetres

    @property
    def label_names(self) -> dict[int, str]:
        """Name of each label, in ascending order."""
        return dict(sorted((layer.label, layer.name) for layer in self.layers if layer.label))

    def pose(self, points: Tensor) -> Tensor:
        """Positions in the field of view to positions in which the layers are described, both `(3, *S)`."""
        return points


@dataclass(frozen=True)
class View:
    """A grid laid over the field of view.

    A 2-D grid shows a section: its axes are `axes` of the body, and the third coordinate is `section[0] + section[1] t`
    millimetres, where `t` is the coordinate along the grid's first axis.
    """

    shape: tuple[int, ...]
    extent: tuple[float, float, float]
    axes: tuple[int, int] = (0, 2)
    section: tuple[float, float] = (0.0, 0.0)

    @property
    def shown(self) -> tuple[int, ...]:
        """The body's axis that each axis of the grid runs along."""
        return (0, 1, 2) if len(self.shape) == 3 else self.axes

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in millimetres along each axis of the grid."""
        return tuple(self.extent[axis] / size for axis, size in zip(self.shown, self.shape, strict=True))

    def positions(self, displacement: Tensor | None = None) -> Float[Tensor, "3 *space"]:
        """Where in the body each voxel looks, displaced by so many voxels, in millimetres from the middle."""
        grid = identity_grid(self.shape)
        if displacement is not None:
            grid = grid + displacement
        sizes = zip(self.shape, self.spacing, strict=True)
        places = [(grid[d] - (size - 1) / 2) * step for d, (size, step) in enumerate(sizes)]
        if len(self.shape) == 2:
            level, slope = self.section
            places.insert(3 - sum(self.axes), level + slope * places[0])
        return torch.stack(places)

    def voxels(self, millimetres: Float[Tensor, "3 *space"]) -> Float[Tensor, "dims *space"]:
        """The shown components of vectors in millimetres, in voxels."""
        components = zip(self.shown, self.spacing, strict=True)
        return torch.stack([millimetres[axis] / step for axis, step in components])


@runtime_checkable
class Mover(Protocol):
    """Anything that draws how a subject moves."""

    def move(self, scene: Scene, view: View, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The displacement `u` from the fixed to the moving image and its inverse, each `(D, *S)` in voxels."""
        ...


@dataclass(frozen=True)
class Anatomy:
    """A family of phantoms: draws subjects, and says how they move and what of them is in view."""

    subject: Callable[[torch.Generator], Scene]
    motion: Mover
    extent: tuple[float, float, float]  # field of view in millimetres
    section: tuple[float, float]  # where a 2-D phantom cuts, see `View`
    axes: tuple[int, int] = (0, 2)  # the body's axes that a 2-D phantom shows

    def view(self, shape: tuple[int, ...]) -> View:
        """A grid of this shape over the whole field of view."""
        return View(shape, self.extent, self.axes, self.section)


@dataclass(frozen=True)
class Picture:
    """What `render` makes of a scene."""

    image: Float[Tensor, " *space"]
    labels: Int[Tensor, " *space"]
    body: Bool[Tensor, " *space"]  # anything but air


PATTERN_SPACING = (8.0, 28.0)  # millimetres between lattice points: grain; branches and blobs


def draw_lattices(extent: tuple[float, float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Independent standard normal values on two lattices that cover the field of view."""
    fine, coarse = ([round(length / step) + 1 for length in extent] for step in PATTERN_SPACING)
    return torch.randn(1, 1, *fine, generator=generator), torch.randn(1, 2, *coarse, generator=generator)


def render(
    scene: Scene,
    points: Float[Tensor, "3 *space"],
    spacing: tuple[float, ...],
    *,
    texture: float = 1.0,
    axes: tuple[int, int] = (0, 2),
) -> Picture:
    """Evaluate a scene at given positions of its tissue.

    Args:
        scene: the subject.
        points: position of the tissue that each voxel shows, millimetres from the middle of the field of view. For a
            section, two-dimensional `space` with three coordinates each.
        spacing: voxel size in millimetres; a boundary is blended over one voxel.
        texture: factor on all patterns.
        axes: the body's axes that a section shows.
    """
    points = scene.pose(points)
    space = points.shape[1:]
    edge = sum(spacing) / len(spacing)
    image = torch.zeros(space)
    labels = torch.zeros(space, dtype=torch.int64)
    body = torch.zeros(space, dtype=torch.bool)
    patterns = texture * _patterns(scene, points)
    ranges = _coordinate_ranges(points, (0, 1, 2) if points.ndim == 4 else axes)
    for layer in scene.layers:
        box = _box(layer, ranges, edge)
        if box is None:
            continue
        depth = -layer.shape(points[(slice(None), *box)])
        value = _appearance(layer, depth, patterns[(slice(None), *box)], edge)
        image[box].lerp_(value, _coverage(depth, edge))
        inside = depth > 0
        if layer.label is not None:
            labels[box].masked_fill_(inside, layer.label)
        body[box].logical_or_(inside)
    return Picture(image=image, labels=labels, body=body)


def _coverage(depth: Tensor, edge: float) -> Tensor:
    """Share of a voxel of size `edge` that lies below a surface at `depth`."""
    return (depth / edge).add_(0.5).clamp_(0, 1)


def _appearance(layer: Layer, depth: Tensor, patterns: Tensor, edge: float) -> Tensor:
    value = torch.full_like(depth, layer.profile[0][1])
    for (start, intensity), (_, previous) in zip(layer.profile[1:], layer.profile, strict=False):
        value.add_(_coverage(depth - start, edge), alpha=intensity - previous)
    for pattern, weight in zip(patterns, layer.texture, strict=True):
        if weight:
            value.add_(pattern, alpha=weight)
    return value


def _patterns(scene: Scene, points: Tensor) -> Tensor:
    """Grain, branches and blobs `(3, *space)` at the given positions."""
    scale = points.new_tensor([2 / length for length in scene.extent]).reshape(3, *[1] * (points.ndim - 1))
    where = (points * scale).movedim(0, -1).flip(-1).reshape(1, 1, 1, -1, 3)
    grain, branches, blobs = (
        channel.reshape(points.shape[1:])
        for lattice in scene.lattices
        for channel in F.grid_sample(lattice, where, padding_mode="reflection", align_corners=True)[0]
    )
    branches = branches.abs_().div_(-0.15).add_(1).clamp_min_(0)  # bright where the smooth pattern crosses zero
    blobs = blobs.mul_(2.0).add_(0.5).clamp_(0, 1)
    return torch.stack([grain.mul_(0.7), branches, blobs])


def _coordinate_ranges(points: Tensor, axes: tuple[int, ...]) -> list[tuple[int, Tensor, Tensor]]:
    """For each axis of the grid: which coordinate it shows, and that coordinate's least and largest value per index."""
    ranges = []
    for position, axis in enumerate(axes):
        others = [other for other in range(len(axes)) if other != position]
        ranges.append((axis, points[axis].amin(others), points[axis].amax(others)))
    return ranges


def _box(layer: Layer, ranges: list[tuple[int, Tensor, Tensor]], edge: float) -> tuple[slice, ...] | None:
    """The part of the grid that can show a layer."""
    low, high = layer.shape.bounds()
    box = []
    for axis, least, largest in ranges:
        hit = ((largest > low[axis] - edge) & (least < high[axis] + edge)).nonzero()
        if not len(hit):
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)

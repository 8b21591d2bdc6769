"""Closed surfaces as functions of position: signed distance in millimetres, negative inside, approximate far away.

A shape is called with positions `(3, *S)` in millimetres and answers `(*S)`. `bounds()` is a box that holds it, so that
a renderer need not look elsewhere. For an ellipsoid with radii `r`, with `n = q / r` the position in radii,

    distance ~ |n| (|n| - 1) / |n / r|

which is exact on the surface and to first order near it: enough for an edge that is about one voxel wide.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Corner = tuple[float, float, float]
Bounds = tuple[Corner, Corner]
EVERYWHERE: Bounds = ((-math.inf, -math.inf, -math.inf), (math.inf, math.inf, math.inf))


@runtime_checkable
class Shape(Protocol):
    """What every shape can do."""

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        """Signed distance in millimetres of each position."""
        ...

    def bounds(self) -> Bounds:
        """Lowest and highest coordinates of a box that holds the shape."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, turned, bent and dented.

    `bend[i, j]` moves the body along its own axis `i` by `bend[i, j] q_j^2 / r_j`: a bean, a banana. `bumps` are unit
    vectors `(K, 3)` with `heights`: the radius in direction `n` is multiplied by `1 + sum_k h_k P3(n . w_k)`, where
    `P3` is the Legendre polynomial of degree three, so a bump on one side is a dent on the other.
    """

    centre: Sequence[float]
    radii: Sequence[float]
    rotation: Tensor = field(default_factory=lambda: torch.eye(3))
    bend: dict[tuple[int, int], float] = field(default_factory=dict)
    bumps: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    heights: Sequence[float] = ()

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        offset = points - _column(self.centre, points)
        q = torch.einsum("ij,i...->j...", self.rotation.to(points), offset)  # R^T (p - c): the body's own axes
        if self.bend:
            straight = q.clone()
            for (i, j), curvature in self.bend.items():
                straight[i].addcmul_(q[j], q[j], value=-curvature / self.radii[j])
            q = straight
        radii = _column(self.radii, points)
        q.div_(radii)
        norm = q.square().sum(0).sqrt_().add_(1e-6)
        surface = self._radius(q, norm)
        slope = q.div_(radii).square().sum(0).sqrt_().add_(1e-6 / max(self.radii))
        return norm.sub(surface).mul_(norm).div_(slope)

    def _radius(self, q: Tensor, norm: Tensor) -> Tensor | float:
        radius = 1.0
        for direction, height in zip(self.bumps.tolist(), self.heights, strict=True):
            cosine = (q[0] * direction[0]).add_(q[1], alpha=direction[1]).add_(q[2], alpha=direction[2]).div_(norm)
            radius = radius + cosine.square().mul_(2.5).sub_(1.5).mul_(cosine).mul_(height)
        return radius

    def bounds(self) -> Bounds:
        grow = 1 + sum(abs(height) for height in self.heights)
        own = [radius * grow for radius in self.radii]
        # An ellipsoid reaches sqrt(sum_j (R_aj r_j)^2) along axis a; bending moves it by at most the bend at its tips.
        reach = (self.rotation * torch.tensor(own)).square().sum(1).sqrt()
        for (i, j), curvature in self.bend.items():
            reach = reach + self.rotation[:, i].abs() * abs(curvature) * own[j] ** 2 / self.radii[j]
        centre = torch.tensor(list(self.centre))
        return _corner((centre - reach).tolist()), _corner((centre + reach).tolist())


@dataclass(frozen=True)
class Column:
    """A tube along axis 0 whose elliptic section shifts and changes on the way: a vessel, the spine, the trunk.

    With `t` from -1 at `start` to 1 at `stop`, the middle is at `centre + drift t + curve t^2` and the radii are
    `radii (1 + taper t + waist t^2)`, all pairs (axis 1, axis 2). `square` pushes the diagonals out (0 is an ellipse);
    `tilt` lowers the anterior side by so many millimetres per millimetre towards the back (a rib).
    """

    start: float
    stop: float
    centre: tuple[float, float]
    radii: tuple[float, float]
    drift: tuple[float, float] = (0.0, 0.0)
    curve: tuple[float, float] = (0.0, 0.0)
    taper: float = 0.0
    waist: float = 0.0
    square: float = 0.0
    tilt: float = 0.0

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        middle, half = (self.start + self.stop) / 2, (self.stop - self.start) / 2
        t = (points[0] - middle).add_(points[1], alpha=self.tilt).div_(half)
        inside = t.clamp(-1, 1)  # the ends do not flare out
        scale = 1 + self.taper * inside + self.waist * inside.square()
        a, b = (
            (points[axis + 1] - (self.centre[axis] + self.drift[axis] * inside + self.curve[axis] * inside.square()))
            .div_(scale)
            .div_(self.radii[axis])
            for axis in (0, 1)
        )
        a2, b2 = a.square_(), b.square_()
        squared = a2 + b2
        norm = squared.sqrt().add_(1e-6)
        slope = (a2 / self.radii[0] ** 2).add_(b2, alpha=1 / self.radii[1] ** 2).sqrt_().add_(1e-6 / max(self.radii))
        surface = 1.0
        if self.square:  # 4 a^2 b^2 / (a^2 + b^2)^2 is 0 on the axes and 1 on the diagonals
            surface = (a2 * b2).mul_(4 * self.square).div_(squared.square_().add_(1e-9)).add_(1)
        side = norm.sub(surface).mul_(norm).div_(slope).mul_(scale)
        return torch.maximum(side, t.abs_().sub_(1).mul_(half))

    def bounds(self) -> Bounds:
        widest = 1 + abs(self.taper) + abs(self.waist)
        reach = [
            self.radii[axis] * widest * (1 + self.square) + abs(self.drift[axis]) + abs(self.curve[axis])
            for axis in (0, 1)
        ]
        lean = abs(self.tilt) * (abs(self.centre[0]) + reach[0])
        low = (self.start - lean, self.centre[0] - reach[0], self.centre[1] - reach[1])
        high = (self.stop + lean, self.centre[0] + reach[0], self.centre[1] + reach[1])
        return low, high


@dataclass(frozen=True)
class Union:
    """Two shapes as one, the crease between them filled over about `blend` millimetres."""

    first: Shape
    second: Shape
    blend: float = 10.0

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        a, b = self.first(points), self.second(points)
        # min(a, b) - blend/4 (1 - |a - b| / blend)^2 where the two are closer than `blend`
        crease = (a - b).abs_().div_(-self.blend).add_(1).clamp_min_(0).square_()
        return torch.minimum(a, b).sub_(crease, alpha=self.blend / 4)

    def bounds(self) -> Bounds:
        (low_a, high_a), (low_b, high_b) = self.first.bounds(), self.second.bounds()
        margin = self.blend / 4
        low = _corner(min(pair) - margin for pair in zip(low_a, low_b, strict=True))
        high = _corner(max(pair) + margin for pair in zip(high_a, high_b, strict=True))
        return low, high


@dataclass(frozen=True)
class Intersection:
    """What two shapes have in common."""

    first: Shape
    second: Shape

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        return torch.maximum(self.first(points), self.second(points))

    def bounds(self) -> Bounds:
        (low_a, high_a), (low_b, high_b) = self.first.bounds(), self.second.bounds()
        return _corner(map(max, low_a, low_b)), _corner(map(min, high_a, high_b))


@dataclass(frozen=True)
class Outside:
    """All that a shape is not."""

    shape: Shape

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        return -self.shape(points)

    def bounds(self) -> Bounds:
        return EVERYWHERE


@dataclass(frozen=True)
class HalfSpace:
    """All on one side of a plane through `point`, the side that `normal` points away from."""

    point: Sequence[float]
    normal: Sequence[float]

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        normal = torch.tensor(list(self.normal), dtype=points.dtype)
        offset = points - _column(self.point, points)
        return torch.einsum("i,i...->...", normal / normal.norm(), offset)

    def bounds(self) -> Bounds:
        return EVERYWHERE


@dataclass(frozen=True)
class Rod:
    """A straight tube with round ends from `start` to `stop`, its radius changing from the first to the second."""

    start: Sequence[float]
    stop: Sequence[float]
    radii: tuple[float, float]

    def __call__(self, points: Float[Tensor, "3 *space"]) -> Float[Tensor, "*space"]:
        axis = torch.tensor([b - a for a, b in zip(self.start, self.stop, strict=True)], dtype=points.dtype)
        offset = points - _column(self.start, points)
        t = torch.einsum("i,i...->...", axis / axis.square().sum().clamp_min(1e-6), offset).clamp_(0, 1)
        away = offset.sub_(t * axis.reshape(3, *[1] * (points.ndim - 1))).square_().sum(0).sqrt_()
        return away.sub_(t, alpha=self.radii[1] - self.radii[0]).sub_(self.radii[0])

    def bounds(self) -> Bounds:
        ends, widest = list(zip(self.start, self.stop, strict=True)), max(self.radii)
        return _corner(min(pair) - widest for pair in ends), _corner(max(pair) + widest for pair in ends)


def rotation(angles: Sequence[float]) -> Tensor:
    """Rotation matrix `(3, 3)` from three angles in radians, about axis 0, then 1, then 2."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        cosine, sine = torch.cos(torch.tensor(float(angle))), torch.sin(torch.tensor(float(angle)))
        turn = torch.eye(3)
        i, j = (other for other in range(3) if other != axis)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = cosine, -sine, sine, cosine
        matrix = turn @ matrix
    return matrix


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(list(values)).reshape(3, *[1] * (like.ndim - 1))


def _corner(coordinates: Iterable[float]) -> Corner:
    first, second, third = coordinates
    return first, second, third

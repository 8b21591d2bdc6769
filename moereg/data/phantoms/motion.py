"""A random diffeomorphism whose size and smoothness differ by direction, as breathing's do."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.data.phantoms.scene import Scene, View
from moereg.fields import exponentiate


@dataclass(frozen=True)
class Motion:
    """Statistics of a random stationary velocity. Each entry is per *direction of displacement* (z, y, x).

    Everything is a share of the axis' length, so that the same motion is drawn for any image size. The velocity is

        v_d(x) = s S_d amplitude_d window(x) [ drift_d b + (1 - drift_d) w_d(x) ],        |v_d| <= S_d amplitude_d

    with `w_d` in [-1, 1] a cubic B-spline with random coefficients `length_d` apart, `b` = -1 or 1 (in or out), `s`
    uniform in `[least, 1]`, and a window that is one in the middle and falls to zero at the border of the grid, so
    that `exp(v)` maps the grid onto itself and `exp(-v)` is its inverse everywhere.
    """

    amplitude: tuple[float, float, float] = (0.18, 0.09, 0.09)
    length: tuple[float, float, float] = (0.35, 0.16, 0.16)
    drift: tuple[float, float, float] = (0.5, 0.0, 0.0)  # share that all tissue has in common
    least: float = 0.7
    margin: float = 0.25  # width of the border in which the window falls

    def __post_init__(self):
        for name, least in (("amplitude", 0.0), ("length", 0.02), ("drift", 0.0)):
            values = getattr(self, name)
            if len(values) != 3 or not all(least <= value <= 1 for value in values):
                raise ValueError(f"{name} must be three shares from {least} to 1, one per direction, got {values!r}.")
        if not 0 < self.margin <= 0.5:
            raise ValueError(f"margin must be above 0 and at most 0.5, got {self.margin!r}.")
        if not 0 <= self.least <= 1:
            raise ValueError(f"least must be from 0 to 1, got {self.least!r}.")

    def permuted(self, order: tuple[int, int, int]) -> "Motion":
        """The same statistics with directions exchanged: direction `d` gets what direction `order[d]` had."""
        if sorted(order) != [0, 1, 2]:
            raise ValueError(f"order must be a permutation of (0, 1, 2), got {order!r}.")
        names = ("amplitude", "length", "drift")
        return replace(self, **{name: tuple(getattr(self, name)[d] for d in order) for name in names})

    def velocity(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "dims *space"]:
        """A stationary velocity `(D, *S)` in voxels per unit time. A 2-D shape takes the directions z and x."""
        directions = (0, 1, 2) if len(shape) == 3 else (0, 2)
        strength = self.least + (1 - self.least) * float(torch.rand((), generator=generator))
        sign = 1.0 if float(torch.rand((), generator=generator)) < 0.5 else -1.0
        window = border_window(shape, self.margin)
        components = []
        for size, d in zip(shape, directions, strict=True):
            pattern = self.drift[d] * sign + (1 - self.drift[d]) * smooth_pattern(shape, self.length[d], generator)
            components.append(pattern * window * (strength * size * self.amplitude[d]))
        return torch.stack(components)

    def draw(
        self, shape: tuple[int, ...], generator: torch.Generator
    ) -> tuple[Float[Tensor, "dims *space"], Float[Tensor, "dims *space"]]:
        """A displacement `u = exp(v)` and its inverse `exp(-v)`, each `(D, *S)` in voxels."""
        velocity = self.velocity(shape, generator)
        return flow(velocity)

    def move(
        self, scene: Scene, view: View, generator: torch.Generator
    ) -> tuple[Float[Tensor, "dims *space"], Float[Tensor, "dims *space"]]:
        """`draw` for the grid of `view`: this motion is the same whoever lies there."""
        return self.draw(view.shape, generator)


def flow(
    velocity: Float[Tensor, "dims *space"], steps: int = 6
) -> tuple[Float[Tensor, "dims *space"], Float[Tensor, "dims *space"]]:
    """`exp(v)` and its inverse `exp(-v)` of a stationary velocity in voxels per unit time."""
    forward, inverse = exponentiate(torch.stack([velocity, -velocity]), steps=steps)
    return forward, inverse


def smooth_pattern(shape: tuple[int, ...], length: float, generator: torch.Generator) -> Float[Tensor, "*space"]:
    """A random smooth map `(*S)` with largest absolute value one: a cubic B-spline with normal coefficients.

    `length` is the distance of the coefficients, as a share of each axis.
    """
    count = max(1, math.ceil(1 / length - 1e-9)) + 3
    pattern = torch.randn([count] * len(shape), generator=generator)
    for size in shape:  # each product takes the first axis away and puts the finished one last
        basis = _spline_basis(size, count)
        pattern = torch.tensordot(pattern, basis, dims=([0], [1]))  # type: ignore[arg-type]  # torch types only a number
    return pattern / pattern.abs().max()


def border_window(shape: tuple[int, ...], margin: float) -> Float[Tensor, "*space"]:
    """One in the middle, zero on the border, smooth in between: a product of `3 t^2 - 2 t^3` along each axis."""
    window = torch.ones(())
    for size in shape:
        place = torch.linspace(0, 1, size)
        window = window[..., None] * smooth_step(torch.minimum(place, 1 - place) / margin)
    return window


def smooth_step(values: Float[Tensor, "*space"]) -> Float[Tensor, "*space"]:
    """`3 t^2 - 2 t^3` of values cut to [0, 1]: from zero to one, flat at both ends."""
    t = values.clamp(0, 1)
    return t * t * (3 - 2 * t)


def _spline_basis(size: int, count: int) -> Tensor:
    """`(size, count)`: weight of each coefficient at `size` places spread over the `count - 3` spans of the spline."""
    place = torch.linspace(0, count - 3, size)
    distance = (place[:, None] - (torch.arange(count) - 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    return torch.where(distance < 1, near, far)

"""Systole: the cavity shrinks, the ventricle shortens and twists, and its muscle keeps its volume."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.data.phantoms.motion import flow, smooth_step
from moereg.data.phantoms.scene import Scene, View

Fields = tuple[Float[Tensor, "dims *space"], Float[Tensor, "dims *space"]]
BASE = -38.0  # the valves' plane on axis 0, millimetres
CORE = {2: 9.0, 3: 12.0}  # millimetres: at 1.7 times this distance a sink has lost its divergence


@runtime_checkable
class Ventricle(Protocol):
    """What of a subject this motion has to know: its left ventricle's cavity, in millimetres."""

    @property
    def radius(self) -> float:
        """At the valves' plane."""
        ...

    @property
    def length(self) -> float:
        """From the valves' plane to the apex."""
        ...


@dataclass(frozen=True)
class Beating:
    """From end-diastole to end-systole: the flow of a velocity that is free of divergence wherever there is muscle.

    Three parts, with `r` the distance from the long axis and `z` the place along it:

        sinks      -m g(rho) q / rho^D      around points of the axis (one in 2-D), g = 1 - exp(-(rho / core)^3)
        shortening curl(W A)                A the potential of (-k z, k r / 2): base towards apex; 3-D only
        twist      W omega(z) (axis x q)    base and apex turn in opposite directions; a slice turns as one

    `q` is the position from the sink and `rho` its length. Outside of the sinks' cores, all in the blood, the first is
    free of divergence, as are the others everywhere while the window `W` is one or depends on r and z alone. Beyond the
    heart the sinks fade, so that the lungs and the chest take up the change of volume.
    """

    ejection: tuple[float, float] = (0.52, 0.66)  # share of the cavity's section that systole takes at mid-ventricle
    shortening: tuple[float, float] = (0.08, 0.14)  # of the long axis
    twist: tuple[float, float] = (8.0, 14.0)  # degrees, at the apex against the base; in 2-D of the slice

    def __post_init__(self):
        for name, most in (("ejection", 0.7), ("shortening", 0.25), ("twist", 30.0)):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= most:
                raise ValueError(f"{name} must be two numbers from 0 to {most}, the lower first, got {(low, high)!r}.")

    def move(self, scene: Scene, view: View, generator: torch.Generator) -> Fields:
        """The displacement from end-diastole to end-systole and its inverse."""
        if not isinstance(scene, Ventricle):
            raise ValueError("motion must suit the anatomy: Beating moves 'cardiac' only, whose subjects have a heart.")
        points = view.positions()
        draws = torch.rand(3, generator=generator).tolist()
        ejection, shortening, twist = (
            low + (high - low) * draw
            for (low, high), draw in zip((self.ejection, self.shortening, self.twist), draws, strict=True)
        )
        velocity = _sinks(points, scene, ejection) + _turn(points, scene, math.radians(twist))
        if points.ndim == 4:
            velocity = velocity + _shorten(points, scene, shortening)
        return flow(view.voxels(velocity * _border(points, view)))


def _sinks(points: Tensor, heart: Ventricle, ejection: float) -> Tensor:
    """Radial inflow `v_r = -s / r` takes `2 s` from `r^2` in unit time."""
    strength = ejection * heart.radius**2 / 2
    velocity = torch.zeros_like(points)
    if points.ndim == 3:
        places, power, weight = [0.0], 2, strength * (1 - (BASE / heart.length) ** 2)  # the slice's own radius
        offset = points.clone()
        offset[0] = 0
    else:
        step = 7.0
        places = [BASE + 4 + step * k for k in range(int((heart.length - 30) / step) + 1)]
        # Sinks of weight m, h apart, act as a line: v_r = sum_k m r / rho^3 -> 2 m / (h r).
        power, weight = 3, strength * step / 2
        offset = points
    for place in places:
        away = offset.clone()
        if power == 3:
            away[0] -= place
        squared = away.square().sum(0).add_(1e-3)
        core = 1 - torch.exp(-(squared.sqrt() / CORE[power]).pow(3))
        velocity -= away * (weight * core / squared ** (power / 2))
    return velocity * _window(points, heart.radius + 18, 24.0)


def _turn(points: Tensor, heart: Ventricle, angle: float) -> Tensor:
    """Rotation about axis 0 by an angle that depends on the place along it."""
    share = -0.35 + 1.35 * smooth_step((points[0] - BASE) / heart.length) if points.ndim == 4 else 1.0
    rate = angle * share * _window(points, heart.radius + 10, 28.0)
    return torch.stack([torch.zeros_like(points[0]), -rate * points[2], rate * points[1]])


def _shorten(points: Tensor, heart: Ventricle, share: float) -> Tensor:
    """The base moves towards the apex, and the radius grows so that no volume is lost."""
    apex = BASE + heart.length
    z = points[0] - apex
    rate = -math.log(1 - share)
    radius = points[1:].square().sum(0).sqrt().clamp_min(1e-3)
    start, fade = heart.radius + 14, 26.0
    t = ((radius - start) / fade).clamp(0, 1)
    window, slope = 1 - smooth_step(t), -6 * t * (1 - t) / fade
    along, along_slope = _along(points[0])
    # The stream function psi = -k z Z(z) W(r) r^2 / 2 gives v_z = psi_r / r and v_r = -psi_z / r.
    v_z = -rate * z * along * (window + radius * slope / 2)
    v_r_over_r = rate * (along + z * along_slope) * window / 2
    return torch.stack([v_z, v_r_over_r * points[1], v_r_over_r * points[2]])


def _along(z: Tensor) -> tuple[Tensor, Tensor]:
    """A window along axis 0, one from base to apex, and its derivative."""
    t = ((z + 70) / 28).clamp(0, 1)
    return smooth_step(t), 6 * t * (1 - t) / 28


def _window(points: Tensor, start: float, fade: float) -> Tensor:
    """One up to `start` millimetres from the long axis, zero from `start + fade` on."""
    return 1 - smooth_step((points[1:].square().sum(0).sqrt() - start) / fade)


def _border(points: Tensor, view: View) -> Tensor:
    """Zero on the border of the field of view, one from 14 mm inwards."""
    window = torch.ones_like(points[0])
    for axis in view.shown:
        window = window * smooth_step((view.extent[axis] / 2 - points[axis].abs()) / 14)
    return window

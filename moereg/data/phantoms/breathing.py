"""Breathing: a smooth expansion of the whole chest, and contents that slide along its wall."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.data.phantoms.motion import border_window, flow, smooth_pattern, smooth_step
from moereg.data.phantoms.scene import Scene, View
from moereg.data.phantoms.shapes import Shape
from moereg.fields import compose

Fields = tuple[Float[Tensor, "dims *space"], Float[Tensor, "dims *space"]]


@runtime_checkable
class Pleura(Protocol):
    """What of a subject this motion has to know: where its contents slide, and how it is posed."""

    @property
    def pleura(self) -> Shape:
        """The surface along which they slide, in the straight chest."""
        ...

    def pose(self, points: Tensor) -> Tensor:
        """Positions in the field of view to positions in the straight chest."""
        ...

    def unpose(self, straight: Tensor) -> Tensor:
        """The inverse of `pose`."""
        ...


@dataclass(frozen=True)
class Breathing:
    """From exhale to inhale, with a jump of the displacement at the pleura. Lengths are millimetres.

    The map is `e` outside of the pleura and `e after s` within:

        e = exp(expansion)      the chest widens and rises in front; smooth, the same on both sides
        s = exp(slip)           the contents descend, most above the diaphragm, not at all at the neck

    The slip's velocity is tangential to the pleura, so `s` maps the contents onto themselves: they slide along the
    wall, nothing opens and nothing overlaps. `e` moves both sides of the pleura together.
    """

    descent: tuple[float, float] = (18.0, 28.0)  # of the diaphragm, from shallow to deep breaths
    expansion: tuple[float, float] = (0.012, 0.025)  # share by which the chest grows
    wobble: float = 4.0  # random motion across, which fades towards the wall

    def __post_init__(self):
        for name in ("descent", "expansion"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be two numbers from 0 on, the lower one first, got {(low, high)!r}.")
        if self.descent[1] > 45 or self.expansion[1] > 0.1 or not 0 <= self.wobble <= 10:
            raise ValueError(
                "descent must be at most 45 mm, expansion at most 0.1 and wobble from 0 to 10 mm, "
                f"got {self.descent!r}, {self.expansion!r} and {self.wobble!r}."
            )

    def move(self, scene: Scene, view: View, generator: torch.Generator) -> Fields:
        """The displacement from exhale to inhale and its inverse, both with a jump at the pleura."""
        if not isinstance(scene, Pleura):
            raise ValueError("motion must suit the anatomy: Breathing moves 'lung' only, whose subjects have a pleura.")
        points = view.positions()
        wall, wall_inverse = flow(self._expansion(points, view, generator), steps=4)
        slip, slip_inverse = flow(self._slip(scene, points, view, generator))
        contents = compose(wall[None], slip[None])[0]  # u_e after u_s
        contents_inverse = compose(slip_inverse[None], wall_inverse[None])[0]
        inside = scene.pleura(scene.pose(points)) < 0
        inside_moved = scene.pleura(scene.pose(view.positions(wall_inverse))) < 0
        return torch.where(inside, contents, wall), torch.where(inside_moved, contents_inverse, wall_inverse)

    def _expansion(self, points: Tensor, view: View, generator: torch.Generator) -> Tensor:
        share = _between(self.expansion, generator)
        growth = torch.zeros_like(points)
        growth[1] = share * (points[1] - 70)  # about the spine, which stays
        growth[2] = share * points[2]
        growth[0] = 0.5 * share * (points[1] - 70)  # the front rises
        return view.voxels(growth) * border_window(view.shape, 0.12)

    def _slip(self, chest: Pleura, points: Tensor, view: View, generator: torch.Generator) -> Tensor:
        """Velocity in voxels: down the straight chest's axis, to which its wall is parallel, then posed like it."""
        straight = chest.pose(points)
        descent = _between(self.descent, generator)
        profile = smooth_step((points[0] + 165) / 240) * smooth_step((158 - points[0]) / 78)
        uneven = 1 + 0.3 * smooth_pattern(view.shape, 0.4, generator) + 0.0015 * straight[1]
        depth = -chest.pleura(straight)
        fade = self.wobble * smooth_step(depth / 30) * border_window(view.shape, 0.15)
        velocity = torch.zeros_like(points)
        velocity[0] = descent * profile * uneven
        for axis in view.shown[1:]:
            velocity[axis] = fade * smooth_pattern(view.shape, 0.3, generator)
        step = 0.05  # the pose's derivative along the velocity, by a small step
        return view.voxels((chest.unpose(straight + step * velocity) - chest.unpose(straight)) / step)


def _between(limits: tuple[float, float], generator: torch.Generator) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(torch.rand((), generator=generator))

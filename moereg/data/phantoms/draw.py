"""Random numbers of one subject: where individuals differ from the textbook."""

import math

import torch

from moereg.data.phantoms.shapes import Ellipsoid, rotation


class Draw:
    """Random numbers of one subject, from one stream."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """One number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def around(self, value: float, spread: float) -> float:
        """Normal around `value`, cut at two standard deviations."""
        return value + spread * max(-2.0, min(2.0, float(torch.randn((), generator=self.generator))))

    def ellipsoid(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        *,
        shift: float = 6.0,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
        bend: dict[tuple[int, int], float] | None = None,
        bumpy: float = 0.06,
    ) -> Ellipsoid:
        """A typical ellipsoid made individual: moved, resized, turned and dented. Angles in degrees."""
        angles = [math.radians(self.around(angle, 6.0)) for angle in turn]
        size = math.exp(self.around(0.0, 0.07))
        directions = torch.randn(3, 3, generator=self.generator)
        return Ellipsoid(
            centre=[self.around(value, shift) for value in centre],
            radii=[radius * size * math.exp(self.around(0.0, 0.06)) for radius in radii],
            rotation=rotation(angles),
            bend={axes: self.around(value, 0.05) for axes, value in (bend or {}).items()},
            bumps=directions / directions.norm(dim=1, keepdim=True),
            heights=[self.around(0.0, bumpy) for _ in range(3)],
        )

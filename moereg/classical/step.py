"""One iteration of Demons on one resolution: the force, and how it enters the field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.classical.sampling import fast_sample
from moereg.filters import smoother, spatial_gradient

VARIANTS = ("thirion", "symmetric", "diffeomorphic", "log")


@dataclass(frozen=True)
class Settings:
    """What stays the same on all levels. Sigmas and spacing have one number per axis."""

    variant: str
    elastic: tuple[float, ...]
    fluid: tuple[float, ...]
    max_step: float
    threshold: float
    missing_mass: float
    smooth_before: bool


def demons_force(
    difference: Float[Tensor, "batch 1 *space"],
    gradient: Float[Tensor, "batch 1 dims *space"],
    *,
    max_step: float = 0.5,
    spacing: Sequence[float] | None = None,
    threshold: float = 0.0,
) -> Float[Tensor, "batch dims *space"]:
    """The Demons force `u = d J / (|J|^2 + d^2 / (4 L^2 h^2))`, in voxels.

    Its length in mm is at most `L h`, reached where both terms of the denominator
    are equal.

    Args:
        difference: d = fixed - warped.
        gradient: J, intensity per mm (`spatial_gradient` with the same spacing).
        max_step: L.
        spacing: voxel edges in mm, `h^2` is the mean of their squares. Default: one.
        threshold: where |d| is smaller the force is zero.
    """
    dims = gradient.shape[2]
    spacing = spacing or (1.0,) * dims
    # |J|^2 + d^2 / (4 L^2 h^2)
    floor = 1 / (4 * max_step**2 * sum(edge**2 for edge in spacing) / dims)
    denominator = floor * difference.square()
    for component in gradient.unbind(2):
        denominator.addcmul_(component, component)
    acts = difference.abs() >= max(threshold, 1e-12)  # the smallest whose square is no zero in float32
    scale = torch.where(acts, difference / denominator, 0)
    # u = d J / denominator in mm, divided by the voxel edges
    return (gradient[:, 0] * scale).div_(gradient.new_tensor(spacing).view(-1, *[1] * dims))


def lie_bracket(
    first: Float[Tensor, "batch dims *space"], second: Float[Tensor, "batch dims *space"]
) -> Float[Tensor, "batch dims *space"]:
    """`[v, u] = (grad v) u - (grad u) v`: how far two flows are from commuting.

    `exp(v) o exp(u) = exp(v + u + [v, u] / 2 + ...)`, the Baker-Campbell-Hausdorff series.
    """
    # (grad v) u - (grad u) v
    along_second = (spatial_gradient(first) * second[:, None]).sum(2)
    along_first = (spatial_gradient(second) * first[:, None]).sum(2)
    return along_second - along_first


class Level:
    """One resolution: what is constant while its field is iterated."""

    def __init__(self, moving: Tensor, fixed: Tensor, spacing: tuple[float, ...], settings: Settings):
        self.moving, self.fixed, self.spacing, self.settings = moving, fixed, spacing, settings
        self.fixed_gradient = spatial_gradient(fixed, spacing=spacing, border="zero")
        self.elastic = smoother(settings.elastic, fixed, settings.missing_mass)
        self.fluid = smoother(settings.fluid, fixed, settings.missing_mass)

    def displacement(self, field: Tensor) -> Tensor:
        """The field itself, or for "log" what the velocity leads to."""
        return scaling_and_squaring(field) if self.settings.variant == "log" else field

    def step(self, field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One iteration: new field, mean squared difference before it, root mean square change in mm, one per item."""
        field = self.elastic(field) if self.settings.smooth_before else field
        displacement = self.displacement(field)
        warped = self.warp(displacement)
        inside = stays_inside(displacement)
        difference = (self.fixed - warped).mul_(inside)  # no force from beyond the image
        mean_square = difference.flatten(1).norm(dim=1) ** 2 / inside.flatten(1).sum(1).clamp_min(1)

        update = self.fluid(self.force(difference, warped))
        rough = self.add(field, update)
        new = rough if self.settings.smooth_before else self.elastic(rough)
        # Fresh memory costs more than arithmetic: a buffer that is not needed any more is used again.
        moved = torch.sub(new, field, out=None if new is rough else rough).flatten(2).norm(dim=2)  # per axis
        change = (moved * moved.new_tensor(self.spacing)).norm(dim=1) / math.sqrt(field[0, 0].numel())
        return new, mean_square, change

    def warp(self, displacement: Tensor) -> Tensor:
        """The moving image pulled through a displacement, to the last bit itself where an item's displacement is zero.

        Rounding of the sampling positions would make equal images differ a little.
        """
        warped = fast_sample(self.moving, displacement)
        for item, (low, high) in enumerate(one.aminmax() for one in displacement):
            if low == high == 0:
                warped[item] = self.moving[item]
        return warped

    def force(self, difference: Tensor, warped: Tensor) -> Tensor:
        """Demons force with the gradient of this variant."""
        gradient = self.fixed_gradient
        if self.settings.variant != "thirion":
            gradient = spatial_gradient(warped, spacing=self.spacing).add_(gradient).div_(2)
        step, threshold = self.settings.max_step, self.settings.threshold
        return demons_force(difference, gradient, max_step=step, spacing=self.spacing, threshold=threshold)

    def add(self, field: Tensor, update: Tensor) -> Tensor:
        """Bring an update into the field: last column but one of the module's table. The update may be used up."""
        if self.settings.variant == "log":
            # v + u + [v, u] / 2
            return field + update + lie_bracket(field, update) / 2
        if self.settings.variant == "diffeomorphic":
            # s o exp(u)
            update = scaling_and_squaring(update, squarings=max(0, math.ceil(2 + math.log2(self.settings.max_step))))
            return fast_sample(field, update).add_(update)
        return update.add_(field)


def stays_inside(displacement: Tensor) -> Tensor:
    """`(B, 1, *S)`: whether `x + u(x)` is inside the image, which reaches half a voxel beyond its outer centres."""
    inside = torch.ones_like(displacement[:, :1], dtype=torch.bool)
    for axis, size in enumerate(displacement.shape[2:]):
        start = torch.arange(size, dtype=displacement.dtype, device=displacement.device)
        start = start.view(-1, *[1] * (displacement.ndim - 3 - axis))
        own = displacement[:, axis : axis + 1]
        inside &= (own >= -0.5 - start) & (own <= size - 0.5 - start)
    return inside


def scaling_and_squaring(velocity: Tensor, squarings: int | None = None) -> Tensor:
    """`exponentiate`, by default with as many squarings as make the first step shorter than half a voxel."""
    if squarings is None:
        longest = float(velocity.square().sum(1).max().sqrt())
        squarings = max(0, math.ceil(1 + math.log2(longest))) if longest > 0 else 0
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        # u <- u o u
        displacement = displacement + fast_sample(displacement, displacement)
    return displacement

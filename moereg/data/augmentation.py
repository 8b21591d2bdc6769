"""Augmentation: pairs that are not in the data, made from pairs that are.

Every image of a pair is bent, turned and recoloured by itself, with its labels:

    image'(x)  = curve(image(x + d(x))) + noise        labels'(x) = labels at the voxel nearest to x + d(x)
    d(x)       = c + A (x - c) + t + b(x) - x          c the middle of the grid
    curve(v)   = gain * v^gamma

`A` turns, scales and shears, `t` shifts, `b` is white noise smoothed by a Gaussian. What is mirrored is mirrored in
both images at once: a left half stays beside a left half. The true displacement of a pair is not carried along.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.data.pairs import Pair
from moereg.fields import identity_grid, sample
from moereg.filters import smooth, smoothing_matrices


@dataclass(frozen=True)
class Augmentation:
    """How much is changed, at most or as a standard deviation; everything is off unless named.

    Args:
        mirror: tensor axes along which half of the pairs are mirrored.
        exchange: labels that change places in a mirrored pair, for instance of the left and the right kidney.
        turn: standard deviation of the rotation in each plane, degrees.
        scale: standard deviation of the logarithm of the size along each axis.
        shift: standard deviation of the translation along each axis, voxels.
        bend: standard deviation of each component of `b`, voxels.
        bend_sigma: sigma of the Gaussian that smooths `b`, voxels.
        gamma: standard deviation of the logarithm of gamma.
        gain: standard deviation of the logarithm of the gain.
        noise: standard deviation of the noise.
    """

    mirror: tuple[int, ...] = ()
    exchange: tuple[tuple[int, int], ...] = ()
    turn: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    bend: float = 0.0
    bend_sigma: float = 6.0
    gamma: float = 0.0
    gain: float = 0.0
    noise: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether anything is moved, or colours alone change."""
        return any((self.turn, self.scale, self.shift, self.bend))

    def __post_init__(self):
        for name in ("turn", "scale", "shift", "bend", "gamma", "gain", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or more, got {getattr(self, name)!r}.")
        if not 0 < self.bend_sigma < math.inf:
            raise ValueError(f"bend_sigma must be above zero, got {self.bend_sigma!r}.")
        if not all(_is_whole(axis) for axis in self.mirror) or len(set(self.mirror)) < len(self.mirror):
            raise ValueError(f"mirror must be different tensor axes, counted from zero, got {self.mirror!r}.")
        couples = all(len(couple) == 2 and all(map(_is_whole, couple)) for couple in self.exchange)
        if not couples or len({label for couple in self.exchange for label in couple}) < 2 * len(self.exchange):
            raise ValueError(f"exchange must be couples of labels, each label once, got {self.exchange!r}.")

    def check_axes(self, dims: int) -> None:
        """Require that images of so many axes can be mirrored.

        Raises:
            ValueError: an axis that they do not have.
        """
        if any(axis >= dims for axis in self.mirror):
            raise ValueError(f"mirror must be axes below {dims}, the number that the images have, got {self.mirror}.")


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def augment(pair: Pair, options: Augmentation, generator: torch.Generator) -> Pair:
    """The pair changed by chance: the same generator state gives the same pair.

    Args:
        generator: on the CPU; the draws are made there whatever device the pair is on.
    """
    pair = mirror(pair, options, generator)
    moving, moving_labels, moving_mask = _distort(pair.moving, pair.moving_labels, pair.moving_mask, options, generator)
    fixed, fixed_labels, fixed_mask = _distort(pair.fixed, pair.fixed_labels, pair.fixed_mask, options, generator)
    return replace(
        pair,
        moving=recolour(moving, options, generator),
        fixed=recolour(fixed, options, generator),
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        moving_mask=moving_mask,
        fixed_mask=fixed_mask,
        displacement=None,
        region=None,
    )


def mirror(pair: Pair, options: Augmentation, generator: torch.Generator) -> Pair:
    """Both images mirrored along each of the axes, or not, with even odds. The true displacement is dropped."""
    drawn = torch.rand(len(options.mirror), generator=generator) < 0.5
    axes = [1 + axis for axis, flip in zip(options.mirror, drawn.tolist(), strict=True) if flip]
    if not axes:
        return replace(pair, displacement=None)
    changes = {name: getattr(pair, name).flip(axes) for name in ("moving", "fixed")}
    for name in ("moving_labels", "fixed_labels", "region", "moving_mask", "fixed_mask"):
        if getattr(pair, name) is not None:
            changes[name] = getattr(pair, name).flip(axes)
    if len(axes) % 2:  # two mirrorings are a turn, which makes no left of a right
        for name in ("moving_labels", "fixed_labels"):
            if name in changes:
                changes[name] = exchanged(changes[name], options.exchange)
    return replace(pair, displacement=None, **changes)


def exchanged(labels: Tensor, couples: tuple[tuple[int, int], ...]) -> Tensor:
    """Labels with both members of every couple in each other's place."""
    result = labels
    for first, second in couples:
        result = torch.where(labels == first, second, torch.where(labels == second, first, result))
    return result


def _distort(
    image: Tensor, labels: Tensor | None, mask: Tensor | None, options: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """`distort` for an image, its labels and its mask, which moves as a label map of zero and one does."""
    if mask is None:
        return *distort(image, labels, options, generator), None
    maps = [mask.long()] if labels is None else [mask.long(), labels]
    image, moved = distort(image, torch.cat(maps), options, generator)
    assert moved is not None
    return image, None if labels is None else moved[1:], moved[:1] > 0


def distort(
    image: Tensor, labels: Tensor | None, options: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """One image and its labels, bent and turned by the same random field."""
    if not options.moves:
        return image, labels
    field = random_field(tuple(image.shape[1:]), options, generator).to(image)[None]
    if labels is None:
        return sample(image[None], field)[0], None
    nearest = sample(labels[None].to(field.dtype), field, mode="nearest")[0].to(labels.dtype)
    return sample(image[None], field)[0], nearest


def random_field(
    shape: tuple[int, ...], options: Augmentation, generator: torch.Generator
) -> Float[Tensor, "dims *space"]:
    """`d` of the module's text, voxels."""
    dims = len(shape)
    column = (dims, *[1] * dims)
    centred = identity_grid(shape) - torch.tensor([(size - 1) / 2 for size in shape]).view(column)
    # d(x) = (A - I) (x - c) + t + b(x)
    matrix = random_matrix(dims, options, generator) - torch.eye(dims)
    shift = options.shift * torch.randn(dims, generator=generator)
    field = (matrix @ centred.flatten(1)).view(dims, *shape) + shift.view(column)
    if not options.bend:
        return field
    white = torch.randn(1, dims, *shape, generator=generator)
    bent = smooth(white, smoothing_matrices((options.bend_sigma,) * dims, white))
    return field + options.bend * (bent / bent.std())[0]


def random_matrix(dims: int, options: Augmentation, generator: torch.Generator) -> Float[Tensor, "dims dims"]:
    """`A = exp(G)`: the antisymmetric part of `G` turns, its diagonal scales."""
    planes = math.radians(options.turn) * torch.randn(dims, dims, generator=generator).triu(1)
    sizes = options.scale * torch.randn(dims, generator=generator)
    # A = exp(G),   G = R - R^T + diag(s)
    return torch.linalg.matrix_exp(planes - planes.T + sizes.diag())


def recolour(image: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """One image with another gain, gamma and noise, cut to [0, 1]; as it is where no colour changes."""
    if not any((options.gamma, options.gain, options.noise)):
        return image
    gamma, gain = (
        math.exp(spread * float(torch.randn((), generator=generator))) for spread in (options.gamma, options.gain)
    )
    noise = torch.randn(image.shape, generator=generator).to(image)
    # v' = gain * v^gamma + noise
    return (gain * image.clamp(0, 1) ** gamma + options.noise * noise).clamp(0, 1)

"""Chapter 02, similarity and regularity."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg import regularity, similarity
from moereg.course.exercises.functions import Inputs, Task
from moereg.fields import upsample_field

EPSILON = 1e-5  # as in `moereg.similarity.lncc`


def noise(answer: float, *, window: int, dims: int = 2) -> tuple[bool, str]:
    """About how low is LNCC for two images of independent noise, in 2-D or in 3-D?"""
    voxels = window**dims
    if math.isclose(answer, -1 / (voxels - 1), rel_tol=0.2):
        return True, f"Two rows of n = {voxels} random numbers have a squared correlation of 1 / (n - 1) on average."
    if math.isclose(answer, 0, abs_tol=1e-6):
        return False, "The correlation is zero on average; its square is not. Few voxels correlate by chance."
    if answer > 0:
        return False, "It is a loss: alike is negative."
    if dims == 3 and math.isclose(answer, -1 / (window**2 - 1), rel_tol=0.2):
        return False, "That is the number of a square. How many voxels does the cube hold?"
    return (
        False,
        f"A window has {voxels} voxels. Compare the printed numbers with one over the voxels of their windows.",
    )


def regulariser(answer: str) -> tuple[bool, str]:
    """Which regulariser costs nothing for a rigid turn, u(x) = (R - I) x?"""
    if answer in ("bending", "bending_energy", "bending energy"):
        return True, "u is linear in x: its first derivatives are the entries of R - I, all second ones are zero."
    if answer in ("diffusion", "both"):
        return False, "Diffusion adds up squared first derivatives. What is du/dx for u(x) = (R - I) x?"
    return False, "Answer 'diffusion', 'bending' or 'both'."


def aperture(
    answer: tuple[float, float], *, move: tuple[float, float], normal: tuple[float, float]
) -> tuple[bool, str]:
    """The displacement that the squared error finds on a straight edge whose gradient points along `normal`."""
    along = sum(m * n for m, n in zip(move, normal, strict=True))  # voxels across the edge
    seen = tuple(along * n for n in normal)
    hidden = tuple(m - s for m, s in zip(move, seen, strict=True))
    if _near(answer, seen):
        return (
            True,
            f"{along:g} voxels along the gradient, {seen[0]:g} down and {seen[1]:g} right; the rest is invisible.",
        )
    if _near(answer, move):
        return False, "That is the whole motion. Its part along the edge changes nothing in the image."
    if _near(answer, hidden):
        return False, "That is the part along the edge, the one that cannot be seen."
    if _near(answer, [m * n for m, n in zip(move, normal, strict=True)]):
        return False, "Do not multiply axis by axis: add the two products up, then go that far along the gradient."
    return False, "Project (2, 5) onto the gradient: how far along it does the edge move? Then go that far along it."


def _near(answer: tuple[float, ...], other) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(answer, other, strict=True))


def _images() -> Inputs:
    """Two images with something in common and little contrast, so that epsilon counts; small and large windows."""
    draw = torch.Generator().manual_seed(21)
    inputs = {}
    for name, shape, window in (("in 2-D", (9, 11), 3), ("in 2-D, window 5", (9, 11), 5), ("in 3-D", (6, 7, 8), 3)):
        base = torch.rand(1, 1, *shape, generator=draw)
        warped, fixed = (0.2 * (base + torch.rand(base.shape, generator=draw) - 0.8) for _ in range(2))
        inputs[name] = (warped, fixed, window)
    return inputs


def _mean(image: Tensor, window: int, *, cut: bool = True) -> Tensor:
    pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
    return pool(image, window, 1, window // 2, count_include_pad=not cut)


def _moments(a: Tensor, b: Tensor, window: int, *, cut: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Covariance and both variances in the window around each voxel."""

    def covariance(one: Tensor, other: Tensor) -> Tensor:
        return _mean(one * other, window, cut=cut) - _mean(one, window, cut=cut) * _mean(other, window, cut=cut)

    return covariance(a, b), covariance(a, a), covariance(b, b)


def _squared(c: Tensor, a: Tensor, b: Tensor, epsilon: float = EPSILON) -> Tensor:
    return (c**2 / (a * b + epsilon)).mean()


def _whole_image(a: Tensor, b: Tensor, window: int) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    return -((a * b).mean() ** 2 / (a.square().mean() * b.square().mean() + EPSILON))


def _uncentred(a: Tensor, b: Tensor, window: int) -> Tensor:
    return -_squared(_mean(a * b, window), _mean(a * a, window), _mean(b * b, window))


def _unsquared(a: Tensor, b: Tensor, window: int) -> Tensor:
    c, variance_a, variance_b = _moments(a, b, window)
    return -(c / (variance_a * variance_b + EPSILON).sqrt()).mean()


def _epsilon_twice(a: Tensor, b: Tensor, window: int) -> Tensor:
    c, variance_a, variance_b = _moments(a, b, window)
    return -(c**2 / ((variance_a + EPSILON) * (variance_b + EPSILON))).mean()


lncc = Task(
    right=similarity.lncc,
    inputs=_images,
    mistakes={
        "It is a loss: alike must be low. Put a minus in front.": lambda a, b, n: _squared(*_moments(a, b, n)),
        "The correlation is not squared: a negative of the image would count as the opposite of alike.": _unsquared,
        "The means are not taken away: that compares brightness, not how both vary. c = mean(IJ) - mean(I) mean(J).": (
            _uncentred
        ),
        "That is one correlation over the whole image. Each voxel has a window of its own.": _whole_image,
        "At the border zeros are counted as if they belonged to the image: count_include_pad=False.": (
            lambda a, b, n: -_squared(*_moments(a, b, n, cut=False))
        ),
        "Epsilon is added to both variances. It belongs once to their product.": _epsilon_twice,
        "Sums in place of means: the same epsilon then means less in a large window.": (
            lambda a, b, n: -_squared(*_moments(a, b, n), EPSILON / n ** (2 * (a.ndim - 2)))
        ),
    },
    praise="Squared covariance over the product of variances in every window, then minus the mean.",
    hint="Moments are means over the window: c, a and b first, then -mean(c^2 / (a b + 1e-5)).",
)


def _smooth_fields() -> Inputs:
    """One smooth field, in 2-D and in 3-D, two in a batch."""
    draw = torch.Generator().manual_seed(22)
    return {
        f"in {len(shape)}-D": (upsample_field(torch.randn(2, len(shape), *(4,) * len(shape), generator=draw), shape),)
        for shape in ((7, 8), (7, 8, 7))
    }


def _differences(u: Tensor) -> list[tuple[int, int, Tensor]]:
    """(direction, axis, difference of neighbours)."""
    return [(i, j, u[:, [i]].diff(dim=j + 2)) for i in range(u.shape[1]) for j in range(u.shape[1])]


def _own_axis(u: Tensor) -> Tensor:
    return torch.stack([d.square().mean() for i, j, d in _differences(u) if i == j]).sum()


def _absolute(u: Tensor) -> Tensor:
    return torch.stack([d.abs().mean() for _, _, d in _differences(u)]).sum()


def _summed(u: Tensor) -> Tensor:
    return torch.stack([d.square().sum() for _, _, d in _differences(u)]).sum()


diffusion = Task(
    right=regularity.diffusion,
    inputs=_smooth_fields,
    mistakes={
        "Those are absolute differences. Diffusion squares them: one large jump costs more than many small ones.": (
            _absolute
        ),
        "Those are second differences, which is bending energy. Diffusion takes first ones.": regularity.bending_energy,
        "The mean runs over the directions too, so the sum comes out divided by their number.": (
            lambda u: regularity.diffusion(u) / u.shape[1]
        ),
        "Sums over the voxels: the number would grow with the image. Take the mean along each axis.": _summed,
        "Only the slope of each direction along its own axis is there. u_y may change along x as well.": _own_axis,
        "A root was taken at the end. The sum of squares is the energy.": lambda u: regularity.diffusion(u).sqrt(),
        "That charges the field itself: a translation would cost something.": (
            lambda u: u.square().mean() * u.shape[1]
        ),
    },
    praise="Every direction along every axis, squared, averaged, added up.",
    hint="Two directions times two axes make four terms in 2-D, nine in 3-D; each is diff, square, mean.",
)

EXERCISES = {
    "similarity-lncc": lncc,
    "similarity-diffusion": diffusion,
    "similarity-noise": noise,
    "similarity-regulariser": regulariser,
    "similarity-aperture": aperture,
}

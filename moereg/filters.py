"""Image gradients and Gaussian smoothing, for `(B, C, *S)` maps in two and three dimensions.

The Gaussian of a sampled image is Lindeberg's discrete one. It is defined by what it does to a wave of frequency w:

    H(w) = exp(sigma^2 (cos w - 1)),   0 <= w <= pi      taps k_n = exp(-sigma^2) I_n(sigma^2), variance sigma^2

`H` is one for constants and only falls: a low-pass at every sigma, and the identity at sigma = 0. (A sampled and cut
Gaussian is neither at small sigma.) ITK's GaussianOperator is the same kernel, cut where 10 % of the mass is missing.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 4  # voxels that a kernel may reach to be faster as shifted copies than as a matrix


def spatial_gradient(
    image: Float[Tensor, "batch channel *space"],
    *,
    spacing: Sequence[float] | None = None,
    border: str = "one-sided",
) -> Float[Tensor, "batch channel dims *space"]:
    """Central differences `(I(x+1) - I(x-1)) / (2 h)` along every axis, per unit of `spacing` (default: per voxel).

    At the image border, where one neighbour is missing, the difference is "one-sided" or, as in ITK's image function,
    "zero". An axis of one voxel has gradient zero.
    """
    dims = image.ndim - 2
    steps = spacing or (1.0,) * dims
    if (torch.is_grad_enabled() and image.requires_grad) or torch.compiler.is_compiling():
        return torch.stack([_difference(image, 2 + axis, steps[axis], border) for axis in range(dims)], dim=2)
    gradient = image.new_empty(*image.shape[:2], dims, *image.shape[2:])
    for axis, step in enumerate(steps):
        _write_difference(image, gradient.select(2, axis), 2 + axis, step, border)
    return gradient


def _difference(image: Tensor, axis: int, step: float, border: str) -> Tensor:
    size = image.shape[axis]
    if size < 2:
        return torch.zeros_like(image)
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
    if border == "zero":
        start, end = torch.zeros_like(first), torch.zeros_like(last)
    else:
        start = (image.narrow(axis, 1, 1) - first) / step
        end = (last - image.narrow(axis, size - 2, 1)) / step
    # (I(x+1) - I(x-1)) / (2 h)
    middle = (image.narrow(axis, 2, size - 2) - image.narrow(axis, 0, size - 2)) / (2 * step)
    return torch.cat((start, middle, end), axis)


def _write_difference(image: Tensor, result: Tensor, axis: int, step: float, border: str) -> None:
    """`_difference`, written to where it is wanted: fresh memory costs more than arithmetic."""
    size = image.shape[axis]
    if size < 2:
        result.zero_()
        return
    torch.sub(image.narrow(axis, 2, size - 2), image.narrow(axis, 0, size - 2), out=result.narrow(axis, 1, size - 2))
    for place, ahead, behind in ((0, 1, 0), (size - 1, size - 1, size - 2)):
        edge = result.narrow(axis, place, 1)
        if border == "zero":
            edge.zero_()
        else:
            torch.sub(image.narrow(axis, ahead, 1), image.narrow(axis, behind, 1), out=edge).mul_(2)
    result.div_(2 * step)


def gaussian_taps(sigma: Float[Tensor, "*kernels"], radius: int) -> Float[Tensor, "*kernels taps"]:
    """Discrete Gaussian kernels cut to `2 radius + 1` taps: symmetric, non-negative, of sum one.

    The taps are the inverse Fourier transform of `H`, taken on a ring so much longer than the cut that it does not
    meet itself. Differentiable in sigma.
    """
    half_ring = 2 * radius + 8
    length = 2 * half_ring + 1
    index = torch.arange(half_ring + 1, dtype=sigma.dtype, device=sigma.device)
    frequency = 2 * math.pi / length * index
    # H(w) = exp(sigma^2 (cos w - 1))
    response = torch.exp(sigma[..., None] ** 2 * (torch.cos(frequency) - 1))
    # A real, even spectrum has an even transform: a sum of cosines, each frequency but zero counting twice.
    waves = torch.cos(frequency[:, None] * index[: radius + 1]) * torch.where(index > 0, 2, 1)[:, None]
    half = (response @ waves).clamp_min(0)  # rounding can leave -1e-8 of the largest tap
    taps = torch.cat((half[..., 1:].flip(-1), half), -1)
    return taps / taps.sum(-1, keepdim=True)


def gaussian_radius(sigma: float, missing: float, most: int = 30) -> int:
    """Smallest radius at which no more than `missing` of the discrete Gaussian's mass is cut off, at most `most`."""
    if sigma <= 0:
        return 0
    taps = gaussian_taps(torch.tensor(sigma, dtype=torch.float64), most + math.ceil(6 * sigma))
    half = taps[taps.numel() // 2 :]
    inside = 2 * half.cumsum(0) - half[0]
    return min(int((inside < 1 - missing).sum()), most)


def smoothing_matrix(taps: Float[Tensor, "*kernels taps"], size: int) -> Float[Tensor, "*kernels size size"]:
    """The matrix that convolves an axis of `size` voxels with a kernel, the border voxel repeated outside.

    Every row is non-negative with sum one where the kernel is, so a smoothed value is a mean of values.
    """
    radius = taps.shape[-1] // 2
    row = torch.arange(size, device=taps.device)[:, None]
    column = (row + torch.arange(-radius, radius + 1, device=taps.device)).clamp(0, size - 1)
    place = (column + size * row).flatten()
    values = taps[..., None, :].expand(*taps.shape[:-1], size, -1).flatten(-2)
    flat = taps.new_zeros(*taps.shape[:-1], size * size)
    return flat.index_add(-1, place, values).unflatten(-1, (size, size))


def smooth(
    field: Float[Tensor, "batch channel *space"], matrices: Sequence[Tensor]
) -> Float[Tensor, "batch channel *space"]:
    """Apply one smoothing matrix along each axis, `(n, n)` for all channels or `(C, n, n)` for one per channel.

    No matrices at all leave the field as it is. On a CPU these products are faster than convolutions of few channels,
    and cost the same at every sigma.
    """
    shape, spare = field.shape, None
    for axis, matrix in enumerate(matrices):
        before, size, after = shape[2 : 2 + axis].numel(), shape[2 + axis], shape[3 + axis :].numel()
        if after == 1:  # last axis: (B, C, before, n)
            view = (*shape[:2], before, size)
            factors = (field.reshape(view), matrix.mT)
        else:  # (B, C, before, n, after)
            view = (*shape[:2], before, size, after)
            factors = (matrix[:, None] if matrix.ndim == 3 else matrix, field.reshape(view))
        smoothed = torch.matmul(*factors, out=None if spare is None else spare.view(view)).view(shape)
        # Fresh memory costs more than the product: the third axis is written where the first was.
        spare = field if axis and not torch.is_grad_enabled() else None
        field = smoothed
    return field


def smooth_near(field: Float[Tensor, "batch channel *space"], kernels: Sequence[Sequence[float]]) -> Tensor:
    """`smooth` by kernels of few taps, one per axis: the field and its shifted copies, weighed and added up.

    Two to three times as fast on a CPU as products with matrices, up to some nine taps.
    """
    for axis, kernel in enumerate(kernels, start=2):
        field = _add_shifted(field, kernel, axis)
    return field


def _add_shifted(field: Tensor, kernel: Sequence[float], axis: int) -> Tensor:
    size, radius = field.shape[axis], len(kernel) // 2
    first, last = field.narrow(axis, 0, 1), field.narrow(axis, size - 1, 1)
    result = field * kernel[radius]
    for reach, weight in enumerate(kernel[radius + 1 :], start=1):
        inside, outside = max(size - reach, 0), min(reach, size)
        if inside:
            result.narrow(axis, reach, inside).add_(field.narrow(axis, 0, inside), alpha=weight)
            result.narrow(axis, 0, inside).add_(field.narrow(axis, reach, inside), alpha=weight)
        result.narrow(axis, 0, outside).add_(first, alpha=weight)  # the border voxel repeated outside
        result.narrow(axis, size - outside, outside).add_(last, alpha=weight)
    return result


def smoother(sigmas: Sequence[float], image: Tensor, missing: float = 0.01) -> Callable[[Tensor], Tensor]:
    """Gaussian smoothing of maps on the grid of `image`, whichever form is faster; none where all sigmas are zero.

    Args:
        sigmas: in voxels, one per axis.
        missing: how much of a Gaussian is cut off at most.
    """
    if not any(sigmas):
        return lambda field: field
    radii = [gaussian_radius(sigma, missing) for sigma in sigmas]
    if max(radii) > NEAR or image.device.type != "cpu":
        return partial(smooth, matrices=smoothing_matrices(sigmas, image, missing))
    taps = [gaussian_taps(torch.tensor(s, dtype=torch.float64), r).tolist() for s, r in zip(sigmas, radii, strict=True)]
    return partial(smooth_near, kernels=taps)


def smoothing_matrices(sigmas: Sequence[float], image: Tensor, missing: float = 0.01) -> list[Tensor]:
    """Gaussian matrices for `smooth`, one sigma in voxels per axis of `image`; none at all if every sigma is zero."""
    if not any(sigmas):
        return []
    matrices = []
    for sigma, size in zip(sigmas, image.shape[2:], strict=True):
        taps = gaussian_taps(torch.tensor(sigma, dtype=torch.float64), gaussian_radius(sigma, missing))
        matrices.append(smoothing_matrix(taps, size).to(image))
    return matrices


def halve(image: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *half"]:
    """Every second voxel of the image smoothed with sigma 1; coarse voxel `i` sits on voxel `2 i`, as in `fields`.

    Values are not scaled: a displacement on the coarse grid is half as many voxels.
    """
    dims = image.ndim - 2
    # Relative to one of its own values: what is constant stays so to the last bit, and exerts no force.
    base = image.flatten(2)[..., :1].unflatten(2, (1,) * dims)
    smoothed = smooth(image - base, smoothing_matrices((1.0,) * dims, image))
    return base + smoothed[(..., *[slice(None, None, 2)] * dims)]

"""How alike two images are, as losses: lower is better.

`lncc` is the local normalised cross-correlation. In a window of `n` voxels around every voxel

    c = mean(I J) - mean(I) mean(J)        a = var(I)        b = var(J)        lncc = -mean_x  c^2 / (a b + epsilon)

which lies in [-1, 0] and does not change when either image is scaled or shifted locally. Three choices that packages
make silently are spoken aloud here:

* At the border the window is cut to the image, and `n` counts the voxels that are there. Zero padding instead (the
  VoxelMorph definition, `border="zeros"`) makes the loss depend on an intensity offset.
* Moments are means, so `epsilon` is in units of intensity^4 and does not depend on the window. (With sums, as in MONAI
  and VoxelMorph, the same number means a different loss for every window.)
* Each image's mean is removed first: moments of a large offset would cancel in float32.

`mutual_information` asks for no relation between the brightnesses of the two images, only that one tells about the
other: scans of different kinds. Its formula stands with the function.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from moereg.checks import check_choice, check_image, check_positive, check_same_space


def mse(
    warped: Float[Tensor, "batch channel *space"], fixed: Float[Tensor, "batch channel *space"]
) -> Float[Tensor, ""]:
    """Mean squared intensity difference."""
    check_image("warped", warped)
    check_image("fixed", fixed)
    check_same_space("warped", warped, "fixed", fixed, channels=True)
    return (warped - fixed).square().mean()


def lncc(
    warped: Float[Tensor, "batch channel *space"],
    fixed: Float[Tensor, "batch channel *space"],
    window: int = 9,
    *,
    epsilon: float = 1e-5,
    border: str = "count",
) -> Float[Tensor, ""]:
    """Local normalised cross-correlation (squared), a loss in [-1, 0]; formula and choices in the module's text.

    Args:
        warped, fixed: `(B, C, *S)`; channels are compared one by one.
        window: edge of the cubic window in voxels, odd.
        epsilon: floor of the product of variances, intensity^4. Regions flatter than it count as not alike.
        border: "count" the voxels inside the image, or pad with "zeros" (VoxelMorph, MONAI).

    Raises:
        TypeError, ValueError: one sentence naming the argument.
    """
    check_image("warped", warped)
    check_image("fixed", fixed)
    check_same_space("warped", warped, "fixed", fixed, channels=True)
    check_choice("border", border, ("count", "zeros"))
    check_positive("window", window, integer=True)
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must not be negative, got {epsilon!r}.")
    if window % 2 == 0:
        raise ValueError(f"window must be odd, so that it has a middle voxel, got {window}.")
    if border == "count":
        warped, fixed = _remove_mean(warped), _remove_mean(fixed)
    return _LocalCorrelation.apply(warped, fixed, window, epsilon, border)


def mutual_information(
    warped: Float[Tensor, "batch channel *space"],
    fixed: Float[Tensor, "batch channel *space"],
    bins: int = 32,
    *,
    limits: tuple[float, float] | None = None,
) -> Float[Tensor, ""]:
    """Minus the mutual information of two images in nats: zero where one tells nothing about the other.

        p(a, b) = mean_x beta3(a - i(x)) beta0(b - j(x))      loss = -sum_ab p(a, b) log(p(a, b) / (p(a) p(b)))

    with i and j the intensities in units of bins, from 2 to `bins - 3`, so that no window leaves the histogram; beta3
    is the cubic B-spline, which makes it differentiable in `warped`, beta0 the box: each fixed voxel counts in one bin,
    and no gradient reaches `fixed`. Source: Mattes et al. 2003 (Parzen windows as in Thevenaz and Unser 2000).

    Args:
        warped, fixed: `(B, C, *S)`; items and channels are compared one by one, and their mean is returned.
        bins: of each image, at least 8.
        limits: intensities of the first and last bin, of both images; what lies beyond counts there and has no
            gradient. Default: the extremes of each image, held fixed.

    Raises:
        TypeError, ValueError: one sentence naming the argument.
    """
    check_image("warped", warped)
    check_image("fixed", fixed)
    check_same_space("warped", warped, "fixed", fixed, channels=True)
    check_positive("bins", bins, integer=True)
    if bins < 8:
        raise ValueError(f"bins must be at least 8, got {bins}.")
    if limits is not None and not (all(map(math.isfinite, limits)) and limits[0] < limits[1]):
        raise ValueError(f"limits must be two finite numbers, the lower one first, got {limits!r}.")
    exact = torch.promote_types(warped.dtype, torch.float32)
    at, reference = (_in_bins(image.to(exact).flatten(2).flatten(0, 1), bins, limits) for image in (warped, fixed))
    return _MutualInformation.apply(at, reference.detach().round().long(), bins)


def _in_bins(values: Tensor, bins: int, limits: tuple[float, float] | None) -> Tensor:
    """`(N, voxels)` in units of bins, from 2 to `bins - 3`. A constant image lies at 2."""
    if limits is None:
        low, high = (bound[:, None].detach() for bound in torch.aminmax(values, dim=1))
    else:
        low, high = (values.new_full((1, 1), bound) for bound in limits)
    span = high - low
    scale = torch.where(span > 0, (bins - 5) / torch.where(span > 0, span, 1), 0)
    return 2 + ((values - low) * scale).clamp(0, bins - 5)


class _MutualInformation(torch.autograd.Function):
    """Value and first derivative, each one pass over the voxels for each of the four bins that a spline reaches.

    As the splines of one voxel add up to one whatever its intensity, only `log p(a, b) / p(a)` is left of the
    derivative by p:    dI/di(x) = mean sum_a beta3'(a - i(x)) log(p(a, j(x)) / p(a))
    """

    @staticmethod
    def forward(ctx, at: Tensor, reference: Tensor, bins: int) -> Tensor:
        joint = torch.zeros(at.shape[0] * bins * bins, dtype=torch.float64, device=at.device)
        first, within = _spline_cell(at)
        place = _cells(first, reference, bins)
        for step, weight in enumerate(_cubic_spline(within)):
            joint.index_add_(0, (place + step * bins).flatten(), weight.flatten().double())
        joint = joint.view(-1, bins, bins) / at.shape[1]
        rows, columns = joint.sum(2, keepdim=True), joint.sum(1, keepdim=True)
        # sum_ab p(a, b) log(p(a, b) / (p(a) p(b)))
        information = (torch.xlogy(joint, joint) - torch.xlogy(joint, rows * columns)).sum((1, 2))
        tiny = torch.finfo(torch.float64).tiny
        ctx.save_for_backward(at, reference, (joint.clamp_min(tiny) / rows.clamp_min(tiny)).log())
        ctx.bins = bins
        return -information.mean().to(at.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor):
        at, reference, told = ctx.saved_tensors
        first, within = _spline_cell(at)
        place, table = _cells(first, reference, ctx.bins), told.flatten().to(at.dtype)
        # dI/di(x) = mean sum_a beta3'(a - i(x)) log(p(a, j(x)) / p(a))
        slope = sum(weight * table[place + step * ctx.bins] for step, weight in enumerate(_cubic_spline_slope(within)))
        return slope * (-grad_loss / at.numel()), None, None


def _spline_cell(at: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the four bins that a cubic spline at `at` reaches, and where it lies between the middle two."""
    below = at.floor()
    return below.long() - 1, at - below


def _cells(first: Tensor, reference: Tensor, bins: int) -> Tensor:
    """Place in the flat joint histograms, one after another, of bins `(first, reference)`."""
    item = torch.arange(first.shape[0], device=first.device)[:, None]
    return (item * bins + first) * bins + reference


def _cubic_spline(u: Tensor) -> tuple[Tensor, ...]:
    """beta3 at distances 1 + u, u, 1 - u, 2 - u."""
    square = u * u
    cube = square * u
    return (1 - u) ** 3 / 6, (4 - 6 * square + 3 * cube) / 6, (1 + 3 * u + 3 * square - 3 * cube) / 6, cube / 6


def _cubic_spline_slope(u: Tensor) -> tuple[Tensor, ...]:
    """The derivatives of `_cubic_spline` by u."""
    square = u * u
    return -((1 - u) ** 2) / 2, 1.5 * square - 2 * u, 0.5 + u - 1.5 * square, square / 2


def _remove_mean(image: Tensor) -> Tensor:
    # Detached: the loss does not depend on an offset, so the mean carries no gradient.
    return image - image.detach().mean(dim=tuple(range(2, image.ndim)), keepdim=True)


class _LocalCorrelation(torch.autograd.Function):
    """Value and first derivative of the loss with five box means forward and at most five backward.

    Autograd through the same lines would keep about twenty full-size maps and take box sums of box sums. Written by
    hand, the backward pass is the chain rule through `c, a, b`: with `g_c = dL/dc` and so on, and `box'` the transpose,

        dL/dI = J box'(g_c) + 2 I box'(g_a) - box'(g_c mean(J) + 2 g_a mean(I))
    """

    @staticmethod
    def forward(ctx, warped: Tensor, fixed: Tensor, window: int, epsilon: float, border: str) -> Tensor:
        box = _BoxMean(window, warped.shape[2:], warped, border)
        mean_w, mean_f = box(warped), box(fixed)
        # c = mean(I J) - mean(I) mean(J),   a = mean(I^2) - mean(I)^2,   b = mean(J^2) - mean(J)^2
        covariance = box(warped * fixed).addcmul_(mean_w, mean_f, value=-1)
        variance_w = box(warped * warped).addcmul_(mean_w, mean_w, value=-1).clamp_min_(0)
        variance_f = box(fixed * fixed).addcmul_(mean_f, mean_f, value=-1).clamp_min_(0)
        denominator = (variance_w * variance_f).add_(epsilon)
        ratio = covariance.div_(denominator)  # c / (a b + epsilon), all that the backward pass needs of c
        # c^2 / (a b + epsilon)
        squared = (ratio * ratio).mul_(denominator).clamp_max_(1)  # Cauchy-Schwarz, which rounding can break
        ctx.save_for_backward(warped, fixed, mean_w, mean_f, ratio, variance_w, variance_f)
        ctx.box = box
        return -squared.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor):
        warped, fixed, mean_w, mean_f, ratio, variance_w, variance_f = ctx.saved_tensors
        transposed = ctx.box.transpose
        scale = -grad_loss / ratio.numel()
        squared = (ratio * ratio).mul_(-scale)  # -(c / denominator)^2, the factor of da and db
        cross = transposed(ratio * (2 * scale))
        grads = []
        pairs = ((warped, fixed, mean_w, mean_f, variance_f), (fixed, warped, mean_f, mean_w, variance_w))
        for wanted, (own, other, mean_own, mean_other, variance_other) in zip(
            ctx.needs_input_grad, pairs, strict=False
        ):
            if not wanted:
                grads.append(None)
                continue
            # dL/dI = J box'(g_c) + 2 I box'(g_a) - box'(g_c mean(J) + 2 g_a mean(I))
            slope = squared * variance_other  # g_a
            constant = (ratio * mean_other).mul_(scale).addcmul_(slope, mean_own).mul_(2)
            gradient = transposed(slope).mul_(own).mul_(2).addcmul_(cross, other)
            grads.append(gradient.sub_(transposed(constant)))
        return (*grads, None, None, None)


class _BoxMean:
    """Mean over a cubic window, as one banded 0/1 matrix product along each axis, and the transpose of that map.

    A product with a band is exact to rounding (cumulative sums lose a digit) and runs at the speed of a matrix product.
    """

    def __init__(self, window: int, space: torch.Size, like: Tensor, border: str):
        # A band is nearly empty when the axis is long: cut into tiles, most of its zeros are never multiplied. A GPU
        # would rather multiply them than start several products.
        tile = _TILE if like.device.type == "cpu" else max(space)
        self.tiles = [_tiles(size, window, tile, border, False, like.dtype, like.device) for size in space]
        self.transposed = [_tiles(size, window, tile, border, True, like.dtype, like.device) for size in space]
        self.spare = like.new_empty(space.numel())  # fresh memory is slow: all maps share one intermediate

    def __call__(self, image: Tensor) -> Tensor:
        return self._along_all_axes(self.tiles, image)

    def transpose(self, image: Tensor) -> Tensor:
        return self._along_all_axes(self.transposed, image)

    def _along_all_axes(self, tiles: list[list[tuple[slice, slice, Tensor]]], image: Tensor) -> Tensor:
        # Every product reads the last axis of a volume and writes it as the first one, (rest, n) -> (n, rest): after
        # as many products as there are axes, they stand in their old order.
        result = torch.empty_like(image, memory_format=torch.contiguous_format)
        for volume, out in zip(image.flatten(0, 1), result.flatten(0, 1), strict=True):
            source = volume
            for left, pieces in zip(range(len(tiles), 0, -1), reversed(tiles), strict=True):
                source = source.reshape(-1, pieces[-1][1].stop)
                target = (out if left % 2 else self.spare).view(source.shape[1], source.shape[0])
                for read, written, block in pieces:
                    torch.mm(block, source[:, read].T, out=target[written])
                source = target
        return result


_TILE = 16  # voxels; without tiles, the loss takes 1.4 times as long at 64^3 and 1.5 at 128^3


@lru_cache(maxsize=64)
def _tiles(
    size: int, window: int, tile: int, border: str, transposed: bool, dtype: torch.dtype, device: torch.device
) -> list[tuple[slice, slice, Tensor]]:
    """The band matrix of one axis in pieces: voxels read, voxels written, and the block between them."""
    index = torch.arange(size, device=device)
    band = ((index[:, None] - index).abs() <= window // 2).to(dtype)
    band = band / (band.sum(1, keepdim=True) if border == "count" else window)
    weights = band.T if transposed else band  # [written, read]
    pieces = []
    for start in range(0, size, tile):
        end = min(start + tile, size)
        read, written = slice(max(start - window // 2, 0), min(end + window // 2, size)), slice(start, end)
        pieces.append((read, written, weights[written, read].contiguous()))
    return pieces

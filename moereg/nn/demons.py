"""Neural Demons layer: feature maps of two images in, force and displacement update out.

The force of classical Demons (`moereg.classical`) is a regularised Gauss-Newton step on one intensity difference per
voxel. With C feature channels every voxel has C differences, and the same step is a small linear system:

    d_c = f_c - m_c                          difference of fixed and (warped) moving features
    J_c = (grad f_c + grad m_c) / 2          per voxel of the feature map
    lambda = sum_c d_c^2 / (4 L^2)
    u = (sum_c J_c J_c^T + lambda I)^-1  sum_c J_c d_c

One channel gives the ESM force `d J / (|J|^2 + d^2 / (4 L^2))`. Write K for the C x D matrix of all J_c. Along a
singular direction of K with singular value s, u is `s / (s^2 + lambda)` of d, at most `1 / (2 sqrt(lambda))` of it. So

    |u| <= |d| / (2 sqrt(lambda)) = L        voxels, whatever the features are

and a weighted mean of such vectors, which is what smoothing makes, is not longer either.

This instance of "a neural layer that turns force into displacement" is our choice: of DrivenMorph (Li, Zhang, Deng
2026) we could read that there is one, not what it computes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_image, check_positive, check_same_space
from moereg.filters import gaussian_taps, smooth, smoothing_matrix, spatial_gradient


@dataclass(frozen=True)
class DemonsStep:
    """What the layer decided, in voxels of the feature maps' grid."""

    force: Float[Tensor, "batch dims *space"]  # u at each voxel by itself
    update: Float[Tensor, "batch dims *space"]  # u smoothed, the displacement to compose with


def feature_demons_force(
    fixed: Float[Tensor, "batch channel *space"],
    moving: Float[Tensor, "batch channel *space"],
    *,
    max_step: float = 0.5,
    epsilon: float = 0.0,
) -> Float[Tensor, "batch dims *space"]:
    """The Demons force in feature space, formula in the module's text, never longer than `max_step` voxels.

    Swapping the images turns the force around; an orthogonal mixing of the channels does not change it.

    Args:
        fixed, moving: features, `(B, C, *S)`; moving already warped by the field found so far.
        max_step: L, voxels.
        epsilon: added to lambda, feature units squared. Where features are flatter and closer than its root the
            force fades out, and its derivative stays finite: at zero the force turns by any small change there.
    """
    dims = fixed.ndim - 2
    difference = fixed - moving
    gradient = spatial_gradient((fixed + moving) / 2).unbind(2)  # D maps (B, C, *S)
    # lambda = sum_c d_c^2 / (4 L^2)
    floor = difference.square().sum(1) / (4 * max_step**2) + epsilon
    # sum_c J_c J_c^T and sum_c J_c d_c
    matrix = [[(gradient[i] * gradient[j]).sum(1) for j in range(dims)] for i in range(dims)]
    vector = [(component * difference).sum(1) for component in gradient]

    # A common scale changes nothing in the solution (so it carries no gradient) and keeps float32 from underflow.
    # A few units of rounding of the trace keep the elimination stable where lambda is smaller than rounding.
    trace = sum(matrix[i][i] for i in range(dims))
    scale = (trace + floor).detach()
    flat = scale <= torch.finfo(scale.dtype).tiny  # equal and constant: 0 u = 0, solved by u = 0
    scale = torch.where(flat, 1, scale)
    ridge = (floor + 32 * torch.finfo(scale.dtype).eps * trace) / scale + flat
    matrix = [
        [matrix[i][j] / scale + ridge if i == j else matrix[i][j] / scale for j in range(dims)] for i in range(dims)
    ]
    # u = (sum_c J_c J_c^T + lambda I)^-1 sum_c J_c d_c
    return torch.stack(_solve(matrix, [component / scale for component in vector]), 1)


def _solve(matrix: list[list[Tensor]], vector: list[Tensor]) -> list[Tensor]:
    """`matrix x = vector` by Gaussian elimination, each entry a map; symmetric positive definite, so without pivots."""
    size = len(vector)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[i][j] / matrix[i][i]
            matrix[j] = [below - factor * above for below, above in zip(matrix[j], matrix[i], strict=True)]
            vector[j] = vector[j] - factor * vector[i]
    solution = list(vector)
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            solution[i] = solution[i] - matrix[i][j] * solution[j]
        solution[i] = solution[i] / matrix[i][i]
    return solution


class NeuralDemonsLayer(nn.Module):
    """Features of both images -> Demons force -> smooth update, with a learned Gaussian smoothing.

    One width per axis is learned, and all components of the force are smoothed alike: with a kernel for each, the mean
    of vectors no longer than L could be longer than L. The kernels are discrete Gaussians, symmetric, non-negative and
    of sum one: a low-pass whatever is learned.

    Args:
        dims: number of spatial axes, 2 or 3.
        max_step: L, bound of an update in voxels.
        sigma: width at the start.
        max_sigma: limit of what can be learned.
        epsilon: see `feature_demons_force`; suits features of unit variance.
    """

    def __init__(
        self, dims: int, *, max_step: float = 0.5, sigma: float = 1.0, max_sigma: float = 3.0, epsilon: float = 1e-4
    ):
        super().__init__()
        check_positive("max_step", max_step)
        check_positive("max_sigma", max_sigma)
        if not 0 < sigma < max_sigma:
            raise ValueError(f"sigma must lie between 0 and max_sigma ({max_sigma}), got {sigma!r}.")
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon must not be negative, got {epsilon!r}.")
        self.max_step, self.max_sigma, self.epsilon = max_step, max_sigma, epsilon
        start = math.log(sigma / (max_sigma - sigma))
        self.width = nn.Parameter(torch.full((dims,), start))  # sigma = max_sigma * sigmoid(width)

    @property
    def sigma(self) -> Float[Tensor, " axis"]:
        """Width of the Gaussian along each axis, voxels."""
        return self.max_sigma * self.width.sigmoid()

    def taps(self) -> Float[Tensor, "axis taps"]:
        """The smoothing kernel along each axis."""
        return gaussian_taps(self.sigma, math.ceil(4 * self.max_sigma))

    def smooth(self, force: Float[Tensor, "batch dims *space"]) -> Float[Tensor, "batch dims *space"]:
        """Smooth a force, this layer's or another one, into an update."""
        taps = self.taps().to(force.dtype)
        return smooth(
            force, [smoothing_matrix(kernel, size) for kernel, size in zip(taps, force.shape[2:], strict=True)]
        )

    def forward(
        self, fixed: Float[Tensor, "batch channel *space"], moving: Float[Tensor, "batch channel *space"]
    ) -> DemonsStep:
        """Force and update that bring warped `moving` features closer to `fixed` ones."""
        check_image("fixed", fixed, finite=False)
        check_image("moving", moving, finite=False)
        check_same_space("moving", moving, "fixed", fixed, channels=True)
        dims = self.width.shape[0]
        if fixed.ndim - 2 != dims:
            raise ValueError(f"fixed must have {dims} spatial axes like this layer, got shape {tuple(fixed.shape)}.")
        # Displacements need single precision also where the network around computes in half.
        with torch.autocast(fixed.device.type, enabled=False):
            dtype = torch.promote_types(fixed.dtype, torch.float32)
            fixed, moving = fixed.to(dtype), moving.to(dtype)
            force = feature_demons_force(fixed, moving, max_step=self.max_step, epsilon=self.epsilon)
            return DemonsStep(force, self.smooth(force))

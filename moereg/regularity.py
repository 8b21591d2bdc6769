"""How smooth a displacement is, and whether it folds. All functions take `(B, D, *S)` in voxels, 2-D or 3-D."""

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.checks import check_field, check_same_space
from moereg.fields import compose, jacobian_determinant, require_size


def diffusion(displacement: Float[Tensor, "batch dims *space"]) -> Float[Tensor, ""]:
    """Mean squared first difference, `mean_x sum_ij (d u_i / d x_j)^2`. Zero for a translation."""
    check_field("displacement", displacement)
    require_size("displacement", displacement, 2)
    dims = displacement.shape[1]
    # sum_ij (d u_i / d x_j)^2; a mean over channels too, hence D times
    return dims * sum(
        (displacement.diff(dim=axis).square().mean() for axis in range(2, 2 + dims)), start=displacement.new_zeros(())
    )


def bending_energy(displacement: Float[Tensor, "batch dims *space"]) -> Float[Tensor, ""]:
    """Mean squared second difference, `mean_x sum_ijk (d^2 u_i / d x_j d x_k)^2`. Zero for any affine map.

    Pure second derivatives are central differences `u(x+1) - 2 u(x) + u(x-1)`, mixed ones differences of differences.
    """
    check_field("displacement", displacement)
    require_size("displacement", displacement, 3)
    dims = displacement.shape[1]
    energy = displacement.new_zeros(())
    for j in range(2, 2 + dims):
        first = displacement.diff(dim=j)
        energy = energy + first.diff(dim=j).square().mean()
        for k in range(j + 1, 2 + dims):
            energy = energy + 2 * first.diff(dim=k).square().mean()  # jk and kj
    return dims * energy


def fold_fraction(displacement: Float[Tensor, "batch dims *space"]) -> Float[Tensor, " batch"]:
    """Share of voxels, 0 to 1, whose Jacobian determinant is zero or negative, one number per batch item."""
    return (jacobian_determinant(displacement) <= 0).flatten(1).to(displacement.dtype).mean(1)


def folding(displacement: Float[Tensor, "batch dims *space"], margin: float = 0.0) -> Float[Tensor, ""]:
    """`mean_x max(0, margin - det(I + grad u))`: how far folded voxels are from unfolding.

    Zero where every determinant is at least `margin`. One above zero pushes before a voxel has folded, where it is
    squeezed to that share of its volume.
    """
    return (margin - jacobian_determinant(displacement)).clamp_min(0).mean()


def inverse_error(
    first: Float[Tensor, "batch dims *space"], second: Float[Tensor, "batch dims *space"]
) -> Float[Tensor, ""]:
    """`mean_x |v(x) + u(x + v(x))|^2` in voxels squared: how far two fields are from undoing one another.

    `first` is `u`, which maps fixed to moving, `second` is `v`, which maps back.
    """
    check_same_space("first", first, "second", second, channels=True)
    return compose(first, second).square().sum(1).mean()


def sd_log_jacobian(displacement: Float[Tensor, "batch dims *space"]) -> Float[Tensor, " batch"]:
    """Standard deviation of `log det(I + grad u)`, one number per batch item: how unevenly volume changes.

    Determinants are clipped to `[1e-9, 1e9]` before the logarithm, as the Learn2Reg evaluation does.
    """
    return torch.log(jacobian_determinant(displacement).clamp(1e-9, 1e9)).flatten(1).std(1, correction=0)

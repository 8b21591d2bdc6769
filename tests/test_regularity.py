"""Smoothness penalties on fields whose derivatives are known."""

import pytest
import torch

from moereg import fields, regularity

SHAPES = [(9, 8), (7, 6, 8)]


def linear_field(shape, generator):
    dims = len(shape)
    matrix = torch.rand(dims, dims, generator=generator, dtype=torch.float64) - 0.5
    return torch.einsum("ij,j...->i...", matrix, fields.identity_grid(shape, dtype=torch.float64))[None], matrix


@pytest.mark.parametrize("shape", SHAPES)
def test_diffusion_of_a_linear_field_is_the_squared_norm_of_its_matrix(shape, generator):
    field, matrix = linear_field(shape, generator)
    torch.testing.assert_close(regularity.diffusion(field), matrix.square().sum())
    torch.testing.assert_close(regularity.diffusion(torch.full_like(field, 3.0)), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_bending_energy_of_a_quadratic_field(shape, generator):
    """u_0 = a z^2 + b z y has d2/dz2 = 2 a and two mixed derivatives b."""
    grid = fields.identity_grid(shape, dtype=torch.float64)
    field = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
    field[0, 0] = 0.3 * grid[0] ** 2 + 0.2 * grid[0] * grid[1]
    torch.testing.assert_close(
        regularity.bending_energy(field), torch.tensor((2 * 0.3) ** 2 + 2 * 0.2**2, dtype=torch.float64)
    )
    affine, _ = linear_field(shape, generator)
    assert regularity.bending_energy(affine) < 1e-20


def test_a_fold_is_counted():
    field = torch.zeros(2, 2, 10, 10)
    field[1, 1, :, 5] = -3.0  # voxel 5 jumps back behind voxel 2: central differences at 4 see a fold
    assert regularity.fold_fraction(field).tolist() == pytest.approx([0.0, 0.1])
    assert float(regularity.sd_log_jacobian(field)[0]) == 0
    assert float(regularity.sd_log_jacobian(field)[1]) > 1


def test_sd_log_jacobian_of_a_scaling_is_zero(generator):
    field = 0.2 * fields.identity_grid((6, 6, 6))[None]
    assert float(regularity.sd_log_jacobian(field)[0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.plain_errors
@pytest.mark.parametrize("penalty", [regularity.diffusion, regularity.bending_energy, regularity.fold_fraction])
def test_bad_input(penalty):
    with pytest.raises(ValueError, match="displacement must have one channel per spatial axis"):
        penalty(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="displacement needs at least . voxels along every axis"):
        penalty(torch.zeros(1, 2, 8, 1))
    with pytest.raises(ValueError, match="displacement must hold finite"):
        penalty(torch.full((1, 2, 8, 8), float("nan")))

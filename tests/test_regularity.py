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


def test_folding_by_hand():
    """`u_x = a x` has determinant `1 + a` everywhere: below zero for a < -1."""
    x = fields.identity_grid((6, 8))[1]
    for slope, expected in ((-1.5, 0.5), (-1.0, 0.0), (-0.5, 0.0), (3.0, 0.0)):
        field = torch.stack([torch.zeros(6, 8), slope * x])[None]
        assert float(regularity.folding(field)) == pytest.approx(expected, abs=1e-6)
    both = torch.cat([torch.stack([torch.zeros(6, 8), slope * x])[None] for slope in (-1.5, 0.0)])
    assert float(regularity.folding(both)) == pytest.approx(0.25)  # a mean over the batch
    squeezed = torch.stack([torch.zeros(6, 8), -0.8 * x])[None]  # to a fifth of its volume
    assert float(regularity.folding(squeezed, margin=0.5)) == pytest.approx(0.3, abs=1e-6)
    assert float(regularity.folding(squeezed, margin=0.2)) == pytest.approx(0, abs=1e-6)


def test_folding_has_a_gradient_that_unfolds():
    x = fields.identity_grid((6, 8))[1]
    slope = torch.tensor(-1.5, requires_grad=True)
    regularity.folding(torch.stack([torch.zeros(6, 8), slope * x])[None]).backward()
    assert float(slope.grad) == pytest.approx(-1)


def test_inverse_error_by_hand():
    """A shift and a shift back leave nothing; what is left over is counted squared, over both components."""
    u, v = (torch.zeros(1, 2, 9, 9) for _ in range(2))
    u[:, 0], v[:, 0] = 1.5, -1.5
    assert float(regularity.inverse_error(u, v)) == pytest.approx(0)
    v[:, 1] = 0.5
    u[:, 1] = 0.5
    assert float(regularity.inverse_error(u, v)) == pytest.approx(1)
    # u(x) = x / 2 and v(y) = -y / 3 undo one another exactly: x + x/2 = 3/2 x, and back by a third of that.
    x = fields.identity_grid((1, 9))[1]
    u, v = (torch.stack([torch.zeros(1, 9), slope * x])[None] for slope in (1 / 2, -1 / 3))
    assert float(regularity.inverse_error(u, v)) == pytest.approx(0, abs=1e-10)
    assert float(regularity.inverse_error(u, u)) > 1


@pytest.mark.plain_errors
def test_fields_that_undo_one_another_have_one_shape():
    with pytest.raises(ValueError, match="first and second must have the same"):
        regularity.inverse_error(torch.zeros(1, 2, 4, 9), torch.zeros(1, 2, 4, 8))


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

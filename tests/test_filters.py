"""Gradients and Gaussians against closed forms."""

import math

import pytest
import torch
from scipy import special

from moereg.fields import identity_grid, upsample
from moereg.filters import (
    gaussian_radius,
    gaussian_taps,
    halve,
    smooth,
    smooth_near,
    smoother,
    smoothing_matrices,
    smoothing_matrix,
    spatial_gradient,
)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_gradient_of_a_ramp(shape, generator):
    slopes = torch.randn(len(shape), generator=generator)
    spacing = (2.0, 0.5, 1.5)[: len(shape)]
    ramp = torch.einsum("d,d...->...", slopes, identity_grid(shape))[None, None]
    gradient = spatial_gradient(ramp, spacing=spacing)
    for axis, step in enumerate(spacing):
        torch.testing.assert_close(gradient[0, 0, axis], (slopes[axis] / step).expand(shape))


def test_gradient_is_central_inside_and_chosen_at_the_border():
    image = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 1, 1, 4)
    assert spatial_gradient(image)[0, 0, 1].flatten().tolist() == [1, 2, 4, 5]
    assert spatial_gradient(image, border="zero")[0, 0, 1].flatten().tolist() == [0, 2, 4, 0]
    assert spatial_gradient(image)[0, 0, 0].abs().max() == 0  # an axis of one voxel


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 2.5])
def test_taps_are_the_discrete_gaussian(sigma):
    radius = 25
    taps = gaussian_taps(double(sigma), radius)
    offset = torch.arange(-radius, radius + 1)
    assert taps.min() >= 0
    torch.testing.assert_close(taps, taps.flip(0), rtol=0, atol=0)
    torch.testing.assert_close(taps.sum(), double(1.0))
    torch.testing.assert_close((taps * offset**2).sum(), double(sigma**2))
    frequency = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    response = torch.cos(frequency[:, None] * offset) @ taps
    torch.testing.assert_close(response, torch.exp(sigma**2 * (torch.cos(frequency) - 1)))


def test_taps_of_sigma_one_are_bessel_functions():
    # exp(-1) I_n(1) from a table (Abramowitz and Stegun 9.8)
    taps = gaussian_taps(double(1.0), 12)
    torch.testing.assert_close(taps[12:15], double([0.465759608, 0.207910415, 0.049938777]), atol=1e-9, rtol=0)


def test_taps_are_differentiable_in_sigma():
    sigma = double([0.2, 1.5]).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: gaussian_taps(value, 4), sigma)


def test_radius_keeps_all_but_the_missing_mass():
    taps = gaussian_taps(double(2.0), 20)
    for missing in (0.1, 0.01, 1e-4):
        radius = gaussian_radius(2.0, missing)
        mass = [taps[20 - r : 21 + r].sum() for r in (radius - 1, radius)]
        assert mass[0] < 1 - missing <= mass[1]
    assert gaussian_radius(0.0, 0.1) == 0
    assert gaussian_radius(9.0, 1e-6, most=5) == 5


def test_matrix_convolves_with_repeated_border(generator):
    taps = torch.tensor([0.2, 0.5, 0.3])
    signal = torch.randn(6, generator=generator)
    padded = torch.cat([signal[:1], signal, signal[-1:]])
    expected = 0.2 * padded[:-2] + 0.5 * padded[1:-1] + 0.3 * padded[2:]
    torch.testing.assert_close(smoothing_matrix(taps, 6) @ signal, expected)
    wide = gaussian_taps(torch.tensor(1.0), 9)  # wider than the axis
    torch.testing.assert_close(smoothing_matrix(wide, 4).sum(1), torch.ones(4))


@pytest.mark.parametrize("shape", [(5, 4), (4, 5, 6), (1, 3, 1)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_smooth_is_one_matrix_along_each_axis(shape, per_channel, generator):
    channels = 3
    field = torch.randn(2, channels, *shape, generator=generator)
    leading = (channels,) if per_channel else ()
    matrices = [torch.randn(*leading, size, size, generator=generator) for size in shape]
    expected = field
    for axis, matrix in enumerate(matrices):
        moved = expected.movedim(2 + axis, -1)  # (B, C, *others, n)
        equation = "cij,bc...j->bc...i" if per_channel else "ij,bc...j->bc...i"
        expected = torch.einsum(equation, matrix, moved).movedim(-1, 2 + axis)
    torch.testing.assert_close(smooth(field, matrices), expected)


def test_no_matrices_leave_the_field():
    field = torch.rand(1, 2, 3, 3)
    assert smooth(field, []) is field


def test_matrices_of_zero_sigmas_are_none_at_all():
    image = torch.rand(1, 1, 4, 5)
    assert smoothing_matrices((0.0, 0.0), image) == []
    first, second = smoothing_matrices((0.0, 1.0), image)
    assert torch.equal(first, torch.eye(4))
    torch.testing.assert_close(second, smoothing_matrix(gaussian_taps(torch.tensor(1.0), 3), 5))


@pytest.mark.parametrize("missing", [0.1, 1e-4, 1e-9])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0, 5.0])
def test_radius_against_bessel_functions_in_double_precision(sigma, missing):
    mass, radius = special.ive(0, sigma**2), 0
    while mass < 1 - missing:
        radius += 1
        mass += 2 * special.ive(radius, sigma**2)
    assert gaussian_radius(sigma, missing) == min(radius, 30)
    assert gaussian_radius(sigma, missing, most=1) == min(radius, 1)


def test_matrices_cut_one_percent_off_by_default():
    image = torch.zeros(1, 1, 9, 20, dtype=torch.float64)
    first, second = smoothing_matrices((1.0, 2.0), image)
    assert first.dtype == torch.float64
    assert (first[4] > 0).sum() == 2 * gaussian_radius(1.0, 0.01) + 1
    assert (second[10] > 0).sum() == 2 * gaussian_radius(2.0, 0.01) + 1
    wide = smoothing_matrices((1.0, 2.0), image, 1e-4)[1]
    assert (wide[10] > 0).sum() == 2 * gaussian_radius(2.0, 1e-4) + 1
    assert smoothing_matrices((1.0, 0.0), image.float())[0].dtype == torch.float32


def test_smoothing_with_and_without_gradients_is_the_same_and_leaves_its_input(generator):
    field = torch.randn(1, 2, 4, 5, 6, generator=generator)
    kept = field.clone()
    matrices = [torch.randn(size, size, generator=generator) for size in (4, 5, 6)]
    with torch.no_grad():
        without = smooth(field, matrices)
    torch.testing.assert_close(without, smooth(field, matrices))
    assert torch.equal(field, kept)


def test_gradient_by_default_is_per_voxel_and_one_sided(generator):
    image = torch.randn(1, 2, 4, 5, generator=generator)
    expected = torch.stack(torch.gradient(image, dim=(2, 3)), 2)
    torch.testing.assert_close(spatial_gradient(image), expected)
    spaced = torch.stack(torch.gradient(image, spacing=(0.5, 3.0), dim=(2, 3)), 2)
    torch.testing.assert_close(spatial_gradient(image, spacing=(0.5, 3.0)), spaced)
    pair = image[:, :, :2]  # two voxels: both one-sided
    assert torch.equal(spatial_gradient(pair)[:, :, 0, 0], pair[:, :, 1] - pair[:, :, 0])
    assert spatial_gradient(pair, border="zero")[:, :, 0].abs().max() == 0


@pytest.mark.parametrize("shape", [(5, 8), (4, 5, 6)])
def test_halve_by_hand(shape, generator):
    """Every second voxel of what smoothing with sigma 1 gives, of images with an offset; a constant to the last bit."""
    image = 7 + torch.rand(2, 3, *shape, generator=generator)
    smoothed = smooth(image, smoothing_matrices((1.0,) * len(shape), image))
    torch.testing.assert_close(halve(image), smoothed[(..., *[slice(None, None, 2)] * len(shape))])
    constant = torch.full((1, 1, *shape), 0.7)
    assert torch.equal(halve(constant), constant[(..., *[slice(None, None, 2)] * len(shape))])


@pytest.mark.parametrize("shape", [(16, 17), (12, 13, 16)])
def test_halve_and_upsample_share_their_geometry(shape):
    grid = identity_grid(shape)
    wave = torch.sin(0.25 * grid).sum(0)[None, None]
    error = (upsample(halve(wave), shape) - wave)[(..., *[slice(4, -4)] * len(shape))]
    assert error.abs().max() < 0.08 * len(shape)
    assert halve(wave).shape[2:] == tuple((size + 1) // 2 for size in shape)


@pytest.mark.parametrize("shape", [(5, 2), (4, 6, 2), (4, 2, 2)])
def test_smoothing_before_a_short_last_axis(shape, generator):
    field = torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64)
    matrices = smoothing_matrices((1.2,) * len(shape), field)
    letters = "ijk"[: len(shape)]
    rows = ",".join(f"{a.upper()}{a}" for a in letters)
    expected = torch.einsum(f"bc{letters},{rows}->bc{letters.upper()}", field, *matrices)
    torch.testing.assert_close(smooth(field, matrices), expected)


def test_gaussians_are_made_in_double_precision():
    """Taps are exp(-s^2) I_n(s^2), cut and divided by their sum."""
    sigma, image = 1.5, torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    radius = gaussian_radius(sigma, 0.01)
    taps = special.ive(abs(torch.arange(-radius, radius + 1).numpy()), sigma**2)
    [row, _] = smoothing_matrices((sigma, sigma), image)
    torch.testing.assert_close(row[20, 20 - radius : 21 + radius], double(taps / taps.sum()), atol=1e-13, rtol=0)


@pytest.mark.parametrize("shape", [(9, 8), (7, 6, 9), (2, 1, 3)])
@pytest.mark.parametrize("radius", [1, 3])
def test_a_few_taps_smooth_as_their_matrices_do(shape, radius, generator):
    """Also where the kernel is longer than the axis."""
    field = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    taps = gaussian_taps(double(0.9), radius)
    expected = smooth(field, [smoothing_matrix(taps, size) for size in shape])
    torch.testing.assert_close(smooth_near(field, [taps.tolist()] * len(shape)), expected)


@pytest.mark.parametrize("sigmas", [(0.0, 0.0), (0.7, 0.0), (1.0, 3.0)])
def test_both_ways_of_smoothing_are_one(sigmas, generator):
    field = torch.randn(1, 2, 20, 17, generator=generator, dtype=torch.float64)
    expected = smooth(field, smoothing_matrices(sigmas, field, 0.01))
    torch.testing.assert_close(smoother(sigmas, field, 0.01)(field), expected)


@pytest.mark.parametrize("border", ["one-sided", "zero"])
@pytest.mark.parametrize("shape", [(5, 6), (4, 2, 1)])
def test_the_gradient_is_the_same_with_a_graph_and_without(shape, border, generator):
    image = torch.randn(2, 1, *shape, generator=generator, dtype=torch.float64)
    spacing = (2.0, 0.5, 1.5)[: len(shape)]
    graph = spatial_gradient(image.clone().requires_grad_(), spacing=spacing, border=border)
    torch.testing.assert_close(spatial_gradient(image, spacing=spacing, border=border), graph.detach())

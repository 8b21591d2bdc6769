"""The convention of displacement fields, held down by cases that can be worked out by hand."""

import math

import pytest
import torch

from moereg import fields

SHAPES = [(26, 31), (20, 23, 22)]


def smooth_field(shape, generator, *, amplitude=1.5, waves=1.0):
    """A sum of sines per direction: smooth, analytic, vanishing nowhere in particular."""
    grid = fields.identity_grid(shape, dtype=torch.float64)
    dims = len(shape)
    channels = []
    for _ in range(dims):
        phase = torch.rand(dims, generator=generator, dtype=torch.float64) * 2 * math.pi
        angle = sum(waves * math.pi * grid[d] / shape[d] * 2 * ((-1) ** d) for d in range(dims)) + phase[0]
        channels.append(amplitude / dims * torch.sin(angle))
    return torch.stack(channels)[None]


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_grid_counts_voxels(shape):
    grid = fields.identity_grid(shape)
    index = tuple(size - 2 for size in shape)
    assert grid[(slice(None), *index)].tolist() == list(index)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_translation_is_undone_exactly(shape, axis, generator):
    fixed = torch.rand(1, 1, *shape, generator=generator)
    moving = torch.roll(fixed, 2, dims=2 + axis)  # moving[x + 2] = fixed[x]
    displacement = torch.zeros(1, len(shape), *shape)
    displacement[:, axis] = 2
    warped = fields.warp(moving, displacement)
    inner = warped.narrow(2 + axis, 0, shape[axis] - 2)
    torch.testing.assert_close(inner, fixed.narrow(2 + axis, 0, shape[axis] - 2))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_quarter_turn_is_undone_exactly(dims, generator):
    """moving is fixed turned by 90 degrees in the plane of the last two axes; u(x) = R x - x brings it back."""
    shape = (9,) * dims
    fixed = torch.rand(1, 2, *shape, generator=generator)
    moving = torch.rot90(fixed, 1, dims=(-2, -1))  # moving[8 - c, r] = fixed[r, c]
    row, column = fields.identity_grid(shape)[-2:]
    displacement = torch.zeros(1, dims, *shape)
    displacement[0, -2], displacement[0, -1] = (8 - column) - row, row - column
    torch.testing.assert_close(fields.warp(moving, displacement), fixed)


def test_nearest_keeps_labels_and_zeros_pads_with_zeros():
    labels = torch.arange(6.0).reshape(1, 1, 2, 3)
    displacement = torch.zeros(1, 2, 2, 3)
    displacement[:, 1] = 1.4
    nearest = fields.warp(labels, displacement, mode="nearest")
    assert nearest[0, 0].tolist() == [[1, 2, 2], [4, 5, 5]]
    zeros = fields.warp(labels, displacement, mode="nearest", padding="zeros")
    assert zeros[0, 0].tolist() == [[1, 2, 0], [4, 5, 0]]
    assert fields.warp_labels(labels.long(), displacement).dtype == torch.int64


@pytest.mark.parametrize("shape", SHAPES)
def test_warping_with_the_inverse_returns_the_image(shape, generator):
    displacement = smooth_field(shape, generator)
    inverse = fields.invert(displacement, tolerance=1e-9)
    residual = fields.compose(displacement, inverse)
    inner = (..., *(slice(3, -3) for _ in shape))
    assert residual[inner].abs().max() < 1e-7
    image = smooth_field(shape, generator, amplitude=1)[:, :1]
    back = fields.warp(fields.warp(image, displacement), inverse)
    assert (back - image)[inner].abs().max() < 0.06  # two linear interpolations of a smooth image


@pytest.mark.parametrize("shape", SHAPES)
def test_compose_agrees_with_two_warps(shape, generator):
    first, second = smooth_field(shape, generator), smooth_field(shape, generator)
    grid = fields.identity_grid(shape, dtype=torch.float64)
    image = sum((d + 1) * grid[d] for d in range(len(shape)))[None, None]  # linear: interpolation is exact
    twice = fields.warp(fields.warp(image, first), second)
    once = fields.warp(image, fields.compose(first, second))
    inner = (..., *(slice(3, -3) for _ in shape))
    torch.testing.assert_close(once[inner], twice[inner])


def test_compose_order_matters():
    """u acts first. With v = shift by one, compose(u, v)(x) = 1 + u(x + 1)."""
    ramp = torch.arange(6.0).expand(4, 6)
    first = torch.stack([torch.zeros(4, 6), 0.1 * ramp])[None]
    second = torch.stack([torch.zeros(4, 6), torch.ones(4, 6)])[None]
    torch.testing.assert_close(fields.compose(first, second)[0, 1, 0, :5], 1 + 0.1 * (ramp[0, :5] + 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_exponential_of_opposite_velocities_are_inverse(shape, generator):
    velocity = smooth_field(shape, generator, amplitude=1)
    there, back = fields.exponentiate(velocity), fields.exponentiate(-velocity)
    inner = (..., *(slice(3, -3) for _ in shape))
    assert fields.compose(there, back)[inner].abs().max() < 0.02
    assert there.abs().max() > 0.3


def test_exponential_of_a_linear_velocity_is_the_matrix_exponential():
    shape = (15, 15)
    centred = fields.identity_grid(shape, dtype=torch.float64) - 7
    matrix = torch.tensor([[-0.2, 0.1], [-0.1, -0.3]], dtype=torch.float64)
    velocity = torch.einsum("ij,jyx->iyx", matrix, centred)[None]
    expected = torch.einsum("ij,jyx->iyx", torch.linalg.matrix_exp(matrix) - torch.eye(2), centred)[None]
    error = [(fields.exponentiate(velocity, steps) - expected).abs()[..., 3:-3, 3:-3].max() for steps in (5, 10)]
    assert error[1] < 1e-3
    assert error[0] / error[1] > 20  # first order in 2^-steps: 32 is ideal


@pytest.mark.parametrize("dims", [2, 3])
def test_jacobian_of_a_linear_field_is_exact(dims, generator):
    shape = (7, 6, 5)[:dims]
    matrix = torch.rand(dims, dims, generator=generator, dtype=torch.float64) - 0.5
    grid = fields.identity_grid(shape, dtype=torch.float64)
    displacement = torch.einsum("ij,j...->i...", matrix, grid)[None]
    determinant = fields.jacobian_determinant(displacement)
    expected = torch.linalg.det(torch.eye(dims, dtype=torch.float64) + matrix)
    torch.testing.assert_close(determinant, expected.expand_as(determinant))


def test_jacobian_of_an_analytic_field_converges_with_the_grid():
    def error(size):
        x = torch.linspace(0, 1, size, dtype=torch.float64)
        displacement = torch.zeros(1, 2, size, size, dtype=torch.float64)
        displacement[0, 1] = 0.1 * torch.sin(2 * math.pi * x) * (size - 1)  # u_x(x), voxels
        expected = 1 + 0.2 * math.pi * torch.cos(2 * math.pi * x)
        return (fields.jacobian_determinant(displacement)[0, 0, 3] - expected)[2:-2].abs().max()

    assert error(81) < error(41) / 3.5  # central differences: second order


@pytest.mark.parametrize("shape", [(8, 9), (7, 5, 6), (1, 4), (3, 1, 2)])
def test_upsample_puts_coarse_voxel_i_on_fine_voxel_2i(shape, generator):
    coarse = torch.rand(1, 2, *[-(-n // 2) for n in shape], generator=generator)
    fine = fields.upsample(coarse, shape)
    assert fine.shape == (1, 2, *shape)
    torch.testing.assert_close(fine[(..., *(slice(None, None, 2) for _ in shape))], coarse)
    coarse_field = coarse[:, :1].repeat(1, len(shape), *[1] * len(shape))
    torch.testing.assert_close(fields.upsample_field(coarse_field, shape), 2 * fields.upsample(coarse_field, shape))


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_slabs_are_the_same_numbers(padding, generator):
    """One volume is cut into slabs for the CPU's threads: value and gradients equal to the plain call."""
    shape = (8, 6, 4)
    image = torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    displacement = (torch.rand(1, 3, *shape, generator=generator, dtype=torch.float64) * 4 - 2).requires_grad_()
    weight = torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            warped = fields.warp(image, displacement, padding=padding)
            results.append((warped, *torch.autograd.grad((warped * weight).sum(), [image, displacement])))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_warp_gradients_against_finite_differences(generator):
    image = torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    displacement = (torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(fields.warp, (image, displacement))


class TestBadInput:
    """One clear sentence that names the argument, what was expected and what came."""

    pytestmark = pytest.mark.plain_errors

    @pytest.mark.parametrize(
        ("image", "displacement", "error", "sentence"),
        [
            (torch.zeros(4, 4), torch.zeros(1, 2, 4, 4), ValueError, "image must have shape .* got \\(4, 4\\)"),
            (torch.zeros(1, 1, 4, 4, dtype=torch.int32), torch.zeros(1, 2, 4, 4), TypeError, "image must be floating"),
            (torch.full((1, 1, 4, 4), float("nan")), torch.zeros(1, 2, 4, 4), ValueError, "image must hold finite"),
            (torch.zeros(1, 1, 4, 4), torch.full((1, 2, 4, 4), float("inf")), ValueError, "displacement must hold"),
            (torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4), ValueError, "displacement must have one channel per"),
            (torch.zeros(2, 1, 4, 4), torch.zeros(1, 2, 4, 4), ValueError, "same batch size"),
            ([[1.0]], torch.zeros(1, 2, 4, 4), TypeError, "image must be a torch tensor .* got list"),
            (torch.zeros(1, 1, 0, 4), torch.zeros(1, 2, 4, 4), ValueError, "no empty axis"),
        ],
    )
    def test_warp(self, image, displacement, error, sentence):
        with pytest.raises(error, match=sentence) as caught:
            fields.warp(image, displacement)
        assert str(caught.value).count("\n") == 0

    def test_names_of_modes(self):
        with pytest.raises(ValueError, match="mode must be one of 'linear', 'nearest', got 'cubic'"):
            fields.warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), mode="cubic")

    def test_steps(self):
        with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
            fields.exponentiate(torch.zeros(1, 2, 4, 4), steps=0)

    def test_compose(self):
        with pytest.raises(ValueError, match="first and second must have the same shape"):
            fields.compose(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))

    def test_jacobian_needs_two_voxels(self):
        with pytest.raises(ValueError, match="at least 2 voxels along every axis"):
            fields.jacobian_determinant(torch.zeros(1, 2, 1, 4))

    def test_large_finite_values_are_not_taken_for_infinity(self):
        image = torch.full((1, 1, 4, 4), 1e38)
        assert torch.equal(fields.warp(image, torch.zeros(1, 2, 4, 4)), image)

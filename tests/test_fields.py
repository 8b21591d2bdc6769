"""The convention of displacement fields, held down by cases that can be worked out by hand."""

import math
import re

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


@pytest.mark.parametrize(
    ("threads", "batch", "rows", "called_with"),
    [(2, 1, 8, 2), (1, 1, 8, 1), (2, 2, 8, 2), (3, 1, 8, 1), (3, 1, 9, 3), (4, 2, 8, 2)],
)
def test_one_volume_is_cut_into_as_many_slabs_as_there_are_threads(threads, batch, rows, called_with, monkeypatch):
    """A batch is not cut, nor a volume whose points do not divide."""
    asked, real = [], fields.F.grid_sample

    def grid_sample(image, grid, *options, **named):
        asked.append(len(grid))
        return real(image, grid, *options, **named)

    monkeypatch.setattr(fields.F, "grid_sample", grid_sample)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    fields.sample(torch.zeros(batch, 1, rows, 1), torch.zeros(batch, 2, rows, 1))
    assert asked == [called_with]
    if called_with == threads > 1 == batch:  # a compiler would rather see one call
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        fields.sample(torch.zeros(batch, 1, rows, 1), torch.zeros(batch, 2, rows, 1))
        assert asked[1:] == [batch]


def test_fields_stay_on_their_device_and_in_their_precision():
    """ "meta" is a device without numbers, but a device."""
    assert fields.identity_grid((3, 4), device="meta").device.type == "meta"
    image, field = (torch.zeros(1, channels, 4, 5, device="meta") for channels in (1, 2))
    assert fields.sample(image, field).device.type == "meta"
    # Position 1500.3 in float32 would be off by 1e-4.
    ramp = torch.arange(2001, dtype=torch.float64).view(1, 1, 2001, 1)
    field = torch.zeros(1, 2, 2001, 1, dtype=torch.float64)
    field[:, 0] = 0.3
    read = fields.sample(ramp, field)[0, 0, :2000, 0]
    torch.testing.assert_close(read, torch.arange(2000, dtype=torch.float64) + 0.3, atol=1e-9, rtol=0)


def test_warp_gradients_against_finite_differences(generator):
    image = torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    displacement = (torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(fields.warp, (image, displacement))


def test_identity_grid_by_hand():
    grid = fields.identity_grid((2, 3))
    assert grid.tolist() == [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    assert grid.dtype == torch.float32
    volume = fields.identity_grid(torch.Size((2, 3, 4)), dtype=torch.float64, device="cpu")
    assert volume.shape == (3, 2, 3, 4)
    assert volume.dtype == torch.float64
    assert volume[:, 1, 2, 3].tolist() == [1, 2, 3]


def test_a_grid_of_another_size_shares_voxel_zero():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    still = fields.warp(image, torch.zeros(1, 2, 2, 6))
    assert still[0, 0].tolist() == [[0, 1, 2, 3, 3, 3], [4, 5, 6, 7, 7, 7]]
    outside = fields.warp(image, torch.zeros(1, 2, 2, 6), padding="zeros")
    assert outside[0, 0].tolist() == [[0, 1, 2, 3, 0, 0], [4, 5, 6, 7, 0, 0]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_items_of_a_batch_are_moved_each_by_its_own_field(shape, mode, generator):
    """In slabs or not: a batch of three is three batches of one."""
    image = torch.rand(3, 2, *shape, generator=generator)
    displacement = 4 * torch.rand(3, len(shape), *shape, generator=generator) - 2
    together = fields.warp(image, displacement, mode)
    alone = [fields.warp(image[i : i + 1], displacement[i : i + 1], mode) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_an_axis_of_one_voxel_does_not_move():
    image = torch.arange(4.0).view(1, 1, 1, 4)
    displacement = torch.full((1, 2, 1, 4), 1.0)
    assert fields.warp(image, displacement)[0, 0, 0].tolist() == [1, 2, 3, 3]


def test_positions_are_not_rounded_in_half_precision():
    """In bfloat16, integers beyond 256 are multiples of two."""
    ramp = torch.arange(400.0).view(1, 1, 1, 400)
    displacement = torch.zeros(1, 2, 1, 400, dtype=torch.bfloat16)
    displacement[:, 1] = 0.5
    assert fields.sample(ramp, displacement)[0, 0, 0, 371] == 371.5
    assert fields.sample(ramp.bfloat16(), displacement).dtype == torch.bfloat16
    assert fields.sample(ramp, displacement.double()).dtype == torch.float32


def test_labels_are_moved_whole_whatever_their_type():
    labels = torch.tensor([[[[0, 7, 200]]]], dtype=torch.uint8)
    displacement = torch.zeros(1, 2, 1, 3)
    displacement[:, 1] = 0.6
    moved = fields.warp_labels(labels, displacement)
    assert moved.dtype == torch.uint8
    assert moved.flatten().tolist() == [7, 200, 200]


def test_seven_squarings_by_default(generator):
    velocity = smooth_field((9, 8), generator, amplitude=1)
    assert torch.equal(fields.exponentiate(velocity), fields.exponentiate(velocity, 7))
    assert not torch.equal(fields.exponentiate(velocity), fields.exponentiate(velocity, 8))
    # one squaring, written out
    half = velocity / 2
    torch.testing.assert_close(fields.exponentiate(velocity, 1), half + fields.warp(half, half))


def test_the_fixed_point_of_the_inverse_by_hand():
    """u(x) = x / 2 is undone by -x / 3; each step halves what was, so the change is 1/4, 1/8, ... of x."""
    x = torch.arange(9.0).expand(1, 1, 2, 9)
    displacement = torch.cat([0 * x, x / 2], 1)

    def slope(**options):
        return float(fields.invert(displacement, **options)[0, 1, 0, 8]) / 8

    assert slope(iterations=1, tolerance=0) == pytest.approx(-0.25)
    assert slope(iterations=2, tolerance=0) == pytest.approx(-0.375)
    assert slope(tolerance=0) == pytest.approx(-1 / 3, abs=1e-6)
    assert slope(tolerance=2.1) == pytest.approx(-0.25)  # the first change is 2 voxels at x = 8
    assert slope(tolerance=1.9) == pytest.approx(-0.375)
    assert 1e-6 < abs(slope() + 1 / 3) < 1e-4  # by default it stops at a change of 0.001
    # by default no more than fifty steps: a field without an inverse alternates for ever
    torn = torch.cat([0 * x, 2.0 * (x > 3)], 1)
    odd, even = (fields.invert(torn, iterations=n, tolerance=0.0) for n in (49, 50))
    assert not torch.equal(odd, even)
    assert torch.equal(fields.invert(torn, tolerance=0.0), even)


@pytest.mark.parametrize(("size", "expected"), [(3, [0, 2, 4]), (4, [0, 2, 4, 4])])
def test_upsample_by_hand(size, expected):
    coarse = torch.tensor([0.0, 4.0])
    assert fields.upsample(coarse.view(1, 1, 1, 2), (1, size)).flatten().tolist() == expected
    assert fields.upsample(coarse.view(1, 1, 2, 1), (size, 1)).flatten().tolist() == expected
    assert fields.upsample(coarse.view(1, 1, 1, 2, 1), (1, size, 1)).flatten().tolist() == expected
    field = coarse.view(1, 1, 1, 2).repeat(1, 2, 1, 1)
    assert fields.upsample_field(field, (1, size))[0, 1, 0].tolist() == [2 * value for value in expected]


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("image", [(21, 18), (9, 12, 11)])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_field_of_a_level_on_the_image(level, image, stem_stride):
    """`u_d(x) = x_d / 2` is the same field on every grid, in its own voxels: here it comes back on the image's."""
    grids, size = [], image
    for _ in range(3):
        size = size if stem_stride == 1 and not grids else tuple(-(-n // 2) for n in size)
        grids.append(torch.Size(size))
    field = 0.5 * fields.identity_grid(grids[level])[None]
    found = fields.field_to_image(field, level=level, grids=grids, image=torch.Size(image), stem_stride=stem_stride)
    stride = stem_stride * 2**level
    assert found.shape == (1, len(image), *image)
    inner = (
        ...,
        *(slice(0, stride * (n - 1) + 1) for n in grids[level]),
    )  # beyond the last coarse voxel it is constant
    torch.testing.assert_close(found[inner], 0.5 * fields.identity_grid(image)[None][inner])
    shift = torch.full_like(field, 1.5)
    moved = fields.field_to_image(shift, level=level, grids=grids, image=torch.Size(image), stem_stride=stem_stride)
    assert (moved == 1.5 * stride).all()


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (5, 3, 3)])
def test_size_that_is_required(shape):
    fields.require_size("u", torch.zeros(1, 2, *shape), 3)
    fields.require_size("u", torch.zeros(1, 1, *shape), 3)  # channels do not count
    text = f"u needs at least 4 voxels along every axis, got shape {(1, 1, *shape)}."
    with pytest.raises(ValueError, match=re.escape(text)):
        fields.require_size("u", torch.zeros(1, 1, *shape), 4)


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

    def test_every_field_is_checked_under_its_own_name(self):
        bad, good = torch.full((1, 2, 4, 4), float("nan")), torch.zeros(1, 2, 4, 4)
        for call, name in (
            (lambda: fields.compose(bad, good), "first"),
            (lambda: fields.compose(good, bad), "second"),
            (lambda: fields.exponentiate(bad), "velocity"),
            (lambda: fields.invert(bad), "displacement"),
        ):
            with pytest.raises(ValueError, match=f"^{name} must hold finite"):
                call()
        with pytest.raises(ValueError, match="^padding must be one of 'border', 'zeros', got 'wrap'"):
            fields.warp(good, good, padding="wrap")

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

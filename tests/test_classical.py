"""Demons on pairs with known answers. Voxel-by-voxel agreement with SimpleITK is in tests/peers."""

import re

import pytest
import torch

from moereg import fields
from moereg.classical import VARIANTS, demons, demons_force, lie_bracket
from moereg.classical.sampling import fast_sample
from moereg.classical.step import scaling_and_squaring, stays_inside
from moereg.fields import compose, exponentiate, identity_grid, warp
from moereg.filters import halve, smooth, smoothing_matrices, spatial_gradient
from moereg.regularity import diffusion, fold_fraction
from moereg.similarity import mse

SHAPES = [(24, 28), (20, 22, 21)]


def blob(shape, centre, width=3.0):
    """A Gaussian blob, `(1, 1, *S)`; `centre` in voxels from the middle."""
    offset = identity_grid(shape) - torch.tensor([n / 2 + c for n, c in zip(shape, centre, strict=True)]).view(
        -1, *[1] * len(shape)
    )
    return torch.exp(-offset.square().sum(0) / (2 * width**2))[None, None]


def moved_pair(shape):
    """`moving[x + u] = fixed[x]` with a translation u of (2, -1, 1) voxels where there is something to see."""
    centre = (2.0, -1.0, 1.0)[: len(shape)]
    return blob(shape, centre), blob(shape, (0.0,) * len(shape)), torch.tensor(centre)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_moved_blob_is_found(variant, shape):
    moving, fixed, truth = moved_pair(shape)
    result = demons(moving, fixed, variant, iterations=60, levels=1)
    assert mse(result.warped, fixed) < 0.02 * mse(moving, fixed)
    torch.testing.assert_close(result.warped, warp(moving, result.displacement), atol=1e-4, rtol=0)
    inside = (fixed > 0.3).float()
    mean = (result.displacement * inside).flatten(2).sum(2)[0] / inside.sum()
    assert (mean - truth).abs().max() < 0.45


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("threshold", [0.0, 1e-3])
def test_equal_images_do_not_move_at_all(variant, threshold, generator):
    image = 3000 * torch.rand(2, 1, 9, 11, 10, generator=generator)
    result = demons(image, image.clone(), variant, iterations=3, levels=1, intensity_threshold=threshold)
    assert result.displacement.abs().max() == 0
    assert torch.equal(result.warped, image)
    assert torch.all(result.history == 0)


def test_an_equal_pair_does_not_move_beside_a_pair_that_does():
    moving, fixed, _ = moved_pair((14, 16, 18))
    result = demons(torch.cat([fixed, moving]), torch.cat([fixed, fixed]), iterations=5, levels=2)
    assert result.displacement[0].abs().max() == 0
    assert result.displacement[1].abs().max() > 0.5


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("values", [(2.0, 2.0), (0.0, 5.0), (0.537, 0.731)])
@pytest.mark.parametrize("levels", [1, 3])
def test_constant_images_do_not_move(variant, values, levels):
    """Exactly, on coarse levels too: smoothing must not round a constant into a slope."""
    moving, fixed = (torch.full((1, 1, 33, 36, 40), value) for value in values)
    result = demons(moving, fixed, variant, iterations=2, levels=levels, intensity_threshold=0.0)
    assert result.displacement.abs().max() == 0
    assert torch.isfinite(result.history).all()


def test_force_by_hand():
    # One voxel, d = 1, J = (2, 0) per mm, spacing (3, 1): h^2 = 5, u = 2 / (4 + 1 / (4 * 0.25 * 5)) mm along axis 0.
    gradient = torch.tensor([2.0, 0.0]).view(1, 1, 2, 1, 1)
    force = demons_force(torch.ones(1, 1, 1, 1), gradient, max_step=0.5, spacing=(3.0, 1.0))
    torch.testing.assert_close(force.flatten(), torch.tensor([2 / 4.2 / 3, 0.0]))


@pytest.mark.parametrize("max_step", [0.25, 0.5, 2.0])
def test_force_is_bounded_and_the_bound_is_reached(max_step, generator):
    spacing = (1.5, 0.8, 1.1)
    size = sum(edge**2 for edge in spacing) / 3
    difference = torch.randn(1, 1, 20, 20, 20, generator=generator)
    gradient = torch.randn(1, 1, 3, 20, 20, 20, generator=generator) * 10 ** torch.empty(20).uniform_(
        -3, 3, generator=generator
    )
    force = demons_force(difference, gradient, max_step=max_step, spacing=spacing)
    length = (force * torch.tensor(spacing).view(3, 1, 1, 1)).norm(dim=1)
    assert length.max() <= max_step * size**0.5 * (1 + 1e-6)
    assert length.max() > 0.99 * max_step * size**0.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_history_falls_and_names_its_levels(variant):
    moving, fixed, _ = moved_pair((24, 28))
    result = demons(moving, fixed, variant, iterations=(8, 5), levels=2)
    assert result.factors == (2,) * 8 + (1,) * 5
    assert result.history.shape == result.change.shape == (1, 13)
    assert (result.history[0, :8].diff() < 0).all()
    assert (result.velocity is None) == (variant != "log")


def test_history_of_one_level_starts_at_the_images_difference():
    moving, fixed, _ = moved_pair((24, 28))
    result = demons(moving, fixed, iterations=3, levels=1)
    torch.testing.assert_close(result.history[0, 0], mse(moving, fixed))


def test_change_is_in_millimetres():
    moving, fixed, _ = moved_pair((24, 28))
    result = demons(moving, fixed, iterations=1, levels=1, spacing=(2.0, 0.5))
    squared = (result.displacement * torch.tensor([2.0, 0.5]).view(2, 1, 1)).square().sum(1).mean()
    torch.testing.assert_close(result.change[0, 0], squared.sqrt())


def test_tolerance_ends_a_level_early():
    moving, fixed, _ = moved_pair((24, 28))
    free = demons(moving, fixed, iterations=60, levels=1)
    stopped = demons(moving, fixed, iterations=60, levels=1, tolerance=0.03)
    count = stopped.history.shape[1]
    assert 1 < count < 60
    assert stopped.change[0, -1] <= 0.03 < stopped.change[0, -2]
    torch.testing.assert_close(stopped.history, free.history[:, :count])


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_short_runs_are_one_long_run(variant):
    moving, fixed, _ = moved_pair((14, 16, 18))
    first = demons(moving, fixed, variant, iterations=4, levels=1)
    start = first.velocity if variant == "log" else first.displacement
    second = demons(moving, fixed, variant, iterations=4, levels=1, initial=start)
    whole = demons(moving, fixed, variant, iterations=8, levels=1)
    torch.testing.assert_close(second.displacement, whole.displacement)


def test_items_of_a_batch_are_independent():
    moving, fixed, _ = moved_pair((24, 28))
    other = blob((24, 28), (-2.0, 2.0))
    both = demons(torch.cat([moving, other]), torch.cat([fixed, fixed]), iterations=10, levels=2)
    alone = demons(other, fixed, iterations=10, levels=2)
    torch.testing.assert_close(both.displacement[1:], alone.displacement)


def test_levels_reach_what_one_level_cannot():
    moving, fixed = blob((48, 48), (9.0, 0.0), 2.5), blob((48, 48), (0.0, 0.0), 2.5)
    one = demons(moving, fixed, "symmetric", iterations=90, levels=1)
    three = demons(moving, fixed, "symmetric", iterations=30, levels=3)
    assert mse(three.warped, fixed) < 0.1 * mse(one.warped, fixed)


@pytest.mark.parametrize(
    ("shape", "levels"), [((16, 16), 1), ((31, 40), 1), ((32, 64, 64), 2), ((200, 200), 3), ((1, 9), 1)]
)
def test_default_levels_keep_sixteen_voxels(shape, levels):
    image = torch.zeros(1, 1, *shape)
    assert len(demons(image, image + 1, iterations=1).factors) == levels


def test_odd_sizes_register_on_three_levels():
    moving, fixed = blob((33, 50, 41), (3.0, -2.0, 2.0), 4.0), blob((33, 50, 41), (0.0, 0.0, 0.0), 4.0)
    assert mse(demons(moving, fixed, iterations=20, levels=3).warped, fixed) < 0.05 * mse(moving, fixed)


def test_uniform_spacing_leaves_voxels_as_they_are():
    moving, fixed, _ = moved_pair((14, 16, 18))
    unit = demons(moving, fixed, "diffeomorphic", iterations=10, levels=1)
    large = demons(moving, fixed, "diffeomorphic", iterations=10, levels=1, spacing=(3.0, 3.0, 3.0))
    torch.testing.assert_close(large.displacement, unit.displacement)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_axis_is_special(variant):
    moving, fixed, _ = moved_pair((14, 16, 18))
    plain = demons(
        moving, fixed, variant, iterations=6, levels=1, spacing=(1.5, 0.8, 1.1), elastic_sigma=(1.0, 0.5, 2.0)
    )
    order = (2, 0, 1)
    turned = demons(
        *(image.permute(0, 1, *[2 + axis for axis in order]) for image in (moving, fixed)),
        variant,
        iterations=6,
        levels=1,
        spacing=tuple((1.5, 0.8, 1.1)[axis] for axis in order),
        elastic_sigma=tuple((1.0, 0.5, 2.0)[axis] for axis in order),
    )
    expected = plain.displacement[:, list(order)].permute(0, 1, *[2 + axis for axis in order])
    torch.testing.assert_close(turned.displacement, expected, atol=2e-4, rtol=0)


def test_both_smoothings_smooth():
    moving, fixed, _ = moved_pair((24, 28))

    def roughness(elastic, fluid):
        result = demons(moving, fixed, iterations=15, levels=1, elastic_sigma=elastic, fluid_sigma=fluid)
        return diffusion(result.displacement)

    assert roughness(2.0, 0.0) < roughness(1.0, 0.0) < roughness(0.0, 0.0)
    assert roughness(0.0, 2.0) < roughness(0.0, 1.0) < roughness(0.0, 0.0)


def test_smoothing_before_or_after_differ_by_the_last_smoothing():
    moving, fixed, _ = moved_pair((24, 28))
    before = demons(moving, fixed, iterations=10, levels=1, smooth_before=True)
    after = demons(moving, fixed, iterations=10, levels=1)
    torch.testing.assert_close(before.history, after.history)
    assert diffusion(after.displacement) < diffusion(before.displacement)


@pytest.mark.parametrize("variant", ["diffeomorphic", "log"])
def test_composed_updates_fold_less_than_added_ones(variant, generator):
    moving, fixed = torch.rand(2, 1, 1, 32, 32, generator=generator).unbind(0)
    kept = {"iterations": 60, "levels": 1, "elastic_sigma": 0.0, "fluid_sigma": 1.0}
    added = fold_fraction(demons(moving, fixed, "symmetric", **kept).displacement)
    composed = fold_fraction(demons(moving, fixed, variant, **kept).displacement)
    assert added > 0.02
    assert composed < 0.2 * added


def test_log_displacement_is_the_exponential_of_its_velocity():
    moving, fixed, _ = moved_pair((24, 28))
    result = demons(moving, fixed, "log", iterations=40, levels=1)
    torch.testing.assert_close(result.displacement, exponentiate(result.velocity), atol=0.02, rtol=0)
    there_and_back = compose(result.displacement, exponentiate(-result.velocity))
    assert there_and_back.abs().max() < 0.05
    assert result.displacement.abs().max() > 1


def test_one_iteration_of_log_written_out():
    moving, fixed, _ = (image.double() for image in moved_pair((12, 13, 14)))
    velocity = 0.5 * torch.cat([fixed, -moving, fixed * moving], 1)
    warped = warp(moving, exponentiate(velocity, steps=1))
    gradient = (spatial_gradient(fixed, border="zero") + spatial_gradient(warped)) / 2
    update = demons_force(fixed - warped, gradient, threshold=1e-3)
    result = demons(moving, fixed, "log", iterations=1, levels=1, elastic_sigma=0.0, initial=velocity)
    assert velocity.norm(dim=1).max() <= 1  # so that one squaring suffices
    torch.testing.assert_close(result.velocity, velocity + update + lie_bracket(velocity, update) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_lie_bracket_of_linear_fields_is_the_matrix_commutator(dims, generator):
    shape = (5, 6, 7)[:dims]
    a, b = torch.randn(2, dims, dims, generator=generator, dtype=torch.float64).unbind(0)
    grid = identity_grid(shape, dtype=torch.float64)

    def linear(matrix):
        return torch.einsum("ij,j...->i...", matrix, grid)[None]

    torch.testing.assert_close(lie_bracket(linear(a), linear(b)), linear(a @ b - b @ a))


def test_half_a_bracket_brings_the_velocity_closer_to_the_composition():
    bump = blob((32, 32), (0.0, 0.0), 6.0)[0]
    grid = identity_grid((32, 32)) / 32 - 0.5
    first = torch.stack([bump[0] * grid[1], bump[0]])[None] * 2
    second = torch.stack([bump[0], -bump[0] * grid[0]])[None] * 2
    target = compose(exponentiate(first), exponentiate(second))
    with_bracket = exponentiate(first + second + lie_bracket(first, second) / 2)
    assert (with_bracket - target).norm() < 0.4 * (exponentiate(first + second) - target).norm()


@pytest.mark.parametrize("shape", [(1, 2, 9, 8, 7), (2, 1, 6, 11, 5), (1, 1, 1, 4, 4), (1, 3, 8, 9)])
@pytest.mark.parametrize("length", [0.2, 4.0])
def test_sampling_by_slices_is_sampling(shape, length, generator):
    image = torch.rand(shape, generator=generator)
    displacement = length * torch.randn(shape[0], len(shape) - 2, *shape[2:], generator=generator)
    torch.testing.assert_close(fast_sample(image, displacement), fields.sample(image, displacement), atol=5e-5, rtol=0)


def test_precision_is_at_least_single_and_double_is_kept():
    moving, fixed, _ = moved_pair((24, 28))
    assert demons(moving.half(), fixed.half(), iterations=2).displacement.dtype == torch.float32
    double = demons(moving.double(), fixed.double(), iterations=20, levels=2)
    assert double.displacement.dtype == torch.float64
    single = demons(moving, fixed, iterations=20, levels=2)
    torch.testing.assert_close(single.displacement, double.displacement.float(), atol=1e-3, rtol=0)


def test_images_of_two_precisions_meet_in_the_larger_one():
    moving, fixed, _ = moved_pair((12, 13))
    for pair in ((moving.half(), fixed.double()), (moving.double(), fixed.half())):
        assert demons(*pair, iterations=1, levels=1).displacement.dtype == torch.float64
    assert demons(moving.bfloat16(), fixed.half(), iterations=1, levels=1).warped.dtype == torch.float32
    start = torch.zeros(1, 2, 12, 13, dtype=torch.float64)
    assert demons(moving, fixed, iterations=1, levels=1, initial=start).displacement.dtype == torch.float32


def test_a_level_goes_on_until_every_item_has_come_to_rest():
    moving, fixed, _ = moved_pair((16, 18))
    still = demons(fixed, fixed, iterations=9, levels=1)
    assert still.change.tolist() == [[0.0]]  # a change of no more than the tolerance of zero: done at once
    both = demons(torch.cat([fixed, moving]), torch.cat([fixed, fixed]), iterations=9, levels=1)
    assert both.change.shape == (2, 9)
    assert both.change[0].max() == 0
    two = demons(fixed, fixed, iterations=(5, 7), levels=2)
    assert two.factors == (2, 1)


@pytest.mark.plain_errors
def test_levels_may_leave_four_voxels():
    image = torch.zeros(1, 1, 7, 16)
    assert demons(image, image, iterations=1, levels=2).factors == (2, 1)
    with pytest.raises(ValueError, match="levels must leave at least 4 voxels along every axis of the coarsest level"):
        demons(torch.zeros(1, 1, 6, 16), torch.zeros(1, 1, 6, 16), levels=2)
    with pytest.raises(ValueError, match="levels must be a positive integer, got 1.5"):
        demons(image, image, levels=1.5)


def test_spacing_of_a_coarse_level_is_that_of_its_voxels():
    """What one iteration on the coarser of two levels changes, in millimetres, is twice that of the same grid alone."""
    moving, fixed, _ = moved_pair((24, 28))
    coarse = demons(halve(moving), halve(fixed), iterations=1, levels=1, spacing=(2.0, 1.0))
    both = demons(moving, fixed, iterations=1, levels=2, spacing=(1.0, 0.5))
    torch.testing.assert_close(both.change[:, 0], coarse.change[:, 0])
    torch.testing.assert_close(both.history[:, 0], coarse.history[:, 0])


def test_nothing_is_recorded_for_gradients():
    moving, fixed, _ = moved_pair((24, 28))
    assert not demons(moving.requires_grad_(), fixed, iterations=2).displacement.requires_grad


def test_progress_bar_is_shown_on_request(capsys):
    moving, fixed, _ = moved_pair((24, 28))
    demons(moving, fixed, iterations=2)
    assert capsys.readouterr().err == ""
    demons(moving, fixed, iterations=2, levels=1, progress=True)
    shown = capsys.readouterr().err
    assert "demons: 100%" in shown
    assert "2/2" in shown
    assert "iteration" in shown


def test_inside_reaches_half_a_voxel_beyond_the_outer_centres():
    """Along an axis of 4 voxels, positions from -0.5 to 3.5, both included."""
    for start, inside in (
        (0, {-0.6: False, -0.5: True, 0.0: True, 3.5: True, 3.6: False}),
        (3, {-3.6: False, -3.5: True, 0.5: True, 0.6: False}),
    ):
        for amount, expected in inside.items():
            for axis in range(2):
                shape = (1, 2, 4, 1) if axis == 0 else (1, 2, 1, 4)
                displacement = torch.zeros(shape)
                displacement[:, axis] = amount
                assert stays_inside(displacement).shape == (1, 1, *shape[2:])
                assert bool(stays_inside(displacement).flatten()[start]) is expected
    one_way_out = torch.tensor([0.0, -9.0, 0.0]).view(1, 3, 1, 1, 1).expand(2, 3, 3, 4, 5)
    assert not stays_inside(one_way_out).any()


def test_a_difference_of_the_threshold_acts_and_a_smaller_one_does_not():
    gradient = torch.ones(1, 1, 2, 1, 3)
    difference = torch.tensor([0.5, 0.4999, -0.5]).view(1, 1, 1, 3)
    force = demons_force(difference, gradient, threshold=0.5)
    assert (force[0, 0, 0] != 0).tolist() == [True, False, True]
    assert (demons_force(0 * difference, 0 * gradient) == 0).all()


def test_force_by_default_is_at_most_half_a_voxel():
    difference, gradient = torch.full((1, 1, 1, 1), 0.25), torch.full((1, 1, 2, 1, 1), 0.5)
    expected = demons_force(difference, gradient, max_step=0.5, spacing=(1.0, 1.0), threshold=0.0)
    assert torch.equal(demons_force(difference, gradient), expected)
    assert demons_force(difference, gradient)[0, 0, 0, 0] == pytest.approx(0.125 / (0.5 + 0.0625))
    assert not torch.equal(demons_force(1e-4 * difference, gradient), torch.zeros(1, 2, 1, 1))


def test_squarings_follow_the_longest_velocity():
    """The first step is at most half a voxel long: 2^-n |v| <= 1/2; zero needs none."""
    for length, squarings in ((0.0, 0), (0.4, 0), (0.5, 0), (0.6, 1), (1.0, 1), (1.1, 2), (4.0, 3)):
        velocity = torch.zeros(1, 2, 5, 6)
        velocity[:, 0, 2, 2] = 0.6 * length
        velocity[:, 1, 2, 2] = 0.8 * length
        expected = velocity if not squarings else exponentiate(velocity, squarings)
        torch.testing.assert_close(scaling_and_squaring(velocity), expected)
        torch.testing.assert_close(scaling_and_squaring(velocity, 2), exponentiate(velocity, 2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_defaults_are_these(variant):
    moving, fixed, _ = moved_pair((33, 36))
    written = demons(
        moving, fixed, variant, iterations=3, levels=2, elastic_sigma=(1.0, 1.0), fluid_sigma=0.0, max_step=0.5,
        spacing=(1.0, 1.0), tolerance=0.0, initial=torch.zeros(1, 2, 33, 36), intensity_threshold=1e-3,
        missing_mass=0.1, smooth_before=False,
    )  # fmt: skip
    plain = demons(moving, fixed, variant, iterations=3)
    assert torch.equal(plain.displacement, written.displacement)
    assert torch.equal(plain.change, written.change)


def test_thirion_with_fifty_iterations_is_the_default():
    moving, fixed, _ = moved_pair((12, 13))
    assert torch.equal(demons(moving, fixed).displacement, demons(moving, fixed, "thirion", iterations=50).displacement)


@pytest.mark.parametrize("variant", ["symmetric", "diffeomorphic"])
def test_one_iteration_written_out(variant):
    """Force of both gradients, smoothed, brought into the field, smoothed again; a field to start from."""
    moving, fixed, _ = (image.double() for image in moved_pair((12, 13, 14)))
    start = 0.4 * torch.cat([fixed, -moving, fixed * moving], 1)
    spacing = (1.5, 0.8, 1.1)
    warped = warp(moving, start)
    inside = stays_inside(start)
    gradient = (spatial_gradient(fixed, spacing=spacing, border="zero") + spatial_gradient(warped, spacing=spacing)) / 2
    update = demons_force((fixed - warped) * inside, gradient, max_step=0.7, spacing=spacing, threshold=1e-3)
    update = smooth(update, smoothing_matrices((0.5,) * 3, fixed, 0.1))
    # at most 0.7 voxels long: two squarings
    new = compose(start, exponentiate(update, 2)) if variant == "diffeomorphic" else start + update
    new = smooth(new, smoothing_matrices((1.0, 0.7, 0.9), fixed, 0.1))
    result = demons(
        moving, fixed, variant, iterations=1, levels=1, initial=start, max_step=0.7, spacing=spacing,
        elastic_sigma=(1.0, 0.7, 0.9), fluid_sigma=0.5,
    )  # fmt: skip
    torch.testing.assert_close(result.displacement, new, atol=2e-5, rtol=0)
    torch.testing.assert_close(result.history[0, 0], ((fixed - warped) * inside).square().sum() / inside.sum())
    moved = ((new - start) * torch.tensor(spacing).view(3, 1, 1, 1)).square().sum(1).mean().sqrt()
    torch.testing.assert_close(result.change[0, 0], moved, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result.warped, warp(moving, new), atol=1e-4, rtol=0)


def test_a_field_to_start_from_is_halved_with_its_grid():
    """A shift of 4 voxels on three levels starts as one of 1 on the coarsest, and comes out as one of 4."""
    image = torch.full((1, 1, 32, 36), 0.5)
    start = torch.full((1, 2, 32, 36), 4.0)
    for levels in (1, 2, 3):
        kept = demons(image, image, iterations=1, levels=levels, initial=start).displacement
        torch.testing.assert_close(kept, start)


def test_gradient_convention_of_the_force():
    # Intensity grows along axis 0 and moving shows each value one voxel further on, so the force points along +0.
    ramp = identity_grid((12, 12))[:1][None]
    fixed, moving = ramp, ramp - 1
    force = demons_force(fixed - moving, spatial_gradient(fixed))
    assert (force[:, 0] > 0.4).all()
    assert force[:, 1].abs().max() == 0


IMAGE = torch.zeros(1, 1, 8, 8, 8)


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"moving": torch.full((1, 1, 8, 8, 8), float("nan"))}, "moving must hold finite values"),
        ({"fixed": torch.full((1, 1, 8, 8, 8), float("inf"))}, "fixed must hold finite values"),
        ({"moving": torch.zeros(1, 1, 8, 8, 9)}, "moving and fixed must have the same shape"),
        ({"moving": torch.zeros(8, 8, 8)}, "moving must have shape"),
        ({"moving": torch.zeros(1, 2, 8, 8), "fixed": torch.zeros(1, 2, 8, 8)}, "must have one channel"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing must be positive"),
        ({"spacing": (1.0, -1.0, 1.0)}, "spacing must be positive"),
        ({"spacing": (1.0, 1.0)}, "one for each of the 3 axes"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "spacing must be positive"),
        ({"elastic_sigma": -1.0}, "elastic_sigma must be non-negative"),
        ({"fluid_sigma": (1.0, 2.0)}, "fluid_sigma must be non-negative"),
        ({"variant": "fast"}, "variant must be one of 'thirion'"),
        ({"iterations": 0}, "iterations must be a positive integer"),
        ({"iterations": (5, 5), "levels": 1}, "one for each of the 1 levels"),
        ({"levels": 3}, "levels must leave at least 4 voxels"),
        ({"max_step": 0.0}, "max_step must be a positive number"),
        ({"missing_mass": 1.0}, "missing_mass must be between 0 and 1"),
        ({"tolerance": -1.0}, "tolerance must not be negative"),
        ({"intensity_threshold": -1.0}, "intensity_threshold must not be negative"),
        ({"initial": torch.zeros(1, 3, 8, 8, 9)}, "initial and fixed must have the same"),
        ({"initial": torch.zeros(1, 2, 8, 8, 8)}, "one channel per spatial axis"),
    ],
)
def test_bad_input_gets_one_sentence(changes, sentence):
    arguments = {"moving": IMAGE, "fixed": IMAGE, **changes}
    with pytest.raises((ValueError, TypeError), match=sentence) as error:
        demons(arguments.pop("moving"), arguments.pop("fixed"), **arguments)
    assert "\n" not in str(error.value)


def test_spacing_is_one_and_results_are_single_precision_by_default(generator, capsys):
    moving, fixed = torch.rand(2, 1, 1, 12, 10, generator=generator)
    plain = demons(moving, fixed, iterations=2, levels=1)
    one, two = (demons(moving, fixed, iterations=2, levels=1, spacing=(edge, edge)) for edge in (1.0, 2.0))
    assert torch.equal(plain.displacement, one.displacement)
    assert torch.equal(plain.change, one.change)
    assert not torch.equal(plain.change, two.change)
    start = torch.zeros(1, 2, 12, 10, dtype=torch.float64)
    assert demons(moving, fixed, iterations=1, levels=1, initial=start).displacement.dtype == torch.float32
    assert capsys.readouterr().err == ""
    demons(moving, fixed, iterations=2, levels=1, progress=True)
    shown = capsys.readouterr().err
    assert "demons: 100%" in shown
    assert "2/2" in shown
    assert re.search(r"[ ?0-9./]iteration\b|\biteration/s", shown)

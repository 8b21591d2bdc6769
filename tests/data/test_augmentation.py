"""Augmentation: what each option changes, by how much, and that images and labels stay together."""

import math
from dataclasses import replace

import pytest
import torch

from moereg import fields
from moereg.data import Pair
from moereg.data.augmentation import (
    Augmentation,
    augment,
    distort,
    exchanged,
    mirror,
    random_field,
    random_matrix,
    recolour,
)

SHAPE = (12, 14, 10)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pair():
    """Two ramps with labels that follow them; label 1 on the left, 2 on the right of the last axis."""
    z, y, x = fields.identity_grid(SHAPE)
    image = ((z + 2 * y) / 40)[None]
    labels = torch.where(x < 4, 1, torch.where(x > 6, 2, 0))[None]
    truth = torch.zeros(3, *SHAPE)
    return Pair(image, image.flip(1), labels, labels, truth, labels > 0, name="ramps", spacing=(1.0, 1.0, 2.0))


def test_nothing_is_changed_unless_it_is_named(pair):
    same = augment(pair, Augmentation(), seeded(0))
    assert torch.equal(same.moving, pair.moving)
    assert torch.equal(same.fixed, pair.fixed)
    assert torch.equal(same.moving_labels, pair.moving_labels)
    assert torch.equal(same.fixed_labels, pair.fixed_labels)
    assert same.displacement is None
    assert same.region is None
    assert (same.name, same.spacing) == ("ramps", (1.0, 1.0, 2.0))


def test_intensities_beyond_one_are_left_alone_unless_colours_change(pair):
    """Images of one's own need not lie in [0, 1]; a curve is defined there alone."""
    wide = replace(pair, moving=3 * pair.moving - 1)
    assert torch.equal(augment(wide, Augmentation(mirror=(2,)), seeded(0)).moving, wide.moving)  # the same mirrored
    bent = augment(wide, Augmentation(shift=1.0), seeded(0)).moving
    assert float(bent.min()) < -0.5
    assert float(bent.max()) > 1.5
    assert float(augment(wide, Augmentation(noise=1e-6), seeded(0)).moving.max()) == 1


def test_the_generator_decides_and_both_images_are_changed_by_themselves(pair):
    everything = Augmentation((2,), ((1, 2),), 10, 0.1, 1.0, 1.0, 3.0, 0.2, 0.1, 0.05)
    first, again, other = (augment(pair, everything, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.moving, again.moving)
    assert torch.equal(first.fixed_labels, again.fixed_labels)
    assert not torch.equal(first.moving, other.moving)
    same = augment(replace(pair, fixed=pair.moving), everything, seeded(0))
    assert not torch.equal(same.moving, same.fixed)
    assert not torch.equal(same.moving_labels, same.fixed_labels)
    assert float(first.moving.min()) >= 0
    assert float(first.moving.max()) <= 1
    assert first.moving_labels.dtype == pair.moving_labels.dtype


def test_half_of_the_pairs_are_mirrored_with_their_labels_exchanged(pair):
    options, mirrored = Augmentation(mirror=(2,), exchange=((1, 2),)), 0
    for seed in range(200):
        result = mirror(pair, options, seeded(seed))
        assert result.displacement is None
        if torch.equal(result.region, pair.region):
            assert result.moving is pair.moving
            assert result.fixed_labels is pair.fixed_labels
            continue
        mirrored += 1
        assert torch.equal(result.moving, pair.moving.flip(3))
        assert torch.equal(result.fixed, pair.fixed.flip(3))
        assert torch.equal(result.region, pair.region.flip(3))
        for name in ("moving_labels", "fixed_labels"):
            # What was on the left is on the right, and bears the right one's name: 1 is still on the left.
            assert getattr(result, name)[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2, 2]
    assert 70 <= mirrored <= 130


def test_two_mirrorings_are_a_turn_and_exchange_nothing(pair):
    options, seen = Augmentation(mirror=(0, 2), exchange=((1, 2),)), set()
    for seed in range(40):
        result = mirror(pair, options, seeded(seed))
        row = tuple(result.moving_labels[0, 0, 0].tolist())
        seen.add((torch.equal(result.moving, pair.moving), row))
    left, right = (1, 1, 1, 1, 0, 0, 0, 2, 2, 2), (2, 2, 2, 0, 0, 0, 1, 1, 1, 1)
    # Ramps do not change along the last axis: (not along z, x or not), (along z, x or not).
    assert seen == {
        (True, left),
        (True, (1, 1, 1, 0, 0, 0, 2, 2, 2, 2)),
        (False, (2, 2, 2, 2, 0, 0, 0, 1, 1, 1)),
        (False, right),
    }


def test_a_pair_without_labels_stays_without(pair):
    bare = Pair(pair.moving, pair.fixed)
    for seed in range(4):
        result = augment(bare, Augmentation(mirror=(0,), shift=1.0, exchange=((1, 2),)), seeded(seed))
        assert result.moving_labels is None
        assert result.fixed_labels is None
        assert result.region is None


def test_exchange_of_labels_by_hand():
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    assert exchanged(labels, ((1, 2), (5, 3))).tolist() == [0, 2, 1, 5, 4, 3]
    assert exchanged(labels, ()).tolist() == labels.tolist()


def test_images_are_read_where_the_field_says_and_labels_at_the_nearest_voxel(pair):
    options = Augmentation(shift=1.5)
    image, labels = distort(pair.moving, pair.moving_labels, options, seeded(3))
    field = random_field(SHAPE, options, seeded(3))
    z, y = field[0, 0, 0, 0], field[1, 0, 0, 0]
    assert torch.equal(field, field[:, :1, :1, :1].expand_as(field))
    assert field.abs().max() > 0.5
    inside = (0, slice(4, 8), slice(4, 8), 5)
    torch.testing.assert_close(image[inside], pair.moving[inside] + (z + 2 * y) / 40)
    expected = fields.warp_labels(pair.moving_labels[None], field[None])[0]
    assert torch.equal(labels, expected)
    assert not torch.equal(labels, pair.moving_labels)
    alone, none = distort(pair.moving, None, options, seeded(3))
    assert none is None
    assert torch.equal(alone, image)


def test_shifts_have_the_spread_that_was_asked_for():
    shifts = torch.stack([random_field((4, 4), Augmentation(shift=2.0), seeded(seed))[:, 0, 0] for seed in range(400)])
    assert shifts.std(0).tolist() == pytest.approx([2, 2], rel=0.12)
    assert shifts.mean(0).abs().max() < 0.4
    assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 0.2


def test_turns_keep_lengths_and_have_the_spread_that_was_asked_for():
    options, angles = Augmentation(turn=10), []
    for seed in range(400):
        matrix = random_matrix(2, options, seeded(seed))
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(2), atol=5e-5, rtol=0)
        angles.append(math.degrees(math.atan2(matrix[0, 1], matrix[0, 0])))
    assert torch.tensor(angles).std() == pytest.approx(10, rel=0.12)
    turned = random_matrix(3, options, seeded(0))
    torch.testing.assert_close(turned @ turned.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(turned)) == pytest.approx(1)
    assert not torch.allclose(turned, torch.eye(3), atol=1e-2)


def test_sizes_change_along_each_axis_by_itself():
    logs = torch.stack([random_matrix(3, Augmentation(scale=0.1), seeded(seed)).diag().log() for seed in range(400)])
    assert logs.std(0).tolist() == pytest.approx([0.1] * 3, rel=0.12)
    off = random_matrix(3, Augmentation(scale=0.1), seeded(0)).fill_diagonal_(0)
    assert float(off.abs().max()) == 0


def test_turning_and_scaling_leave_the_middle_where_it_is():
    field = random_field((9, 7), Augmentation(turn=20, scale=0.2), seeded(1))
    assert field[:, 4, 3].tolist() == pytest.approx([0, 0], abs=1e-6)
    matrix = random_matrix(2, Augmentation(turn=20, scale=0.2), seeded(1))
    # d(x) = (A - I) (x - c)
    torch.testing.assert_close(field[:, 6, 4], (matrix - torch.eye(2)) @ torch.tensor([2.0, 1.0]))


def test_bends_are_as_large_and_as_smooth_as_was_asked_for():
    shape = (120, 120)
    rough, smooth = (random_field(shape, Augmentation(bend=2.0, bend_sigma=s), seeded(0)) for s in (1.0, 5.0))
    for field in (rough, smooth):
        assert float(field.std()) == pytest.approx(2, rel=0.01)
    # Of Gaussian-smoothed noise, the mean squared slope is the variance over two sigma squared.
    for field, sigma in ((rough, 1.0), (smooth, 5.0)):
        slope = field.diff(dim=2).square().mean()
        assert float(slope) == pytest.approx(4 / (2 * sigma**2), rel=0.35)
    both = random_field(shape, Augmentation(bend=2.0, shift=3.0), seeded(0))
    shift = random_field(shape, Augmentation(shift=3.0), seeded(0))
    bend = both - shift
    assert float(bend.std()) == pytest.approx(2, rel=0.01)
    assert float(shift.abs().max()) > 0.5


def test_gamma_and_gain_change_brightness_and_nothing_else():
    image = torch.linspace(0.1, 0.6, 50)[None]
    gammas = []
    for seed in range(300):
        # log v' = gamma log v
        slopes = recolour(image, Augmentation(gamma=0.2), seeded(seed)).log() / image.log()
        assert float(slopes.std()) < 1e-5
        gammas.append(math.log(float(slopes.mean())))
    assert torch.tensor(gammas).std() == pytest.approx(0.2, rel=0.12)
    factors = [recolour(image, Augmentation(gain=0.1), seeded(seed)) / image for seed in range(300)]
    assert max(float(factor.std()) for factor in factors) < 1e-6
    assert torch.stack(factors).mean(2).log().std() == pytest.approx(0.1, rel=0.12)
    bright = recolour(image + 0.39, Augmentation(gain=1.0), seeded(4))
    assert float(bright.min()) >= 0
    assert float(bright.max()) <= 1


def test_noise_has_the_spread_that_was_asked_for():
    image = torch.full((1, 60, 60), 0.5)
    noisy = recolour(image, Augmentation(noise=0.05), seeded(0))
    assert float((noisy - image).std()) == pytest.approx(0.05, rel=0.05)
    assert float((noisy - image).mean()) == pytest.approx(0, abs=0.005)


@pytest.mark.plain_errors
@pytest.mark.parametrize("name", ["turn", "scale", "shift", "bend", "gamma", "gain", "noise"])
def test_amounts_are_zero_or_more(name):
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be zero or more, got {wrong}"):
            Augmentation(**{name: wrong})
    with pytest.raises(ValueError, match="bend_sigma must be above zero, got 0"):
        Augmentation(bend_sigma=0)

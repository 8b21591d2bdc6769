"""The cardiac phantom: systole empties the cavity, twists the ventricle and leaves its muscle's volume as it was."""

import pytest
import torch
import torch.nn.functional as F

from moereg.data import phantoms
from moereg.data.phantoms import Beating
from moereg.fields import jacobian_determinant, warp

SHAPE = (64, 64, 64)
SIZES = pytest.mark.parametrize("shape", [SHAPE, (128, 128)])
RIGHT, MUSCLE, LEFT = 1, 2, 3


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("cardiac", SHAPE, seed) for seed in range(3)]


def test_every_structure_is_there(pairs):
    for pair in pairs:
        assert len(pair.label_names) == 7
        for labels in (pair.fixed_labels, pair.moving_labels):
            assert (torch.bincount(labels.flatten(), minlength=8)[1:] > 200).all()
    for seed in range(3):
        assert {RIGHT, MUSCLE, LEFT, 7} <= set(phantoms.make("cardiac", (64, 64), seed).fixed_labels.unique().tolist())


@SIZES
def test_muscle_keeps_its_volume_and_blood_does_not(shape):
    """Mean determinant in the myocardium within 2 % of one, 90 % of its voxels within 5 %."""
    for seed in range(3):
        pair = phantoms.make("cardiac", shape, seed)
        determinant = jacobian_determinant(pair.displacement[None])[0]
        assert (determinant > 0).all()
        muscle = determinant[pair.fixed_labels == MUSCLE]
        assert (muscle.mean() - 1).abs() < 0.02
        assert muscle.quantile(0.05) > 0.95
        assert muscle.quantile(0.95) < 1.05
        assert determinant[pair.fixed_labels == LEFT].mean() < 0.7


@SIZES
def test_systole_empties_the_cavity_and_thickens_the_wall(shape):
    for seed in range(3):
        pair = phantoms.make("cardiac", shape, seed)
        volume = [(pair.moving_labels == k).sum() / (pair.fixed_labels == k).sum() for k in (MUSCLE, LEFT)]
        assert 0.95 < volume[0] < 1.05
        assert 0.3 < volume[1] < 0.65


def rotation_of(pair, mask):
    """Mean angle in degrees by which tissue turns about the long axis."""
    axes = [axis for axis in range(pair.displacement.shape[0]) if pair.displacement.shape[0] == 2 or axis]
    shape, spacing = pair.shape, pair.spacing
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"))
    first = torch.complex(*(spacing[axis] * grid[axis] for axis in axes))
    second = first + torch.complex(*(spacing[axis] * pair.displacement[axis] for axis in axes))
    return torch.rad2deg((second * first.conj()).angle()[mask]).mean()


def test_base_and_apex_turn_in_opposite_directions(pairs):
    for pair in pairs:
        muscle = pair.fixed_labels[0] == MUSCLE
        level = torch.arange(SHAPE[0]).reshape(-1, 1, 1) / SHAPE[0]
        base, apex = (rotation_of(pair, muscle & part) for part in (level < 0.32, level > 0.6))
        assert base * apex < 0
        assert 5 < (apex - base).abs() < 18
    flat = phantoms.make("cardiac", (96, 96), 0)
    assert 6 < rotation_of(flat, flat.fixed_labels[0] == MUSCLE).abs() < 16


def test_base_moves_towards_the_apex(pairs):
    for pair in pairs:
        muscle = pair.fixed_labels[0] == MUSCLE
        level = torch.arange(SHAPE[0]).reshape(-1, 1, 1) / SHAPE[0]
        down = pair.displacement[0] * pair.spacing[0]
        assert down[muscle & (level < 0.32)].mean() > 4
        assert down[muscle & (level > 0.7)].mean().abs() < 2.5


def test_truth_aligns_labels_and_intensities(pairs):
    plain = {"noise": 0.0, "bias": 0.0, "contrast": 0.0, "texture": 0.0}
    for pair in (*pairs, phantoms.make("cardiac", SHAPE, 1, **plain)):
        one_hot = F.one_hot(pair.moving_labels[0], 8).movedim(-1, 0)[None].float()
        warped = warp(one_hot, pair.displacement[None]).argmax(1)
        masks = [(warped == label, pair.fixed_labels == label) for label in pair.label_names]
        dice = torch.stack([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in masks])
        assert (dice > 0.92).all(), dice
    error = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).abs()
    assert error.mean() < 0.01


@pytest.mark.parametrize("shape", [(17, 23, 31), (8, 9, 40), (33, 20), (48, 64, 48)])
def test_any_size_and_the_same_pair_again(shape):
    pair, again = (phantoms.make("cardiac", shape, 5) for _ in range(2))
    assert pair.shape == shape
    for name in ("moving", "fixed", "moving_labels", "fixed_labels", "displacement", "region"):
        assert torch.equal(getattr(pair, name), getattr(again, name)), name


@pytest.mark.plain_errors
def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="motion must suit the anatomy"):
        phantoms.make("brain", (16, 16, 16), 0, motion=Beating())
    with pytest.raises(ValueError, match="ejection must be two numbers from 0 to 0.7"):
        Beating(ejection=(0.5, 0.9))

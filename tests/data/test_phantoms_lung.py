"""The lung phantom: five lobes slide along a wall that hardly moves, and nothing opens or overlaps."""

import pytest
import torch
import torch.nn.functional as F

from moereg.data import phantoms
from moereg.data.phantoms import SLIDING, Breathing, Motion, distance_to_interface
from moereg.data.phantoms.lung import LUNG
from moereg.fields import jacobian_determinant, warp

SHAPE = (64, 64, 64)


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("lung", SHAPE, seed) for seed in range(4)]


def sliding(labels):
    return torch.isin(labels, torch.tensor(SLIDING))


def displacement_jump(pair):
    """Jump of the displacement, in millimetres, across each face between the two sides, and the surface's normals."""
    inside = sliding(pair.fixed_labels)
    dims = inside.ndim - 1
    spacing = torch.tensor(pair.spacing).reshape(dims, *[1] * dims)
    field = pair.displacement * spacing
    near = distance_to_interface(pair.fixed_labels, spacing=pair.spacing)
    signed = torch.where(inside, -near, near)[0]
    blur = F.avg_pool3d if dims == 3 else F.avg_pool2d
    signed = blur(signed[None, None], 5, stride=1, padding=2, count_include_pad=False)[0, 0]
    normal = torch.stack(torch.gradient(signed, spacing=list(pair.spacing)))
    normal = normal / normal.norm(dim=0)
    wall = pair.fixed_labels > max(SLIDING)
    jumps, normals = [], []
    for axis in range(dims):
        size = inside.shape[axis + 1]

        def part(values, start, axis=axis, size=size):
            return values.narrow(axis + 1, start, size - 1)

        for first, second in ((0, 1), (1, 0)):
            face = (part(inside, first) & part(wall, second))[0]
            jumps.append((part(field, first) - part(field, second))[:, face])
            normals.append(part(normal, first)[:, face])
    return torch.cat(jumps, 1), torch.cat(normals, 1)


def test_every_structure_is_there(pairs):
    for pair in pairs:
        assert len(pair.label_names) == 12
        for labels in (pair.fixed_labels, pair.moving_labels):
            assert (torch.bincount(labels.flatten(), minlength=13)[1:] > 200).all()
        assert torch.equal(pair.fixed_labels > 0, pair.region)  # all tissue is labelled


@pytest.mark.parametrize("shape", [SHAPE, (160, 160)])
def test_sides_do_not_mix(shape):
    """What lies within the pleura at exhale lies within it at inhale, and the wall stays wall."""
    pair = phantoms.make("lung", shape, 2)
    moved = warp(sliding(pair.moving_labels)[None].float(), pair.displacement[None])[0] > 0.5
    wrong = (moved != sliding(pair.fixed_labels)) & pair.region
    assert wrong.float().sum() / pair.region.sum() < 0.02  # rounding to voxels
    assert (distance_to_interface(pair.fixed_labels)[wrong] < 1.5).all()


@pytest.mark.parametrize("shape", [SHAPE, (160, 160)])
def test_contents_keep_their_distance_to_the_wall_they_slide_along(shape, generator):
    """Without the expansion that both sides share, a point of the pleura moves along the pleura."""
    scene, view = LUNG.subject(generator), LUNG.view(shape)
    displacement, _ = Breathing(expansion=(0.0, 0.0)).move(scene, view, generator)
    before = scene.pleura(scene.pose(view.positions()))
    after = scene.pleura(scene.pose(view.positions(displacement)))
    surface = (before < 0) & (before > -3)  # millimetres
    moved = (view.positions(displacement) - view.positions()).norm(dim=0)[surface]
    assert moved.max() > 12
    assert (after - before)[surface].abs().max() < 0.4
    assert displacement[:, before > 0].abs().max() == 0


@pytest.mark.parametrize("shape", [SHAPE, (160, 160)])
def test_slip_is_large_and_tangential(shape):
    for seed in range(3):
        jump, normal = displacement_jump(phantoms.make("lung", shape, seed))
        along = (jump * normal).sum(0)
        assert jump.norm(dim=0).quantile(0.75) > 5  # millimetres
        assert along.square().mean().sqrt() < 0.15 * jump.norm(dim=0).square().mean().sqrt()


def test_wall_and_spine_stay_while_lower_lobes_descend(pairs):
    for pair in pairs:
        spacing = torch.tensor(pair.spacing).reshape(3, 1, 1, 1)
        field = pair.displacement * spacing
        labels = pair.fixed_labels[0]
        assert field[:, labels == 10].norm(dim=0).mean() < 3.5  # ribs
        assert field[:, labels == 11].norm(dim=0).mean() < 1.5  # spine
        for lobe in (3, 5):
            assert field[0, labels == lobe].mean() > 8  # towards the feet
            assert field[0, labels == lobe].mean() > 3 * field[1:, labels == lobe].abs().mean()
        assert (pair.moving_labels <= 5).logical_and(pair.moving_labels > 0).sum() > 1.05 * (
            (pair.fixed_labels <= 5) & (pair.fixed_labels > 0)
        ).sum()  # inhaling fills the lungs


def test_no_folds_away_from_the_pleura(pairs):
    for pair in pairs:
        determinant = jacobian_determinant(pair.displacement[None])[0]
        near = distance_to_interface(pair.fixed_labels)
        assert (determinant[near > 2] > 0.2).all()
        assert (determinant[near < 1] > 2).any()  # finite differences across the jump


def test_truth_aligns_labels_and_intensities(pairs):
    for pair in pairs:
        one_hot = F.one_hot(pair.moving_labels[0], 13).movedim(-1, 0)[None].float()
        warped = warp(one_hot, pair.displacement[None]).argmax(1)
        dice = [
            2
            * ((warped == k) & (pair.fixed_labels == k)).sum()
            / ((warped == k).sum() + (pair.fixed_labels == k).sum())
            for k in pair.label_names
        ]
        assert torch.stack(dice).mean() > 0.93, dice
        before = (pair.moving - pair.fixed).square().mean()
        after = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).square().mean()
        assert after < 0.4 * before


def test_truth_without_appearance_changes_is_exact_up_to_interpolation():
    plain = {"noise": 0.0, "bias": 0.0, "contrast": 0.0, "texture": 0.0}
    pair = phantoms.make("lung", SHAPE, 1, **plain)
    error = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).abs()
    assert error.mean() < 0.015
    assert (pair.moving - pair.fixed).abs().mean() > 0.025


@pytest.mark.parametrize("shape", [(17, 23, 31), (8, 9, 40), (33, 20), (48, 64, 48)])
def test_any_size_and_the_same_pair_again(shape):
    pair, again = (phantoms.make("lung", shape, 5) for _ in range(2))
    assert pair.shape == shape
    assert pair.displacement.shape == (len(shape), *shape)
    for name in ("moving", "fixed", "moving_labels", "fixed_labels", "displacement", "region"):
        assert torch.equal(getattr(pair, name), getattr(again, name)), name


def test_section_shows_lobes_heart_ribs_and_liver():
    for seed in range(4):
        shown = set(phantoms.make("lung", (96, 96), seed).fixed_labels.unique().tolist())
        assert {1, 4, 5, 6, 7, 10, 12} <= shown


def test_another_motion_can_be_given():
    pair = phantoms.make("lung", (24, 24, 24), 0, motion=Motion())
    assert (jacobian_determinant(pair.displacement[None]) > 0).all()  # no slip: smooth everywhere


def test_distance_is_measured_from_the_interface():
    labels = torch.tensor([[[0, 1, 1, 12, 12, 12]] * 3])
    expected = torch.tensor([1.5, 0.5, 0.5, 1.5, 2.5])
    assert torch.equal(distance_to_interface(labels)[0, 1, 1:], expected)
    assert torch.equal(distance_to_interface(labels, spacing=(2.0, 2.0))[0, 1, 1:], 2 * expected)


@pytest.mark.plain_errors
def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="motion must suit the anatomy"):
        phantoms.make("abdomen", (16, 16, 16), 0, motion=Breathing())
    with pytest.raises(ValueError, match="descent must be two numbers from 0 on"):
        Breathing(descent=(20, 10))
    with pytest.raises(ValueError, match="descent must be at most 45 mm"):
        Breathing(descent=(20, 90))
    with pytest.raises(ValueError, match="labels must hold voxels on both sides"):
        distance_to_interface(torch.ones(1, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers"):
        distance_to_interface(torch.tensor([[[1, 12]]]), spacing=(1.0,))

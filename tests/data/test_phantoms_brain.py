"""The brain phantom: folded cortex, deep structures on their sides, two people related by a known diffeomorphism."""

import pytest
import torch
import torch.nn.functional as F

from moereg.data import phantoms
from moereg.fields import jacobian_determinant, warp

SHAPE = (64, 72, 64)


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("brain", SHAPE, seed) for seed in range(4)]


def label_dice(first, second, labels):
    masks = [(first == label, second == label) for label in labels]
    return torch.stack([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in masks])


def warped_labels(pair):
    one_hot = F.one_hot(pair.moving_labels[0], max(pair.label_names) + 1).movedim(-1, 0)[None].float()
    return warp(one_hot, pair.displacement[None]).argmax(1)


def test_every_structure_is_there(pairs):
    for pair in pairs:
        assert len(pair.label_names) == 12
        for labels in (pair.fixed_labels, pair.moving_labels):
            assert (torch.bincount(labels.flatten(), minlength=13)[1:] > 80).all(), pair.name


def test_section_shows_nuclei_and_hindbrain():
    for seed in range(4):
        labels = phantoms.make("brain", (128, 128), seed).fixed_labels
        assert len(labels.unique()) - 1 >= 10, seed


def test_cortex_is_a_thin_folded_ribbon_around_white_matter():
    pair = phantoms.make("brain", (96, 112, 96), 0)
    cortex, white = pair.fixed_labels == 1, pair.fixed_labels == 2
    brain = cortex | white
    inner = -F.max_pool3d(-cortex.float()[None], 7, 1, 3)[0] > 0.5  # more than three voxels (5.6 mm) from its surface
    assert inner.sum() < 0.02 * cortex.sum()
    # The area of the surface, in faces of voxels, against that of the closed brain: folds at least double it.
    closed = F.max_pool3d(brain.float()[None], 13, 1, 6)
    closed = -F.max_pool3d(-closed, 13, 1, 6)[0] > 0.5
    area = [sum(mask.float().diff(dim=d).abs().sum() for d in (1, 2, 3)) for mask in (brain, closed)]
    assert area[0] > 1.6 * area[1]
    assert 0.4 < cortex.sum() / white.sum() < 2.0


def test_structures_are_on_their_sides(pairs):
    for pair in pairs:
        names = pair.label_names.items()
        middle = {name: (pair.fixed_labels[0] == label).nonzero().float().mean(0) for label, name in names}
        for part in ("lateral ventricle", "caudate", "putamen", "thalamus"):
            assert middle[f"right {part}"][2] < middle[f"left {part}"][2]
        assert middle["right putamen"][2] < middle["right thalamus"][2]  # lateral before medial
        assert middle["left caudate"][0] < middle["left thalamus"][0]  # above
        assert middle["cerebellum"][0] > middle["cortex"][0]  # below
        assert middle["cerebellum"][1] > middle["brainstem"][1]  # behind


def test_intensities_are_those_of_t1(pairs):
    for pair in pairs:
        level = [pair.fixed[pair.fixed_labels == label].median() for label in (3, 1, 2)]
        assert level[0] < level[1] < level[2]  # fluid, grey, white


def test_truth_aligns_labels_and_has_no_folds(pairs):
    for pair in pairs:
        labels = list(pair.label_names)
        before = label_dice(pair.moving_labels, pair.fixed_labels, labels).mean()
        after = label_dice(warped_labels(pair), pair.fixed_labels, labels)
        assert before < 0.8
        assert after.mean() > 0.88, after
        assert (jacobian_determinant(pair.displacement[None]) > 0.1).all()


def test_truth_without_appearance_changes_is_exact_up_to_interpolation():
    plain = {"noise": 0.0, "bias": 0.0, "contrast": 0.0, "texture": 0.0}
    pair = phantoms.make("brain", SHAPE, 1, **plain)
    error = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).abs()
    assert error.mean() < 0.02
    assert (pair.moving - pair.fixed).abs().mean() > 0.03


def test_subjects_differ_without_a_preferred_direction():
    size = torch.zeros(3)
    for seed in range(10):
        field = phantoms.make("brain", (32, 32, 32), seed).displacement
        size += field.square().mean((1, 2, 3))
    assert size.sqrt().max() < 1.4 * size.sqrt().min()


def test_two_people_have_other_folds():
    pair = phantoms.make("brain", SHAPE, 2, kind="subjects")
    assert pair.displacement is None
    assert label_dice(pair.moving_labels, pair.fixed_labels, [1]) < 0.8


@pytest.mark.parametrize("shape", [(17, 23, 31), (8, 9, 40), (33, 20), (48, 64, 48)])
def test_any_size_and_the_same_pair_again(shape):
    pair, again = (phantoms.make("brain", shape, 5) for _ in range(2))
    assert pair.shape == shape
    for name in ("moving", "fixed", "moving_labels", "fixed_labels", "displacement", "region"):
        assert torch.equal(getattr(pair, name), getattr(again, name)), name

"""Phantoms: the truth is true, the statistics are as promised, subjects differ, any size works."""

import nibabel as nib
import pytest
import torch
import torch.nn.functional as F

from moereg.data import Phantoms, load_volume, phantoms, save_volume
from moereg.data.phantoms import Motion
from moereg.fields import sample, warp
from moereg.regularity import fold_fraction

SHAPE = (48, 48, 48)


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("abdomen", SHAPE, seed) for seed in range(8)]


def organ_dice(first, second, labels):
    """Dice of each organ between two label maps."""
    overlap = [2 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum()) for k in labels]
    return torch.stack(overlap)


def warp_soft_labels(labels, displacement, count):
    """Labels pulled as one-hot maps, linearly: no rounding of positions to whole voxels."""
    one_hot = F.one_hot(labels[0], count).movedim(-1, 0)[None].float()
    return warp(one_hot, displacement[None]).argmax(1)


def test_same_seed_gives_the_same_pair():
    first, again = (phantoms.make("abdomen", (24, 25, 26), 3) for _ in range(2))
    for name in ("moving", "fixed", "moving_labels", "fixed_labels", "displacement", "region"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name


def test_seeds_give_different_subjects(pairs):
    labels = list(pairs[0].label_names)
    dice = organ_dice(pairs[0].fixed_labels, pairs[1].fixed_labels, labels)
    assert dice.mean() < 0.8
    volumes = torch.tensor([[(pair.fixed_labels == k).sum() for k in labels] for pair in pairs]).double()
    assert ((volumes.std(0) / volumes.mean(0)) > 0.05).all()  # every organ's size varies by more than 5 %


def test_ten_or_more_organs_in_every_subject(pairs):
    for pair in pairs:
        assert len(pair.label_names) >= 10
        volumes = torch.bincount(pair.fixed_labels.flatten(), minlength=len(pair.label_names) + 1)[1:]
        assert (volumes >= 30).all(), (pair.name, volumes)


def test_section_shows_most_organs():
    for seed in range(6):
        pair = phantoms.make("abdomen", (80, 96), seed)
        assert pair.displacement.shape == (2, 80, 96)
        assert len(pair.fixed_labels.unique()) - 1 >= 8


def test_truth_aligns_labels_and_intensities(pairs):
    for pair in pairs:
        labels = list(pair.label_names)
        warped = warp_soft_labels(pair.moving_labels, pair.displacement, len(labels) + 1)
        dice = organ_dice(warped, pair.fixed_labels, labels)
        assert dice.mean() > 0.91, (pair.name, dice)
        before = (pair.moving - pair.fixed).square().mean()
        after = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).square().mean()
        assert after < 0.35 * before


def test_truth_aligns_better_on_a_finer_grid():
    """What remains at 48 voxels is the size of a voxel, not an error of the field."""
    pair = phantoms.make("abdomen", (80, 80, 80), 0)
    labels = list(pair.label_names)
    warped = warp_soft_labels(pair.moving_labels, pair.displacement, len(labels) + 1)
    assert organ_dice(warped, pair.fixed_labels, labels).mean() > 0.95


def test_truth_without_appearance_changes_is_exact_up_to_interpolation():
    plain = {"noise": 0.0, "bias": 0.0, "contrast": 0.0, "texture": 0.0}
    pair = phantoms.make("abdomen", (64, 64, 64), 1, **plain)
    error = (warp(pair.moving[None], pair.displacement[None])[0] - pair.fixed).abs()
    assert error.mean() < 0.015
    assert (pair.moving - pair.fixed).abs().mean() > 0.04


def test_there_is_something_to_register(pairs):
    """Mean organ Dice before registration: clearly reduced, yet not hopeless."""
    dice = torch.stack([organ_dice(p.moving_labels, p.fixed_labels, list(p.label_names)) for p in pairs])
    assert 0.5 < dice.mean() < 0.7


def test_no_folds(pairs):
    for pair in pairs:
        assert fold_fraction(pair.displacement[None]) == 0


def test_inverse_undoes_the_displacement(generator):
    forward, inverse = Motion().draw((40, 44, 48), generator)
    back = inverse[None] + sample(forward[None], inverse[None])
    assert back.abs().max() < 0.25
    assert forward.abs().max() > 2


def roughness(displacement):
    """Root mean square and mean relative gradient of each direction's displacement, in shares of the axis."""
    sizes = torch.tensor(displacement.shape[1:]).reshape(-1, 1, 1, 1)
    share = displacement / sizes
    size = share.square().mean((1, 2, 3)).sqrt()
    gradient = sum(share.diff(dim=axis).square().mean((1, 2, 3)) for axis in (1, 2, 3)).sqrt()
    return size, gradient / size


def test_breathing_is_large_and_smooth_along_the_body_only(pairs):
    sizes, rough = zip(*(roughness(pair.displacement) for pair in pairs), strict=True)
    size, rough = torch.stack(sizes).mean(0), torch.stack(rough).mean(0)
    assert (size[0] > 2 * size[1:]).all()
    assert (rough[0] * 1.4 < rough[1:]).all()


def test_permuted_motion_exchanges_directions():
    motion = Motion().permuted((2, 1, 0))
    assert motion.amplitude == Motion().amplitude[::-1]
    draws = [motion.draw((32, 32, 32), torch.Generator().manual_seed(seed))[0] for seed in range(6)]
    size = torch.stack([roughness(u)[0] for u in draws]).mean(0)
    assert (size[2] > 2 * size[:2]).all()
    with pytest.raises(ValueError, match="permutation"):
        Motion().permuted((0, 0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": (0.0, 0.1, 0.1)}, "length must be three shares from 0.02 to 1"),
        ({"amplitude": (0.1, 0.1)}, "amplitude must be three shares"),
        ({"margin": 0.0}, "margin must be above 0"),
        ({"least": 1.5}, "least must be from 0 to 1"),
    ],
)
@pytest.mark.plain_errors
def test_motion_that_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Motion(**options)


def test_saved_phantom_lies_in_space_as_the_module_says(tmp_path):
    """Axis 0 runs to the feet, axis 1 to the back, axis 2 to the left."""
    pair = phantoms.make("abdomen", (16, 17, 18), 0)
    affine = phantoms.affine(pair.spacing)
    assert nib.aff2axcodes(affine) == ("L", "P", "I")
    save_volume(tmp_path / "fixed.nii.gz", pair.fixed, affine)
    volume = load_volume(tmp_path / "fixed.nii.gz")
    assert torch.equal(volume.data, pair.fixed.flip(1, 2, 3))
    assert volume.spacing == pytest.approx(pair.spacing, rel=1e-5)


def test_organs_are_on_their_sides():
    pair = phantoms.make("abdomen", (48, 48, 48), 0)
    middle = {
        name: (pair.fixed_labels[0] == label).nonzero().float().mean(0) for label, name in pair.label_names.items()
    }
    assert middle["liver"][2] < middle["spleen"][2]  # right before left
    assert middle["right kidney"][2] < middle["spine"][2] < middle["left kidney"][2]
    assert middle["stomach"][1] < middle["spine"][1]  # anterior before posterior
    assert middle["liver"][0] < middle["left psoas"][0]  # cranial before caudal


@pytest.mark.parametrize("shape", [(17, 23, 31), (8, 9, 40), (33, 20), (48, 64, 48)])
def test_any_size(shape):
    pair = phantoms.make("abdomen", shape, 5)
    assert pair.shape == shape
    assert pair.fixed.dtype == torch.float32
    assert pair.fixed_labels.dtype == torch.int64
    assert pair.moving.min() >= 0
    assert pair.moving.max() <= 1
    assert 0.2 < pair.region.float().mean() < 0.95
    assert fold_fraction(pair.displacement[None]) < 0.01


def test_same_subject_at_every_size():
    small = phantoms.make("abdomen", (32, 32, 32), 2, noise=0.0)
    large = phantoms.make("abdomen", (64, 64, 64), 2, noise=0.0)
    shares = [
        torch.bincount(pair.fixed_labels.flatten(), minlength=13) / pair.fixed_labels.numel() for pair in (small, large)
    ]
    assert torch.allclose(shares[0][[1, 10]], shares[1][[1, 10]], rtol=0.1)  # liver, spine
    motion = [pair.displacement.square().mean((1, 2, 3)).sqrt() / size for pair, size in ((small, 32), (large, 64))]
    assert torch.allclose(motion[0], motion[1], rtol=0.1)


def test_two_subjects_have_no_truth():
    pair = phantoms.make("abdomen", (32, 32, 32), 2, kind="subjects")
    assert pair.displacement is None
    one = phantoms.make("abdomen", (32, 32, 32), 2)
    assert torch.equal(pair.fixed_labels, one.fixed_labels)
    assert not torch.equal(pair.moving_labels, one.moving_labels)


def test_set_of_phantoms_has_disjoint_splits():
    sets = [
        Phantoms("abdomen", (16, 16, 16), 50, seed=seed, split=s) for s in ("train", "val", "test") for seed in (0, 1)
    ]
    seeds = [phantom_set.seed_of(i) for phantom_set in sets for i in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert len([sets[0][i] for i in range(2)]) == 2
    assert sets[0][-1].name == sets[0][49].name
    with pytest.raises(IndexError, match="below 50"):
        sets[0][50]


def test_cached_set_returns_the_same_object():
    kept = Phantoms("abdomen", (16, 16, 16), 2, cache=True)
    assert kept[1] is kept[1]


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("knee", (16, 16, 16), 0), {}, "anatomy must be one of 'abdomen'"),
        (("abdomen", (16,), 0), {}, "shape must be two or three sizes"),
        (("abdomen", (16, 16, 4), 0), {}, "at least 8 voxels"),
        (("abdomen", (16, 16, 16), 0), {"kind": "twins"}, "kind must be one of"),
        (("abdomen", (16, 16, 16), -1), {}, "seed must be a whole number"),
    ],
)
def test_errors_name_the_argument(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        phantoms.make(*arguments, **options)

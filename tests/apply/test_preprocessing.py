"""What a network was trained on, in its file, and what becomes of images of another kind."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.apply import methods, preprocessing, register_files, views
from moereg.data import Pair, datasets, phantoms, save_volume, templates
from moereg.fields import identity_grid
from moereg.models import TrainedOn, load_model, look_at, read_trained, save_weights
from moereg.models.storage import read_tensors, write_tensors
from tests.oracle_models import Shift, ShiftSizes, enter

SMALL = TrainedOn("scans", (8, 5), (2.0, 1.0), "percentiles", (0.5, 0.01), (0.3, 0.01))


def pair(spacing=(1.0, 2.0), *, level=0.25):
    image = torch.full((1, 6, 4), level)
    image[:, :3] += 0.5
    return Pair(image, image, spacing=spacing)


def test_a_set_is_looked_at():
    trained = look_at([pair(), pair()], "scans")
    assert replace(trained, layout=()) == TrainedOn("scans", (6, 4), (1.0, 2.0), "unit", (0.5, 0.0), (0.25538, 0.0))
    # 6 x 4 voxels in 8 x 8 blocks: bright ones are in the upper half, and every block is of one brightness.
    assert trained.layout == (0.75,) * 32 + (0.25,) * 32 + (0.0,) * 64
    lighter = look_at([pair(), pair(level=0.45)], "scans")
    assert lighter.layout == pytest.approx((0.85,) * 32 + (0.35,) * 32 + (0.0,) * 64, abs=1e-4)
    # Four images; from the mean of three others; the deviations, half of the numbers, are alike.
    assert lighter.apart == pytest.approx(0.1 * 4 / 3 / 2, abs=1e-5)
    assert look_at([pair(), pair((1.0, 2.5))], "scans").spacing is None
    assert look_at([pair(None)], "scans").spacing is None
    assert look_at([pair(), pair(level=0.45)], "scans").brightness == (0.6, 0.1)


def test_it_travels_in_the_file_and_files_of_old_say_nothing(tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    model = Shift(ShiftSizes(dims=2))
    save_weights(tmp_path / "old.safetensors", model)
    save_weights(tmp_path / "new.safetensors", model, trained=SMALL)
    assert read_trained(tmp_path / "old.safetensors") is None
    assert read_trained(tmp_path / "new.safetensors") == SMALL
    load_model(tmp_path / "new.safetensors")
    tensors, header = read_tensors(tmp_path / "new.safetensors")
    said = json.loads(header["trained_on"])
    before = {key: value for key, value in said.items() if key not in ("layout", "apart", "backwards")}
    write_tensors(tmp_path / "without.safetensors", tensors, header | {"trained_on": json.dumps(before)})
    assert read_trained(tmp_path / "without.safetensors") == SMALL
    for change in (
        {"shape": [8, -5]}, {"shape": [8, 10**9]}, {"shape": "x"}, {"spacing": [0, 1]}, {"spacing": [1]},
        {"normalisation": "magic"}, {"brightness": [1]},
        {"layout": [0.5]}, {"layout": [-1] * 16}, {"apart": "x"},
        {"backwards": 1},
        {"contrast": [float("nan"), 1]}, {"more": 1},
    ):  # fmt: skip
        write_tensors(tmp_path / "bad.safetensors", tensors, header | {"trained_on": json.dumps(said | change)})
        with pytest.raises(ValueError, match=r"bad.safetensors must say what it was trained on"):
            read_trained(tmp_path / "bad.safetensors")
    for text in ("[", "[1]", "{}", "[" * 100_000):
        write_tensors(tmp_path / "bad.safetensors", tensors, header | {"trained_on": text})
        with pytest.raises(ValueError, match=r"bad.safetensors must say what it was trained on"):
            read_trained(tmp_path / "bad.safetensors")


def test_without_an_entry_the_card_is_read(tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    path = tmp_path / "a.safetensors"
    save_weights(path, Shift(ShiftSizes()))
    assert methods.trained_on(path)[1].startswith("what it was trained on is not known")
    path.with_suffix(".json").write_text('{"data": "abdomen", "shape": [48, 40, 32]}')
    trained, told = methods.trained_on(path)
    assert told == "trained on abdomen, 32x40x48 voxels"
    assert trained.spacing is None
    bright = [torch.ones(1, 9, 9, 9)] * 2
    assert preprocessing.far_from_training(bright, (9, 9, 9), trained) == ([], [])  # nothing else is known
    path.with_suffix(".json").write_text('{"data": "hippocampus", "shape": null}')
    assert methods.trained_on(path)[0].shape == (40, 56, 40)
    save_weights(path, Shift(ShiftSizes(dims=2)), trained=SMALL)
    assert methods.trained_on(path) == (SMALL, "trained on scans, 5x8 voxels of 1x2 mm")


def test_brightness_is_that_of_the_training():
    phantom = torch.tensor([[0.0, 0.2, 0.6]])
    unit = TrainedOn("phantoms", (1, 3), None, "unit", (0.5, 0.1), (0.3, 0.1))
    assert torch.equal(preprocessing.normalised(phantom, unit), phantom)
    for image, trained in ((phantom, SMALL), (phantom, None), (100 * phantom, unit)):
        assert torch.allclose(preprocessing.normalised(image, trained)[0, [0, 2]], torch.tensor([0.0, 1.0]))


def test_the_network_sees_its_own_voxels_and_at_least_its_shape():
    """Images of 4 x 6 voxels of 1 x 1 mm: 2 x 6 of its own, in the middle of 8 x 6; the field comes back in theirs."""
    seen = []

    def predict(moving, fixed, mask):
        seen.append((tuple(fixed.shape), int(mask.sum())))
        return torch.ones(1, 2, *fixed.shape[2:])  # one voxel of the network's along each axis

    image = torch.rand(1, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    found = views.predict_as_trained(predict, image, image, mask, (1.0, 1.0), SMALL)
    assert seen == [((1, 1, 8, 6), 12)]
    assert torch.allclose(found, torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6))
    same = views.predict_as_trained(
        lambda *images: identity_grid(images[0].shape[2:])[None], image, image, None, (1.9, 1.1), SMALL
    )
    assert torch.equal(same[0], identity_grid((8, 6))[:, 2:6])


def test_a_network_sees_images_the_way_round_that_it_knows():
    """It finds one and two times a place's brightness; the field points the other way on the images' own axes."""
    image = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    inner = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
    inner[..., :2] = True
    known = replace(SMALL, shape=(7, 6), spacing=None, backwards=True)
    seen = []

    def predict(moving, fixed, mask):
        seen.append(mask)
        return torch.cat([moving, 2 * fixed], 1)

    found = views.predict_as_trained(predict, image, image, inner, (1.0, 1.0), known)
    assert torch.equal(found, torch.cat([-image, -2 * image], 1))
    assert seen[0].shape == (1, 1, 7, 6)
    assert seen[0][0, 0, 1:5, 3:5].all()  # the mask too
    assert seen[0].sum() == 8
    pair = Pair(image[0], image[0].square())
    turned = views.as_seen(pair, known)
    assert turned.shape == (7, 6)  # padded
    assert torch.equal(turned.fixed[:, 1:5, :5], pair.fixed.flip(1, 2))
    assert views.as_seen(pair, None) is views.as_seen(pair, replace(SMALL, shape=(4, 5))) is pair


def test_which_way_round_a_set_is():
    assert look_at(datasets.load("abdomen", "val", shape=(8, 8, 8), count=1), "abdomen").backwards
    assert not look_at([pair()], "scans").backwards
    assert read_trained("abdomen").backwards
    assert read_trained("abdomen-flat").backwards
    assert not read_trained("hippocampus").backwards


def test_the_shipped_network_of_phantoms_registers_files_of_them(tmp_path):
    """Files are read feet first, phantoms made head first: turned over, the network hardly moves anything right."""
    made = datasets.load("abdomen", "test", shape=(48, 48, 48), count=1)[0]
    files = {}
    for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
        files[name] = tmp_path / f"{name}.nii.gz"
        save_volume(files[name], getattr(made, name), phantoms.affine(made.spacing))
    found = register_files(
        files["moving"], files["fixed"], labels=files["moving_labels"], fixed_labels=files["fixed_labels"],
        out=tmp_path / "out", weights="abdomen", init="none", report=False,
    )  # fmt: skip
    assert found.numbers["dice_registered"] > 0.85
    assert found.numbers["dice_before"] < 0.75


def test_a_field_on_another_grid_of_the_same_box_is_the_same_map():
    """Halving voxels doubles displacements; a ramp stays the ramp between the outer centres."""
    ramp = torch.stack([identity_grid((6, 8))[0] * 0.3, identity_grid((6, 8))[1] * -0.2])[None]
    fine = views.resampled_field(ramp, (12, 8))
    places = (torch.arange(12) + 0.5) / 2 - 0.5
    assert torch.allclose(fine[0, 0, 1:-1, 0], 2 * 0.3 * places[1:-1], atol=1e-5)
    assert torch.allclose(fine[0, 1, 1:-1], ramp[0, 1, :1].expand(10, 8), atol=1e-5)
    assert views.resampled_field(ramp, (6, 8)) is ramp
    board = (torch.arange(64) % 2).float().expand(1, 1, 4, 64)
    coarse = views.resampled(board, (4, 16))[..., 2:-2]
    assert torch.allclose(coarse, torch.full_like(coarse, 0.5), atol=0.15)  # smoothed before it is thinned out


@pytest.mark.parametrize(
    ("spacing", "shape", "level", "done", "warned"),
    [
        ((2.0, 1.0), (8, 5), 0.0, "", ""),
        ((1.7, 1.2), (8, 5), 0.0, "", ""),
        ((1.0, 1.0), (8, 5), 0.0, "voxels of 1 x 1 mm become 1 x 2 mm", ""),
        ((0.5, 1.0), (8, 5), 0.0, "become", "voxels are resampled by a factor of 4.0"),
        ((8.0, 9.0), (8, 5), 0.0, "", "voxels stay as they are, too many if resampled, and differ by a factor of 9.0"),
        ((2.0, 1.0), (13, 5), 0.0, "", "its images had 5 x 8 voxels, these have 5 x 13"),
        ((2.0, 1.0), (8, 5), 0.2, "", "the mean of its images was 0.50, here it is 0.70 (4 deviations: 0.08)"),
    ],
)
def test_far_from_the_training_by_the_rule(spacing, shape, level, done, warned):
    values = torch.linspace(0, 1, shape[0] * shape[1]).reshape(1, *shape) + level
    said, warnings = preprocessing.far_from_training([values, values - level], spacing, SMALL)
    assert bool(done) == bool(said)
    assert bool(warned) == bool(warnings)
    assert done in "".join(said)
    assert warned in "".join(warnings)


def test_contrast_counts_too():
    flat = torch.full((1, 8, 5), 0.5)
    (warning,) = preprocessing.far_from_training([flat, flat], (2, 1), SMALL)[1]
    assert warning == (
        "warning: far from the network's training: the standard deviation of its images was 0.30, here it is 0.00 "
        "(4 deviations: 0.08)"
    )


def test_another_layout_is_far_though_mean_and_deviation_are_the_same():
    """The upper half bright, and the lower one; a network that knows images upside down sees the latter as its own."""
    above = torch.zeros(1, 8, 8)
    above[:, :4] = 0.5
    below = above.flip(1)
    trained = look_at([Pair(above, above, spacing=(1.0, 1.0))], "scans")
    assert preprocessing.far_from_training([above, above], (1, 1), trained) == ([], [])
    assert preprocessing.far_from_training([below, below], (1, 1), replace(trained, layout=())) == ([], [])
    (warning,) = preprocessing.far_from_training([above, below], (1, 1), trained)[1]
    assert warning == (
        "warning: far from the network's training: bright and dark lie otherwise: blocks differ by 0.25 from its "
        "images' (at most 0.04)"
    )
    other = replace(trained, apart=0.34)  # its own images differ as much
    assert preprocessing.far_from_training([above, below], (1, 1), other) == ([], [])
    assert preprocessing.far_from_training([below, below], (1, 1), replace(trained, backwards=True)) == ([], [])


def warned(pairs, network: str) -> list[bool]:
    """Which pairs are far from a shipped network's training by their layout."""
    trained = read_trained(network)
    looked = [[preprocessing.normalised(image, trained) for image in (pair.moving, pair.fixed)] for pair in pairs]
    told = [
        preprocessing.far_from_training(images, pair.spacing, trained)[1]
        for images, pair in zip(looked, pairs, strict=True)
    ]
    return ["bright and dark lie otherwise" in "".join(lines) for lines in told]


def as_file(pair: Pair) -> Pair:
    """A phantom's images as they are read from a file."""
    return Pair(pair.moving.flip(1, 2, 3), pair.fixed.flip(1, 2, 3), spacing=pair.spacing)


def test_shipped_networks_know_their_own_kind_from_others():
    own = [datasets.load("abdomen", "test", shape=(48, 48, 48), count=2)[index] for index in range(2)]
    own = [as_file(pair) for pair in own]
    others = [as_file(datasets.load(name, "test", shape=(48, 48, 48), count=1)[0]) for name in ("cardiac", "brain")]
    assert warned(own, "abdomen") == [False, False]
    assert warned(others, "abdomen") == warned(others, "hippocampus") == [True, True]
    assert warned(own, "hippocampus") == [True, True]


def test_a_real_brain_is_far_from_abdomens_and_hippocampi():
    pytest.importorskip("nilearn")
    brains = [as_file(templates.mni152(shape, 0)) for shape in ((44, 52, 42), (64, 72, 64))]
    assert warned(brains, "abdomen") == warned(brains, "hippocampus") == [True, True]


def test_hippocampi_that_were_held_out_are_not_far_from_their_own_network():
    try:
        pairs = datasets.hippocampus(split="test", count=6)
    except FileNotFoundError:
        pytest.skip("neither MOEREG_DATA nor the cache holds the hippocampus set")
    assert warned(pairs, "hippocampus") == [False] * len(pairs)
    assert all(warned(pairs, "abdomen"))


def test_register_applies_and_says_it(tmp_path, monkeypatch):
    """Scans of 1 mm for a network of 2 mm that moves by one of its voxels: two of theirs, 2 mm."""
    enter(monkeypatch, Shift)
    trained = TrainedOn("phantoms", (6, 6, 6), (2.0, 2.0, 2.0), "unit", (0.5, 0.02), (0.29, 0.02))
    save_weights(tmp_path / "w.safetensors", Shift(ShiftSizes(voxels=(1.0, 0.0, 0.0))), trained=trained)
    values = np.random.default_rng(0).uniform(0, 1, (2, 10, 9, 8)).astype(np.float32)
    for name, image in zip("mf", values, strict=True):
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii.gz")
    done = register_files(
        tmp_path / "m.nii.gz", tmp_path / "f.nii.gz", out=tmp_path / "o", weights=tmp_path / "w.safetensors",
        init="none", report=False,
    )  # fmt: skip
    told = "\n".join(done.said)
    assert "trained on phantoms, 6x6x6 voxels of 2x2x2 mm" in told
    assert "for the network: voxels of 1 x 1 x 1 mm become 2 x 2 x 2 mm, as in its training" in told
    assert "warning" not in told
    vectors = nib.load(done.paths[1]).get_fdata()
    assert np.allclose(vectors[:, :, :, 0], [0, 0, 2], atol=1e-5)


def test_mutual_information_of_few_voxels_is_warned_of(tmp_path):
    values = np.random.default_rng(0).uniform(0, 9, (2, 12, 14, 16)).astype(np.float32)
    for name, image in zip("ab", values, strict=True):
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii")
    files = tmp_path / "a.nii", tmp_path / "b.nii"
    options = {"method": "identity", "refine_steps": 1, "init": "none", "report": False, "out": tmp_path / "out"}
    said = register_files(*files, similarity="mi", **options).said
    assert any(
        line.startswith("warning: mutual information of 12x14x16 voxels often makes things worse") for line in said
    )
    assert not any("mutual" in line for line in register_files(*files, similarity="mse", **options).said)
    assert methods.too_small("mi", (16, 16, 16)) == methods.too_small("mi", (24, 24)) == []
    assert "axes should have 24 voxels" in methods.too_small("mi", (24, 23))[0]


@pytest.mark.parametrize(
    ("network", "anatomy", "pairs", "told"),
    [
        ("abdomen-flat", "abdomen", 3, 0), ("abdomen-flat", "brain", 20, 20), ("abdomen-flat", "cardiac", 3, 3),
        ("abdomen-flat", "lung", 3, 3), ("abdomen-large-rman", "brain", 20, 11),
    ],
)  # fmt: skip
def test_sections_of_another_anatomy_are_told_of(network, anatomy, pairs, told):
    """By networks of abdomens' sections that ship; phantoms come the way round that these know."""
    trained = read_trained(network)
    known = replace(trained, backwards=False)
    warned = 0
    for seed in range(pairs) if anatomy != "abdomen" else range(9000, 9000 + pairs):
        one = phantoms.make(anatomy, (64, 64), seed)
        warned += bool(preprocessing.far_from_training([one.moving, one.fixed], trained.spacing, known)[1])
    assert warned == told

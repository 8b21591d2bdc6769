"""`register_files` as a function: paths of either kind, and nothing written where something is missing.

What the files hold is compared with SimpleITK in tests/cli/test_command_register.py.
"""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.apply import (
    Findings,
    apply_file,
    compose_files,
    fieldfiles,
    invert_file,
    methods,
    page,
    register_files,
    registering,
    verdict,
)
from moereg.apply.scans import write_field
from moereg.apply.verdict import told_inverse
from moereg.data.volumes import Grid
from moereg.models import save_weights
from moereg.physical import Displacement, jacobian
from moereg.viz import payload
from tests.geometries import linear
from tests.oracle_models import Shift, ShiftSizes, enter

AFFINE = np.array([[0, 0, 3, 1], [-2, 0, 0, 2], [0, 1.5, 0, 3], [0, 0, 0, 1.0]])  # stored (j, k, i), j flipped


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two noisy images of another size along every axis, and weights of a model that moves by (1, 0, 2) voxels."""
    enter(monkeypatch, Shift)
    monkeypatch.setattr(payload, "_poster", lambda pair, result: None)
    monkeypatch.setattr(page, "clinical_pictures", lambda *images: [])
    values = np.random.default_rng(0).uniform(-50, 200, (2, 11, 9, 10)).astype(np.float32)
    for name, image in zip(("moving", "fixed"), values, strict=True):
        nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / f"{name}.nii.gz")
    save_weights(tmp_path / "w.safetensors", Shift(ShiftSizes(voxels=(1.0, 0.0, 2.0))))
    return tmp_path


def test_a_shift_along_known_axes(files):
    """Tensor axes are (feet to head, back to front, left to right): one voxel up, two to the right."""
    done = register_files(
        str(files / "moving.nii.gz"),
        str(files / "fixed.nii.gz"),
        weights=str(files / "w.safetensors"),
        init="none",
        out=str(files / "o"),
    )
    assert done.paths == [files / "o" / name for name in ("warped.nii.gz", "displacement.nii.gz", "report.html")]
    moving = nib.as_closest_canonical(nib.load(files / "moving.nii.gz"))
    warped, field = (nib.load(path) for path in done.paths[:2])
    assert np.allclose(warped.affine, AFFINE, atol=1e-5)
    assert np.allclose(field.affine, AFFINE, atol=1e-5)
    assert np.allclose(field.get_fdata()[:, :, :, 0], [-2 * 3.0, 0, 1.5])  # LPS: to the right is minus
    shown = nib.as_closest_canonical(warped).get_fdata()
    assert np.allclose(shown[:-2, :, :-1], moving.get_fdata()[2:, :, 1:], atol=1e-3)
    assert np.allclose(shown[-2:], moving.get_fdata().min(), atol=1e-3)  # nothing to show there


def test_folders_and_files_are_written_over(files):
    for _ in range(2):
        done = register_files(
            files / "moving.nii.gz",
            files / "fixed.nii.gz",
            weights=files / "w.safetensors",
            init="none",
            report=False,
            out=files / "o" / "p",
            device="cpu",
        )
    assert sorted(path.name for path in (files / "o" / "p").iterdir()) == sorted(path.name for path in done.paths)


def test_an_input_is_never_written_over(files):
    """Also under another name: a link."""
    (files / "warped.nii.gz").symlink_to(files / "moving.nii.gz")
    before = (files / "moving.nii.gz").read_bytes()
    with pytest.raises(ValueError, match=r"moving.nii.gz is an input and would be overwritten by .*warped.nii.gz"):
        register_files(files / "moving.nii.gz", files / "fixed.nii.gz", weights=files / "w.safetensors", out=files)
    assert (files / "moving.nii.gz").read_bytes() == before


@pytest.mark.parametrize("missing", ["moving.nii.gz", "fixed.nii.gz", "w.safetensors"])
def test_what_is_missing_is_named_and_nothing_is_written(files, missing):
    (files / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        register_files(
            files / "moving.nii.gz", files / "fixed.nii.gz", weights=files / "w.safetensors", out=files / "o"
        )
    assert not (files / "o").exists()


def test_where_the_report_fails_nothing_is_left(files, monkeypatch):
    """Neither the files that were ready by then, nor folders; what was there before stays."""

    def fail(path, *_, **__):
        path.write_text("half")
        raise OSError("no page today")

    monkeypatch.setattr(registering, "write_page", fail)
    given = {"weights": files / "w.safetensors", "init": "none", "device": "cpu"}
    pair = files / "moving.nii.gz", files / "fixed.nii.gz"
    (files / "old").mkdir()
    (files / "old" / "warped.nii.gz").write_text("mine")
    for out in (files / "new" / "deep", files / "old"):
        with pytest.raises(OSError, match="no page today"):
            register_files(*pair, out=out, **given)
    assert not (files / "new").exists()
    assert [path.name for path in (files / "old").iterdir()] == ["warped.nii.gz"]
    assert (files / "old" / "warped.nii.gz").read_text() == "mine"


def test_where_to_write_is_looked_at_before_any_work(files, monkeypatch):
    monkeypatch.setattr(registering, "align", None)  # whoever gets so far fails
    monkeypatch.setattr(registering, "read_scan", None)
    monkeypatch.setattr(fieldfiles, "read_field", None)
    pair = files / "moving.nii.gz", files / "fixed.nii.gz"
    (files / "taken" / "report.html").mkdir(parents=True)
    for out, words in ((pair[0], "must be a folder, but"), (files / "taken", "can be replaced, got a folder")):
        with pytest.raises((OSError, ValueError), match=words):
            register_files(*pair, out=out)
    place = pair[0] / "x.nii.gz"
    for call in (
        lambda: apply_file(*pair, out=place),
        lambda: compose_files(*pair, out=place),
        lambda: invert_file(pair[0], out=place),
    ):
        with pytest.raises(OSError, match="must be a folder, but"):
            call()


def test_everything_that_may_be_asked_for(files):
    """Labels on a grid of their own, a mask, the map back, the local change of volume, on two different grids."""
    other = linear((4, 0, -6), (1, 1, 1), (1, 2, 0)) @ AFFINE
    values = np.random.default_rng(1).uniform(0, 9, (12, 10, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, other), files / "moving.nii.gz")
    coarse = other @ np.diag([2, 2, 2, 1.0])
    blocks = np.arange(6 * 5 * 5, dtype=np.int32).reshape(6, 5, 5) * 1000
    nib.save(nib.Nifti1Image(blocks, coarse), files / "labels.nii.gz")
    inner = np.zeros((11, 9, 10), np.uint8)
    inner[2:-2, 2:-2, 2:-2] = 1
    nib.save(nib.Nifti1Image(inner, AFFINE), files / "inner.nii.gz")
    done = register_files(
        files / "moving.nii.gz",
        files / "fixed.nii.gz",
        out=files / "o",
        weights=files / "w.safetensors",
        init="centre",
        mask=files / "inner.nii.gz",
        labels=files / "labels.nii.gz",
        fixed_labels=files / "inner.nii.gz",
        inverse=True,
        with_jacobian=True,
        report=False,
    )
    names = ["warped.nii.gz", "displacement.nii.gz", "warped_labels.nii.gz", "jacobian.nii.gz", "inverse.nii.gz"]
    assert [path.name for path in done.paths] == names
    warped, field, labels, change, back = (nib.load(path) for path in done.paths)
    assert [image.shape[:3] for image in (warped, field, labels, change)] == [(11, 9, 10)] * 4
    assert back.shape == (12, 10, 9, 1, 3)
    assert np.allclose(back.affine, other, atol=1e-5)
    assert set(np.unique(labels.get_fdata())) <= set(np.unique(blocks))
    assert np.allclose(change.get_fdata(), 1, atol=1e-5)
    assert np.allclose(back.get_fdata(), -field.get_fdata()[0, 0, 0, 0], atol=1e-3)
    told = "\n".join(done.said)
    for part in ("middle to middle", "method: shift", "Dice, mean", "inverse: misses by 0.0000 mm", "Trust: "):
        assert part in told


@pytest.mark.plain_errors
def test_options_that_contradict_each_other_are_refused(files):
    pair, weights = (files / "moving.nii.gz", files / "fixed.nii.gz"), files / "w.safetensors"
    for options, sentence in (
        ({"weights": weights, "method": "identity"}, "two methods; give one"),
        ({"method": "magic"}, "--method must be among identity, demons-thirion.*, greedy, instance, got 'magic'"),
        ({"method": "identity", "similarity": "mse"}, "--similarity is what --refine looks at"),
        ({"method": "demons-log", "mask": pair[1]}, "--mask does not reach demons-log"),
        ({"fixed_labels": pair[1]}, "--fixed-labels needs --labels"),
        ({"refine_steps": -1}, "--refine must be zero or more, got -1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            register_files(*pair, out=files / "o", **options)
        assert not (files / "o").exists()


@pytest.mark.plain_errors
def test_a_mask_of_another_grid_or_of_nothing_is_refused(files):
    nib.save(nib.Nifti1Image(np.zeros((11, 9, 10), np.uint8), AFFINE), files / "none.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((11, 9, 9), np.uint8), AFFINE), files / "other.nii.gz")
    for name, sentence in (("none", "must be above zero somewhere"), ("other", "must lie on the grid of the fixed")):
        with pytest.raises(ValueError, match=sentence):
            register_files(
                files / "moving.nii.gz", files / "fixed.nii.gz", out=files / "o", mask=files / f"{name}.nii.gz"
            )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "method: greedy, local correlation"),
        ({"similarity": "mse"}, "method: instance optimisation, mse, 25 steps"),
        ({"method": "demons-symmetric", "refine_steps": 3, "similarity": "mi"}, "demons-symmetric, refined by 3 steps"),
    ],
)
def test_a_method_without_weights_brings_two_blobs_together(files, options, told, monkeypatch):
    """No option given, or a similarity: a good part of the work is done."""
    monkeypatch.setattr(methods, "STEPS", (25,))
    for name, at in (("moving", (15, 13, 12)), ("fixed", (13, 14, 12))):
        ijk = np.stack(np.meshgrid(*[np.arange(n) for n in (14, 14, 13)], indexing="ij"), -1) * 2.0
        values = np.exp(-0.5 * (((ijk - at) / (5, 4, 6)) ** 2).sum(-1)) * (1 + 0.3 * np.sin(ijk[..., 0]))
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([2, 2, 2, 1.0])), files / f"{name}.nii.gz")
    done = register_files(
        files / "moving.nii.gz", files / "fixed.nii.gz", init="none", out=files / "o", report=False, **options
    )
    moving, fixed, warped = (
        nib.load(path).get_fdata() for path in (files / "moving.nii.gz", files / "fixed.nii.gz", done.paths[0])
    )
    inner = (slice(1, -1),) * 3
    assert np.abs(warped - fixed)[inner].mean() < 0.65 * np.abs(moving - fixed)[inner].mean()
    assert told in done.said[1]


def test_a_slice_is_registered_in_its_plane_and_stays_a_slice(files):
    """A network for two axes on coronal slices: up one voxel, to the right two; a volume is refused by name."""
    save_weights(files / "flat.safetensors", Shift(ShiftSizes(dims=2, voxels=(1.0, 2.0))))
    affine = np.diag([2.0, 5, 3, 1])
    values = np.random.default_rng(2).uniform(0, 9, (2, 12, 1, 11)).astype(np.float32)
    for name, image in zip(("a", "b"), values, strict=True):
        nib.save(nib.Nifti1Image(image, affine), files / f"{name}.nii.gz")
    options = {"weights": files / "flat.safetensors", "init": "none", "report": False}
    done = register_files(files / "a.nii.gz", files / "b.nii.gz", out=files / "o", **options)
    field = nib.load(done.paths[1]).get_fdata()
    assert field.shape == (12, 1, 11, 1, 3)
    assert np.allclose(field[:, :, :, 0], [-4, 0, 3])
    assert np.allclose(nib.load(done.paths[0]).get_fdata()[:-2, :, :-1], values[0][2:, :, 1:], atol=1e-4)
    with pytest.raises(ValueError, match=r"flat.safetensors is a network for 2-D images, got volumes"):
        register_files(files / "moving.nii.gz", files / "fixed.nii.gz", out=files / "p", **options)


def test_2d_files_stay_2d(files):
    save_weights(files / "flat.safetensors", Shift(ShiftSizes(dims=2, voxels=(1.0, 2.0))))
    values = np.random.default_rng(2).uniform(0, 9, (2, 12, 11)).astype(np.float32)
    for name, image in zip(("a", "b"), values, strict=True):
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 3, 1, 1])), files / f"{name}.nii.gz")
    options = {"weights": files / "flat.safetensors", "init": "none", "out": files / "o"}
    done = register_files(files / "a.nii.gz", files / "b.nii.gz", **options)
    assert nib.load(done.paths[0]).shape == (12, 11)
    assert nib.load(done.paths[1]).shape == (12, 11, 1, 1, 2)
    assert np.allclose(nib.load(done.paths[1]).get_fdata()[:, :, 0, 0], [-4, -3])


# ---- saved fields ----


def test_a_saved_field_does_again_what_register_did(files):
    pair = files / "moving.nii.gz", files / "fixed.nii.gz"
    done = register_files(*pair, weights=files / "w.safetensors", init="none", report=False, out=files / "o")
    apply_file(done.paths[1], pair[0], out=files / "again.nii.gz")
    assert np.array_equal(*(nib.load(path).get_fdata() for path in (files / "again.nii.gz", done.paths[0])))


def test_composed_with_its_inverse_a_field_does_nothing(files):
    pair = files / "moving.nii.gz", files / "fixed.nii.gz"
    done = register_files(*pair, weights=files / "w.safetensors", init="none", report=False, out=files / "o")
    said = invert_file(done.paths[1], out=files / "back.nii.gz", like=pair[0])
    assert said[0].startswith("inverse: misses by 0.0000 mm")
    compose_files(done.paths[1], files / "back.nii.gz", out=files / "both.nii.gz")
    assert np.abs(nib.load(files / "both.nii.gz").get_fdata()).max() < 1e-3


@pytest.mark.plain_errors
def test_fields_and_images_that_do_not_belong_together_are_refused(files):
    pair = files / "moving.nii.gz", files / "fixed.nii.gz"
    field = register_files(*pair, weights=files / "w.safetensors", init="none", report=False, out=files / "o").paths[1]
    far = AFFINE.copy()
    far[:3, 3] += 1000
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.float32), far), files / "far.nii.gz")
    with pytest.raises(ValueError, match=r"leads nowhere into .*far.nii.gz"):
        apply_file(field, files / "far.nii.gz", out=files / "x.nii.gz")
    with pytest.raises(ValueError, match=r"--out must end in .nii or .nii.gz, got .*x.png"):
        apply_file(field, pair[0], out=files / "x.png")
    with pytest.raises(ValueError, match=r"is an input and would be overwritten"):
        invert_file(field, out=field)
    with pytest.raises(ValueError, match=r"moving.nii.gz must hold a displacement"):
        compose_files(field, pair[0], out=files / "x.nii.gz")


def test_a_field_that_inverts_badly_is_warned_of_though_it_does_not_fold(files):
    """Alternating voxels: central differences see no change of volume, and no inverse comes near."""
    grid = Grid((10, 9, 8), AFFINE)
    vectors = torch.zeros(3, 10, 9, 8, dtype=torch.float64)
    vectors[1] = -9.0 * (torch.arange(8) % 2 * 2 - 1)
    rough = Displacement(vectors, grid)
    assert float(jacobian(rough).min()) > 0.99
    write_field(files / "rough.nii.gz", rough)
    said = invert_file(files / "rough.nii.gz", out=files / "back.nii.gz")
    assert said[0].startswith("warning: inverse: misses by")
    assert (files / "back.nii.gz").exists()


def test_a_rough_inverse_is_warned_of():
    assert told_inverse(torch.tensor([0.01, 0.2]), torch.ones(2).bool()).startswith("inverse: misses by 0.1050 mm")
    assert told_inverse(torch.tensor([0.01, 4.9]), torch.ones(2).bool()).startswith("warning: inverse: misses")
    assert told_inverse(torch.zeros(0), torch.zeros(2).bool()).startswith("warning: the inverse leads nowhere")


GOOD = Findings((0.2, 0.5, 0.8), folds=0.0, inverse_error=0.2, uncovered=0.01)


@pytest.mark.parametrize(
    ("change", "answer", "reason"),
    [
        ({}, "yes", "by every threshold"),
        ({"folds": 0.002}, "with care", "folded voxels is 0.0020 (above 0.0005)"),
        ({"folds": 0.02}, "no", "above 0.01"),
        ({"inverse_error": 1.5}, "with care", "1.50 voxels (above 0.96)"),
        ({"uncovered": 0.6}, "no", "0.60 of the fixed one empty (above 0.5)"),
        ({"similarity": (0.2, 0.5, 0.49)}, "with care", "less than before, by 0.010"),
        ({"similarity": (0.2, 0.5, 0.4)}, "no", "by 0.100 (above 0.02)"),
        ({"similarity": (0.05, 0.06, 0.2)}, "with care", "local correlation is 0.20 (below 0.25)"),
        ({"similarity": (0.05, 0.06, 0.07)}, "no", "below 0.1"),
        ({"folds": 0.002, "inverse_error": 4.0}, "no", "above 3.5); the share of folded"),
    ],
)
def test_the_verdict_names_every_reason(change, answer, reason):
    told = verdict(replace(GOOD, **change))
    assert told.startswith(f"Trust: {answer}")
    assert reason in told

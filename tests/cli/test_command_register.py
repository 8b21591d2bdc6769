"""`moereg register` on files of real geometry: what it writes is what SimpleITK, and the boxes' positions, say."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg import apply, cli
from moereg.viz.packing import unpack
from tests.cli.conftest import AFFINES, INTERCEPT, SHAPE, write_box

MOVING = (-2, 3, 1)  # where the moving image shows the box, from where the fixed image does, in the file's voxels


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request):
    return request.param


@pytest.fixture
def images(tmp_path, affine):
    moving = write_box(tmp_path / "moving.nii.gz", affine, shift=MOVING, bright=150)
    return moving, write_box(tmp_path / "fixed.nii.gz", affine, bright=300)


@pytest.fixture
def registered(images, tmp_path, weights, capsys):
    """The folder that the command wrote, by a model that moves centre onto centre, and what it printed."""
    out = tmp_path / "new" / "out"
    arguments = ["--weights", str(weights("centres")), "--out", str(out), "--device", "cpu"]
    assert cli.main(["register", *map(str, images), *arguments]) == 0
    return out, capsys.readouterr().out


def test_the_field_points_from_the_fixed_box_to_the_moving_one(registered, affine):
    """In millimetres LPS, everywhere the same. Exchanged images would turn its sign."""
    written = nib.load(registered[0] / "displacement.nii.gz")
    millimetres = affine[:3, :3] @ MOVING * [-1, -1, 1]
    vectors = written.get_fdata()
    assert sorted(written.shape) == sorted((*SHAPE, 1, 3))
    assert np.allclose(vectors, millimetres, atol=1e-4)
    assert written.header["intent_code"] == 1007


def test_refining_goes_on_from_the_network(images, tmp_path, weights, monkeypatch):
    """As many steps as asked for, on normalised images, and what comes of it is what is written."""
    asked = []

    class Known:
        def __init__(self, model, steps):
            self.model, self.steps = model, steps

        def __call__(self, moving, fixed):
            asked.append((self.steps, float(moving.max()), float(fixed.max())))
            made = self.model(moving, fixed)
            return type(made)(made.displacement * 0, made.warped)

    monkeypatch.setattr(apply, "Refined", Known)
    arguments = ["register", *map(str, images), "--weights", str(weights("centres")), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--refine", "7"]) == 0
    assert asked == [(7, 1.0, 1.0)]
    assert not nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata().any()
    assert cli.main(arguments) == 0
    assert len(asked) == 1
    assert nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata().any()


def test_what_is_written_lies_on_the_fixed_files_grid(registered, images):
    fixed = nib.as_closest_canonical(nib.load(images[1]))
    for name in ("displacement.nii.gz", "warped.nii.gz"):
        written = nib.load(registered[0] / name)
        assert np.allclose(written.affine, fixed.affine, atol=1e-4)
        assert written.shape[:3] == fixed.shape


def test_the_moving_box_lands_on_the_fixed_one_with_its_own_brightness(registered, images):
    warped = nib.load(registered[0] / "warped.nii.gz").get_fdata()
    fixed = nib.as_closest_canonical(nib.load(images[1])).get_fdata()
    assert np.allclose(warped, np.where(fixed == 300, 150, INTERCEPT), atol=0.01)


def test_sitk_moves_the_moving_file_by_the_field_to_the_same_image(registered, images):
    sitk = pytest.importorskip("SimpleITK")
    field = sitk.ReadImage(str(registered[0] / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    moving, ours = (
        sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat64) for path in (images[0], registered[0] / "warped.nii.gz")
    )
    theirs = sitk.Resample(moving, ours, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, float("nan"))
    theirs, ours = sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(ours)
    inside = np.isfinite(theirs)
    assert inside.mean() > 0.5
    assert (ours[inside] == 150).any()
    assert np.allclose(theirs[inside], ours[inside], atol=0.01)


def test_the_paths_are_printed_and_the_report_shows_this_pair(registered, affine):
    out, printed = registered
    assert printed.split("\n")[:-1] == [str(out / n) for n in ("warped.nii.gz", "displacement.nii.gz", "report.html")]
    assert sorted(path.name for path in out.iterdir()) == ["displacement.nii.gz", "report.html", "warped.nii.gz"]
    page = (out / "report.html").read_text()
    assert "<h1>moving.nii.gz to fixed.nii.gz</h1>" in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    spacing = np.linalg.norm(nib.load(out / "warped.nii.gz").affine[:3, :3], axis=0)
    assert data["spacing"] == pytest.approx(spacing[::-1], abs=1e-4)
    assert data["shape"] == list(nib.load(out / "warped.nii.gz").shape[::-1])
    # Both images between 0 and 1, each where its own file has the box.
    fixed, moving = (unpack(data, data["images"][name]) for name in ("fixed", "moving"))
    warped = nib.load(out / "warped.nii.gz").get_fdata().T
    assert np.allclose(fixed, warped > 100, atol=0.01)
    assert np.allclose((np.argwhere(moving > 0.5) - np.argwhere(fixed > 0.5)).T, data_shift(data), atol=0.011)


def data_shift(data: dict) -> np.ndarray:
    """The one displacement of the page, `(3, 1)` in voxels."""
    field = unpack(data, data["displacement"])
    assert np.ptp(field.reshape(3, -1), axis=1).max() < 0.02
    return field.reshape(3, -1)[:, :1]


@pytest.mark.parametrize("affine", [AFFINES["oblique"]], ids=["oblique"], indirect=False)
def test_the_device_is_the_one_asked_for(images, weights, tmp_path, monkeypatch):
    """The model goes there, and so do the images; what is written comes back."""
    shown = []
    monkeypatch.setattr(apply, "best_device", lambda name: torch.device({"mps": "meta"}.get(name, "cpu")))
    monkeypatch.setattr(apply, "explorer_payload", lambda model, pair: shown.append(model.offset.device.type) or {})
    monkeypatch.setattr(apply, "write_report", lambda path, **parts: path)
    files = [*map(str, images), "--weights", str(weights("elsewhere")), "--out", str(tmp_path / "out")]
    assert cli.main(["register", *files, "--device", "mps"]) == 0
    assert cli.main(["register", *files]) == 0
    assert shown == ["meta", "cpu"]
    assert (nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata() == 0).all()


@pytest.mark.plain_errors
@pytest.mark.parametrize("affine", [AFFINES["flipped"]], ids=["flipped"], indirect=False)
@pytest.mark.parametrize("swap", [False, True])
def test_files_on_two_grids_are_refused(images, weights, tmp_path, capsys, swap):
    other = write_box(tmp_path / "other.nii.gz", AFFINES["oblique"], bright=300)
    files = [images[1], other] if swap else [other, images[1]]
    out = tmp_path / "out"
    assert cli.main(["register", *map(str, files), "--weights", str(weights("centres")), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"moereg register: {files[0]} and {files[1]} must have the same")
    assert said.count("\n") == 1
    assert not out.exists()

"""`moereg register` on files of real geometry: what it writes is what SimpleITK, and the boxes' positions, say."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg import cli
from moereg.apply import methods
from moereg.apply import page as report_page
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
    arguments = ["--weights", str(weights("centres")), "--init", "none", "--out", str(out), "--device", "cpu"]
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

    def refine(model, moving, fixed, steps, **options):
        asked.append((steps, float(moving.max()), float(fixed.max()), options["similarity"]))
        made = model(moving, fixed)
        assert made.displacement.any()
        return type(made)(made.displacement * 0, made.warped)

    monkeypatch.setattr(methods, "refine", refine)
    options = ["--weights", str(weights("centres")), "--init", "none", "--no-report", "--out", str(tmp_path / "out")]
    arguments = ["register", *map(str, images), *options]
    assert cli.main([*arguments, "--refine", "7"]) == 0
    assert asked == [(7, 1.0, 1.0, "lncc")] * 2  # there and back
    assert not nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata().any()
    assert cli.main(arguments) == 0
    assert len(asked) == 2
    assert nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata().any()


def test_what_is_written_lies_on_the_fixed_files_grid(registered, images):
    fixed = nib.load(images[1])
    for name in ("displacement.nii.gz", "warped.nii.gz"):
        written = nib.load(registered[0] / name)
        assert np.allclose(written.affine, fixed.affine, atol=1e-4)
        assert written.shape[:3] == fixed.shape


def test_the_moving_box_lands_on_the_fixed_one_with_its_own_brightness(registered, images):
    warped = nib.load(registered[0] / "warped.nii.gz").get_fdata()
    fixed = nib.load(images[1]).get_fdata()
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
    assert np.abs(theirs[inside] - ours[inside]).max() < 1e-6 * 250  # the range of the moving image


def test_the_paths_are_printed_and_the_report_shows_this_pair(registered, affine):
    out, printed = registered
    *said, first, second, third = printed.splitlines()
    assert [first, second, third] == [str(out / n) for n in ("warped.nii.gz", "displacement.nii.gz", "report.html")]
    assert said[0] == "linear alignment: none (as asked for)"
    assert said[-1].startswith("Trust: ")
    assert sorted(path.name for path in out.iterdir()) == ["displacement.nii.gz", "report.html", "warped.nii.gz"]
    page = (out / "report.html").read_text()
    assert "<h1>moving.nii.gz to fixed.nii.gz</h1>" in page
    assert re.findall("<h2>(.*?)</h2><img", page) == ["5 images"]
    assert page.index("5 images") < page.index("data-moereg-explorer")  # pictures before experts
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    written = nib.as_closest_canonical(nib.load(out / "warped.nii.gz"))
    spacing = np.linalg.norm(written.affine[:3, :3], axis=0)
    assert data["spacing"] == pytest.approx(spacing[::-1], abs=1e-4)
    assert data["shape"] == list(written.shape[::-1])
    # Both images between 0 and 1, each where its own file has the box.
    fixed, moving = (unpack(data, data["images"][name]) for name in ("fixed", "moving"))
    warped = written.get_fdata().T
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

    def written(path: Path, **parts) -> Path:
        path.write_text("page", encoding="utf-8")
        return path

    monkeypatch.setattr(methods, "best_device", lambda name: torch.device({"mps": "meta"}.get(name, "cpu")))
    monkeypatch.setattr(
        report_page, "explorer_payload", lambda model, pair: shown.append(model.offset.device.type) or {}
    )
    monkeypatch.setattr(report_page, "write_report", written)
    files = [
        *map(str, images),
        "--init",
        "none",
        "--weights",
        str(weights("elsewhere")),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main(["register", *files, "--device", "mps"]) == 0
    assert cli.main(["register", *files]) == 0
    assert shown == ["meta", "cpu"]
    assert (nib.load(tmp_path / "out" / "displacement.nii.gz").get_fdata() == 0).all()


@pytest.mark.parametrize("affine", [AFFINES["flipped"]], ids=["flipped"], indirect=False)
def test_files_on_two_grids_are_registered(images, weights, tmp_path, capsys):
    """Middle to middle first; the rest is the model's: the box of an oblique file lands on the flipped file's box."""
    other = write_box(tmp_path / "other.nii.gz", AFFINES["oblique"], shift=MOVING, bright=150)
    options = ["--init", "centre", "--weights", str(weights("centres")), "--no-report", "--out", str(tmp_path / "out")]
    assert cli.main(["register", str(other), str(images[1]), *options]) == 0
    warped, fixed = (nib.load(path).get_fdata() for path in (tmp_path / "out" / "warped.nii.gz", images[1]))
    centres = [np.argwhere(image > image.mean() + 20).mean(0) for image in (warped, fixed)]
    assert np.allclose(*centres, atol=1)
    assert "middle to middle of the grids" in capsys.readouterr().out


def test_fields_are_applied_composed_and_inverted(images, weights, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--weights", str(weights("centres")), "--init", "none", "--no-report", "--out", str(out)]
    assert cli.main(["register", *map(str, images), *options]) == 0
    field, back = str(out / "displacement.nii.gz"), str(tmp_path / "back.nii.gz")
    assert cli.main(["invert", field, "--like", str(images[0]), "--out", back]) == 0
    assert "inverse: misses by 0.0000 mm" in capsys.readouterr().out
    assert cli.main(["compose", field, back, "--out", str(tmp_path / "both.nii.gz")]) == 0
    assert np.abs(nib.load(tmp_path / "both.nii.gz").get_fdata()).max() < 1e-3
    assert cli.main(["apply", field, str(images[0]), "--labels", "--out", str(tmp_path / "labels.nii.gz")]) == 2
    assert "must hold labels" in capsys.readouterr().err
    assert cli.main(["apply", field, str(images[0]), "--out", str(tmp_path / "again.nii.gz")]) == 0
    ours, again = (nib.load(path).get_fdata() for path in (out / "warped.nii.gz", tmp_path / "again.nii.gz"))
    assert np.array_equal(ours, again)

"""Real scans of two kinds through every command: hippocampi of two people, and the MNI152 template under a motion."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from moereg import cli
from moereg.data import datasets, phantoms, save_volume, templates

ROLES = ("moving", "fixed", "moving_labels", "fixed_labels")


def hippocampi(folder: Path) -> dict[str, Path]:
    """As the public set has them: own grids, labels beside them."""
    files = datasets.hippocampus(split="test", count=1).files[0]
    return {name: getattr(files, name) for name in ROLES}


def heads(folder: Path) -> dict[str, Path]:
    """The template and the same moved, 6 mm."""
    pair = templates.mni152((32, 40, 32), 9000)
    files = {name: folder / f"{name}.nii.gz" for name in ROLES}
    for name, path in files.items():
        save_volume(path, getattr(pair, name), phantoms.affine((6.0, 6.0, 6.0)))
    return files


@pytest.fixture
def scans(request, tmp_path, hippocampus):
    if request.param is heads:
        pytest.importorskip("nilearn", reason="nilearn, which carries the MNI152 template, is not installed")
    return request.param(tmp_path)


def moereg(*arguments) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def by_simpleitk(moving: Path, fixed: Path, field: Path) -> np.ndarray:
    """The moving file through the field, on the fixed file's grid, with the smallest value outside."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(moving), sitk.sitkFloat64)
    vectors = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    least = float(sitk.GetArrayViewFromImage(image).min())
    moved = sitk.Resample(image, sitk.ReadImage(str(fixed)), vectors, sitk.sitkLinear, least, sitk.sitkFloat64)
    return sitk.GetArrayFromImage(moved).T


@pytest.mark.data
@pytest.mark.parametrize("scans", [hippocampi, heads], indirect=True, ids=["hippocampi", "heads"])
def test_real_scans_go_through_every_command(scans, tmp_path, capsys):
    moving, fixed, moving_labels, fixed_labels = (scans[name] for name in ROLES)
    out, field = tmp_path / "out", tmp_path / "out" / "displacement.nii.gz"
    labels = ["--labels", moving_labels, "--fixed-labels", fixed_labels]
    moereg("register", moving, fixed, "--out", out, *labels, "--inverse", "--jacobian")
    said = capsys.readouterr().out
    before, *_, after = (float(part.split()[0]) for part in said.split("Dice, mean: ")[1].splitlines()[0].split(", "))
    assert after > before + 0.05
    warped = nib.load(out / "warped.nii.gz").get_fdata()
    assert warped.shape == nib.load(fixed).shape
    span = np.ptp(nib.load(moving).get_fdata())
    off = np.abs(by_simpleitk(moving, fixed, field) - warped) / span
    assert np.quantile(off, 0.999) < 1e-6  # the outermost voxels: whether a point lies inside is rounding

    moereg("apply", field, moving, "--out", tmp_path / "again.nii.gz")
    assert np.abs(nib.load(tmp_path / "again.nii.gz").get_fdata() - warped).max() < 1e-5 * span
    moereg("apply", field, moving_labels, "--labels", "--out", tmp_path / "labels.nii.gz")
    kept = [nib.load(path).get_fdata() for path in (tmp_path / "labels.nii.gz", out / "warped_labels.nii.gz")]
    assert np.array_equal(*kept)
    moereg("invert", field, "--like", moving, "--out", tmp_path / "back.nii.gz")
    moereg("compose", field, tmp_path / "back.nii.gz", "--out", tmp_path / "both.nii.gz")
    inner = nib.load(tmp_path / "both.nii.gz").get_fdata()[:, :, :, 0]
    spacing = nib.affines.voxel_sizes(nib.load(moving).affine).max()
    assert np.median(np.linalg.norm(inner, axis=-1)) < 0.1 * spacing

    table = tmp_path / "pairs.csv"
    table.write_text(f"{','.join(ROLES)}\n{','.join(str(scans[name]) for name in ROLES)}\n", encoding="utf-8")
    moereg("train", "shmoareg", "--data", table, "--out", tmp_path / "net", "--steps", 1, "--device", "cpu")
    weights, numbers = tmp_path / "net" / "shmoareg.safetensors", tmp_path / "numbers.json"
    moereg("evaluate", "--weights", weights, "--method", "identity", "--data", table, "--json", numbers)
    measured = json.loads(numbers.read_text(encoding="utf-8"))
    assert 0 < measured[str(weights)]["dice"] < 1
    assert 0 < measured["identity"]["dice"] < 1
    moereg("explore", "--weights", weights, "--data", table, "--out", tmp_path / "page.html")
    moereg("register", "--data", table, "--method", "identity", "--out", tmp_path / "all", "--no-report")
    assert (tmp_path / "all" / "results.csv").is_file()
    assert (out / "report.html").stat().st_size > 100_000

"""`register_files` as a function: paths of either kind, and nothing written where something is missing.

What the files hold is compared with SimpleITK in tests/cli/test_command_register.py.
"""

import nibabel as nib
import numpy as np
import pytest

from moereg.apply import register_files
from moereg.models import save_weights
from moereg.viz import payload
from tests.oracle_models import Shift, ShiftSizes, enter

AFFINE = np.array([[0, 0, 3, 1], [-2, 0, 0, 2], [0, 1.5, 0, 3], [0, 0, 0, 1.0]])  # stored (j, k, i), j flipped


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two noisy images of another size along every axis, and weights of a model that moves by (1, 0, 2) voxels."""
    enter(monkeypatch, Shift)
    monkeypatch.setattr(payload, "_poster", lambda pair, result: None)
    values = np.random.default_rng(0).uniform(-50, 200, (2, 11, 9, 10)).astype(np.float32)
    for name, image in zip(("moving", "fixed"), values, strict=True):
        nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / f"{name}.nii.gz")
    save_weights(tmp_path / "w.safetensors", Shift(ShiftSizes(voxels=(1.0, 0.0, 2.0))))
    return tmp_path


def test_a_shift_along_known_axes(files):
    """Tensor axes are (feet to head, back to front, left to right): one voxel up, two to the right."""
    paths = register_files(
        str(files / "moving.nii.gz"),
        str(files / "fixed.nii.gz"),
        weights=str(files / "w.safetensors"),
        out=str(files / "o"),
    )
    assert paths == [files / "o" / name for name in ("warped.nii.gz", "displacement.nii.gz", "report.html")]
    moving = nib.as_closest_canonical(nib.load(files / "moving.nii.gz"))
    warped, field = (nib.load(path) for path in paths[:2])
    assert np.allclose(warped.affine, moving.affine, atol=1e-5)
    assert np.allclose(field.get_fdata()[:, :, :, 0], [-2 * 3.0, 0, 1.5])  # LPS: to the right is minus
    assert np.allclose(warped.get_fdata()[:-2, :, :-1], moving.get_fdata()[2:, :, 1:], atol=1e-3)


def test_folders_and_files_are_written_over(files):
    for _ in range(2):
        paths = register_files(
            files / "moving.nii.gz",
            files / "fixed.nii.gz",
            weights=files / "w.safetensors",
            out=files / "o" / "p",
            device="cpu",
        )
    assert sorted(path.name for path in (files / "o" / "p").iterdir()) == sorted(path.name for path in paths)


@pytest.mark.parametrize("missing", ["moving.nii.gz", "fixed.nii.gz", "w.safetensors"])
def test_what_is_missing_is_named_and_nothing_is_written(files, missing):
    (files / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        register_files(
            files / "moving.nii.gz", files / "fixed.nii.gz", weights=files / "w.safetensors", out=files / "o"
        )
    assert not (files / "o").exists()

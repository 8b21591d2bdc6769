"""Files that SimpleITK reads the same way: voxels, and displacements that move an image as `warp` does."""

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.data import load_displacement, load_volume, save_displacement, save_volume
from moereg.data.phantoms.motion import smooth_pattern
from moereg.fields import identity_grid, warp

sitk = pytest.importorskip("SimpleITK")

SHAPE = (14, 17, 20)


def affine_of(flip, order):
    turn = np.deg2rad(25)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = about_z[[2, 0, 1]][:, [2, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = (about_z @ about_x @ np.diag(np.array([1.5, 2.0, 3.0]) * flip))[:, order]
    affine[:3, 3] = [-10, 20, 5]
    return affine


AFFINES = {
    "RAS": np.diag([1.5, 2.0, 3.0, 1.0]),
    "LPS": np.diag([-1.5, -2.0, 3.0, 1.0]),
    "oblique": affine_of((1, 1, 1), (0, 1, 2)),
    "oblique, flipped and exchanged": affine_of((-1, 1, -1), (2, 0, 1)),
}


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request):
    return request.param


@pytest.fixture
def image(generator):
    return torch.rand(1, *SHAPE, generator=generator)


@pytest.fixture
def displacement(generator):
    patterns = [smooth_pattern(SHAPE, 0.4, generator) for _ in range(3)]
    return torch.stack(patterns) * torch.tensor([3.0, 2.0, 2.5]).reshape(3, 1, 1, 1)


def resample(moving, fixed, field):
    moving, fixed = (sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat64) for path in (moving, fixed))
    field = sitk.ReadImage(str(field), sitk.sitkVectorFloat64)
    assert field.GetSize() == fixed.GetSize()
    assert np.allclose(field.GetDirection(), fixed.GetDirection(), atol=1e-5)
    assert np.allclose(field.GetOrigin(), fixed.GetOrigin(), atol=1e-4)
    # The transform takes the field's voxels away, so the fixed image serves as the reference grid.
    return sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, float("nan"))


def test_voxels_are_those_of_sitk(tmp_path, image, affine):
    save_volume(tmp_path / "a.nii.gz", image, affine)
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    assert np.array_equal(read, image[0].numpy())


def test_file_written_by_sitk(tmp_path, image):
    written = sitk.GetImageFromArray(image[0].numpy())
    written.SetSpacing((1.5, 2.0, 3.0))
    sitk.WriteImage(written, str(tmp_path / "a.nii.gz"))
    volume = load_volume(tmp_path / "a.nii.gz", canonical=False)
    assert torch.equal(volume.data, image)
    assert volume.spacing == pytest.approx((3.0, 2.0, 1.5))
    # SimpleITK's identity direction is LPS: both in-plane axes are flipped to become canonical
    assert torch.equal(load_volume(tmp_path / "a.nii.gz").data, image.flip(2, 3))


@pytest.mark.parametrize("canonical", [False, True])
def test_displacement_moves_as_warp_does(tmp_path, image, displacement, affine, canonical):
    """Also where the moving file stores its axes otherwise than the canonical grid that the field was made on."""
    save_volume(tmp_path / "moving.nii.gz", image, affine)
    volume = load_volume(tmp_path / "moving.nii.gz", canonical=canonical)
    space = volume.data.shape[1:]
    displacement = displacement.permute(0, *(1 + SHAPE.index(size) for size in space))
    save_volume(tmp_path / "fixed.nii.gz", volume.data, volume.affine)
    save_displacement(tmp_path / "u.nii.gz", displacement, volume.affine)
    theirs = resample(*(tmp_path / name for name in ("moving.nii.gz", "fixed.nii.gz", "u.nii.gz")))
    theirs = torch.from_numpy(sitk.GetArrayFromImage(theirs)).float()
    ours = warp(volume.data[None], displacement[None])[0, 0]
    target = identity_grid(space) + displacement
    sizes = torch.tensor(space).reshape(3, 1, 1, 1)
    inside = ((target >= 0.01) & (target <= sizes - 1.01)).all(0)
    assert inside.float().mean() > 0.5
    assert (ours[inside] - volume.data[0][inside]).abs().mean() > 0.1
    assert torch.allclose(theirs[inside], ours[inside], atol=1e-4)


def test_field_written_by_sitk(tmp_path, displacement):
    vectors = np.moveaxis(displacement.numpy(), 0, -1)[..., ::-1] * np.array([1.5, 2.0, 3.0])
    field = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    field.SetSpacing((1.5, 2.0, 3.0))
    sitk.WriteImage(field, str(tmp_path / "u.nii.gz"))
    assert nib.load(tmp_path / "u.nii.gz").shape == (*SHAPE[::-1], 1, 3)
    loaded = load_displacement(tmp_path / "u.nii.gz", canonical=False)
    assert torch.allclose(loaded.data, displacement, atol=1e-5)

"""Where ITK places a NIfTI file, and what that does to a field that is applied there: the last digits differ."""

import struct

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.apply import register_files
from moereg.apply.scans import itk_elsewhere, read_field, read_scan, write_field
from moereg.data.volumes import Grid, corner_distance
from moereg.physical import as_stored, pull, whole_map
from tests.geometries import grid_of

sitk = pytest.importorskip("SimpleITK")

SIZES = (44, 48, 40)
# Far from the scanner's middle, turned, two axes flipped: where float32 rounds most.
TURNED = grid_of(SIZES, (4.1, 4.9, 3.9), degrees=(12, -17, 23), flip=(-1, 1, -1), middle=(9, -20, 15))
PLAIN = grid_of(SIZES, (4.0, 4.8, 4.0))


@pytest.fixture
def files(tmp_path):
    """A turned, flipped moving file as rough as can be, and a field on a plain grid that leads into it."""
    values = np.random.default_rng(0).uniform(0, 1, SIZES).astype(np.float32)
    nib.save(nib.Nifti1Image(values, TURNED.affine), tmp_path / "moving.nii")
    step = 0.7 * torch.randn(3, *SIZES[::-1], generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    turn = np.eye(4)
    turn[:3, 3] = TURNED.affine[:3, 3] + TURNED.affine[:3, :3] @ ((np.array(SIZES) - 1) / 2)
    write_field(tmp_path / "field.nii", as_stored(whole_map(step, PLAIN, turn)))
    return tmp_path


def by_itk(folder) -> np.ndarray:
    moving = sitk.ReadImage(str(folder / "moving.nii"), sitk.sitkFloat64)
    field = sitk.ReadImage(str(folder / "field.nii"), sitk.sitkVectorFloat64)
    onto = sitk.Image(field.GetSize(), sitk.sitkFloat64)
    onto.CopyInformation(field)
    moved = sitk.Resample(moving, onto, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, float("nan"))
    return sitk.GetArrayFromImage(moved)


def test_what_is_left_is_how_itk_reads_the_affine(files):
    """ITK: directions of the sform, edges of pixdim. With these its numbers are ours; with the sform's own, nearly."""
    scan, (field, _) = read_scan(files / "moving.nii"), read_field(files / "field.nii")
    theirs = by_itk(files)
    inside = np.isfinite(theirs)
    assert inside.mean() > 0.5
    header = nib.load(files / "moving.nii").header
    rounded = scan.grid.affine.copy()
    rounded[:3, :3] *= header["pixdim"][1:4].astype(np.float64) / np.linalg.norm(rounded[:3, :3], axis=0)
    errors = {}
    for name, affine in (("sform", scan.grid.affine), ("pixdim", rounded)):
        ours, _ = pull(scan.data, Grid(scan.grid.shape, affine), field)
        errors[name] = np.abs(ours[0].numpy() - theirs)[inside].max()
    apart = corner_distance(Grid(scan.grid.shape, rounded), scan.grid)
    assert errors["pixdim"] < 1e-11
    assert (
        1e-8 < errors["sform"] < 3 * apart / min(scan.grid.spacing)
    )  # three axes, at most the range from voxel to voxel
    assert apart < 1e-4  # mm
    assert itk_elsewhere(scan) == []


def written(folder, affine, *, sform=2, qform=0, other=None):
    image = nib.Nifti1Image(np.random.default_rng(0).uniform(0, 1, (9, 8, 7)).astype(np.float32), affine)
    image.set_sform(affine, sform)
    image.set_qform(affine if other is None else other, qform)
    nib.save(image, folder / "x.nii")
    return folder / "x.nii"


def test_headers_that_itk_reads_otherwise_are_told_of(tmp_path):
    affine, moved, sheared = np.diag([1.0, 2, 3, 1]), np.diag([1.0, 2, 3, 1]), np.diag([1.0, 2, 3, 1])
    moved[:3, 3], sheared[0, 1] = (4, 0, 3), 0.1
    assert itk_elsewhere(read_scan(written(tmp_path, affine, qform=1))) == []
    (line,) = itk_elsewhere(read_scan(written(tmp_path, moved, qform=1, other=affine)))
    assert line.startswith(f"warning: ITK places {tmp_path / 'x.nii'} up to 5 mm from where it is read here")
    (line,) = itk_elsewhere(read_scan(written(tmp_path, affine, sform=0)))
    assert "ITK places" in line
    (line,) = itk_elsewhere(read_scan(written(tmp_path, sheared)))
    assert line.startswith(f"warning: ITK cannot place {tmp_path / 'x.nii'}, whose axes are not at right angles")
    path = written(tmp_path, affine)
    content = bytearray(path.read_bytes())
    content[80:84] = struct.pack("<f", 1.01)  # pixdim of the first axis
    path.write_bytes(content)
    (line,) = itk_elsewhere(read_scan(path))
    assert "up to 0.08 mm" in line


def test_files_of_two_axes_and_of_other_formats(tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, (9, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 3, 1, 1])), tmp_path / "flat.nii")
    assert itk_elsewhere(read_scan(tmp_path / "flat.nii")) == []
    nib.save(nib.MGHImage(values[..., None].repeat(3, 2), PLAIN.affine), tmp_path / "a.mgz")
    assert itk_elsewhere(read_scan(tmp_path / "a.mgz")) == []


def test_register_says_it(tmp_path, capfd):
    """And ITK's own warnings do not come on top."""
    path = written(tmp_path, np.diag([1.0, 2, 3, 1]), sform=0)
    said = register_files(path, path, out=tmp_path / "out", method="identity", init="none", report=False).said
    assert sum(line.startswith("warning: ITK places") for line in said) == 2
    assert capfd.readouterr() == ("", "")

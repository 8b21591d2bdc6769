"""Files that are no NIfTI: the same voxels at the same places, whichever format holds them, or one sentence."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.data import load_labels, load_volume
from moereg.data.volumes import axes_of, load_flat, load_grid
from tests.geometries import GRIDS

sitk = pytest.importorskip("SimpleITK")

HEADER = "NRRD0004\ntype: {}\ndimension: 3\nsizes: {}\nendian: little\nencoding: {}\n\n"
FORMATS = ("a.mgz", "a.mgh", "a.nrrd", "a.mha")


def written(folder, name, values, affine):
    """`values` (X, Y, Z) at `affine`, by the program whose format it is."""
    path = folder / name
    if name.endswith((".mgz", ".mgh")):
        nib.save(nib.MGHImage(values, affine.astype(np.float32)), path)
        return path
    lps = np.diag([-1, -1, 1, 1]) @ affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).flatten().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize("canonical", [True, False])
def test_every_format_says_the_same_as_nifti(tmp_path, name, grid, canonical):
    """Oblique, flipped, permuted and anisotropic; each written by its own program."""
    affine, shape = GRIDS[grid].affine, GRIDS[grid].shape[::-1]
    values = np.random.default_rng(0).integers(0, 900, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    expected = load_volume(tmp_path / "a.nii.gz", canonical=canonical)
    found = load_volume(written(tmp_path, name, values, affine), canonical=canonical)
    assert torch.equal(found.data, expected.data)
    assert np.allclose(found.affine, expected.affine, atol=1e-4)
    assert found.grid.shape == expected.grid.shape
    header = load_grid(tmp_path / name, canonical=canonical)
    assert header.shape == found.grid.shape
    assert np.array_equal(header.affine, found.affine)


@pytest.mark.parametrize("name", FORMATS)
def test_labels(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 90, (5, 6, 7)).astype(np.int16)
    labels = load_labels(written(tmp_path, name, values, np.eye(4)), canonical=False)
    assert labels.data.dtype == torch.int64
    assert np.array_equal(labels.data[0].numpy().T, values)


def test_a_nrrd_in_the_space_of_nifti_is_turned(tmp_path):
    """Written by hand: right-anterior-superior, where ITK's own files are left-posterior-superior."""
    values = np.arange(24, dtype="<i2").reshape(4, 3, 2)  # (Z, Y, X) as the file runs
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 3 4\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (10,20,30)\n\n"
    )
    (tmp_path / "r.nrrd").write_bytes(header.encode() + values.tobytes())
    volume = load_volume(tmp_path / "r.nrrd", canonical=False)
    assert np.allclose(volume.affine, [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    assert np.array_equal(volume.data[0].numpy(), values)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nii.gz"])
def test_files_of_two_axes(tmp_path, name):
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    image.SetSpacing((2.0, 3.0))
    image.SetOrigin((5.0, -7.0))
    image.SetDirection((0.0, -1.0, 1.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / name))
    assert axes_of(tmp_path / name) == 2
    volume = load_flat(tmp_path / name)
    assert volume.data.shape == (1, 1, 3, 4)
    assert np.array_equal(volume.data[0, 0].numpy(), sitk.GetArrayFromImage(image))
    for index in ((0, 0), (3, 0), (1, 2)):
        place = np.array([-1, -1]) * image.TransformIndexToPhysicalPoint(index)
        assert np.allclose((volume.affine @ [*index, 0, 1])[:2], place, atol=1e-5)
    with pytest.raises(ValueError, match=r"must be one volume with three axes, got shape \(4, 3\)"):
        load_volume(tmp_path / name)


def _mgz(folder, change):
    whole = gzip.decompress(written(folder, "a.mgz", np.ones((4, 5, 6), np.float32), np.eye(4)).read_bytes())
    (folder / "a.mgz").write_bytes(gzip.compress(change(whole)))
    return folder / "a.mgz"


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: _mgz(folder, lambda b: b[:400]), r"a.mgz must be a whole .mgz file"),
        (lambda folder: _mgz(folder, lambda b: b[:4] + b"\0\x0f\0\0" + b[8:]), "its header claims"),
        (lambda folder: _mgz(folder, lambda b: b"\7" + b[1:]), r"must be a whole .mgz file, but it cannot be read"),
        (lambda folder: _mgz(folder, lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:]), "its shape is"),
        (lambda folder: _text(folder, "a.nrrd", "NRRD0004\ndata file: /etc/passwd\n\n"), "voxels in another file"),
        (lambda folder: _text(folder, "a.mha", "ObjectType = Image\nElementDataFile = b.raw\n"), "voxels in another"),
        (lambda folder: _text(folder, "a.nrrd", "no header"), "it has no header of its kind"),
        (lambda folder: _text(folder, "a.nhdr", "NRRD0004\n"), "save it as one file, .nrrd or .mha"),
        (
            lambda folder: _text(
                folder, "a.nrrd", HEADER.format("float", "900 900 900", "gzip")
            ),
            r"its header claims \(900, 900, 900\) voxels",
        ),
        (
            lambda folder: _text(folder, "a.nrrd", HEADER.format("uchar", "3 3 3", "raw") + "ab"),
            "voxels cannot be read",
        ),
        (lambda folder: _colours(folder / "a.nrrd"), "one real number for each voxel"),
        (lambda folder: folder / "none.nrrd", r"none.nrrd must be a .nrrd file, but there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, make, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load_volume(make(tmp_path))
    assert "\n" not in str(caught.value)


def _text(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def _colours(path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(path))
    return path

"""NIfTI in and out: what is written comes back, axes mean what they say, wrong files get one clear sentence."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.data import (
    Grid,
    check_same_grid,
    load_displacement,
    load_grid,
    load_labels,
    load_volume,
    save_displacement,
    save_volume,
)
from moereg.data.volumes import corner_distance

SHAPE = (5, 6, 7)  # tensor axes (k, j, i)


def oblique_affine(flip=(1, 1, 1), order=(0, 1, 2)):
    """Unequal spacing, a turn of twenty degrees about the third axis, flipped and exchanged axes."""
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (rotation @ np.diag([1.5, 2.0, 3.0]) @ np.diag(flip))[:, order]
    affine[:3, 3] = [-10, 20, 5]
    return affine


def test_image_comes_back(tmp_path, generator):
    image, affine = torch.rand(1, *SHAPE, generator=generator), oblique_affine()
    save_volume(tmp_path / "a.nii.gz", image, affine)
    volume = load_volume(tmp_path / "a.nii.gz")
    assert torch.equal(volume.data, image)
    assert np.allclose(volume.affine, affine, atol=1e-6)
    assert volume.spacing == pytest.approx((3.0, 2.0, 1.5))
    assert load_grid(tmp_path / "a.nii.gz").shape == SHAPE


def test_last_tensor_axis_is_the_first_of_the_file(tmp_path):
    values = np.zeros((7, 6, 5), np.float32)
    values[6, 1, 2] = 1
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    assert load_volume(tmp_path / "a.nii").data[0, 2, 1, 6] == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_canonical_axes_keep_every_voxel_where_it_is(tmp_path, generator, order):
    """A voxel's value and its place in space belong together, however the file stores its axes."""
    image, affine = torch.rand(1, *SHAPE, generator=generator), oblique_affine((-1, 1, -1), order)
    save_volume(tmp_path / "a.nii.gz", image, affine)
    stored, canonical = (load_volume(tmp_path / "a.nii.gz", canonical=flag) for flag in (False, True))
    assert torch.equal(stored.data, image)
    assert nib.aff2axcodes(canonical.affine) == ("R", "A", "S")
    assert load_grid(tmp_path / "a.nii.gz").shape == tuple(canonical.data.shape[1:])
    for index in ((0, 0, 0), (4, 2, 1), (3, 5, 6)):
        place = affine @ [*index[::-1], 1]
        found = np.rint(np.linalg.inv(canonical.affine) @ place)[:3].astype(int)
        assert canonical.data[(0, *found[::-1])] == image[(0, *index)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labels_come_back(tmp_path, generator, dtype):
    labels = torch.randint(0, 200, (1, *SHAPE), generator=generator).to(dtype)
    save_volume(tmp_path / "a.nii.gz", labels, np.eye(4))
    loaded = load_labels(tmp_path / "a.nii.gz").data
    assert loaded.dtype == torch.int64
    assert torch.equal(loaded, labels.long())


def test_labels_stored_as_floats_are_read_as_whole_numbers(tmp_path):
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 2.0, np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert load_labels(tmp_path / "a.nii.gz").data.unique().tolist() == [2]


@pytest.mark.parametrize("value", [1.5, -1.0])
def test_labels_that_are_no_labels(tmp_path, value):
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.float32), np.eye(4)), tmp_path / "bad.nii.gz")
    with pytest.raises(ValueError, match=r"bad.nii.gz must hold labels, whole numbers from zero on, got -?1"):
        load_labels(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize(
    "affine", [oblique_affine(), oblique_affine((-1, 1, -1)), oblique_affine((1, -1, 1), (2, 0, 1))]
)
def test_displacement_comes_back(tmp_path, generator, affine):
    displacement = torch.randn(3, *SHAPE, generator=generator)
    save_displacement(tmp_path / "u.nii.gz", displacement, affine)
    loaded = load_displacement(tmp_path / "u.nii.gz", canonical=False)
    assert torch.allclose(loaded.data, displacement, atol=1e-5)
    header = nib.load(tmp_path / "u.nii.gz").header
    assert header["intent_code"] == 1007
    assert header.get_data_shape() == (7, 6, 5, 1, 3)


def test_displacement_vectors_are_millimetres_lps(tmp_path):
    """One voxel along tensor axis 2 is 1.5 mm to the right, which LPS counts as negative."""
    displacement = torch.zeros(3, *SHAPE)
    displacement[2] = 1
    save_displacement(tmp_path / "u.nii.gz", displacement, np.diag([1.5, 2.0, 3.0, 1.0]))
    vectors = np.asarray(nib.load(tmp_path / "u.nii.gz").dataobj)
    assert np.allclose(vectors.reshape(-1, 3), [-1.5, 0, 0])


def test_canonical_displacement_points_to_the_same_place(tmp_path, generator):
    affine = oblique_affine((-1, 1, -1), (2, 0, 1))
    displacement = torch.randn(3, *SHAPE, generator=generator)
    save_displacement(tmp_path / "u.nii.gz", displacement, affine)
    canonical = load_displacement(tmp_path / "u.nii.gz")
    index = np.array([1, 4, 3])  # k, j, i
    start = affine @ [*index[::-1], 1]
    target = affine @ [*(index + displacement[:, 1, 4, 3].numpy())[::-1], 1]
    found = np.rint(np.linalg.inv(canonical.affine) @ start)[:3].astype(int)[::-1]
    moved = found + canonical.data[(slice(None), *found)].numpy()
    assert np.allclose(canonical.affine @ [*moved[::-1], 1], target, atol=1e-4)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.nii.gz must be a NIfTI file, but there is no such file"):
        load_volume(tmp_path / "none.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_file(tmp_path, generator, name):
    save_volume(tmp_path / name, torch.rand(1, 20, 20, 20, generator=generator), np.eye(4))
    content = (tmp_path / name).read_bytes()
    for length in (len(content) // 2, 200, 10, 0):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{name} must be a (whole )?NIfTI file, but"):
            load_volume(tmp_path / name)


def test_file_of_another_format(tmp_path):
    (tmp_path / "a.nii.gz").write_text("not an image")
    (tmp_path / "a.txt").write_text("not an image")
    nib.save(nib.MGHImage(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / "a.mgz")
    (tmp_path / "a.mgz").rename(tmp_path / "b.nii.gz")
    for name in ("a.nii.gz", "a.txt", "b.nii.gz"):
        with pytest.raises(ValueError, match=f"{name} must be a NIfTI file"):
            load_volume(tmp_path / name)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4), (3, 4, 5, 1, 3)])
def test_file_of_another_rank(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=r"a.nii.gz must be one volume with three axes, got shape \(3, 4"):
        load_volume(tmp_path / "a.nii.gz")


def test_single_time_point_is_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 1), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert load_volume(tmp_path / "a.nii.gz").data.shape == (1, 5, 4, 3)


def test_scalar_file_is_no_displacement(tmp_path):
    save_volume(tmp_path / "a.nii.gz", torch.zeros(1, *SHAPE), np.eye(4))
    with pytest.raises(
        ValueError, match=r"a.nii.gz must hold a displacement of shape \(X, Y, Z, 1, 3\), got \(7, 6, 5\)"
    ):
        load_displacement(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_file_with_values_that_are_not_finite(tmp_path, value):
    values = np.zeros((3, 4, 5), np.float32)
    values[1, 1, 1] = value
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    for load in (load_volume, load_labels):
        with pytest.raises(ValueError, match=r"a.nii.gz must hold finite values only"):
            load(tmp_path / "a.nii.gz")


def test_affine_that_cannot_be_inverted(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    image.header["srow_x"], image.header["srow_y"] = 0, 0
    nib.save(image, tmp_path / "a.nii.gz")
    raw = nib.load(tmp_path / "a.nii.gz")
    raw.header["srow_x"] = 0
    nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.diag([0, 1, 1, 1]), raw.header).to_filename(
        tmp_path / "a.nii.gz"
    )
    with pytest.raises(ValueError, match=r"a.nii.gz must have an affine that can be inverted"):
        load_volume(tmp_path / "a.nii.gz")


def test_grids_that_differ(tmp_path):
    for name, shape, shift in (("a", SHAPE, 0), ("b", (5, 6, 8), 0), ("c", SHAPE, 1)):
        affine = np.eye(4)
        affine[0, 3] = shift
        save_volume(tmp_path / f"{name}.nii.gz", torch.zeros(1, *shape), affine)
    a, b, c = (load_grid(tmp_path / f"{name}.nii.gz") for name in "abc")
    check_same_grid(a, a)
    with pytest.raises(ValueError, match=r"a.nii.gz and .*b.nii.gz must have the same shape, got \(7, 6, 5\) and \(8"):
        check_same_grid(a, b)
    with pytest.raises(ValueError, match=r"a.nii.gz and .*c.nii.gz must have the same affine"):
        check_same_grid(a, c)


@pytest.mark.plain_errors
def test_nothing_is_written_when_the_input_is_wrong(tmp_path):
    bad = torch.full((1, *SHAPE), float("nan"))
    with pytest.raises(ValueError, match="data must hold finite values only"):
        save_volume(tmp_path / "a.nii.gz", bad, np.eye(4))
    with pytest.raises(ValueError, match="data must have shape"):
        save_volume(tmp_path / "a.nii.gz", torch.zeros(2, *SHAPE), np.eye(4))
    with pytest.raises(ValueError, match="displacement must hold finite values only"):
        save_displacement(tmp_path / "a.nii.gz", bad.expand(3, *SHAPE), np.eye(4))
    with pytest.raises(ValueError, match=r"displacement must be one volume \(3, \*space\)"):
        save_displacement(tmp_path / "a.nii.gz", torch.zeros(2, 8, 8), np.eye(4))
    with pytest.raises(ValueError, match=r"must end in .nii or .nii.gz, got .*a.mha"):
        save_volume(tmp_path / "a.mha", torch.zeros(1, *SHAPE), np.eye(4))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_volume(tmp_path / "none" / "a.nii.gz", torch.zeros(1, *SHAPE), np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_volume(tmp_path / "a.nii.gz", torch.ones(1, *SHAPE), np.eye(4))

    def fail(image, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("moereg.data.volumes.nib.save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_volume(tmp_path / "a.nii.gz", torch.zeros(1, *SHAPE), np.eye(4))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    assert load_volume(tmp_path / "a.nii.gz").data.min() == 1


# ---- files that say one thing and hold another ----


def write_float(path, shape=(4, 5, 6), affine=None, unit="mm"):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = nib.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def test_a_flipped_bit_in_a_compressed_file_is_never_read_as_voxels(tmp_path, generator):
    """The checksum stands behind the last voxel, and counts."""
    image, path = torch.rand(1, 20, 20, 20, generator=generator), tmp_path / "a.nii.gz"
    save_volume(path, image, np.eye(4))
    whole = path.read_bytes()
    for place in range(10, len(whole), 1501):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert torch.equal(load_volume(path).data, image)  # a bit that means nothing, of the name for instance
        except ValueError as error:
            assert "a.nii.gz must" in str(error)  # noqa: PT017


def test_a_compressed_file_may_lack_its_second_ending(tmp_path):
    """And a plain one may have it: the first bytes decide."""
    plain = write_float(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    first, *others = (load_volume(tmp_path / name) for name in ("a.nii", "b.nii.gz", "c.nii"))
    for other in others:
        assert torch.equal(first.data, other.data)


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
def test_units_become_millimetres(tmp_path, unit, millimetres):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (4, 5, 6)
    grid = load_grid(write_float(tmp_path / "a.nii", affine=affine, unit=unit))
    assert grid.spacing == pytest.approx([3 * millimetres, 2 * millimetres, millimetres])
    assert grid.affine[:3, 3] == pytest.approx([4 * millimetres, 5 * millimetres, 6 * millimetres])
    sitk = pytest.importorskip("SimpleITK")
    theirs = sitk.ReadImage(str(tmp_path / "a.nii"))
    assert theirs.GetSpacing() == pytest.approx(grid.spacing[::-1])
    assert np.abs(theirs.GetOrigin()) == pytest.approx(np.abs(grid.affine[:3, 3]), rel=1e-5)


def test_grids_are_compared_at_their_corners(tmp_path):
    """Entries that differ by a hundredth move the far corner of a long axis by millimetres."""
    turned = np.eye(4)
    turned[0, 1] = 0.009
    long, short = (512, 512, 512), (2, 2, 2)
    assert corner_distance(Grid(long, np.eye(4)), Grid(long, turned)) == pytest.approx(511 * 0.009)
    check_same_grid(Grid(short, np.eye(4)), Grid(short, turned))
    with pytest.raises(ValueError, match=r"a and b must have the same affine, .* corners up to 4\.6 mm apart"):
        check_same_grid(Grid(long, np.eye(4), "a"), Grid(long, turned, "b"))
    # Microscopes: a hundredth of a millimetre is ten of their voxels.
    fine = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    moved = fine.copy()
    moved[1, 3] = 0.005
    with pytest.raises(ValueError, match=r"up to 0\.005 mm apart"):
        check_same_grid(Grid(short, fine), Grid(short, moved))


def test_labels_are_kept_exactly_or_refused(tmp_path):
    labels = torch.tensor([0, 1, 2**24 + 1, 2**31 - 1]).reshape(1, 1, 2, 2)
    save_volume(tmp_path / "a.nii.gz", labels, np.eye(4))
    assert torch.equal(load_labels(tmp_path / "a.nii.gz").data, labels)
    for data in (labels + 1, -labels - 2):
        with pytest.raises(ValueError, match=r"data must hold whole numbers below 2\^31, which a file can hold, got "):
            save_volume(tmp_path / "a.nii.gz", data, np.eye(4))
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 2**53, np.int64), np.eye(4), dtype=np.int64), tmp_path / "b.nii")
    with pytest.raises(ValueError, match=r"b.nii must hold labels, whole numbers from zero on, got 9\.0"):
        load_labels(tmp_path / "b.nii")

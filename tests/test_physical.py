"""Fields in millimetres on grids of every kind: what SimpleITK makes of them, what composing and inverting mean."""

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg.apply.scans import canonical, read_field, read_scan, write_field, write_scan
from moereg.data.volumes import Grid, load_displacement
from moereg.physical import (
    Displacement,
    as_stored,
    compose,
    covered,
    in_voxels,
    invert,
    jacobian,
    linear_part,
    on_own_axes,
    pull,
    whole_map,
)
from tests.geometries import GRIDS, PLAIN, grid_of, linear, points_of, scan

TURN = linear((8, -5, 12), (1.1, 0.93, 1.05), (2.0, -1.5, 1.0))


def waves(grid: Grid, size: float = 1.0) -> torch.Tensor:
    """A smooth deformation of about `size` voxels, different along every axis."""
    points = torch.from_numpy(np.ascontiguousarray(points_of(grid).T))  # (xyz, k, j, i)
    return size * torch.stack([torch.sin(points[2] / 5), torch.cos(points[0] / 4), torch.sin((points[1] + 2) / 6)])


def registered(moving: str, fixed: str) -> tuple[Displacement, Grid]:
    """A deformation on the canonical grid and a linear map, composed and brought back to the fixed file's own axes."""
    own = GRIDS[fixed]
    canon = canonical(scan(own)).grid
    return as_stored(on_own_axes(whole_map(waves(canon), canon, TURN), own)), own


@pytest.mark.parametrize("fixed", list(GRIDS))
@pytest.mark.parametrize("moving", ["plain", "oblique", "anisotropic"])
def test_sitk_pulls_the_native_moving_file_to_the_same_image(tmp_path, moving, fixed):
    """Difference below a millionth of the range, inside and outside: our field in memory, theirs from the file."""
    sitk = pytest.importorskip("SimpleITK")
    field, own = registered(moving, fixed)
    source = scan(GRIDS[moving])
    write_scan(tmp_path / "moving.nii.gz", source.data, source.grid, flat=False)
    write_scan(tmp_path / "fixed.nii.gz", torch.zeros(1, *own.shape), own, flat=False)
    write_field(tmp_path / "field.nii.gz", field)
    moved = read_scan(tmp_path / "moving.nii.gz")
    ours, inside = pull(moved.data, moved.grid, field, outside=-7.0)
    image = sitk.Cast(sitk.ReadImage(str(tmp_path / "moving.nii.gz")), sitk.sitkFloat64)
    reference = sitk.ReadImage(str(tmp_path / "fixed.nii.gz"))
    vectors = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(vectors)
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, sitk.sitkLinear, -7.0))
    span = float(source.data.max() - source.data.min())
    assert 0.4 < inside.double().mean() <= 1
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-6 * span


def test_the_field_leads_where_affine_and_deformation_say():
    """`d(A x) = T A (x + u(x)) - A x`, at one voxel by hand, on an oblique grid."""
    canon = canonical(scan(GRIDS["oblique"])).grid
    u = waves(canon)
    field = whole_map(u, canon, TURN)
    k, j, i = voxel = (7, 5, 9)
    here = canon.affine @ [i, j, k, 1]
    moved = canon.affine @ [i + float(u[2][voxel]), j + float(u[1][voxel]), k + float(u[0][voxel]), 1]
    assert np.allclose([float(v[voxel]) for v in field.vectors], (TURN @ moved - here)[:3], atol=1e-9)


@pytest.mark.parametrize("name", list(GRIDS))
def test_own_axes_hold_the_same_vectors_at_the_same_points(name):
    own = GRIDS[name]
    canon = canonical(scan(own)).grid
    one, other = whole_map(waves(canon), canon, TURN), on_own_axes(whole_map(waves(canon), canon, TURN), own)
    corner = points_of(own)[0, -1, 0]
    index = np.rint(np.linalg.inv(canon.affine) @ [*corner, 1])[:3].astype(int)
    assert torch.allclose(other.vectors[:, 0, -1, 0], one.vectors[:, index[2], index[1], index[0]])


def test_voxels_are_those_that_the_reader_of_volumes_finds(tmp_path):
    field, _ = registered("plain", "permuted")
    write_field(tmp_path / "f.nii.gz", field)
    assert torch.allclose(
        load_displacement(tmp_path / "f.nii.gz", canonical=False).data, in_voxels(field).float(), atol=1e-4
    )
    again, flat = read_field(tmp_path / "f.nii.gz")
    assert torch.equal(again.vectors, field.vectors)
    assert not flat


def test_composed_fields_act_one_after_the_other():
    """Linear maps compose to their product, in the order in which they act; the wrong order is far off."""
    turn, shift = TURN, linear((0, 0, 0), (1.2, 1, 1), (1, 2, -1))
    first = whole_map(torch.zeros(3, *PLAIN.shape), PLAIN, turn)
    second = whole_map(torch.zeros(3, *GRIDS["oblique"].shape), GRIDS["oblique"], shift)
    both = compose(first, second)
    expected = whole_map(torch.zeros(3, *GRIDS["oblique"].shape), GRIDS["oblique"], turn @ shift)
    # Between the outer voxel centres: beyond them a field goes on as on its border.
    inner = Grid(tuple(n - 1 for n in PLAIN.shape), PLAIN.affine @ linear((0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5)))
    inside = covered(second, inner)
    assert inside.double().mean() > 0.2
    assert torch.allclose(both.vectors[:, inside], expected.vectors[:, inside], atol=1e-4)
    assert both.grid is second.grid


@pytest.mark.parametrize("on", ["plain", "oblique"])
def test_an_inverse_leads_back(on):
    """Also where a turn and an enlargement make the plain fixed point diverge."""
    strong = linear((25, 0, 60), (1.6, 0.7, 1.3), (4, -3, 2))
    field = whole_map(waves(PLAIN, 0.7), PLAIN, strong)
    back = invert(field, GRIDS[on])
    assert back.reached.double().mean() > 0.2
    assert back.residual[back.reached].max() < 0.01
    points = points_of(GRIDS[on]) + back.field.vectors.numpy().T  # (X, Y, Z, xyz)
    index = np.linalg.inv(PLAIN.affine)[:3, :3] @ points[..., None]
    index = index[..., 0] + np.linalg.inv(PLAIN.affine)[:3, 3]
    place = back.reached.nonzero()[len(back.reached.nonzero()) // 2].tolist()
    at = index[place[2], place[1], place[0]]
    from scipy.ndimage import map_coordinates

    vector = [map_coordinates(v.numpy(), at[::-1, None], order=1, mode="nearest")[0] for v in field.vectors]
    goal = points_of(GRIDS[on])[place[2], place[1], place[0]]
    assert np.allclose(points[place[2], place[1], place[0]] + vector, goal, atol=0.02)


def test_a_fold_is_not_inverted_in_silence():
    u = torch.zeros(3, *PLAIN.shape)
    u[2, :, :, 8:12] = torch.tensor([4.0, 1.0, -2.0, -4.0])
    back = invert(whole_map(u, PLAIN, np.eye(4)))
    assert back.residual.max() > 0.05


def test_volume_change_of_a_linear_map_is_its_determinant():
    for grid in (GRIDS["oblique"], grid_of((9, 8, 1), (2, 1, 4))):
        change = jacobian(whole_map(torch.zeros(3, *grid.shape), grid, linear((5, 0, 3), (1.2, 0.9, 1), (1, 0, 0))))
        assert change.shape == grid.shape
        assert torch.allclose(change, torch.full_like(change, 1.08), atol=0.05 if 1 in grid.shape else 1e-6)


def test_the_linear_part_is_found_again():
    grid = GRIDS["anisotropic"]
    assert np.allclose(linear_part(whole_map(torch.zeros(3, *grid.shape), grid, TURN)), TURN, atol=1e-9)
    flat = grid_of((9, 8, 1), (2, 1, 4))
    shift = linear((0, 0, 0), (1, 1, 1), (3, 1, 0))
    assert np.allclose(linear_part(whole_map(torch.zeros(3, *flat.shape), flat, shift)), shift, atol=1e-6)


def test_outside_the_moving_image_there_is_the_value_asked_for():
    """Half a voxel beyond the outer centres still counts as inside, as ITK has it."""
    line = grid_of((4, 1, 1), (1, 1, 1))
    image = torch.tensor([1.0, 2, 3, 4]).reshape(1, 1, 1, 4)
    for shift, expected in ((0.4, [1.4, 2.4, 3.4, 4]), (0.6, [1.6, 2.6, 3.6, -1]), (-0.6, [-1, 1.4, 2.4, 3.4])):
        vectors = torch.tensor([shift, 0, 0], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 1, 4)
        pulled, inside = pull(image, line, Displacement(vectors, line), outside=-1.0)
        assert torch.allclose(pulled.flatten(), torch.tensor(expected, dtype=torch.float64))
        assert inside.flatten().tolist() == [value != -1 for value in expected]
    assert pull(image, line, Displacement(vectors, line), outside=None)[0].flatten()[0] == 1


def test_labels_keep_their_numbers():
    """Nearest voxel, numbers beyond what float32 holds."""
    grid = grid_of((3, 3, 3), (1, 1, 1))
    labels = torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    labels[0, 1, 1, 1] = 2**24 + 1
    vectors = torch.full((3, 3, 3, 3), 0.4, dtype=torch.float64)
    pulled, _ = pull(labels, grid, Displacement(vectors, grid), mode="nearest")
    assert pulled.long()[0, 1, 1, 1] == 2**24 + 1


def test_a_2d_file_stays_2d_and_sitk_applies_its_field(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    affine = linear((0, 0, 20), (-1, 1, 1), (3, -2, 0)) @ np.diag([1.5, 1.2, 1, 1])
    values = np.random.default_rng(0).uniform(0, 9, (14, 11)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "m.nii.gz")
    moving = read_scan(tmp_path / "m.nii.gz")
    assert moving.flat
    assert moving.data.shape == (1, 1, 11, 14)
    vectors = torch.zeros(3, 1, 11, 14, dtype=torch.float64)
    vectors[0], vectors[1] = 0.7, -1.1
    field = as_stored(Displacement(vectors, moving.grid))
    write_field(tmp_path / "f.nii.gz", field, flat=True)
    again, flat = read_field(tmp_path / "f.nii.gz")
    assert flat
    assert torch.equal(again.vectors, field.vectors)
    ours, _ = pull(moving.data, moving.grid, again, outside=-1.0)
    write_scan(tmp_path / "w.nii.gz", ours.float(), moving.grid, flat=True)
    assert nib.load(tmp_path / "w.nii.gz").shape == (14, 11)
    image = sitk.Cast(sitk.ReadImage(str(tmp_path / "m.nii.gz")), sitk.sitkFloat64)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "f.nii.gz"), sitk.sitkVectorFloat64))
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear, -1.0))
    assert np.abs(ours[0, 0].numpy() - theirs).max() < 1e-5


def test_a_2d_file_out_of_the_plane_is_refused(tmp_path):
    affine = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.ones((5, 4), np.float32), affine), tmp_path / "c.nii.gz")
    with pytest.raises(ValueError, match=r"c.nii.gz is a 2-D file out of the plane of x and y.*\(5, 4, 1\)"):
        read_scan(tmp_path / "c.nii.gz")

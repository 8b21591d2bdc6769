"""Alignment finds a known map, and in the right direction, whatever the two grids are."""

import sys

import numpy as np
import pytest
import torch

from moereg.alignment import align, foreground, same_grid, search
from moereg.alignment import linear as choosing
from moereg.data.onegrid import thin_axis
from moereg.data.volumes import Grid, Volume
from tests.geometries import GRIDS, PLAIN, grid_of, linear, scan

TRUTH = linear((8, -5, 6), (1.1, 0.93, 1.05), (3.0, -2.0, 2.5))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """One level of few cells finds a map between small smooth scans; one turn is enough to choose between."""
    pytest.importorskip("SimpleITK")
    monkeypatch.setattr(search, "CELLS", (18,))
    monkeypatch.setattr(search, "BEST_STARTS", 1)
    monkeypatch.setattr(search, "ITERATIONS", 60)


def apart(found: np.ndarray, truth: np.ndarray, fixed: Grid) -> float:
    """Mean distance in millimetres of two maps over the corners of a box half as large as the fixed image."""
    half = np.array(fixed.shape[::-1]) * np.array(fixed.spacing[::-1]) / 4
    corners = np.stack(np.meshgrid(*[[-n, n] for n in half]), -1).reshape(-1, 3)
    both = [corners @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (found, truth)]
    return float(np.linalg.norm(both[0] - both[1], axis=1).mean())


@pytest.mark.parametrize(
    ("moving", "fixed"), [("plain", "oblique"), ("oblique", "permuted"), ("flipped", "anisotropic")]
)
def test_a_known_map_is_found_in_its_direction(moving, fixed):
    """The moving scan at `TRUTH @ p` shows what the fixed one shows at p; the inverse would be far off."""
    pair = scan(GRIDS[moving], np.linalg.inv(TRUTH)), scan(GRIDS[fixed])
    found = align(*pair, "affine")
    assert found.kind == "affine"
    assert apart(found.matrix, TRUTH, GRIDS[fixed]) < 1
    assert apart(np.linalg.inv(found.matrix), TRUTH, GRIDS[fixed]) > 4
    assert "affine, mutual information" in found.said


def test_a_rigid_map_keeps_lengths():
    turn = linear((0, 10, 8), (1, 1, 1), (2, 1, -2))
    found = align(scan(GRIDS["permuted"], np.linalg.inv(turn)), scan(PLAIN), "rigid")
    assert found.kind == "rigid"
    assert np.allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-6)
    assert apart(found.matrix, turn, PLAIN) < 0.5


def test_a_start_far_off_is_found_by_the_middles():
    """Two scans whose headers place them 300 mm apart do not overlap at all."""
    far = linear((0, 0, 0), (1, 1, 1), (300, -200, 100))
    there = grid_of((14, 12, 10), (2, 2, 2), middle=(300, -200, 100))
    found = align(scan(there, np.linalg.inv(far)), scan(PLAIN), "rigid")
    assert apart(found.matrix, far, PLAIN) < 0.3


def test_the_middles_of_the_grids():
    other = grid_of((5, 9, 7), (3, 1, 2), degrees=(30, 0, 0), middle=(10, 20, -5))
    found = align(scan(other), scan(PLAIN), "centre")
    assert np.allclose(found.matrix, linear((0, 0, 0), (1, 1, 1), (10, 20, -5)), atol=1e-5)
    assert np.array_equal(align(scan(other), scan(PLAIN), "none").matrix, np.eye(4))


def test_auto_leaves_what_overlaps_and_aligns_the_rest(monkeypatch):
    asked = []
    monkeypatch.setattr(
        choosing, "search", lambda moving, fixed, frame, kind, mask: asked.append(kind) or (np.eye(4), kind, "found")
    )
    assert "foregrounds overlap with Dice 1.00" in align(scan(PLAIN), scan(PLAIN)).said
    assert asked == []
    assert "Dice 0" in align(scan(PLAIN, linear((0, 0, 0), (1, 1, 1), (12, 0, 0))), scan(PLAIN)).said
    assert "different grids" in align(scan(GRIDS["oblique"]), scan(PLAIN)).said
    assert asked == ["affine", "affine"]


def test_a_mask_says_where_images_count():
    """Half of the moving scan lies elsewhere; the other half alone decides."""
    near, far = linear((0, 0, 0), (1, 1, 1), (3, 0, 0)), linear((0, 0, 0), (1, 1, 1), (-5, 4, 0))
    fixed, moving = scan(PLAIN), scan(PLAIN, np.linalg.inv(near))
    moving.data[..., :9, :, :] = scan(PLAIN, np.linalg.inv(far)).data[..., :9, :, :]
    mask = np.zeros(PLAIN.shape, dtype=bool)
    mask[10:] = True
    with_mask = apart(align(moving, fixed, "rigid", mask=mask).matrix, near, PLAIN)
    assert with_mask < 0.6 < apart(align(moving, fixed, "rigid").matrix, near, PLAIN)


def test_slices_are_aligned_in_their_plane(monkeypatch):
    """Coronal slices (one voxel along y) 7 mm apart: turned and shifted within the plane, brought to one another."""
    monkeypatch.setattr(search, "CELLS", (32,))
    fixed = grid_of((32, 1, 28), (1, 4, 1))
    moving = grid_of((28, 1, 36), (1.05, 5, 0.9), flip=(-1, 1, 1), middle=(0, 7, 0))
    turn = linear((0, 9, 0), (1, 1, 1), (2, 7, -1.5))
    found = align(scan(moving, np.linalg.inv(turn)), scan(fixed), "rigid")
    inside = np.array([[-8, 0, -8], [8, 0, 6], [0, 0, 0], [5, 0, -7.0]])
    found, truth = (inside @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (found.matrix, turn))
    assert np.linalg.norm(found - truth, axis=1).max() < 0.4
    shift = align(scan(moving), scan(fixed), "none").matrix
    assert np.allclose(shift[:3, 3], [0, 7, 0], atol=1e-5)


@pytest.mark.plain_errors
def test_what_cannot_be_aligned_is_refused():
    flat, tilted = grid_of((32, 1, 28), (1, 4, 1)), grid_of((32, 1, 28), (1, 4, 1), degrees=(30, 0, 0))
    with pytest.raises(ValueError, match="both be volumes or both be single slices"):
        align(scan(PLAIN), scan(flat), "none")
    with pytest.raises(ValueError, match="parallel planes, got planes 30 degrees apart"):
        align(scan(tilted), scan(flat), "none")
    with pytest.raises(ValueError, match="kind must be one of 'auto'"):
        align(scan(PLAIN), scan(PLAIN), "center")
    with pytest.raises(ValueError, match="must be a volume or a slice"):
        thin_axis(grid_of((1, 1, 5), (1, 1, 1)))


def test_without_simpleitk_the_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match="pip install SimpleITK, or choose none or centre"):
        align(scan(GRIDS["oblique"]), scan(PLAIN))
    assert align(scan(GRIDS["oblique"]), scan(PLAIN), "centre").kind == "centre"


def test_one_grid_is_one_to_a_hundredth_of_a_voxel():
    turned = Grid(PLAIN.shape, PLAIN.affine @ linear((0, 0, 0.05), (1, 1, 1), (0, 0, 0)))
    assert same_grid(PLAIN, Grid(PLAIN.shape, PLAIN.affine + 1e-4))
    assert not same_grid(PLAIN, turned)
    assert not same_grid(PLAIN, Grid((10, 12, 15), PLAIN.affine))


def test_foreground_is_what_otsu_says():
    values = torch.cat([torch.full((30,), 1.0), torch.full((10,), 9.0)]).reshape(1, 1, 4, 10)
    image = Volume(values, Grid((1, 4, 10), np.eye(4)))
    assert np.array_equal(foreground(image.data[0].numpy()), values[0].numpy() > 5)
    assert not foreground(np.zeros((3, 3, 3))).any()

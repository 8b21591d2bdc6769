"""Grids as scanners leave them, and a smooth scan that can be looked at on any of them."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from moereg.data.volumes import Grid, Volume


def grid_of(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    degrees: tuple[float, float, float] = (0, 0, 0),
    order: tuple[int, int, int] = (0, 1, 2),
    flip: tuple[int, int, int] = (1, 1, 1),
    middle: tuple[float, float, float] = (0, 0, 0),
) -> Grid:
    """A grid of a file's own (i, j, k) shape and spacing, turned about x, y and z, axes exchanged and flipped."""
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = (turned @ np.diag(flip))[:, order] @ np.diag(spacing)
    affine[:3, 3] = np.array(middle) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape[::-1], affine.astype(np.float32).astype(np.float64), "made")  # as a NIfTI header holds it


PLAIN = grid_of((22, 20, 18), (1.3, 1.3, 1.3))
GRIDS = {
    "plain": PLAIN,
    "flipped": grid_of((19, 22, 20), (1.4, 1.3, 1.2), flip=(-1, -1, 1), middle=(1, 0, -1)),
    "permuted": grid_of((20, 18, 23), (1.2, 1.3, 1.25), order=(2, 0, 1), flip=(1, -1, 1)),
    "oblique": grid_of((21, 20, 18), (1.3, 1.4, 1.5), degrees=(14, -9, 20), order=(1, 2, 0), flip=(-1, 1, -1)),
    "anisotropic": grid_of((26, 24, 9), (1.1, 1.2, 3.0), degrees=(5, 0, -8), middle=(-2, 1, 0)),
}


def points_of(grid: Grid) -> np.ndarray:
    """`(X, Y, Z, 3)`: every voxel of the file in millimetres RAS."""
    index = np.stack(np.meshgrid(*[np.arange(size) for size in grid.shape[::-1]], indexing="ij"), -1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def scan(grid: Grid, matrix: np.ndarray | None = None) -> Volume:
    """A smooth, lopsided scan of some 24 mm, seen on a grid; at p it shows what lies at `matrix @ p`."""
    points = points_of(grid)
    if matrix is not None:
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    values = np.zeros(points.shape[:3])
    for centre, width, height in (
        ((0, 0, 0), (4, 8, 3.5), 60),
        ((4, -4, 1), (2, 2, 3), 60),
        ((-3, 6, -2), (2, 2.5, 2), -50),
        ((1, 5, 4), (4, 1.6, 2), 50),
        ((-2, -5, -3), (1.8, 3, 2), 40),
    ):
        values += height * np.exp(-0.5 * (((points - centre) / width) ** 2).sum(-1))
    return Volume(torch.tensor(np.ascontiguousarray(values.T), dtype=torch.float32)[None], grid)


def linear(degrees: tuple[float, float, float], scale: tuple[float, float, float], shift: tuple[float, ...]):
    """`(4, 4)` in millimetres RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix

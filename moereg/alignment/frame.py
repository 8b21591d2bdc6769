"""Coordinates in which two volumes, or two parallel slices, are aligned."""

from dataclasses import dataclass

import numpy as np

from moereg.data.onegrid import thin_axis
from moereg.data.volumes import Grid


@dataclass(frozen=True)
class Frame:
    """Coordinates in which two volumes (d = 3), or two parallel slices (d = 2), are aligned.

    A point p in millimetres RAS has the coordinates `axes.T @ p`. For volumes, axes is the identity.
    """

    axes: np.ndarray  # (3, d), orthonormal columns
    normal: np.ndarray  # (3,): across the slices; zero for volumes
    gap: float = 0.0  # from the fixed plane to the moving one along the normal, mm

    @property
    def dims(self) -> int:
        return self.axes.shape[1]

    def lift(self, matrix: np.ndarray) -> np.ndarray:
        """`(d+1, d+1)` in these coordinates -> `(4, 4)` in millimetres RAS; a slice also moves to the other's plane."""
        lifted = np.eye(4)
        d = self.dims
        lifted[:3, :3] = self.axes @ matrix[:d, :d] @ self.axes.T + np.outer(self.normal, self.normal)
        lifted[:3, 3] = self.axes @ matrix[:d, d] + self.normal * self.gap
        return lifted

    def middle(self, grid: Grid) -> np.ndarray:
        """Of a grid, `(d,)`."""
        voxel = np.append((np.array(grid.shape[::-1]) - 1) / 2, 1)
        return self.axes.T @ (grid.affine @ voxel)[:3]


def common_frame(moving: Grid, fixed: Grid) -> Frame:
    """The frame for two grids. Raises `ValueError` for a slice and a volume, and for planes that are not parallel."""
    thin = [thin_axis(grid) for grid in (moving, fixed)]
    if thin == [None, None]:
        return Frame(np.eye(3), np.zeros(3))
    if None in thin:
        raise ValueError(
            f"moving and fixed must both be volumes or both be single slices, got shapes {moving.shape[::-1]} and "
            f"{fixed.shape[::-1]}."
        )
    normals, points = [], []
    axes = [axis for axis in thin if axis is not None]
    for grid, axis in zip((moving, fixed), axes, strict=True):
        one, other = np.delete(grid.affine[:3, :3], 2 - axis, axis=1).T
        normals.append(np.cross(one, other) / np.linalg.norm(np.cross(one, other)))
        points.append(grid.affine[:3, 3])
    if abs(normals[0] @ normals[1]) < np.cos(np.deg2rad(1)):
        angle = np.rad2deg(np.arccos(np.clip(abs(normals[0] @ normals[1]), 0, 1)))
        raise ValueError(f"two single slices must lie in parallel planes, got planes {angle:.0f} degrees apart.")
    normal = normals[1]
    first = np.delete(fixed.affine[:3, :3], 2 - axes[1], axis=1)[:, 0]
    first = first / np.linalg.norm(first)
    return Frame(np.stack([first, np.cross(normal, first)], 1), normal, float(normal @ (points[0] - points[1])))


def shifted_by(by: np.ndarray) -> np.ndarray:
    """`(d+1, d+1)`: a shift and nothing else."""
    matrix = np.eye(len(by) + 1)
    matrix[:-1, -1] = by
    return matrix

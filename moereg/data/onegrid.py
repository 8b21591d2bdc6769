"""One grid for the images of a table: volumes of several shapes, single slices and 2-D files.

A network is trained on images of one shape. Where those of a table differ in it, all are brought to the largest size
along every axis, padded about their middle (`moereg.data.filepairs.centre`): nothing is cut off. One image that is far
from the others would blow up all of them, or be mostly padding itself; it is refused.

Images of a pair that lie in different places, as those of two people do, are put middle to middle. Their voxels are
never resampled. What was done is told in a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moereg.data.volumes import Grid, Volume, axes_of, load_flat, load_grid, load_labels, load_volume, on_one_grid

FAR = 2.0  # times the median size along an axis, or that part of it: such an image does not belong to the others
ALIKE = 1.02  # factor of voxel sizes up to which nothing is said


@dataclass(frozen=True)
class OneGrid:
    """What becomes of the images of a table."""

    shape: tuple[int, ...] | None  # that all are brought to; None: they have it already
    in_place: bool  # whether the images of every pair lie on one grid as they are
    told: str  # empty where there is nothing to tell


def one_grid(table: str | Path, pairs: Sequence[tuple[Grid, Grid]], shape: tuple[int, ...] | None = None) -> OneGrid:
    """How the images (moving, fixed) of a table come onto one grid.

    Args:
        shape: asked for; may be smaller than images are, and further from them than `FAR`. Tensor axes.

    Raises:
        ValueError: volumes and slices, or slices across different axes, in one table; an image of a shape far from the
            others'; `shape` of another number of axes.
    """
    grids = list({grid.name: grid for pair in pairs for grid in pair}.values())
    _check_axes(table, grids)
    sizes = np.array([plane_of(grid)[0] for grid in grids])
    in_place = all(on_one_grid(*pair) for pair in pairs)
    if shape is not None and len(shape) != sizes.shape[1]:
        raise ValueError(f"shape must have {sizes.shape[1]} sizes for the images of {table}, got {tuple(shape)}.")
    differ = bool((sizes != sizes[0]).any())
    if differ and shape is None:
        _check_near(table, grids, sizes)
    chosen = shape or (tuple(sizes.max(0).tolist()) if differ else None)
    parts = []
    if differ and chosen is not None:
        how = "padded" if (np.array(chosen) >= sizes.max(0)).all() else "padded and cropped"
        parts.append(
            f"images differ in shape, from {_told(sizes.min(0))} to {_told(sizes.max(0))} voxels; all are {how} about "
            f"their middle to {_told(chosen)}, labels and masks with them"
        )
    if not in_place:
        parts.append(
            "images of a pair that lie on different grids are put middle to middle, whatever their headers say"
        )
    edges = np.array([plane_of(grid)[1] for grid in grids])
    if (edges.max(0) > ALIKE * edges.min(0)).any():
        parts.append(f"voxels differ, from {_told(edges.min(0))} to {_told(edges.max(0))} mm, and are not resampled")
    return OneGrid(chosen, in_place, "; ".join(parts))


def load_either(path: str | Path, *, labels: bool = False) -> Volume:
    """A volume, a single slice or a 2-D file, axes in canonical order: `(1, *S)` with two axes for the latter two.

    Raises:
        FileNotFoundError, ValueError: as `load_volume` and `load_labels`.
    """
    if axes_of(path) == 2:
        volume = load_flat(path, labels=labels, canonical=True)
    else:
        volume = load_labels(path) if labels else load_volume(path)
    thin = thin_axis(volume.grid)
    return volume if thin is None else Volume(volume.data.squeeze(1 + thin), volume.grid)


def load_either_grid(path: str | Path) -> Grid:
    """Shape and affine alone, always with three axes."""
    return load_grid(path, axes=2 if axes_of(path) == 2 else 3)


def plane_of(grid: Grid) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and voxel size (mm) along the axes that an image has: all of a volume, the two within a slice."""
    thin = thin_axis(grid)
    kept = [axis for axis in range(3) if axis != thin]
    return tuple(grid.shape[axis] for axis in kept), tuple(grid.spacing[axis] for axis in kept)


def thin_axis(grid: Grid) -> int | None:
    """The tensor axis of a single slice along which it has one voxel; None for a volume.

    Raises:
        ValueError: more than one axis has one voxel.
    """
    thin = [axis for axis, size in enumerate(grid.shape) if size == 1]
    if len(thin) > 1:
        raise ValueError(f"{grid.name or 'image'} must be a volume or a slice, got shape {grid.shape[::-1]}.")
    return thin[0] if thin else None


def _check_axes(table: str | Path, grids: Sequence[Grid]) -> None:
    first = grids[0]
    for grid in grids[1:]:
        if thin_axis(grid) != thin_axis(first):
            raise ValueError(
                f"{table} must name volumes, or slices across one axis, got {first.name} of {_told(first.shape)} and "
                f"{grid.name} of {_told(grid.shape)} voxels."
            )


def _check_near(table: str | Path, grids: Sequence[Grid], sizes: np.ndarray) -> None:
    """Refuse the image that is furthest from the median size, if it is too far."""
    middle = np.median(sizes, axis=0)
    apart = np.maximum(sizes / middle, middle / sizes).max(1)
    if apart.max() > FAR:
        worst = int(apart.argmax())
        raise ValueError(
            f"{table} must name images of like shapes, half to twice the median {_told(middle)} along each axis, got "
            f"{grids[worst].name} of {_told(sizes[worst])} voxels; crop or resample it first, or leave it out."
        )


def _told(values) -> str:
    """In the order of a file's axes."""
    return " x ".join(f"{round(float(value), 2):g}" for value in reversed(list(values)))

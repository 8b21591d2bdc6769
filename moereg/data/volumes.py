"""Volumes on disk: NIfTI in and out, and displacements as ITK and ANTs read them. Other formats are read only, see
`moereg.data.formats`.

Two frames meet here. A file stores voxels `[i, j, k]` and an affine to millimetres RAS, which grow towards the
patient's right, front and head. A tensor here is `[k, j, i]`, in the order of SimpleITK's arrays: its last axis is the
file's first. Affines are nibabel's, they map `(i, j, k)`.

With `canonical=True`, the default, axes are first exchanged and flipped (never resampled) so that i, j, k run most
nearly towards right, front and head. Tensor axis 0 is then cranio-caudal in every file, which a network that treats
directions differently depends on. The affine changes along, so what is saved with it lies in the same place in space.

A displacement file holds, for every voxel of the fixed image, a vector in millimetres LPS (ITK's axes: the first two of
RAS negated), with shape `(X, Y, Z, 1, 3)` and intent 1007. With `A` the upper 3 x 3 of the affine and `u` in voxels,

    vector = diag(-1, -1, 1) A (u_i, u_j, u_k)

Before any voxel is read, the header is checked (`moereg.data.headers`); what a compressed file's checksum says is
looked at to its end.
"""

import gzip
import itertools
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float, Integer
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from torch import Tensor

from moereg.checks import check_field
from moereg.data.headers import Image, affine_of_file, kind_of, opened, rows_of, said_by, shape_of
from moereg.files import whole

LPS = np.diag([-1.0, -1.0, 1.0])  # RAS to LPS and back
VECTOR_INTENT = 1007
SUFFIXES = (".nii", ".nii.gz")
SAME = 0.02  # voxels that the corners of two grids may lie apart
SPARE = 2**20  # bytes that may follow the voxels of a compressed file
LARGEST = 2**53  # labels from here on would be rounded


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie."""

    shape: tuple[int, int, int]  # tensor axes (k, j, i)
    affine: np.ndarray  # (4, 4): voxel (i, j, k) to millimetres RAS
    name: str = ""  # the file

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in millimetres along the tensor's axes."""
        i, j, k = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return k, j, i


@dataclass(frozen=True)
class Volume:
    """One file: an image `(1, *S)` float32, labels `(1, *S)` int64, or a displacement `(3, *S)` in voxels."""

    data: Float[Tensor, "channel *space"] | Integer[Tensor, "channel *space"]
    grid: Grid

    @property
    def affine(self) -> np.ndarray:
        """Voxel `(i, j, k)` to millimetres RAS, as nibabel has it."""
        return self.grid.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in millimetres along the tensor's axes."""
        return self.grid.spacing


def load_volume(path: str | Path, *, canonical: bool = True) -> Volume:
    """Read an image, `(1, *S)` float32, tensor axes (k, j, i).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not NIfTI, truncated, damaged (the checksum of a compressed file), not three axes, colours or
            complex numbers, or NaN or infinity among the voxels. Each names the file.
    """
    values, grid = _read(path, canonical, np.float32)
    return Volume(torch.from_numpy(np.ascontiguousarray(values.T))[None], grid)


def load_flat(path: str | Path, *, labels: bool = False, canonical: bool = False) -> Volume:
    """Read a 2-D file as a single slice, `(1, 1, *S)`, float32, or int64 for `labels`.

    Raises:
        FileNotFoundError, ValueError: as `load_volume` and `load_labels`; not two axes.
    """
    values, grid = _read(path, canonical, np.float64, axes=2)
    if labels:
        return Volume(_as_labels(values, path), grid)
    return Volume(torch.from_numpy(np.ascontiguousarray(values.T, dtype=np.float32))[None], grid)


def axes_of(path: str | Path) -> int:
    """How many axes a file has by its header, without those of one voxel at the end beyond the third.

    Raises:
        FileNotFoundError, ValueError: it cannot be read.
    """
    with opened(path, axes=None) as (image, _):
        return len(shape_of(image))


def load_labels(path: str | Path, *, canonical: bool = True) -> Volume:
    """Read a label map, `(1, *S)` int64. Whole numbers stored as floating point are accepted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `load_volume`; a negative value, one that is not whole, or 2^53 and more.
    """
    values, grid = _read(path, canonical, np.float64)
    return Volume(_as_labels(values, path), grid)


def _as_labels(values: np.ndarray, path: str | Path) -> Tensor:
    labels = np.rint(values)
    odd = (np.abs(values - labels) > 1e-4) | (labels < 0) | (labels >= LARGEST)
    if odd.any():
        raise ValueError(f"{path} must hold labels, whole numbers from zero on, got {values[odd][0]:g}.")
    return torch.from_numpy(np.ascontiguousarray(labels.T).astype(np.int64))[None]


def load_grid(path: str | Path, *, canonical: bool = True, axes: int = 3) -> Grid:
    """Read shape and affine alone. Raises as `load_volume`, except for what only the voxels tell."""
    with opened(path, axes=axes) as (image, _):
        return _grid(image, path, canonical)


def load_displacement(path: str | Path, *, canonical: bool = True) -> Volume:
    """Read an ITK or ANTs displacement file, `(3, *S)` in voxels, channel `d` along tensor axis `d`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not NIfTI, truncated, not of shape (X, Y, Z, 1, 3), or not finite.
    """
    values, grid = _read(path, canonical, np.float64, vector=True)
    vectors = values[:, :, :, 0] @ LPS  # millimetres RAS
    steps = vectors @ np.linalg.inv(grid.affine[:3, :3]).T  # (X, Y, Z, ijk) in voxels
    field = np.ascontiguousarray(steps[..., ::-1].T, dtype=np.float32)  # (kji, Z, Y, X)
    return Volume(torch.from_numpy(field), grid)


def load_vectors(path: str | Path) -> tuple[np.ndarray, Grid]:
    """Read a displacement file's own vectors, millimetres LPS, with all digits: `(X, Y, Z, 3)`, or `(X, Y, 1, 2)` of a
    2-D file. Axes are the file's.

    Raises:
        FileNotFoundError, ValueError: as `load_displacement`.
    """
    with opened(path, axes=None) as (image, _):
        flat = len(image.shape) == 5 and tuple(image.shape[2:]) == (1, 1, 2)
    values, grid = _read(path, False, np.float64, vector=True, axes=2 if flat else 3)
    return values[:, :, :, 0], grid


def save_volume(path: str | Path, data: Tensor, affine: np.ndarray) -> None:
    """Write an image or a label map, `(1, *S)` or `(*S)`, tensor axes (k, j, i). Integers are kept as int16 or int32.

    Raises:
        ValueError: another shape, values that are not finite, whole numbers from 2^31 on, a name that does not end in
            .nii or .nii.gz.
        FileNotFoundError: no such folder.
    """
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 3:
        raise ValueError(f"data must have shape (1, *space) or (*space) with three axes, got {tuple(data.shape)}.")
    values = data.detach().cpu().numpy().T
    if data.is_floating_point():
        if not np.isfinite(values).all():
            raise ValueError("data must hold finite values only, got NaN or infinity.")
        values = values.astype(np.float32)
    else:
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if not -(2**31) <= low <= high < 2**31:
            raise ValueError(f"data must hold whole numbers below 2^31, which a file can hold, got {low} to {high}.")
        values = values.astype(np.int16 if max(high, -low) < 2**15 else np.int32)
    _write(path, nib.Nifti1Image(values, affine))


def save_displacement(path: str | Path, displacement: Tensor, affine: np.ndarray) -> None:
    """Write a displacement as ITK and ANTs read it: vectors in millimetres LPS on the fixed image's grid.

    Args:
        path: ends in .nii or .nii.gz.
        displacement: `(3, *S)` or `(1, 3, *S)` in voxels.
        affine: the fixed image's, voxel `(i, j, k)` to millimetres RAS.

    Raises:
        ValueError, TypeError: another shape, values that are not finite, another ending.
        FileNotFoundError: no such folder.
    """
    field = displacement if displacement.ndim == 5 else displacement[None]
    check_field("displacement", field)
    if field.shape[:2] != (1, 3):
        raise ValueError(f"displacement must be one volume (3, *space), got shape {tuple(displacement.shape)}.")
    steps = field[0].detach().cpu().double().numpy().T[..., ::-1]  # (X, Y, Z, ijk)
    vectors = steps @ affine[:3, :3].T @ LPS
    image = nib.Nifti1Image(vectors[:, :, :, None].astype(np.float32), affine)
    image.header.set_intent(VECTOR_INTENT)
    _write(path, image)


def on_one_grid(first: Grid, second: Grid) -> bool:
    """Whether two files have equal shape, and corners that lie a fiftieth of a voxel apart at most."""
    near = SAME * min(*first.spacing, *second.spacing)
    return first.shape == second.shape and corner_distance(first, second) <= near


def check_same_grid(first: Grid, second: Grid) -> None:
    """Require two files to lie on one grid, as `on_one_grid` says.

    Raises:
        ValueError: they do not. The sentence names both files and what differs.
    """
    if on_one_grid(first, second):
        return
    if first.shape != second.shape:
        raise ValueError(
            f"{first.name} and {second.name} must have the same shape, got {first.shape[::-1]} and "
            f"{second.shape[::-1]}; resample one onto the other's grid first."
        )
    raise ValueError(
        f"{first.name} and {second.name} must have the same affine, got {rows_of(first.affine)} and "
        f"{rows_of(second.affine)}, which puts their corners up to {corner_distance(first, second):.3g} mm apart; "
        "resample one onto the other's grid first."
    )


def corner_distance(first: Grid, second: Grid) -> float:
    """How far apart in millimetres the same corner of two grids of equal shape lies, for the corner that is worst.

    What differs between two affine maps grows linearly, so no voxel is further away than a corner.
    """
    corners = np.array([(*place, 1) for place in itertools.product(*((0, n - 1) for n in first.shape[::-1]))])
    return float(np.linalg.norm(corners @ (first.affine - second.affine).T, axis=1).max())


def _read(
    path: str | Path, canonical: bool, dtype: type, *, vector: bool = False, axes: int = 3
) -> tuple[np.ndarray, Grid]:
    """Scaled voxel values `(X, Y, Z)`, or `(X, Y, Z, 1, 3)` of a vector file, and where they lie."""
    with opened(path, vector=vector, axes=axes) as (image, stream):
        try:
            with np.errstate(all="ignore"):  # what leaves the range becomes infinite, and is refused
                values = np.asarray(image.dataobj, dtype=dtype)
            rest = len(stream.read(SPARE + 1)) if isinstance(stream, gzip.GzipFile) else 0
        except Exception as error:  # of two decoders, on bytes from anywhere
            raise ValueError(
                f"{path} must be a whole {kind_of(path)} file, but its voxels cannot be read ({said_by(error)})."
            ) from error
        # The checksum of a compressed file stands behind its last byte: nobody sees it who reads the voxels alone.
        if rest > SPARE:
            raise ValueError(f"{path} must hold {image.shape} voxels, as its header says, but goes on after them.")
        grid = _grid(image, path, canonical)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} must hold finite values only, got NaN or infinity.")
    if not vector:
        values = values.reshape((*values.shape, 1)[:3])
    return (apply_orientation(values, io_orientation(affine_of_file(image))) if canonical else values), grid


def _grid(image: Image, path: str | Path, canonical: bool) -> Grid:
    affine, shape = affine_of_file(image), np.array((*image.shape, 1)[:3])
    if canonical:
        order = io_orientation(affine)  # for each file axis: the canonical axis it runs along, and its sign
        affine = affine @ inv_ornt_aff(order, tuple(shape))
        shape = shape[np.argsort(order[:, 0])]
    return Grid(shape=tuple(shape[::-1].tolist()), affine=affine, name=str(path))


def _write(path: str | Path, image: nib.Nifti1Image) -> None:
    """Write a NIfTI file, whole or not at all."""
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"path must end in .nii or .nii.gz, got {path}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}.")
    image.header.set_xyzt_units("mm")
    with whole(path) as unfinished:
        nib.save(image, unfinished)

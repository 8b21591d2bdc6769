"""Volumes on disk: NIfTI in and out, and displacements as ITK and ANTs read them.

Two frames meet here. A file stores voxels `[i, j, k]` and an affine to millimetres RAS, which grow towards the
patient's right, front and head. A tensor here is `[k, j, i]`, in the order of SimpleITK's arrays: its last axis is the
file's first. Affines are nibabel's, they map `(i, j, k)`.

With `canonical=True`, the default, axes are first exchanged and flipped (never resampled) so that i, j, k run most
nearly towards right, front and head. Tensor axis 0 is then cranio-caudal in every file, which a network that treats
directions differently depends on. The affine changes along, so what is saved with it lies in the same place in space.

A displacement file holds, for every voxel of the fixed image, a vector in millimetres LPS (ITK's axes: the first two of
RAS negated), with shape `(X, Y, Z, 1, 3)` and intent 1007. With `A` the upper 3 x 3 of the affine and `u` in voxels,

    vector = diag(-1, -1, 1) A (u_i, u_j, u_k)
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float, Integer
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from torch import Tensor

from moereg.checks import check_field
from moereg.files import whole

LPS = np.diag([-1.0, -1.0, 1.0])  # RAS to LPS and back
VECTOR_INTENT = 1007
SUFFIXES = (".nii", ".nii.gz")


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
        ValueError: not NIfTI, truncated, not three axes, or NaN or infinity among the voxels. Each names the file.
    """
    image = _open(path)
    values = _voxels(image, path, canonical, np.float32)
    return Volume(torch.from_numpy(np.ascontiguousarray(values.T))[None], _grid(image, path, canonical))


def load_labels(path: str | Path, *, canonical: bool = True) -> Volume:
    """Read a label map, `(1, *S)` int64. Whole numbers stored as floating point are accepted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `load_volume`; a negative value or one that is not whole.
    """
    image = _open(path)
    values = _voxels(image, path, canonical, np.float64)
    labels = np.rint(values)
    if np.abs(values - labels).max() > 1e-4 or labels.min() < 0:
        odd = values[(np.abs(values - labels) > 1e-4) | (labels < 0)][0]
        raise ValueError(f"{path} must hold labels, whole numbers from zero on, got {odd:g}.")
    return Volume(
        torch.from_numpy(np.ascontiguousarray(labels.T).astype(np.int64))[None], _grid(image, path, canonical)
    )


def load_grid(path: str | Path, *, canonical: bool = True) -> Grid:
    """Read shape and affine alone. Raises as `load_volume`, except for what only the voxels tell."""
    return _grid(_open(path), path, canonical)


def load_displacement(path: str | Path, *, canonical: bool = True) -> Volume:
    """Read an ITK or ANTs displacement file, `(3, *S)` in voxels, channel `d` along tensor axis `d`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not NIfTI, truncated, not of shape (X, Y, Z, 1, 3), or not finite.
    """
    image = _open(path, vector=True)
    grid = _grid(image, path, canonical)
    vectors = _voxels(image, path, canonical, np.float64)[:, :, :, 0] @ LPS  # millimetres RAS
    steps = vectors @ np.linalg.inv(grid.affine[:3, :3]).T  # (X, Y, Z, ijk) in voxels
    field = np.ascontiguousarray(steps[..., ::-1].T, dtype=np.float32)  # (kji, Z, Y, X)
    return Volume(torch.from_numpy(field), grid)


def save_volume(path: str | Path, data: Tensor, affine: np.ndarray) -> None:
    """Write an image or a label map, `(1, *S)` or `(*S)`, tensor axes (k, j, i). Integers are kept as int16 or int32.

    Raises:
        ValueError: another shape, values that are not finite, a name that does not end in .nii or .nii.gz.
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
        values = values.astype(np.int16 if np.abs(values).max(initial=0) < 2**15 else np.int32)
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


def check_same_grid(first: Grid, second: Grid) -> None:
    """Require two files to lie on one grid: equal shape, affines equal within a hundredth of a millimetre.

    Raises:
        ValueError: they do not. The sentence names both files and what differs.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"{first.name} and {second.name} must have the same shape, got {first.shape[::-1]} and "
            f"{second.shape[::-1]}; resample one onto the other's grid first."
        )
    if not np.allclose(first.affine, second.affine, atol=1e-2):
        raise ValueError(
            f"{first.name} and {second.name} must have the same affine, got {_rows(first.affine)} and "
            f"{_rows(second.affine)}; resample one onto the other's grid first."
        )


def _affine(image: nib.Nifti1Image) -> np.ndarray:
    return cast(np.ndarray, image.affine)  # only an image that was made in memory can be without


def _rows(affine: np.ndarray) -> str:
    return str(np.round(affine[:3], 3).tolist())


def _open(path: str | Path, *, vector: bool = False) -> nib.Nifti1Image:
    """A NIfTI file of three axes (or of a vector for each voxel), its header checked, its voxels not yet read."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} must be a NIfTI file, but there is no such file.")
    try:
        image = nib.load(path, mmap=False)
    except (ImageFileError, HeaderDataError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} must be a NIfTI file, but it cannot be read as one ({error}).") from error
    if not isinstance(image, nib.Nifti1Image):
        raise ValueError(f"{path} must be a NIfTI file, got {type(image).__name__}.")
    shape = image.shape
    if vector:
        if len(shape) != 5 or shape[3:] != (1, 3):
            raise ValueError(f"{path} must hold a displacement of shape (X, Y, Z, 1, 3), got {shape}.")
    else:
        while len(shape) > 3 and shape[-1] == 1:  # some tools write a single time point as a fourth axis
            shape = shape[:-1]
        if len(shape) != 3:
            raise ValueError(f"{path} must be one volume with three axes, got shape {image.shape}.")
    if 0 in shape:
        raise ValueError(f"{path} must have no empty axis, got shape {shape}.")
    affine = _affine(image)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError(f"{path} must have an affine that can be inverted, got {_rows(affine)}.")
    return image


def _grid(image: nib.Nifti1Image, path: str | Path, canonical: bool) -> Grid:
    affine, shape = _affine(image), np.array(image.shape[:3])
    if canonical:
        order = io_orientation(affine)  # for each file axis: the canonical axis it runs along, and its sign
        affine = affine @ inv_ornt_aff(order, tuple(shape))
        shape = shape[np.argsort(order[:, 0])]
    return Grid(shape=tuple(shape[::-1].tolist()), affine=affine, name=str(path))


def _voxels(image: nib.Nifti1Image, path: str | Path, canonical: bool, dtype: type) -> np.ndarray:
    """Scaled voxel values `(X, Y, Z)`, or `(X, Y, Z, 1, 3)` of a vector file."""
    try:
        values = np.asarray(image.dataobj, dtype=dtype)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} must be a whole NIfTI file, but its voxels cannot be read ({error}).") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{path} must hold finite values only, got NaN or infinity.")
    if values.ndim != 5:
        values = values.reshape(values.shape[:3])
    return apply_orientation(values, io_orientation(_affine(image))) if canonical else values


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

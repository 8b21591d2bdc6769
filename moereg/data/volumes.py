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

A file is taken at its word only where it can be held to it. Before any voxel is read, the header's shape is compared
with the length of the file, and what a compressed file's checksum says is looked at to its end. Units of metres or
microns become millimetres.
"""

import gzip
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float, Integer
from nibabel.arrayproxy import ArrayProxy
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from torch import Tensor

from moereg.checks import check_field
from moereg.data.formats import ITK, MGH, ItkImage, is_foreign, open_itk, open_mgh
from moereg.files import whole

LPS = np.diag([-1.0, -1.0, 1.0])  # RAS to LPS and back
VECTOR_INTENT = 1007
SUFFIXES = (".nii", ".nii.gz")
Image = nib.Nifti1Image | nib.MGHImage | ItkImage
MAGIC = {348: (nib.Nifti1Image, 344, b"n+1\0"), 540: (nib.Nifti2Image, 4, b"n+2\0")}  # by length of the header
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}  # of a unit by its code in the header: metre, millimetre, micron
SAME = 0.02  # voxels that the corners of two grids may lie apart
DEFLATE = 1032  # bytes that one byte of gzip can stand for, at most
DENSE, LARGE = 200, 2**25  # no scan of so many voxels shrinks to less than one byte of so many
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
    with _opened(path, axes=None) as (image, _):
        return len(_shape(image))


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
    with _opened(path, axes=axes) as (image, _):
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
        f"{first.name} and {second.name} must have the same affine, got {_rows(first.affine)} and "
        f"{_rows(second.affine)}, which puts their corners up to {corner_distance(first, second):.3g} mm apart; "
        "resample one onto the other's grid first."
    )


def corner_distance(first: Grid, second: Grid) -> float:
    """How far apart in millimetres the same corner of two grids of equal shape lies, for the corner that is worst.

    What differs between two affine maps grows linearly, so no voxel is further away than a corner.
    """
    corners = np.array([(*place, 1) for place in itertools.product(*((0, n - 1) for n in first.shape[::-1]))])
    return float(np.linalg.norm(corners @ (first.affine - second.affine).T, axis=1).max())


def _rows(affine: np.ndarray) -> str:
    return str(np.round(affine[:3], 3).tolist())


def _read(
    path: str | Path, canonical: bool, dtype: type, *, vector: bool = False, axes: int = 3
) -> tuple[np.ndarray, Grid]:
    """Scaled voxel values `(X, Y, Z)`, or `(X, Y, Z, 1, 3)` of a vector file, and where they lie."""
    with _opened(path, vector=vector, axes=axes) as (image, stream):
        try:
            with np.errstate(all="ignore"):  # what leaves the range becomes infinite, and is refused
                values = np.asarray(image.dataobj, dtype=dtype)
            rest = len(stream.read(SPARE + 1)) if isinstance(stream, gzip.GzipFile) else 0
        except Exception as error:  # of two decoders, on bytes from anywhere
            raise ValueError(
                f"{path} must be a whole {_kind(path)} file, but its voxels cannot be read ({_said(error)})."
            ) from error
        # The checksum of a compressed file stands behind its last byte: nobody sees it who reads the voxels alone.
        if rest > SPARE:
            raise ValueError(f"{path} must hold {image.shape} voxels, as its header says, but goes on after them.")
        grid = _grid(image, path, canonical)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} must hold finite values only, got NaN or infinity.")
    if not vector:
        values = values.reshape((*values.shape, 1)[:3])
    return (apply_orientation(values, io_orientation(_affine(image))) if canonical else values), grid


@contextmanager
def _opened(path: str | Path, *, vector: bool = False, axes: int | None = 3) -> Iterator[tuple[Image, BufferedIOBase]]:
    """A file of so many axes (or of a vector for each voxel), its header checked, its voxels not yet read."""
    if not Path(path).is_file():
        what = "it is none" if Path(path).exists() else "there is no such file"
        raise FileNotFoundError(f"{path} must be a {_kind(path)} file, but {what}.")
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
            image = _foreign_header(stream, path) if is_foreign(path) else _header(stream, path)
            if axes is not None:
                _check_shape(image, path, vector, axes)
            _check_affine(_affine(image), path)
            if not isinstance(image, ItkImage):
                length, large = os.fstat(raw.fileno()).st_size, prod(map(int, image.shape)) > LARGE
                _check_size(image, path, length * ((DENSE if large else DEFLATE) if packed else 1))
            yield image, stream


def _kind(path: str | Path) -> str:
    """What a file is to be, by its name."""
    return next((ending for ending in (*MGH, *ITK) if str(path).lower().endswith(ending)), "NIfTI")


def _foreign_header(stream: BufferedIOBase, path: str | Path) -> nib.MGHImage | ItkImage:
    try:
        with LoggingOutputSuppressor():
            return open_mgh(stream) if str(path).lower().endswith(MGH) else open_itk(path)
    except Exception as error:  # of other decoders, on bytes from anywhere
        raise ValueError(
            f"{path} must be a whole {_kind(path)} file, but it cannot be read as one ({_said(error)})."
        ) from None


def _said(error: Exception) -> str:
    """The end of what a decoder said, in one line."""
    return " ".join(str(error).split())[-300:]


def _header(stream: BufferedIOBase, path: str | Path) -> nib.Nifti1Image:
    """What the first bytes say. They may come from anywhere: whatever nibabel says to them becomes one sentence."""
    try:
        start = stream.read(540)
        lengths = (int.from_bytes(start[:4], order) for order in ("little", "big"))
        kind, place, magic = next((MAGIC[length] for length in lengths if length in MAGIC), (None, 0, b""))
        if kind is None or start[place : place + 4] != magic:
            raise ValueError("its first bytes are not those of a .nii")
        # nibabel would leave out a scale that is not finite. Not a number means none; infinity means damage.
        said = kind.header_class(start[: kind.header_class.template_dtype.itemsize], check=False)
        if np.isinf([said["scl_slope"], said["scl_inter"]]).any():
            raise ValueError("its scale is infinite")
        stream.seek(0)
        with LoggingOutputSuppressor():
            return kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False)
    except Exception as error:
        raise ValueError(f"{path} must be a NIfTI file, but it cannot be read as one ({error}).") from error


def _shape(image: Image) -> tuple[int, ...]:
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:  # some tools write a single time point as a fourth axis
        shape = shape[:-1]
    return shape


def _check_shape(image: Image, path: str | Path, vector: bool, axes: int) -> None:
    shape, kind = image.shape, np.dtype(image.get_data_dtype())
    if vector:
        if len(shape) != 5 or shape[3:] != (1, 3):
            raise ValueError(f"{path} must hold a displacement of shape (X, Y, Z, 1, 3), got {shape}.")
    else:
        shape = _shape(image)
        if len(shape) != axes:
            wanted = "one volume with three axes" if axes == 3 else "one image with two axes"
            raise ValueError(f"{path} must be {wanted}, got shape {tuple(map(int, image.shape))}.")
    if min(shape) < 1:
        raise ValueError(f"{path} must have no empty axis, got shape {shape}.")
    if kind.kind not in "iuf":
        what = "colours" if kind.kind == "V" else "complex numbers" if kind.kind == "c" else str(kind)
        raise ValueError(f"{path} must hold one real number for each voxel, got {what}.")


def _check_affine(affine: np.ndarray, path: str | Path) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * spacing.prod() or not spacing.all():
        raise ValueError(f"{path} must have an affine that can be inverted, got {_rows(affine)}.")
    if not 1e-6 <= spacing.min() <= spacing.max() <= 1e6 or np.abs(affine).max() > 1e9:
        raise ValueError(f"{path} must have voxels between 1e-6 and 1e6 mm and lie within 1e9 mm, got {_rows(affine)}.")


def _check_size(image: nib.Nifti1Image | nib.MGHImage, path: str | Path, most: int) -> None:
    """Before memory is asked for: can a file of this length hold what its header claims?"""
    start, size = cast(ArrayProxy, image.dataobj).offset, np.dtype(image.get_data_dtype()).itemsize
    wanted = start + prod(map(int, image.shape)) * size
    if wanted > most:
        raise ValueError(
            f"{path} must be a whole {_kind(path)} file, but its header claims {_shape(image)} voxels, {wanted} bytes, "
            f"and the file can hold {most} at most."
        )


def _affine(image: Image) -> np.ndarray:
    """Voxel to millimetres, whatever the file's unit of length; one that says nothing means millimetres."""
    if not isinstance(image, nib.Nifti1Image):
        return cast(np.ndarray, image.affine)
    scale = MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return np.diag([scale, scale, scale, 1.0]) @ cast(np.ndarray, image.affine)


def _grid(image: Image, path: str | Path, canonical: bool) -> Grid:
    affine, shape = _affine(image), np.array((*image.shape, 1)[:3])
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

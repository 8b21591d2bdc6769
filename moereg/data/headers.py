"""Headers of image files, checked before any voxel is read: a file may come from anywhere.

A file is taken at its word only where it can be held to it: the header's shape is compared with the length of the file,
so that no memory is asked for that no file can fill. Units of metres or microns become millimetres. Whatever a decoder
says to strange bytes becomes one sentence.
"""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.imageglobals import LoggingOutputSuppressor

from moereg.data.formats import ITK, MGH, ItkImage, is_foreign, open_itk, open_mgh

Image = nib.Nifti1Image | nib.MGHImage | ItkImage
MAGIC = {348: (nib.Nifti1Image, 344, b"n+1\0"), 540: (nib.Nifti2Image, 4, b"n+2\0")}  # by length of the header
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}  # of a unit by its code in the header: metre, millimetre, micron
DEFLATE = 1032  # bytes that one byte of gzip can stand for, at most
DENSE, LARGE = 200, 2**25  # no scan of so many voxels shrinks to less than one byte of so many


@contextmanager
def opened(path: str | Path, *, vector: bool = False, axes: int | None = 3) -> Iterator[tuple[Image, BufferedIOBase]]:
    """A file of so many axes (or of a vector for each voxel), its header checked, its voxels not yet read."""
    if not Path(path).is_file():
        what = "it is none" if Path(path).exists() else "there is no such file"
        raise FileNotFoundError(f"{path} must be a {kind_of(path)} file, but {what}.")
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
            image = _foreign_header(stream, path) if is_foreign(path) else _header(stream, path)
            if axes is not None:
                _check_shape(image, path, vector, axes)
            _check_affine(affine_of_file(image), path)
            if not isinstance(image, ItkImage):
                length, large = os.fstat(raw.fileno()).st_size, prod(map(int, image.shape)) > LARGE
                _check_size(image, path, length * ((DENSE if large else DEFLATE) if packed else 1))
            yield image, stream


def kind_of(path: str | Path) -> str:
    """What a file is to be, by its name."""
    return next((ending for ending in (*MGH, *ITK) if str(path).lower().endswith(ending)), "NIfTI")


def _foreign_header(stream: BufferedIOBase, path: str | Path) -> nib.MGHImage | ItkImage:
    try:
        with LoggingOutputSuppressor():
            return open_mgh(stream) if str(path).lower().endswith(MGH) else open_itk(path)
    except Exception as error:  # of other decoders, on bytes from anywhere
        raise ValueError(
            f"{path} must be a whole {kind_of(path)} file, but it cannot be read as one ({said_by(error)})."
        ) from None


def said_by(error: Exception) -> str:
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


def shape_of(image: Image) -> tuple[int, ...]:
    """Voxels along each axis, without axes of a single one behind the third."""
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:  # some tools write a single time point as a fourth axis
        shape = shape[:-1]
    return shape


def _check_shape(image: Image, path: str | Path, vector: bool, axes: int) -> None:
    shape, kind = image.shape, np.dtype(image.get_data_dtype())
    if vector:
        if len(shape) != 5 or (shape[3:] != (1, 3) if axes == 3 else shape[2:] != (1, 1, 2)):
            raise ValueError(f"{path} must hold a displacement of shape (X, Y, Z, 1, 3), got {shape}.")
    else:
        shape = shape_of(image)
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
        raise ValueError(f"{path} must have an affine that can be inverted, got {rows_of(affine)}.")
    if not 1e-6 <= spacing.min() <= spacing.max() <= 1e6 or np.abs(affine).max() > 1e9:
        raise ValueError(
            f"{path} must have voxels between 1e-6 and 1e6 mm and lie within 1e9 mm, got {rows_of(affine)}."
        )


def _check_size(image: nib.Nifti1Image | nib.MGHImage, path: str | Path, most: int) -> None:
    """Before memory is asked for: can a file of this length hold what its header claims?"""
    start, size = cast(ArrayProxy, image.dataobj).offset, np.dtype(image.get_data_dtype()).itemsize
    wanted = start + prod(map(int, image.shape)) * size
    if wanted > most:
        raise ValueError(
            f"{path} must be a whole {kind_of(path)} file, but its header claims {shape_of(image)} voxels, {wanted} "
            f"bytes, and the file can hold {most} at most."
        )


def affine_of_file(image: Image) -> np.ndarray:
    """Voxel to millimetres, whatever the file's unit of length; one that says nothing means millimetres."""
    if not isinstance(image, nib.Nifti1Image):
        return cast(np.ndarray, image.affine)
    scale = MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    with np.errstate(invalid="ignore"):  # what is not finite is refused with a sentence
        return np.diag([scale, scale, scale, 1.0]) @ cast(np.ndarray, image.affine)


def rows_of(affine: np.ndarray) -> str:
    """An affine within a sentence."""
    return str(np.round(affine[:3], 3).tolist())

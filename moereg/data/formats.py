"""Images that are no NIfTI files: FreeSurfer's .mgz and .mgh, and .nrrd and .mha, which 3D Slicer and ITK write.

What is read of each: shape and voxels along the file's own axes (i, j, k), and an affine to millimetres RAS.
FreeSurfer's header holds that affine (by nibabel). ITK's images hold an origin, spacings and directions in LPS; a NRRD
file in another space is turned by ITK. A file whose voxels lie in another file (.nhdr, .mhd, a NRRD that names one) is
refused: what is read shall be what was named.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

MGH, ITK, APART = (".mgz", ".mgh"), (".nrrd", ".mha"), (".nhdr", ".mhd")
LONGEST_HEADER = 2**16  # bytes of a text header
PACKED = 1032  # bytes that one byte of gzip can stand for, at most
KINDS = {
    "8-bit unsigned integer": "u1", "8-bit signed integer": "i1", "16-bit unsigned integer": "u2",
    "16-bit signed integer": "i2", "32-bit unsigned integer": "u4", "32-bit signed integer": "i4",
    "64-bit unsigned integer": "u8", "64-bit signed integer": "i8", "32-bit float": "f4", "64-bit float": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class ItkImage:
    """A file that ITK reads, its header read, its voxels not yet. Looks like an image of nibabel."""

    path: Path
    shape: tuple[int, ...]  # along the file's axes
    affine: np.ndarray  # (4, 4), RAS
    kind: np.dtype

    def get_data_dtype(self) -> np.dtype:
        """Of the voxels."""
        return self.kind

    @property
    def dataobj(self) -> np.ndarray:
        """The voxels, read now."""
        import SimpleITK as sitk

        return sitk.GetArrayFromImage(sitk.ReadImage(str(self.path))).T


def is_foreign(path: str | Path) -> bool:
    """Whether a file's name says that it is none of NIfTI."""
    return str(path).lower().endswith((*MGH, *ITK, *APART))


def open_mgh(stream: Any) -> Any:
    """An image of nibabel on an unpacked stream, its voxels not yet read."""
    start = stream.read(MGHHeader.template_dtype.itemsize)
    stream.seek(0)
    header = MGHHeader(start, check=True)
    if min(header.get_data_shape()) < 1:
        raise ValueError(f"its shape is {header.get_data_shape()}")
    return nib.MGHImage.from_file_map(nib.MGHImage.make_file_map({"image": stream}), mmap=False)


def open_itk(path: str | Path) -> ItkImage:
    """Header of a .nrrd or .mha file.

    Raises:
        ValueError: one that cannot be read, whose voxels lie elsewhere, or that is shorter than it claims.
    """
    path = Path(path)
    if str(path).lower().endswith(APART):
        raise ValueError("it keeps its voxels in another file; save it as one file, .nrrd or .mha")
    _check_own_voxels(path)
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape, kind = reader.GetSize(), sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or kind not in KINDS:
        raise ValueError(f"it must hold one real number for each voxel, got {kind}")
    dtype = np.dtype(KINDS[kind])
    wanted, size = prod(shape) * dtype.itemsize, path.stat().st_size * PACKED
    if wanted > size:
        raise ValueError(f"its header claims {shape} voxels, {wanted} bytes, and the file can hold {size} at most")
    return ItkImage(path, shape, affine_of(reader), dtype)


def affine_of(reader: Any) -> np.ndarray:
    """Voxel to RAS millimetres of 2-D and 3-D images (a 2-D one lies in the plane z = 0)."""
    dims = reader.GetDimension()
    d = min(dims, 3)
    directions = np.array(reader.GetDirection()).reshape(dims, dims)[:d, :d]
    affine = np.eye(4)
    affine[:d, :d] = directions * np.array(reader.GetSpacing())[:d]
    affine[:d, 3] = np.array(reader.GetOrigin())[:d]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine if d > 1 else affine


def _check_own_voxels(path: Path) -> None:
    with open(path, "rb") as stream:
        start = stream.read(LONGEST_HEADER)
    nrrd = start.startswith(b"NRRD")
    end = start.find(b"\n\n") if nrrd else start.find(b"ElementDataFile")
    end = end if end >= 0 or not nrrd else start.find(b"\r\n\r\n")
    if end < 0:
        raise ValueError("it has no header of its kind")
    lines = (start[:end] if nrrd else start[end:].split(b"\n", 1)[0]).decode("latin-1").lower().split("\n")
    if nrrd:
        elsewhere = any(line.startswith(("data file:", "datafile:")) for line in lines)
    else:
        elsewhere = lines[0].split("=")[-1].strip() != "local"
    if elsewhere:
        raise ValueError("it keeps its voxels in another file; save it as one file")

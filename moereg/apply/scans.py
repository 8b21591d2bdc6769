"""Scans and fields as files hold them: on their own axes, volumes, single slices and 2-D files alike.

A 2-D file `(X, Y)` is read as a slice `(X, Y, 1)`, and what is written for it is 2-D again. ITK sees nothing of such a
file's affine but its first two axes, so a 2-D file must lie in the plane of the world's x and y.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation
from torch import Tensor

from moereg.data.formats import affine_of
from moereg.data.volumes import (
    Grid,
    Volume,
    axes_of,
    corner_distance,
    load_flat,
    load_labels,
    load_vectors,
    load_volume,
    save_volume,
)
from moereg.files import check_target, whole
from moereg.physical import Displacement, image_of

ENDINGS = (".nii", ".nii.gz")
ELSEWHERE = 0.01  # of a voxel's shortest edge: so far may ITK place a corner from where nibabel does


@dataclass(frozen=True)
class Scan:
    """One file on its own axes."""

    volume: Volume
    path: Path
    flat: bool = False  # a file of two axes

    @property
    def grid(self) -> Grid:
        return self.volume.grid

    @property
    def data(self) -> Tensor:
        return self.volume.data


def read_scan(path: str | Path, *, labels: bool = False) -> Scan:
    """An image, float32, or a label map, int64; tensor axes are the file's own, last first.

    Raises:
        FileNotFoundError, ValueError: as `load_volume` and `load_labels`; a 2-D file out of the x-y plane.
    """
    if axes_of(path) == 2:
        return Scan(_read_flat(path, labels), Path(path), flat=True)
    load = load_labels if labels else load_volume
    return Scan(load(path, canonical=False), Path(path))


def canonical(volume: Volume) -> Volume:
    """Axes exchanged and flipped so that they run most nearly to the right, the front and the head."""
    order = io_orientation(volume.affine)
    turned = apply_orientation(volume.data[0].numpy().T, order)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(order, volume.grid.shape[::-1])
    data = torch.from_numpy(np.ascontiguousarray(turned.T))[None]
    return Volume(data, _grid(data, affine, volume.grid.name))


def write_scan(path: Path, values: Tensor, grid: Grid, *, flat: bool) -> None:
    """An image or a label map `(1, *S)` on its own axes, 2-D again where the file was."""
    if not flat:
        save_volume(path, values, grid.affine)
        return
    stored = values[0, 0].numpy().T
    kind = np.float32 if values.is_floating_point() else np.int32
    _save(path, nib.Nifti1Image(stored.astype(kind), grid.affine))


def itk_elsewhere(scan: Scan) -> list[str]:
    """A warning where ITK does not place a NIfTI file as nibabel does; else nothing.

    Both go by the sform. ITK takes its directions, but the length of an edge from `pixdim`, where float32 rounds once
    more: corners of a turned file lie some 1e-5 mm apart, which is no reason to warn. Where the qform says something
    else, where there is neither, or where axes are not at right angles, ITK goes another way.
    """
    if not scan.path.name.endswith(ENDINGS):
        return []  # ITK reads .nrrd and .mha for us, and no .mgz
    found = _affine_of_itk(scan.path)
    if found is None:
        return [
            f"warning: ITK cannot place {scan.path}, whose axes are not at right angles, and applies no field to it or "
            "on its grid; resample it first"
        ]
    own = scan.grid.affine.copy()
    if scan.flat:  # ITK sees the first two axes alone
        own[2], own[:, 2] = found[2], found[:, 2]
    apart = corner_distance(Grid(scan.grid.shape, own), Grid(scan.grid.shape, found))
    if apart <= ELSEWHERE * min(scan.grid.spacing):
        return []
    return [
        f"warning: ITK places {scan.path} up to {apart:.3g} mm from where it is read here, for its header has no "
        "affine, or two that differ, or other voxel sizes; the field will not fit it there: save it with one affine in "
        "sform and qform"
    ]


def _affine_of_itk(path: Path) -> np.ndarray | None:
    """Voxel to RAS millimetres; None where ITK cannot say."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    spoke = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
        return affine_of(reader)
    except RuntimeError:
        return None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(spoke)


def read_field(path: str | Path) -> tuple[Displacement, bool]:
    """A displacement file of ITK, ANTs or this library, and whether it is 2-D.

    Raises:
        FileNotFoundError, ValueError: as `load_vectors`.
    """
    vectors, grid = load_vectors(path)
    flat = vectors.shape[-1] == 2
    if flat:
        vectors = np.concatenate([vectors, np.zeros_like(vectors[..., :1])], -1)
    ras = np.ascontiguousarray((vectors * [-1, -1, 1]).T)
    return Displacement(torch.from_numpy(ras), grid), flat


def write_field(path: Path, field: Displacement, *, flat: bool = False) -> None:
    """As ITK and ANTs read it."""
    _save(path, image_of(field, flat=flat))


def check_ending(path: Path) -> None:
    """Raises `ValueError` for a file that NIfTI is not written to, before any work."""
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"--out must end in .nii or .nii.gz, got {path}.")


def check_outputs(written: Sequence[Path], read: Sequence[str | Path | None]) -> None:
    """Before any work: every output can be written, and none is one of the inputs, under any name.

    Raises:
        ValueError: one is an input, or taken by what is no file.
        NotADirectoryError, PermissionError: its folder cannot be made or written to.
    """
    for path in read:
        for target in written:
            if path is not None and Path(path).exists() and target.exists() and target.samefile(path):
                raise ValueError(f"{path} is an input and would be overwritten by {target}; choose another --out.")
    for target in written:
        check_target(target)


def _save(path: Path, image: nib.Nifti1Image) -> None:
    image.header.set_xyzt_units("mm")
    with whole(path) as unfinished:
        nib.save(image, unfinished)


def _grid(data: Tensor, affine: np.ndarray, name: str) -> Grid:
    depth, height, width = data.shape[1:]
    return Grid((depth, height, width), affine, name)


def _read_flat(path: str | Path, labels: bool) -> Volume:
    volume = load_flat(path, labels=labels)
    affine = volume.affine
    if np.abs(affine[2, :2]).max() > 1e-3 * np.abs(affine[:2, :2]).max():
        raise ValueError(
            f"{path} is a 2-D file out of the plane of x and y, which ITK cannot place; store it as one slice of a "
            f"volume, shape {volume.grid.shape[::-1]}."
        )
    return volume

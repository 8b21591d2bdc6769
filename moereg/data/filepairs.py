"""Pairs that lie in NIfTI files, and the table that lists them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from moereg.data.pairs import Pair
from moereg.data.volumes import Volume, check_same_grid, load_grid, load_labels, load_volume

CACHE_BYTES = 2_000_000_000  # of images kept in memory by one set


@dataclass(frozen=True)
class Files:
    """Where one pair is stored."""

    moving: Path
    fixed: Path
    moving_labels: Path | None = None
    fixed_labels: Path | None = None


@dataclass
class FilePairs:
    """Pairs of NIfTI files, read when asked for, kept in memory up to `CACHE_BYTES`.

    Images are normalised one by one (`normalise`). With `shape` they are cropped and padded about their middle to one
    grid; a labelled voxel is never lost without a word. `common_grid` requires the two images of a pair, and each
    image and its labels, to lie on one grid already; subjects that were never aligned have none.
    """

    files: Sequence[Files]
    shape: tuple[int, ...] | None = None
    label_names: dict[int, str] = field(default_factory=dict)
    common_grid: bool = True
    _kept: dict[Path, Volume] = field(default_factory=dict, init=False, repr=False)
    _bytes: int = field(default=0, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, the number of pairs, got {index}.")
        files = self.files[index]
        moving, moving_labels = self._scan(files.moving, files.moving_labels)
        fixed, fixed_labels = self._scan(files.fixed, files.fixed_labels)
        if self.common_grid:
            check_same_grid(moving.grid, fixed.grid)
        return Pair(
            moving=moving.data.float(),
            fixed=fixed.data.float(),
            moving_labels=None if moving_labels is None else moving_labels.data.long(),
            fixed_labels=None if fixed_labels is None else fixed_labels.data.long(),
            label_names=self.label_names,
            spacing=fixed.spacing,
            name=f"{stem(files.moving)}-{stem(files.fixed)}",
        )

    def _scan(self, image: Path, labels: Path | None) -> tuple[Volume, Volume | None]:
        volume = self._kept.get(image) or self._keep(image, self._read_image(image))
        if labels is None:
            return volume, None
        return volume, self._kept.get(labels) or self._keep(labels, self._read_labels(labels, volume))

    def _read_image(self, path: Path) -> Volume:
        volume = load_volume(path)
        data = normalise(volume.data)
        return Volume(data if self.shape is None else centre(data, self.shape), volume.grid)

    def _read_labels(self, path: Path, image: Volume) -> Volume:
        volume = load_labels(path)
        check_same_grid(image.grid, volume.grid)
        data = volume.data
        if self.shape is not None:
            data = centre(data, self.shape)
            if (data > 0).sum() < (volume.data > 0).sum():
                raise ValueError(f"shape {self.shape} cuts off labelled voxels of {path}, shape {volume.grid.shape}.")
        return Volume(data.to(torch.uint8 if data.max() < 256 else torch.int32), volume.grid)

    def _keep(self, path: Path, volume: Volume) -> Volume:
        self._bytes += volume.data.nbytes
        if self._bytes <= CACHE_BYTES:
            self._kept[path] = volume
        return volume


def pairs_from_csv(path: str | Path, *, shape: tuple[int, ...] | None = None) -> FilePairs:
    """Pairs from a table with the columns moving, fixed and optionally moving_labels, fixed_labels.

    Entries are NIfTI files, relative to the table. All headers are read at once, so that a wrong file is found before
    a long run and not in it.

    Raises:
        FileNotFoundError: the table, or a file that it names, is not there.
        ValueError: a missing column, no rows, an empty entry, or files of one pair that lie on different grids.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a table of pairs, but there is no such file.")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        columns, rows = [name.strip() for name in reader.fieldnames or []], list(reader)
    for column in ("moving", "fixed"):
        if column not in columns:
            raise ValueError(f"{path} must have the columns moving and fixed, got {', '.join(columns) or 'none'}.")
    if not rows:
        raise ValueError(f"{path} must hold at least one pair, got a table without rows.")
    files = [_files_of_row(path, number, row) for number, row in enumerate(rows, start=2)]
    return FilePairs(files, shape=shape)


def _files_of_row(table: Path, line: int, row: dict[str, str]) -> Files:
    row = {(key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
    found = {}
    for column in ("moving", "fixed", "moving_labels", "fixed_labels"):
        entry = row.get(column, "")
        if entry:
            found[column] = table.parent / entry
        elif not column.endswith("labels"):
            raise ValueError(f"{table}, line {line}: {column} must name a file, got nothing.")
    for column, file in found.items():
        if not file.is_file():
            raise FileNotFoundError(f"{table}, line {line}: {column} must name a file, but there is no {file}.")
    grids = [load_grid(file) for file in found.values()]
    for grid in grids[1:]:
        check_same_grid(grids[0], grid)
    return Files(**found)


def normalise(image: Float[Tensor, "channel *space"]) -> Float[Tensor, "channel *space"]:
    """Map the 0.5th to the 99.5th percentile to [0, 1] and cut what lies outside. A constant image becomes zero."""
    low, high = np.percentile(image.numpy(), (0.5, 99.5))
    return ((image - float(low)) / max(float(high - low), 1e-12)).clamp(0, 1)


def centre(
    data: Float[Tensor, "channel *old"] | Integer[Tensor, "channel *old"], shape: tuple[int, ...]
) -> Float[Tensor, "channel *new"] | Integer[Tensor, "channel *new"]:
    """Crop and pad about the middle.

    Images repeat their outer voxels, so that no edge appears that is not tissue; labels are continued by zero.
    """
    sizes = data.shape[1:]
    if len(shape) != len(sizes):
        raise ValueError(f"shape must have {len(sizes)} sizes, got {tuple(shape)}.")
    for axis, (size, wanted) in enumerate(zip(sizes, shape, strict=True), start=1):
        data = data.narrow(axis, max(size - wanted, 0) // 2, min(size, wanted))
    before_after = [
        side
        for size, wanted in zip(reversed(sizes), reversed(shape), strict=True)  # F.pad wants the last axis first
        for side in (max(wanted - size, 0) // 2, (max(wanted - size, 0) + 1) // 2)
    ]
    if data.is_floating_point():
        return F.pad(data[None], before_after, mode="replicate")[0]
    return F.pad(data, before_after)


def stem(path: Path) -> str:
    """The file's name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")

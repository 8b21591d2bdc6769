"""Pairs that lie in NIfTI files. The table that lists them is read in `moereg.data.tables`."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from moereg.data.onegrid import load_either, plane_of
from moereg.data.pairs import Pair
from moereg.data.volumes import Volume, check_same_grid

CACHE_BYTES = 2_000_000_000  # of images kept in memory by one set
BLOCKS, BLOCK = 16, 4096  # of a file that are looked at to know it again: how many, of how many bytes
BACKGROUND = 0.95  # share of voxels of one value from which on they are the air around a small object


@dataclass(frozen=True)
class Files:
    """Where one pair is stored."""

    moving: Path
    fixed: Path
    moving_labels: Path | None = None
    fixed_labels: Path | None = None
    moving_mask: Path | None = None
    fixed_mask: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Every file that there is."""
        images = (self.moving, self.fixed, self.moving_labels, self.fixed_labels)
        return [path for path in (*images, *self.masks) if path is not None]

    @property
    def labelled(self) -> bool:
        """Whether both images have labels."""
        return None not in (self.moving_labels, self.fixed_labels)

    @property
    def masks(self) -> tuple[Path | None, Path | None]:
        """Of the moving and of the fixed image."""
        return self.moving_mask, self.fixed_mask


@dataclass
class FilePairs:
    """Pairs of NIfTI files, read when asked for, kept in memory up to `CACHE_BYTES`.

    Single slices and 2-D files have two axes. Images are normalised one by one (`normalise`). With `shape` they are
    cropped and padded about their middle to one grid; a labelled voxel is never lost without a word. `common_grid`
    requires the two images of a pair to lie on one grid already; subjects that were never aligned have none. Labels
    and masks lie on their image's grid always.
    """

    files: Sequence[Files]
    shape: tuple[int, ...] | None = None
    label_names: dict[int, str] = field(default_factory=dict)
    common_grid: bool = True
    unused: tuple[str, ...] = ()  # columns of the table that mean nothing here
    note: str = ""  # how the table's rows became this set, where the table does not say it
    brought: str = ""  # how images of several shapes came onto one grid
    normalisation: str = "percentiles"  # of images, as `moereg.models.trained` names it
    _kept: dict[tuple[str, Path], Volume] = field(default_factory=dict, init=False, repr=False)
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
            spacing=plane_of(fixed.grid)[1],
            moving_mask=self._mask(files.moving_mask, moving),
            fixed_mask=self._mask(files.fixed_mask, fixed),
            name=f"{stem(files.moving)}-{stem(files.fixed)}",
        )

    def identity(self) -> str:
        """What tells this set from another one: which files, what is in them, in which order, on which grid.

        A checkpoint holds it. Folders do not count, so data may move to another disk.
        """
        digests = {path: digest_of(path) for path in {path for files in self.files for path in files.all}}
        rows = [[digests[path] for path in files.all] for files in self.files]
        # Which of the files are masks: without any, as it was before there were masks.
        masks = [[path is not None for path in files.masks] for files in self.files]
        parts = [rows, self.shape, masks] if any(map(any, masks)) else [rows, self.shape]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def scans(self) -> list[str]:
        """`digest_of` every image, each once."""
        images = {path for files in self.files for path in (files.moving, files.fixed)}
        return sorted({digest_of(path) for path in images})

    def _scan(self, image: Path, labels: Path | None) -> tuple[Volume, Volume | None]:
        # The same file may be an image here and a label map there.
        volume = self._kept.get(("image", image)) or self._keep(("image", image), self._read_image(image))
        if labels is None:
            return volume, None
        key = ("labels", labels)
        return volume, self._kept.get(key) or self._keep(key, self._read_labels(labels, volume))

    def _mask(self, path: Path | None, image: Volume) -> Tensor | None:
        if path is None:
            return None
        key = ("mask", path)
        volume = self._kept.get(key) or self._keep(key, self._read_mask(path, image))
        return volume.data > 0

    def _read_mask(self, path: Path, image: Volume) -> Volume:
        volume = load_either(path, labels=True)
        check_same_grid(image.grid, volume.grid)
        if not (volume.data > 0).any():
            raise ValueError(f"{path} must be a mask above zero somewhere, got an empty one.")
        inside = (volume.data > 0).to(torch.uint8)
        inside = inside if self.shape is None else centre(inside, self.shape)
        if not inside.any():
            raise ValueError(f"shape {self.shape} cuts off all of the mask {path}, shape {volume.grid.shape}.")
        return Volume(inside, volume.grid)

    def _read_image(self, path: Path) -> Volume:
        volume = load_either(path)
        data = normalise_as(self.normalisation, volume.data)
        return Volume(data if self.shape is None else centre(data, self.shape), volume.grid)

    def _read_labels(self, path: Path, image: Volume) -> Volume:
        volume = load_either(path, labels=True)
        check_same_grid(image.grid, volume.grid)
        data = volume.data
        if self.shape is not None:
            data = centre(data, self.shape)
            if (data > 0).sum() < (volume.data > 0).sum():
                raise ValueError(f"shape {self.shape} cuts off labelled voxels of {path}, shape {volume.grid.shape}.")
        highest = int(data.max())
        small = torch.uint8 if highest < 2**8 else torch.int32 if highest < 2**31 else torch.int64
        return Volume(data.to(small), volume.grid)

    def _keep(self, key: tuple[str, Path], volume: Volume) -> Volume:
        self._bytes += volume.data.nbytes
        if self._bytes <= CACHE_BYTES:
            self._kept[key] = volume
        return volume


def digest_of(path: Path) -> str:
    """What tells a file from another at a glance: its length and blocks of it, the checksum of a .nii.gz among them."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as stream:
        for number in range(BLOCKS):
            stream.seek(max(size - BLOCK, 0) * number // (BLOCKS - 1))
            digest.update(stream.read(BLOCK))
    return digest.hexdigest()


def normalise(image: Float[Tensor, "channel *space"]) -> Float[Tensor, "channel *space"]:
    """Map the 0.5th to the 99.5th percentile to [0, 1] and cut what lies outside. A constant image becomes zero.

    Where one value fills 95 % of the image, the air around a small object, the percentiles are those of all other
    voxels: else an object of less than 0.5 % would become a mask.
    """
    values = image.numpy()
    air = np.median(values)
    inside = values[values != air]
    if 0 < inside.size < (1 - BACKGROUND) * values.size:
        low, high = np.percentile(inside, (0.5, 99.5))
        low, high = min(low, air), max(high, air)
    else:
        low, high = np.percentile(values, (0.5, 99.5))
    return ((image - float(low)) / max(float(high - low), 1e-12)).clamp(0, 1)


def normalise_as(kind: str, image: Float[Tensor, "channel *space"]) -> Float[Tensor, "channel *space"]:
    """A row of the table in `moereg.models.trained`."""
    if kind == "unit" and bool(((image >= 0) & (image <= 1)).all()):
        return image.clone()
    return normalise(image)


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

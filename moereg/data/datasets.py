"""Sets of pairs by name, or from a table of files. Each has `len(set)` and `set[i]`, a `Pair`.

    datasets.load("lung", "train")            phantoms by anatomy (`phantoms.ANATOMIES`), made when asked for
    datasets.load("hippocampus", "test")      real MR, from a folder that is already there
    datasets.load("my/PAIRS.csv", "test")     your own NIfTI files

Nothing is downloaded. A public set is looked for in the folder that `MOEREG_DATA` names, then in the standard cache
(`~/.cache/moereg`); where it is missing, the error says what to fetch and where to put it.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from moereg.checks import check_choice, check_positive
from moereg.data.filepairs import FilePairs, Files, stem
from moereg.data.phantoms import ANATOMIES, SPLITS, Phantoms
from moereg.data.tables import pairs_from_csv

PHANTOM_SHAPE = (48, 48, 48)
PHANTOM_COUNT = {"train": 100, "val": 10, "test": 20}
HIPPOCAMPUS_SHAPE = (40, 56, 40)  # holds every labelled voxel of the 200 subjects it was measured on
HIPPOCAMPUS_LABELS = {1: "anterior", 2: "posterior"}


@dataclass(frozen=True)
class Card:
    """What to know about a public set, and what to fetch."""

    title: str
    archive: str
    md5: str  # of the archive, as MONAI's dataset class lists it
    licence: str
    cite: str
    caveat: str


HIPPOCAMPUS = Card(
    title="Medical Segmentation Decathlon",
    archive="Task04_Hippocampus.tar",
    md5="9d24dba78a72977dbd1d2e110310f31b",
    licence="CC-BY-SA 4.0",
    cite="Simpson et al. 2019, arXiv 1902.09063; Antonelli et al. 2022, doi 10.1038/s41467-022-30695-9",
    caveat="Several scans may come from one person, so subjects of two splits are different files, perhaps not people.",
)


def load(
    data: str | Path,
    split: str = "train",
    *,
    shape: tuple[int, ...] | None = None,
    count: int | None = None,
    seed: int = 0,
    parted: bool = False,
) -> Phantoms | FilePairs:
    """A set of pairs by name, or from a table.

    Args:
        data: an anatomy of `phantoms.ANATOMIES`, "hippocampus", or the path of a PAIRS.csv.
        split: "train", "val" or "test". Of a table, the rows with this word in its column `split`; one without that
            column is taken whole.
        shape: grid of the images; each set has its own default, a table's files keep theirs.
        count: number of pairs, at most as many as the set has.
        seed: of phantoms; two seeds share no subject.
        parted: part a table without a column `split` by subject, see `moereg.data.tables`.

    Raises:
        ValueError: an unknown name, a table that is not as it should be.
        FileNotFoundError: the files are not there; the sentence says where to put them.
    """
    check_choice("split", split, SPLITS)
    if count is not None:
        check_positive("count", count, integer=True)
    if data in ANATOMIES:
        number = count or PHANTOM_COUNT[split]
        return Phantoms(str(data), shape or PHANTOM_SHAPE, number, seed=seed, split=split, cache=True)
    if data in REGISTRY:
        return REGISTRY[str(data)](split=split, count=count, **({} if shape is None else {"shape": shape}))
    if str(data).endswith(".csv"):
        pairs = pairs_from_csv(data, split=split, parted=parted, shape=shape)
        pairs.files = pairs.files[:count]
        return pairs
    raise ValueError(f"data must be one of {', '.join(map(repr, names()))} or the path of a .csv, got {str(data)!r}.")


def names() -> tuple[str, ...]:
    """All names that `load` knows."""
    return (*ANATOMIES, *REGISTRY)


def hippocampus(
    root: str | Path | None = None,
    *,
    split: str = "train",
    shape: tuple[int, ...] = HIPPOCAMPUS_SHAPE,
    count: int | None = None,
) -> FilePairs:
    """Pairs of different subjects, T1 MR of the hippocampus, 1 mm, with labels of its anterior and posterior part.

    The split goes by the subject's name (70, 10 and 20 of 100), so it stays the same whatever subset is there. "train"
    holds every ordered pair of two subjects, in random order; in "val" and "test" each subject is moving once and
    fixed once. See `HIPPOCAMPUS` for licence, reference and a caveat.

    Args:
        root: the folder that holds imagesTr and labelsTr, or its parent. By default `MOEREG_DATA`, then the cache.
        shape: one grid for all, tensor axes (inferior to superior, posterior to anterior, left to right).
        count: the first so many pairs.

    Raises:
        FileNotFoundError: no such data; the sentence says what to fetch.
    """
    check_choice("split", split, SPLITS)
    folder = find_folder(("hippocampus", "Task04_Hippocampus"), HIPPOCAMPUS, root)
    images = sorted(path for path in (folder / "imagesTr").glob("hippocampus_*.nii.gz"))
    images = [path for path in images if split_of(stem(path)) == split]
    if len(images) < 2:
        raise FileNotFoundError(f"{folder / 'imagesTr'} must hold two or more subjects of split {split!r}.")
    labels = {path: folder / "labelsTr" / path.name for path in images}
    files = [Files(images[m], images[f], labels[images[m]], labels[images[f]]) for m, f in pairing(len(images), split)]
    return FilePairs(files[:count], shape=shape, label_names=HIPPOCAMPUS_LABELS, common_grid=False)


REGISTRY: dict[str, Callable[..., FilePairs]] = {"hippocampus": hippocampus}


def find_folder(folders: Sequence[str], card: Card, root: str | Path | None = None) -> Path:
    """The folder of a set in the Decathlon's layout, the first found below or at `root`, `MOEREG_DATA` or the cache.

    Raises:
        FileNotFoundError: none. The sentence says what to fetch and where to put it.
    """
    bases = [Path(root)] if root else [Path(p) for p in (os.environ.get("MOEREG_DATA"), cache_folder()) if p]
    for base in bases:
        for candidate in (*(base / folder for folder in folders), base):
            if (candidate / "imagesTr").is_dir() and (candidate / "labelsTr").is_dir():
                return candidate
    raise FileNotFoundError(
        f"{folders[0]} must lie in {' or '.join(map(str, bases))}, but no folder {' or '.join(folders)} with imagesTr "
        f"and labelsTr is there: fetch {card.archive} of the {card.title} (licence {card.licence}, md5 {card.md5}), "
        "unpack it and set MOEREG_DATA to the folder that holds what you unpacked."
    )


def cache_folder() -> Path:
    """Where data is looked for when `MOEREG_DATA` does not name a folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moereg"


def split_of(name: str) -> str:
    """The split of a subject, from a hash of its name alone: 70 % "train", 10 % "val", 20 % "test"."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


def pairing(subjects: int, split: str) -> list[tuple[int, int]]:
    """(moving, fixed): all ordered pairs in random order for "train", else one random cycle through all subjects."""
    generator = torch.Generator().manual_seed(0)
    if split != "train":
        order = torch.randperm(subjects, generator=generator).tolist()
        return list(zip(order, order[1:] + order[:1], strict=True))
    pairs = [(moving, fixed) for moving in range(subjects) for fixed in range(subjects) if moving != fixed]
    return [pairs[i] for i in torch.randperm(len(pairs), generator=generator).tolist()]

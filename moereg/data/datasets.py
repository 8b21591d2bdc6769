"""Sets of pairs by name, or from a table of files. Each has `len(set)` and `set[i]`, a `Pair`.

    datasets.load("lung", "train")            phantoms by anatomy (`phantoms.ANATOMIES`), made when asked for
    datasets.load("hippocampus", "test")      real MR, from a folder that is already there
    datasets.load("my/PAIRS.csv", "test")     your own NIfTI files

Nothing is downloaded here. A public set (`moereg.data.publicsets`) is looked for in the folder that `MOEREG_DATA`
names, then in the standard cache (`~/.cache/moereg`); where it is missing, the error says what to fetch and where to
put it. `moereg data get` fetches.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from moereg.checks import check_choice, check_positive
from moereg.data.filepairs import FilePairs, Files
from moereg.data.phantoms import ANATOMIES, SPLITS, Phantoms
from moereg.data.publicsets import CARDS, HIPPOCAMPUS, Card, find, missing
from moereg.data.tables import pairs_from_csv

PHANTOM_SHAPE = (48, 48, 48)
PHANTOM_COUNT = {"train": 100, "val": 10, "test": 20}
HIPPOCAMPUS_SHAPE = (40, 56, 40)  # holds every labelled voxel of the 200 subjects it was measured on
HIPPOCAMPUS_LABELS = dict(HIPPOCAMPUS.label_names)


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
        data: an anatomy of `phantoms.ANATOMIES`, a public set (`publicsets.CARDS`), or the path of a PAIRS.csv.
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


def licence_of(data: str) -> str | None:
    """The licence of what a set by name is made of; None where it is not known, as of a table."""
    if data in ANATOMIES:
        return "phantoms made by moereg, no data of others"
    return f"data under {CARDS[data].licence}" if data in CARDS else None


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
    return public("hippocampus", root, split=split, shape=shape, count=count)


def public(
    name: str,
    root: str | Path | None = None,
    *,
    split: str = "train",
    shape: tuple[int, ...] | None = None,
    count: int | None = None,
) -> FilePairs:
    """Pairs of a public set (a row of `publicsets.CARDS`), with its labels.

    Subjects go into splits by their names alone (`split_of`). Where a set has two images of each subject, they are the
    pair, the first phase fixed. Else pairs are of two subjects, as in `hippocampus`.

    Raises:
        ValueError: no such set or split.
        FileNotFoundError: no such data; the sentence says what to fetch.
    """
    check_choice("name", name, tuple(CARDS))
    check_choice("split", split, SPLITS)
    card = CARDS[name]
    folder = find_folder(card.folders, card, root)
    layout = card.layout_in(folder)
    assert layout is not None
    found = {subject: images for subject, images in layout.images_in(folder).items() if split_of(subject) == split}
    if card.within:
        pairs = [(images[1], images[0]) for images in found.values() if len(images) == 2]
    else:
        images = [images[0] for images in found.values()]
        if len(images) < 2:
            place = folder / layout.images.split("{")[0]
            raise FileNotFoundError(f"{place} must hold two or more subjects of split {split!r}.")
        pairs = [(images[moving], images[fixed]) for moving, fixed in pairing(len(images), split)]
    if not pairs:
        raise FileNotFoundError(f"{folder} must hold two images of a subject of split {split!r}.")
    files = [
        Files(moving, fixed, layout.labels_of(folder, moving), layout.labels_of(folder, fixed))
        for moving, fixed in pairs
    ]
    common = card.within  # subjects that were never aligned have no common grid
    return FilePairs(files[:count], shape=shape, label_names=dict(card.label_names), common_grid=common)


REGISTRY: dict[str, Callable[..., FilePairs]] = {
    "hippocampus": hippocampus,
    **{name: partial(public, name) for name in CARDS if name != "hippocampus"},
}


def find_folder(folders: Sequence[str], card: Card, root: str | Path | None = None) -> Path:
    """The folder of a set, the first found below or at `root`, `MOEREG_DATA` or the cache.

    Args:
        folders: names that it may have; those of the card where there are none.

    Raises:
        FileNotFoundError: none. The sentence says what to fetch and where to put it.
    """
    folder = find(replace(card, folders=tuple(folders) or card.folders), root)
    if folder is None:
        raise FileNotFoundError(missing(card, root))
    return folder


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

"""Is a public set what it should be? Structure, headers, checksums; and how it is fetched.

A set is verified in three steps: every image has its label map, both can be read, and both lie on one grid; every byte
comes out of the compression with the checksum that it went in with; and every file has the SHA-256 that is known of it.
Known is what a file `SHA256SUMS` beside the data says. Where there is none, the checksums of the first time are written
down in the cache and compared from then on: that tells whether anything has changed since, *not* whether it was right
at first (trust on first use).
"""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from moereg.data.fetching import checksum_of, fetch
from moereg.data.publicsets import Card, Layout, bases, cache_folder, find, missing
from moereg.data.unpacking import remove, unpack
from moereg.data.volumes import check_same_grid, load_grid
from moereg.files import check_folder, write_json_whole

SHOWN = 5  # problems that are named; the rest is counted
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Checked:
    """What `verify` found."""

    folder: Path
    subjects: int
    files: int
    problems: tuple[str, ...]
    said: tuple[str, ...]  # what was looked at and compared, line by line


def verify(card: Card, folder: Path, *, accept: bool = False, progress: bool = False) -> Checked:
    """Look at every file of a set, and compare their checksums with those that are known.

    Args:
        accept: take what is there now as known, in place of what was written down before.
        progress: show a bar on stderr.
    """
    seen = _examine(card, folder, progress)
    return _compared(card, folder, seen, accept=accept)


@dataclass
class _Seen:
    """Of all files of a set: subjects, SHA-256 by path below the folder, and what is wrong."""

    subjects: int
    digests: dict[str, str]
    problems: list[str]


def _examine(card: Card, folder: Path, progress: bool) -> _Seen:
    layout = card.layout_in(folder)
    if layout is None:
        return _Seen(0, {}, [missing(card, folder)])
    found = layout.images_in(folder)
    seen = _Seen(len(found), {}, [])
    for images in tqdm(found.values(), unit=" subjects", disable=not progress, leave=False):
        for image in images:
            seen.problems += _look(layout, folder, image, seen.digests)
    return seen


def _compared(card: Card, folder: Path, seen: _Seen, *, accept: bool) -> Checked:
    problems = list(seen.problems)
    known, source = _known(card, folder)
    if known is None or (accept and source != SUMS):
        told = _write_down(card, folder, seen.digests)
    else:
        problems += _compare(known, seen.digests, complete=source != SUMS)
        told = f"checksums: compared with {source}"
    said = [f"{seen.subjects} of {card.subjects} subjects, {len(seen.digests)} files in {folder}", told]
    return Checked(folder, seen.subjects, len(seen.digests), tuple(problems), tuple(said))


def _look(layout: Layout, folder: Path, image: Path, digests: dict[str, str]) -> list[str]:
    """Problems of one image and its labels; their checksums go into `digests`."""
    labels, problems = layout.labels_of(folder, image), []
    if not labels.is_file():
        problems.append(f"{image} must have the label map {labels}, which is missing.")
    grids = []
    for path in (image, labels) if labels.is_file() else (image,):
        try:
            grids.append(load_grid(path))
            digests[path.relative_to(folder).as_posix()] = _digest(path)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if len(grids) == 2:
        try:
            check_same_grid(*grids)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _digest(path: Path) -> str:
    """SHA-256 of a file; its compression's own checksum is looked at on the way."""
    digest, unpacker = hashlib.sha256(), zlib.decompressobj(wbits=31)
    packed = path.suffix == ".gz"
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
            while packed and chunk and not unpacker.eof:
                try:
                    unpacker.decompress(chunk, 2**22)
                except zlib.error as error:
                    raise ValueError(f"{path} must be a whole file, but it cannot be unpacked ({error}).") from None
                chunk = unpacker.unconsumed_tail
    if packed and not unpacker.eof:
        raise ValueError(f"{path} must be a whole file, but it ends too soon.")
    return digest.hexdigest()


def _record(card: Card, folder: Path) -> Path:
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return cache_folder() / "known" / f"{card.name}-{place}.json"


def _known(card: Card, folder: Path) -> tuple[dict[str, str] | None, str]:
    """Checksums by file, and where they come from."""
    sums = folder / SUMS
    if sums.is_file():
        lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip())
        known = {words[1].lstrip("*").strip().removeprefix("./"): words[0] for words in lines if len(words) == 2}
        return known, SUMS
    record = _record(card, folder)
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8")), f"those of the first use ({record})"
    return None, ""


def _write_down(card: Card, folder: Path, digests: dict[str, str]) -> str:
    record = _record(card, folder)
    try:
        write_json_whole(record, digests)
    except OSError as error:
        return f"checksums: none is known, and they could not be written down ({error})"
    return f"checksums: none was known; those of today are written down in {record}, to be compared from now on"


def _compare(known: dict[str, str], digests: dict[str, str], *, complete: bool) -> list[str]:
    changed = [name for name, digest in digests.items() if name in known and known[name] != digest]
    new = [name for name in digests if name not in known]
    gone = [name for name in known if name not in digests] if complete else []
    return (
        [f"{name} must have the checksum that is known of it, it has another." for name in changed]
        + [f"{name} must be among the files whose checksum is known, it is not." for name in new]
        + [f"{name} must be there as before, it is missing." for name in gone]
    )


def get(
    card: Card,
    *,
    to: str | Path | None = None,
    archive: str | Path | None = None,
    agreed: bool = False,
    pause: float = 1.0,
    progress: bool = False,
) -> Checked:
    """Fetch a set, or take an archive that a person has fetched; check, unpack, verify, and only then put it in place.

    Args:
        to: the folder below which it goes. By default `MOEREG_DATA`, then the cache.
        archive: a file that is there already.
        agreed: the reader has agreed to the terms of the set.

    Raises:
        ValueError: the set is there already; its terms are not agreed to; only a person can fetch it; a checksum, an
            archive or a set that is not as it should be. Nothing is left half done, and what was there stays.
        OSError: no connection, no space, a folder that cannot be written to.
    """
    base = bases(to)[0]
    here = find(card, to)
    if here is not None:
        raise ValueError(f"{card.name} is there already, in {here}; moereg data verify {card.name} looks at it.")
    if card.terms and not agreed:
        raise ValueError(f"{card.name} asks that you agree to {card.terms}; read them, then add --agree.")
    if archive is None and not card.address:
        raise ValueError(
            f"{card.name} is fetched by a person who has registered: {card.page}; then moereg data get {card.name} "
            f"--archive FILE takes {card.archive} from there."
        )
    target = base / card.folders[0]
    if target.exists() or target.is_symlink():
        raise ValueError(f"{target} must be free for what is unpacked, but it is there; move it away.")
    check_folder(base)
    checksum = f"md5:{card.md5}" if card.md5 else _first_checksum(card)
    downloads = base / ".downloads"
    own = archive is None
    path = (
        fetch(card.address, downloads, card.archive, checksum=checksum, most=card.archive_bytes, pause=pause,
              progress=progress)
        if archive is None else Path(archive)
    )  # fmt: skip
    if not path.is_file():
        raise FileNotFoundError(f"--archive must be a file, but there is no {path}.")
    if checksum and checksum_of(path, checksum.split(":")[0]) != checksum:
        raise ValueError(f"{path} must have the checksum {checksum}, it has another: it is damaged, or another file.")
    base.mkdir(parents=True, exist_ok=True)
    _check_space(base, path)
    checked = _put(card, path, base, target, progress)
    if not checksum:
        _remember_checksum(card, checksum_of(path))
    if own:
        path.unlink()
        if not any(downloads.iterdir()):
            downloads.rmdir()
    return checked


def _put(card: Card, archive: Path, base: Path, target: Path, progress: bool) -> Checked:
    """Unpack beside the target, verify, rename."""
    unfinished = Path(tempfile.mkdtemp(dir=base, prefix=".unfinished-"))
    try:
        unpack(archive, unfinished, most=card.unpacked_bytes)
        root = _root(card, unfinished)
        if root is None:
            raise ValueError(f"{archive} must hold {card.title}, but no {card.layouts[0].images} is in it.")
        seen = _examine(card, root, progress)
        if seen.problems:
            raise ValueError(f"{archive} must hold {card.title} as it should be: {told(seen.problems)}")
        os.chmod(root, 0o755)
        os.replace(root, target)
    finally:
        remove(unfinished)
    return _compared(card, target, seen, accept=True)


def _root(card: Card, folder: Path) -> Path | None:
    """The folder in which the set's files lie, at most three below."""
    level = [folder]
    for _ in range(4):
        for place in level:
            if card.layout_in(place):
                return place
        level = [below for place in level for below in sorted(place.iterdir()) if below.is_dir()]
    return None


def told(problems: list[str] | tuple[str, ...]) -> str:
    """The first few problems in one line, and how many more there are."""
    more = len(problems) - SHOWN
    return " ".join(problems[:SHOWN]) + (f" And {more} more." if more > 0 else "")


def _check_space(base: Path, archive: Path) -> None:
    """Scans are hardly compressed further by their archive: they need about as much again."""
    need, free = archive.stat().st_size, shutil.disk_usage(base).free
    if need > free:
        raise OSError(f"{base} must have room for {need} bytes, only {free} are free.")


def _archives() -> Path:
    return cache_folder() / "known" / "archives.json"


def _first_checksum(card: Card) -> str | None:
    """Of an archive that nobody lists: what it was the first time."""
    if not _archives().is_file():
        return None
    return json.loads(_archives().read_text(encoding="utf-8")).get(card.name)


def _remember_checksum(card: Card, checksum: str) -> None:
    known = json.loads(_archives().read_text(encoding="utf-8")) if _archives().is_file() else {}
    write_json_whole(_archives(), known | {card.name: checksum})

"""Archives from anywhere, unpacked so that they can do no harm: .tar, .tar.gz, .tgz and .zip.

An archive may hold ordinary files and folders only, whose names stay below the target: no absolute paths, no `..`, no
links, no devices, no name twice. It is refused as soon as it holds more files or bytes than were allowed, whatever it
claims beforehand. Leftovers of macOS (`._NAME`, `__MACOSX`) are left out.
"""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MOST_FILES = 50_000
LARGEST_READ = 2**26  # bytes that a reader of headers may ask for at once
CHUNK = 2**20
LINK = 0o120000  # of a Unix mode, in a .zip


def unpack(archive: str | Path, into: str | Path, *, most: int, most_files: int = MOST_FILES) -> int:
    """Unpack an archive into an empty folder, and say how many files there were.

    Args:
        most: bytes of all files together.

    Raises:
        ValueError: no such kind of archive, a damaged one, or one that holds what it may not; the sentence names the
            archive and the entry. What had been unpacked until then stays in `into`, which is the caller's to remove.
    """
    archive, into, seen, left = Path(archive), Path(into), set(), most
    try:
        for name, size, source in _entries(archive):
            place = _place(archive, name)
            if place is None:
                continue
            key = str(place).casefold()
            if key in seen:
                raise ValueError(f"{archive} must hold every name once, got {name!r} twice.")
            seen.add(key)
            if len(seen) > most_files:
                raise ValueError(f"{archive} must hold {most_files} files at most, got more.")
            if size > left:
                raise ValueError(f"{archive} must hold {most} bytes at most unpacked, {name!r} exceeds that.")
            target = into.joinpath(*place.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                left -= _copy(source, file, left, f"{archive} must hold {most} bytes at most unpacked, got more.")
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        EOFError,
        NotImplementedError,
        OverflowError,
    ) as error:
        raise ValueError(f"{archive} must be a whole archive, but it cannot be read ({error}).") from error
    except RuntimeError as error:  # a .zip with a password
        raise ValueError(f"{archive} must be an archive without a password ({error}).") from error
    if not seen:
        raise ValueError(f"{archive} must hold files, got none.")
    return len(seen)


def _entries(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, claimed size and content of every ordinary file."""
    with archive.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        yield from _of_zip(archive)
    elif start[:2] == b"\x1f\x8b":
        with gzip.open(archive) as file:
            yield from _of_tar(archive, file)
    else:
        with archive.open("rb") as file:
            yield from _of_tar(archive, file)


def _of_tar(archive: Path, file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(fileobj=_Modest(file), mode="r:") as tar:
        for member in tar:
            if member.isdir():
                _place(archive, member.name)
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise ValueError(
                    f"{archive} must hold ordinary files only, got {member.name!r}, which is a link or worse."
                )
            yield member.name, member.size, source


def _of_zip(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = member.external_attr >> 16 & 0o170000
            if member.is_dir():
                _place(archive, member.filename)
                continue
            if kind not in (0, 0o100000):
                raise ValueError(f"{archive} must hold ordinary files only, got {member.filename!r}, which is none.")
            with file.open(member) as source:
                yield member.filename, member.file_size, source


def _place(archive: Path, name: str) -> PurePosixPath | None:
    """Where an entry goes, below the target; None for what macOS leaves behind."""
    place = PurePosixPath(name)
    parts = place.parts
    bad = not parts and name not in (".", "./")
    if place.is_absolute() or ".." in parts or "\\" in name or "\0" in name or bad or any(":" in p for p in parts):
        raise ValueError(f"{archive} must hold names that stay below one folder, got {name!r}.")
    if any(part.startswith("._") or part == "__MACOSX" for part in parts):
        return None
    return place


def _copy(source: IO[bytes], target: IO[bytes], most: int, sentence: str) -> int:
    done = 0
    while chunk := source.read(CHUNK):
        done += len(chunk)
        if done > most:
            raise ValueError(sentence)
        target.write(chunk)
    return done


class _Modest(io.RawIOBase):
    """A file that refuses to be read in enormous pieces: a header may claim any length."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile):
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > LARGEST_READ:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()


def remove(folder: Path) -> None:
    """A folder that was made here, with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)

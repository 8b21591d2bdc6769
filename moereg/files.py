"""Files that are there whole or not at all: written under another name, then renamed.

    with whole(path) as unfinished:      # for writers that take a path: safetensors, NIfTI
        save_file(tensors, unfinished)
    write_text_whole(path, text)         # reports, receipts
    write_json_whole(path, value)
    with together(paths) as unfinished:  # several files of one result: all of them or none
    check_target(path, inputs=[...])     # before hours of work: can it be written, and is it nothing of the user's?
    check_folder(out)
    with reserved(out):                  # one training at a time
    checkout_folder("data/weights")      # what comes with the repository, wherever the work is done

An interruption leaves the old file, and a reader never sees half of a new one. Two processes that write the same file
do not meet: the last to finish stays. A link stays a link: the file that it names is written.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MODE = 0o644  # readable for the group that shares the folder; safetensors and mkstemp would leave 0o600


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Where to write what shall become `path`: the same name in a folder of its own, beside the target.

    The name is kept because some writers choose the format by the suffix, and the folder is beside the target because
    only within one file system a rename is one step. Missing parent folders are made.

    Raises:
        ValueError: the path is taken by what is no file, a folder or a pipe.
        FileNotFoundError: the block ended without having written the file.
    """
    path = Path(os.path.realpath(path))
    _require_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".unfinished-"))
    try:
        unfinished = folder / path.name
        yield unfinished
        if not unfinished.is_file():
            raise FileNotFoundError(f"{path} was to be written, but nothing was written to {unfinished}.")
        unfinished.chmod(MODE)
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def together(paths: Sequence[str | Path]) -> Iterator[list[Path]]:
    """Where to write files that belong together and shall lie in one folder. Each keeps its name; they are put in place
    one after another when all are written, and if the block fails none is.

    Raises:
        ValueError: as `whole`.
        FileNotFoundError: the block ended without having written all of them.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for target in targets:
        _require_file(target)
    out = Path(paths[0]).parent
    made = next((place for place in (*reversed(out.parents), out) if not place.exists()), None)
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out, prefix=".unfinished-"))
    try:
        unfinished = [folder / Path(path).name for path in paths]
        yield unfinished
        for here, target in zip(unfinished, targets, strict=True):
            if not here.is_file():
                raise FileNotFoundError(f"{target} was to be written, but nothing was written to {here}.")
        for here, target in zip(unfinished, targets, strict=True):
            here.chmod(MODE)
            shutil.move(here, target)  # a link may lead to another file system
        made = None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made is not None:
            _remove_empty(out, made)


def _remove_empty(folder: Path, last: Path) -> None:
    """A folder and those above it, up to the last, as long as they are empty."""
    with suppress(OSError):
        while True:
            folder.rmdir()
            if folder == last:
                return
            folder = folder.parent


def write_text_whole(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all, and return the path."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json_whole(path: str | Path, value: dict) -> Path:
    """Write JSON, whole or not at all, and return the path."""
    return write_text_whole(path, json.dumps(value, indent=1) + "\n")


def check_target(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Require, before any work, that `path` can be written and is none of the `inputs`. Nothing is made or changed.

    Raises:
        ValueError: it is one of the inputs, or taken by what is no file.
        NotADirectoryError, PermissionError: its folder cannot be made or written to.
    """
    real = Path(os.path.realpath(path))
    _require_file(real)
    for source in inputs:
        if real.exists() and Path(source).exists() and real.samefile(source):
            raise ValueError(f"{path} must not be an input, which would be overwritten; name another file.")
    check_folder(real.parent)


def check_folder(folder: str | Path) -> None:
    """Require, before any work, that a folder is there or can be made, and written to. Nothing is made or changed.

    Raises:
        NotADirectoryError, PermissionError: it cannot; the sentence names what stands in the way.
    """
    real = Path(os.path.realpath(folder))
    there = next(place for place in (real, *real.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise NotADirectoryError(f"{folder} must be a folder, but {there} is none.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} must be a folder that can be written to, but {there} cannot.")


@contextmanager
def reserved(folder: str | Path) -> Iterator[None]:
    """Keep a folder for one process at a time; the end of the process, whatever ends it, sets it free.

    Systems without locks on folders (Windows, some network drives) reserve nothing.

    Raises:
        ValueError: another one has it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} must be free, but another training writes into it; name another.") from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def _require_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file that can be replaced, got {_kind(path)}.")


def _kind(path: Path) -> str:
    kinds = {"a folder": path.is_dir(), "a pipe": path.is_fifo(), "a socket": path.is_socket()}
    return next((name for name, is_it in kinds.items() if is_it), "a device")


def checkout_folder(place: str | Path) -> Path | None:
    """A folder of the checkout that the library runs from; else of the working folder or one above; else None."""
    here = Path.cwd()
    roots = (Path(__file__).parent.parent, here, *here.parents)
    return next((root / place for root in roots if (root / place).is_dir()), None)

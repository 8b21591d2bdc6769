"""Files that are there whole or not at all: written under another name, then renamed.

    with whole(path) as unfinished:      # for writers that take a path: safetensors, NIfTI
        save_file(tensors, unfinished)
    write_text_whole(path, text)         # reports, receipts
    write_json_whole(path, value)
    checkout_folder("data/weights")      # what comes with the repository, wherever the work is done

An interruption leaves the old file, and a reader never sees half of a new one. Two processes that write the same file
do not meet: the last to finish stays.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODE = 0o644  # readable for the group that shares the folder; safetensors and mkstemp would leave 0o600


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Where to write what shall become `path`: the same name in a folder of its own, beside the target.

    The name is kept because some writers choose the format by the suffix, and the folder is beside the target because
    only within one file system a rename is one step. Missing parent folders are made.

    Raises:
        FileNotFoundError: the block ended without having written the file.
    """
    path = Path(path)
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


def write_text_whole(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all, and return the path."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json_whole(path: str | Path, value: dict) -> Path:
    """Write JSON, whole or not at all, and return the path."""
    return write_text_whole(path, json.dumps(value, indent=1) + "\n")


def checkout_folder(place: str | Path) -> Path | None:
    """A folder of the checkout that the library runs from; else of the working folder or one above; else None."""
    here = Path.cwd()
    roots = (Path(__file__).parent.parent, here, *here.parents)
    return next((root / place for root in roots if (root / place).is_dir()), None)

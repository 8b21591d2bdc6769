"""Receipts: what a full run of a notebook measured, with a hash of what ran.

A full run takes a GPU and is not repeated by every test. It leaves one JSON file in `data/receipts/`, and a page that
quotes a number takes it from there. The hashes tell whether the number still belongs to the text and code beside it.

In a notebook, `publish(dice=..., epe=...)` as the last value of a cell shows the metrics and hands them to the run that
executes the notebook; `tools/notebooks.py --receipt` writes the receipt.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import SupportsFloat

import moereg
from moereg.files import write_text_whole

MIME = "application/vnd.moereg.metrics+json"


@dataclass(frozen=True)
class Receipt:
    """One full run of one notebook."""

    notebook: str  # stem, "09_shmoareg"
    notebook_hash: str  # of the .py file
    library_hash: str  # of every .py file of moereg
    device: str  # in words, as torch names it
    seconds: float
    peak_memory_mb: float
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("notebook", "notebook_hash", "library_hash", "device"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name} of a receipt must be a non-empty text, got {getattr(self, name)!r}.")
        for name in ("seconds", "peak_memory_mb"):
            if not _is_number(getattr(self, name)) or getattr(self, name) <= 0:
                raise ValueError(f"{name} of a receipt must be a positive number, got {getattr(self, name)!r}.")
        wrong = {name: value for name, value in self.metrics.items() if not _is_number(value)}
        if wrong:
            raise ValueError(f"metrics of a receipt must be finite numbers, got {wrong}.")

    def is_current(self, notebook: Path) -> bool:
        """Whether notebook and library still are what the receipt was written for."""
        return (self.notebook_hash, self.library_hash) == (hash_files([notebook]), library_hash())

    def write(self, folder: Path) -> Path:
        """Write `folder/<notebook>.json`, in one step so that no half-written file remains."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        return write_text_whole(Path(folder) / f"{self.notebook}.json", text)


def read(path: Path) -> Receipt:
    """Read one receipt.

    Raises:
        ValueError: the file is not a receipt; the sentence names the file.
    """
    try:
        return Receipt(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a receipt: {error}") from error


def library_hash() -> str:
    """Hash of every Python file of the installed library."""
    return hash_files(sorted(Path(moereg.__file__).parent.rglob("*.py")))


def hash_files(paths: list[Path]) -> str:
    """SHA-256 over names and contents, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        content = Path(path).read_bytes()
        digest.update(f"{Path(path).name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Metrics:
    """Named numbers that a notebook cell ends with."""

    values: dict[str, float]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        lines = [f"{name} = {value:.4g}" for name, value in self.values.items()]
        return {"text/plain": "\n".join(lines), MIME: self.values}


def publish(**metrics: SupportsFloat) -> Metrics:
    """Show metrics as the result of a cell and hand them to a receipt."""
    return Metrics({name: float(value) for name, value in metrics.items()})


def published(notebook: dict) -> dict[str, float]:
    """All metrics that the cells of an executed notebook published, later ones last."""
    found: dict[str, float] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            found |= output.get("data", {}).get(MIME, {})
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

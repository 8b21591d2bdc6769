"""Recorded experiments: what `make experiments` measured, read from `data/experiments/`.

    record = recorded("ablation")
    record.finding.figure(), record.finding.sentence, record.seconds, record.protocols

Training every variant with three seeds takes many minutes, so chapters show what was written down, with its machine.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from moereg.experiments import Finding
from moereg.files import checkout_folder

PLACE, COMPARED = Path("data") / "experiments", Path("data") / "compare"


@dataclass(frozen=True)
class Record:
    """One file of `data/experiments/`."""

    name: str
    machine: dict  # device, processor, threads, versions
    seconds: float  # of the whole experiment on that machine
    findings: tuple[Finding, ...]
    protocols: tuple[dict, ...]  # how each finding was trained; empty in records from before they were kept
    shape: list[int] | None  # of the images, where all of them have one

    @property
    def finding(self) -> Finding:
        """The only finding of the record.

        Raises:
            ValueError: there are several.
        """
        if len(self.findings) != 1:
            raise ValueError(f"finding of {self.name!r} must be the only one, the record has {len(self.findings)}.")
        return self.findings[0]


def recorded(name: str, *, folder: str | Path | None = None) -> Record:
    """Read one recorded experiment.

    Args:
        name: of the file without its suffix, "ablation".
        folder: default `data/experiments` of the checkout that the library runs from; else of the working folder or
            one above it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no experiment of this name, or a file that holds no record.
    """
    folder = _folder() if folder is None else Path(folder)
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise ValueError(
            f"name must be one of the experiments in {folder}, {', '.join(known) or 'none'}, got {name!r}."
        )
    path = folder / f"{name}.json"
    try:
        return _record(name, json.loads(path.read_text(encoding="utf-8")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold a recorded experiment, reading it failed: {error!r}.") from error


def _folder() -> Path:
    found = checkout_folder(PLACE)
    if found is None:
        raise FileNotFoundError(
            f"recorded experiments must stand in {PLACE}, which is neither beside the library nor in {Path.cwd()} or "
            "above it: work in a clone of the repository, or name the folder."
        )
    return found


def _record(name: str, values: dict) -> Record:
    """One finding stands in the record itself, several in a list; protocols likewise."""
    several = "findings" in values
    findings = values["findings"] if several else [values]
    protocols = values.get("protocols", []) if several else [values["protocol"]]
    return Record(
        name,
        values["machine"],
        float(values["seconds"]),
        tuple(Finding(f["question"], f["rows"], f["sentence"]) for f in findings),
        tuple(protocols),
        values.get("shape"),
    )


def compared(*, folder: str | Path | None = None) -> dict:
    """What `make compare` measured, from `data/compare/` of the checkout: "rows", "costs", "steps", "scale", "machine".

    Raises:
        FileNotFoundError: there is no such record.
    """
    place = checkout_folder(COMPARED) if folder is None else Path(folder)
    if place is None or not (place / "compare.json").exists():
        raise FileNotFoundError(f"a comparison must stand in {place or COMPARED}; `make compare` writes one.")
    return json.loads((place / "compare.json").read_text(encoding="utf-8"))

"""Many pairs from a table, one after another in one process: a network is loaded once, one bad pair stops no other.

    moving,fixed,moving_labels,fixed_labels,fixed_mask

The first two columns are needed; entries are files, relative to the table. Every pair gets a folder of its own, and
`results.csv` and `results.json` hold a row for each: what was measured, the verdict, or the sentence that says why not.
Both are written anew after every pair.
"""

import csv
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moereg.apply import methods
from moereg.apply.registering import Registered, register_files
from moereg.data.filepairs import stem
from moereg.data.tables import read_rows
from moereg.files import check_target, write_json_whole, write_text_whole

RESULTS = "results.csv", "results.json"
KNOWN = {"moving_labels": "labels", "fixed_labels": "fixed_labels", "fixed_mask": "mask"}  # column -> option
COLUMNS = ("moving", "fixed", *KNOWN)


@dataclass(frozen=True)
class RegisteredTable:
    """What came of a table."""

    rows: list[dict]  # "pair", "folder", "error" (None where it went well), and the numbers of `Registered`
    paths: list[Path]  # of the results

    @property
    def failed(self) -> list[dict]:
        """Rows that say why not."""
        return [row for row in self.rows if row["error"] is not None]


def register_table(
    table: str | Path,
    *,
    out: str | Path,
    weights: str | Path | None = None,
    method: str | None = None,
    refine_steps: int = 0,
    similarity: str | None = None,
    device: str = "auto",
    tell=lambda line: None,
    **options,
) -> RegisteredTable:
    """Register every row of a table, each into `OUT/NNN_MOVING-FIXED`.

    Args:
        weights, method, refine_steps, similarity, device, options: as `register_files`, for all pairs.
        tell: called with a line for every pair.

    Raises:
        FileNotFoundError, ValueError: the table cannot be read, an option means nothing, no such weights; before any
            work. What is wrong with a single pair stands in its row.
    """
    out, rows = Path(out), read_rows(table)
    has_mask = any(row.get("fixed_mask") for _, row in rows)
    methods.check_options(weights, method, refine_steps, similarity, has_mask)
    paths = [out / name for name in RESULTS]
    for path in paths:
        check_target(path, [table])

    @cache
    def choose(dims: int) -> methods.Choice:
        how = {"refine_steps": refine_steps, "similarity": similarity or "lncc", "device": device}
        return methods.choose(weights, method, dims=dims, **how)

    methods.check_there(weights)
    named = {"weights": weights, "method": method, "refine_steps": refine_steps, "similarity": similarity}
    results: list[dict] = []
    for number, (line, row) in enumerate(rows, 1):
        files = {column: Path(table).parent / entry for column, entry in row.items() if column in COLUMNS and entry}
        results.append(_one(number, line, files, out, choose=choose, **named, **options))
        _write(results, paths)
        tell(_told(results[-1], number, len(rows)))
    return RegisteredTable(results, paths)


def _one(number: int, line: int, files: dict[str, Path], out: Path, **options) -> dict:
    name = "-".join(stem(files[side]) for side in ("moving", "fixed") if side in files)
    folder = out / f"{number:03d}_{name}"
    row: dict = {"pair": name, "line": line, "folder": folder.name, "error": None}
    try:
        for side in ("moving", "fixed"):
            if side not in files:
                raise ValueError(f"line {line} of the table: {side} must name a file, got nothing.")
        given = {KNOWN[column]: path for column, path in files.items() if column in KNOWN}
        done: Registered = register_files(files["moving"], files["fixed"], out=folder, **given, **options)
    except Exception as error:  # one pair's fault is its own, whatever it is
        kind = "" if isinstance(error, ValueError | OSError | TypeError) else f"{type(error).__name__}: "
        return row | {"error": kind + " ".join(str(error).split())}
    return row | done.numbers


def _write(results: list[dict], paths: list[Path]) -> None:
    columns = list(dict.fromkeys(key for row in results for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in results)
    write_text_whole(paths[0], text.getvalue())
    write_json_whole(paths[1], {"pairs": results})


def _told(row: dict, number: int, count: int) -> str:
    return f"{number} of {count}, {row['folder']}: {row['error'] or row['verdict']}"

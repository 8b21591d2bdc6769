"""The table that lists pairs of files, and which of its rows are for training and which for testing.

    moving,fixed,moving_labels,fixed_labels,moving_mask,fixed_mask,label_names,split,moving_subject,fixed_subject

The first two columns are needed. A mask is a NIfTI file on its image's grid, above zero where the image counts; a row
may have one, both or none. Labels lie on their image's grid, too; images may differ in shape and place, see
`moereg.data.onegrid`. `label_names` says what labels are called, "1=liver; 2=spleen": once, or in as many rows as
one likes, but never two names for one label.

`split` says train, val or test for each row; a table without it is one set, or is parted by subject where that is asked
for (`parted`). A subject is a file's content, by whatever name, and the name in the columns `moving_subject` and
`fixed_subject` where there are any. None may stand in two splits: a network that was trained on a scan has seen it,
whatever it is paired with.
"""

import csv
import difflib
import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from moereg.data.filepairs import FilePairs, Files, digest_of
from moereg.data.onegrid import load_either_grid, one_grid
from moereg.data.phantoms import SPLITS
from moereg.data.volumes import Grid, check_same_grid

IMAGES, LABELS, SUBJECTS = ("moving", "fixed"), ("moving_labels", "fixed_labels"), ("moving_subject", "fixed_subject")
MASKS, NAMES = ("moving_mask", "fixed_mask"), "label_names"
COLUMNS = (*IMAGES, *LABELS, *MASKS, NAMES, "split", *SUBJECTS)
TEST_SHARE = 0.2  # of the rows, where the tool parts a table

Row = tuple[int, dict[str, str]]  # line of the table, and its entries by column


def pairs_from_csv(
    path: str | Path, *, split: str | None = None, parted: bool = False, shape: tuple[int, ...] | None = None
) -> FilePairs:
    """Pairs from a table; see the module's text for its columns. Entries are NIfTI files, relative to the table.

    All headers are read at once, so that a wrong file is found before a long run and not in it.

    Args:
        split: rows of this split alone, "train", "val" or "test", where the table has such a column. One without is
            taken whole.
        shape: that all images are brought to; by default the one they have, or the largest size along every axis.
        parted: part a table without a column `split` by subject, a fifth of it for "test", the rest for "train".

    Raises:
        FileNotFoundError: the table, or a file that it names, is not there.
        ValueError: no text in UTF-8; a column that is missing, doubled or misspelt; no rows; an empty entry; labels or
            a mask that do not lie on their image's grid; an image whose shape is far from the others'; a subject in two
            splits; a table that cannot be parted; two names for one label.
    """
    path = Path(path)
    columns, rows = _read(path)
    grid_of = cache(load_either_grid)
    files = {line: _files_of_row(path, line, row, grid_of) for line, row in rows}
    # Of all rows, so that every split has the same shape.
    common = one_grid(path, [(grid_of(pair.moving), grid_of(pair.fixed)) for pair in files.values()], shape)
    if "split" in columns:
        _check_splits(path, rows, files)
        note = ""
        chosen = [line for line, row in rows if split in (None, row["split"])]
        if not chosen:
            raise ValueError(f"{path} must have rows whose split is {split!r}, got none.")
    elif parted and split is not None:
        parts = _part(path, rows, files)
        chosen = parts[split]
        counts = ", ".join(f"{len(lines)} pairs for {name}" for name, lines in parts.items() if lines)
        note = f"no column split, parted by subject: {counts}"
    else:
        chosen = list(files)
        note = f"no column split, all {len(chosen)} pairs are taken" if split else ""
    unused = tuple(column for column in columns if column not in COLUMNS)
    label_names = _label_names(path, rows)
    return FilePairs(
        [files[line] for line in chosen],
        shape=common.shape,
        unused=unused,
        label_names=label_names,
        common_grid=common.in_place,
        note=note,
        brought=common.told,
    )


def told(data: str | Path, pairs) -> list[str]:
    """What the user of a table should know of how it was read; nothing of pairs that come from no table."""
    unused, notes = getattr(pairs, "unused", ()), [getattr(pairs, name, "") for name in ("note", "brought")]
    parts = [f"not used: {', '.join(unused)}"] if unused else []
    return [f"{data}: {part}" for part in (*parts, *filter(None, notes))]


def labels_told(data: str | Path, pairs, weight: float) -> list[str]:
    """Whether a training learns from the labels of files, which is said either way; nothing where there are none."""
    files = getattr(pairs, "files", ())
    labelled = sum(entry.labelled for entry in files)
    if not labelled:
        return []
    if not weight:
        return [f"{data}: labels of {labelled} pairs are not learnt from, only measured"]
    rest = "" if labelled == len(files) else f"; the other {len(files) - labelled} teach by their images alone"
    return [f"{data}: labels of {labelled} pairs are learnt from, weight {weight:g}{rest}"]


def read_rows(path: str | Path) -> list[Row]:
    """Line number and entries of every row, for whoever reads the files one by one. No file is looked at.

    Raises:
        FileNotFoundError, ValueError: as `pairs_from_csv`, for what the table itself is.
    """
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows, without spaces around the entries."""
    if not path.is_file():
        what = "it is none" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"{path} must be a table of pairs, but {what}.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be a text in UTF-8, but its byte {error.start + 1} is none; save it anew."
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, [entry.strip() for entry in entries]) for entries in reader if any(entries)]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: must hold entries between commas ({error}).") from None
    columns = lines[0][1] if lines else []
    _check_columns(path, columns)
    if len(lines) < 2:
        raise ValueError(f"{path} must hold at least one pair, got a table without rows.")
    for line, entries in lines[1:]:
        if len(entries) > len(columns):
            raise ValueError(
                f"{path}, line {line}: must have {len(columns)} entries, one a column, got {len(entries)}."
            )
    blank = dict.fromkeys(columns, "")
    return columns, [(line, blank | dict(zip(columns, entries, strict=False))) for line, entries in lines[1:]]


def _check_columns(path: Path, columns: list[str]) -> None:
    for column in IMAGES:
        if column not in columns:
            raise ValueError(f"{path} must have the columns moving and fixed, got {', '.join(columns) or 'none'}.")
    for column in columns:
        if column in COLUMNS and columns.count(column) > 1:
            raise ValueError(f"{path} must have one column {column}, got {columns.count(column)}.")
        near = difflib.get_close_matches(column.lower(), COLUMNS, 1, cutoff=0.75)
        if column not in COLUMNS and (near or "label" in column.lower()):
            raise ValueError(f"{path} must have columns among {', '.join(COLUMNS)}, got {column!r}; is it misspelt?")


def _files_of_row(table: Path, line: int, row: dict[str, str], grid_of: Callable[[Path], Grid]) -> Files:
    found = {}
    for column in (*IMAGES, *LABELS, *MASKS):
        entry = row.get(column, "")
        if entry:
            found[column] = table.parent / entry
        elif column in IMAGES:
            raise ValueError(f"{table}, line {line}: {column} must name a file, got nothing.")
    for column, file in found.items():
        try:
            there = file.is_file()
        except OSError as error:  # a name that no file can have, a folder that may not be looked into
            raise ValueError(f"{table}, line {line}: {column} must name a file, got {error}.") from None
        if not there:
            raise FileNotFoundError(f"{table}, line {line}: {column} must name a file, but there is no {file}.")
    grids = {column: grid_of(file) for column, file in found.items()}
    for column in grids:
        check_same_grid(grids[column.split("_")[0]], grids[column])  # the image that labels or a mask belong to
    named = [column for column in LABELS if column in found]
    if len(named) == 1:
        raise ValueError(
            f"{table}, line {line}: {' and '.join(LABELS)} must both name a file, or none, got {named[0]}."
        )
    return Files(**found)


def _label_names(path: Path, rows: list[Row]) -> dict[int, str]:
    """What the column `label_names` says of all rows together."""
    names: dict[int, str] = {}
    for line, row in rows:
        for part in filter(None, (part.strip() for part in row.get(NAMES, "").split(";"))):
            number, sign, name = (piece.strip() for piece in part.partition("="))
            if not (sign and name and number.isascii() and number.isdigit() and int(number) > 0):
                raise ValueError(f"{path}, line {line}: {NAMES} must be like '1=liver; 2=spleen', got {part!r}.")
            known = names.setdefault(int(number), name)
            if known != name:
                raise ValueError(
                    f"{path}, line {line}: {NAMES} must call label {number} {known!r} as before, got {name!r}."
                )
    return names


def _subjects(row: dict[str, str], files: Files) -> list[tuple[str, str]]:
    """What must not stand in two splits: (how to say it, how to know it again)."""
    scans = [(path.name, digest_of(path)) for path in (files.moving, files.fixed)]
    return scans + [(f"subject {row[column]}", f"name {row[column]}") for column in SUBJECTS if row.get(column)]


def _check_splits(path: Path, rows: list[Row], files: dict[int, Files]) -> None:
    seen: dict[str, tuple[str, int]] = {}
    for line, row in rows:
        if row["split"] not in SPLITS:
            raise ValueError(f"{path}, line {line}: split must be one of {', '.join(SPLITS)}, got {row['split']!r}.")
        for name, key in _subjects(row, files[line]):
            split, before = seen.setdefault(key, (row["split"], line))
            if split != row["split"]:
                raise ValueError(
                    f"{path}, line {line}: {name} must not stand in split {row['split']!r}, for it is in {split!r} on "
                    f"line {before}."
                )


def _part(path: Path, rows: list[Row], files: dict[int, Files]) -> dict[str, list[int]]:
    """Lines of "train" and "test" (and none of "val"): groups that share no subject, the small ones for testing."""
    groups = sorted(_groups(rows, files), key=lambda group: (len(group[1]), group[0]))
    if len(groups) < 2:
        raise ValueError(
            f"{path} must have a column split that says train or test, because its pairs all hang together by subjects "
            "that they share."
        )
    test: list[int] = []
    while len(test) < TEST_SHARE * len(rows) and len(groups) > 1:
        test += groups.pop(0)[1]
    return {"train": sorted(line for _, lines in groups for line in lines), "val": [], "test": sorted(test)}


def _groups(rows: list[Row], files: dict[int, Files]) -> Iterator[tuple[str, list[int]]]:
    """Rows that hang together, directly or through others, by a subject that they share: (its least key, lines)."""
    groups: list[tuple[set[str], list[int]]] = []
    for line, row in rows:
        keys, lines, apart = {key for _, key in _subjects(row, files[line])}, [line], []
        for group in groups:
            if keys & group[0]:
                keys, lines = keys | group[0], group[1] + lines
            else:
                apart.append(group)
        groups = [*apart, (keys, lines)]
    return ((min(keys), lines) for keys, lines in groups)

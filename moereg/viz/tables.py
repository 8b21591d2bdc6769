"""Tables of a report: what a cell says, and which numbers are the best."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Value = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table of a report. Numbers are printed with `digits` decimals, None as a dash, text as it is.

    `best` marks the best number of each row or column: {"by": "row" | "column", "of": {key: "max" | "min"}}, where a
    key is a row's first cell or a column's heading. Keys that are not named have no best.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    digits: int | Sequence[int] = 3  # one for all columns, or one per column
    best: dict = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """What one cell shows."""

    text: str
    best: bool


def cells_of(table: Table) -> list[list[Cell]]:
    """The rows of a table as they are shown, the first column among them."""
    digits = [table.digits] * len(table.columns) if isinstance(table.digits, int) else list(table.digits)
    best = _best_places(table)
    return [
        [Cell(_text(value, digits[c]), (r, c) in best) for c, value in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]


def _text(value: Value, digits: int) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.{0 if isinstance(value, int) else digits}f}".replace("-", "−")


def _best_places(table: Table) -> set[tuple[int, int]]:
    """(row, column) of the best numbers, as the table's `best` asks for; equal ones share the mark."""
    places: set[tuple[int, int]] = set()
    lines = _lines(table)
    for key, rule in table.best.get("of", {}).items():
        numbers = {
            (r, c): value
            for r, c in lines.get(key, [])
            if isinstance(value := table.rows[r][c], int | float) and value == value
        }
        if len(numbers) > 1:  # one number alone is not the best of anything
            top = (max if rule == "max" else min)(numbers.values())
            places |= {place for place, value in numbers.items() if value == top}
    return places


def _lines(table: Table) -> dict[str, list[tuple[int, int]]]:
    """Key of `best` -> the places that are compared with each other. The first column holds names, not numbers."""
    if table.best.get("by", "column") == "row":
        return {str(row[0]): [(r, c) for c in range(1, len(row))] for r, row in enumerate(table.rows)}
    return {name: [(r, c) for r in range(len(table.rows))] for c, name in enumerate(table.columns) if c}

"""`report.html`: one file that shows a registered pair, its routing, tables and curves. No request leaves the page.

    payload = explorer_payload(model, pair, snapshots=..., title="Phantom abdomen 900")
    write_report("report.html", title="...", payload=payload, tables=[Table(...)], history=..., notes=[...])

Everything is inside the file: the explorer's module and style sheet, the packed data, and a picture that stands in
where JavaScript is off. A content security policy in the page forbids what is not inside.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from moereg.files import write_text_whole

FOLDER = Path(__file__).parent

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Table:
    """A table of a report. Numbers are printed with `digits` decimals, None as a dash, text as it is.

    `best` marks the best number of each row or column: {"by": "row" | "column", "of": {key: "max" | "min"}}, where a
    key is a row's first cell or a column's heading. Keys that are not named have no best.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
    digits: int | Sequence[int] = 3  # one for all columns, or one per column
    best: dict = field(default_factory=dict)
    note: str = ""


def write_report(
    path: str | Path,
    *,
    title: str,
    payload: dict | Sequence[dict] = (),
    tables: Sequence[Table | dict] = (),
    history: dict[str, dict[str, Sequence[float]]] | None = None,
    notes: Sequence[str] = (),
    subtitle: str = "",
    facts: dict[str, str] | None = None,
) -> Path:
    """Write one self-contained HTML file, whole or not at all.

    Args:
        path: of the file. Its folder is made if it is missing.
        title, subtitle: plain text, like all other text here: markup in it is shown, not obeyed.
        payload: one explorer, or several below each other, from `moereg.viz.payload.explorer_payload` (or
            `pack_result`).
        tables: `Table`s, or dicts with the same keys.
        history: run -> {"step": [...], and any series of the same length such as "loss", "dice"}. One small chart per
            series, one line per run; None in a series is a gap.
        notes: paragraphs below the tables.
        facts: small print at the foot: device, seconds, versions.

    Returns:
        The path, as `Path`.
    """
    payloads = [payload] if isinstance(payload, dict) else list(payload)
    tables = [table if isinstance(table, Table) else Table(**table) for table in tables]
    style = (FOLDER / "explorer.css").read_text() + (FOLDER / "report.css").read_text()
    body = [
        f"<header><h1>{escape(title)}</h1>{f'<p>{escape(subtitle)}</p>' if subtitle else ''}</header>",
        *(f"<section>{_place(p, i)}</section>" for i, p in enumerate(payloads)),
        f'<section class="tables">{"".join(_table(table) for table in tables)}</section>' if tables else "",
        f"<section>{_charts(history)}</section>" if history else "",
        *(f"<p>{escape(note)}</p>" for note in notes),
        _facts(facts or {}),
    ]
    page = (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{style}</style></head>\n'
        f'<body class="report"><main>{"".join(body)}</main>\n'
        f"{_script() if payloads else ''}</body></html>\n"
    )
    return write_text_whole(path, page)


def fragment(payload: dict) -> str:
    """The explorer as a piece of HTML for a page of one's own: style, place, data and module, all inside."""
    style = (FOLDER / "explorer.css").read_text()
    return f"<style>\n{style}</style>\n{_place(payload, 0)}\n{_script()}"


# ---------------------------------------------------------------------------------------------------- parts of a page


def _place(payload: dict, number: int) -> str:
    """Where an explorer or a walk appears: what stands in without JavaScript, and the data that will replace it."""
    picture = _stand_in(payload)
    # "<" cannot end the script element early when it is written as an escape; JSON reads it back.
    data = json.dumps({k: v for k, v in payload.items() if k != "poster"}, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<div data-moereg-explorer="{number}"><div data-moereg-mount>{picture}</div>'
        f'<script type="application/json">{data}</script></div>'
    )


def _stand_in(payload: dict) -> str:
    if payload.get("view") == "steps":
        steps = "".join(
            f"<li>{escape(step['sentence'])} <code>{escape(step['quote']['code'])}</code></li>"
            for step in payload["steps"]
        )
        return f'<div class="moe-static"><h2>{escape(payload["title"])}</h2><ol>{steps}</ol></div>'
    if not payload.get("poster"):
        return f"<p>{escape(payload['title'])}: this figure needs JavaScript.</p>"
    source, text = payload["poster"]["src"], escape(payload["poster"]["alt"])
    return f'<figure class="moe-static"><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _script() -> str:
    """The module itself, and one line that mounts every explorer of the page."""
    source = (FOLDER / "explorer.mjs").read_text()
    if "</script" in source.lower():
        raise ValueError("explorer.mjs must not contain an end tag of script: it is written into a page.")
    return f'<script type="module">\n{source}\nmountAll(document);\n</script>\n'


def _table(table: Table) -> str:
    digits = [table.digits] * len(table.columns) if isinstance(table.digits, int) else list(table.digits)
    best = _best_cells(table)
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = []
    for r, row in enumerate(table.rows):
        first, *rest = row
        cells = "".join(
            f"<td{' class=best' if (r, c) in best else ''}>{_cell(value, digits[c])}</td>"
            for c, value in enumerate(rest, start=1)
        )
        rows.append(f'<tr><th scope="row">{_cell(first, digits[0])}</th>{cells}</tr>')
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"</table>{note}</div>"
    )


def _cell(value: str | float | int | None, digits: int) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape(str(value))
    return f"{value:,.{0 if isinstance(value, int) else digits}f}".replace("-", "−")


def _best_cells(table: Table) -> set[tuple[int, int]]:
    """Places of the best numbers, as the table's `best` asks for."""
    wanted, places = table.best.get("of", {}), set()
    by_row = table.best.get("by", "column") == "row"
    lines = (
        {str(row[0]): [(r, c) for c in range(1, len(row))] for r, row in enumerate(table.rows)}
        if by_row
        else {str(name): [(r, c) for r in range(len(table.rows))] for c, name in enumerate(table.columns) if c}
    )
    for key, rule in wanted.items():
        numbers = [(table.rows[r][c], (r, c)) for r, c in lines.get(key, [])]
        numbers = [(v, place) for v, place in numbers if isinstance(v, int | float) and v == v]
        if len(numbers) > 1:
            top = (max if rule == "max" else min)(v for v, _ in numbers)
            places |= {place for v, place in numbers if v == top}
    return places


def _facts(facts: dict[str, str]) -> str:
    if not facts:
        return ""
    items = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items())
    return f"<footer><dl>{items}</dl></footer>"


# ------------------------------------------------------------------------------------------------------------- curves

LINES = ("var(--line-0)", "var(--line-1)", "var(--line-2)", "var(--line-3)")
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 200, 58, 24


def _charts(history: dict[str, dict[str, Sequence[float]]]) -> str:
    """One chart per series, one line per run."""
    series = list(dict.fromkeys(name for run in history.values() for name in run if name != "step"))
    charts = "".join(f"<figure>{_chart(name, history)}</figure>" for name in series)
    names = "".join(
        f'<span><i style="background:{LINES[i % 4]}"></i>{escape(run)}</span>' for i, run in enumerate(history)
    )
    return f'<h2>Training</h2><p class="keys">{names}</p><div class="charts">{charts}</div>'


def _chart(name: str, history: dict[str, dict[str, Sequence[float]]]) -> str:
    runs = {
        run: [(x, y) for x, y in zip(s["step"], s[name], strict=True) if y is not None and y == y]
        for run, s in history.items()
        if name in s
    }
    points = [point for line in runs.values() for point in line]
    if not points:
        return f"<figcaption>{escape(name)}: no values</figcaption>"
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = min(y for _, y in points), max(y for _, y in points)
    span_x, span_y = (high_x - low_x) or 1, (high_y - low_y) or 1

    def place(x: float, y: float) -> str:
        left = LEFT + (x - low_x) / span_x * (WIDTH - LEFT - 8)
        top = 8 + (high_y - y) / span_y * (HEIGHT - BOTTOM - 16)
        return f"{left:.1f},{top:.1f}"

    lines = "".join(
        f'<polyline points="{" ".join(place(x, y) for x, y in points)}" style="stroke:{LINES[i % 4]}"{faint}/>'
        for i, line in enumerate(runs.values())
        for points, faint in _smoothed(line)
    )
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{float(place(low_x, y).split(",")[1]) + 4:.1f}" text-anchor="end">{y:.3g}</text>'
        for y in {low_y, high_y}
    ) + "".join(
        f'<text x="{place(x, low_y).split(",")[0]}" y="{HEIGHT - 6}" text-anchor="{anchor}">{x:g}</text>'
        for x, anchor in ((low_x, "start"), (high_x, "end"))
    )
    ends = "; ".join(f"{run} ends at {line[-1][1]:.3g}" for run, line in runs.items() if line)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{name} over training steps: {ends}")}">'
        f'<path class="axis" d="M{LEFT} 8V{HEIGHT - BOTTOM}H{WIDTH - 8}"/>{lines}{ticks}</svg>'
        f"<figcaption>{escape(name)} <span>({escape(ends)})</span></figcaption>"
    )


def _smoothed(line: list[tuple[float, float]]) -> list[tuple[list[tuple[float, float]], str]]:
    """A line as it is; or, where it is long, faint, with a running mean over a twentieth of it on top."""
    if len(line) < 60:
        return [(line, "")]
    reach = len(line) // 40
    means = []
    for i, (x, _) in enumerate(line):
        near = [y for _, y in line[max(0, i - reach) : i + reach + 1]]
        means.append((x, sum(near) / len(near)))
    return [(line, ' class="faint"'), (means, "")]

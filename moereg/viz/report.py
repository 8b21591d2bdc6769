"""`report.html`: one file that shows a registered pair, its routing, tables and curves. No request leaves the page.

    payload = explorer_payload(model, pair, snapshots=..., title="Phantom abdomen 900")
    write_report("report.html", title="...", payload=payload, tables=[Table(...)], history=..., notes=[...])

Everything is inside the file: the explorer's module and style sheet, the packed data, and a picture that stands in
where JavaScript is off. A content security policy in the page forbids what is not inside. What the page looks like
stands in `templates/`; all text is escaped there, so that markup in a name is shown and not obeyed.
"""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from moereg.files import write_text_whole
from moereg.viz.charts import FRAME, charts_of, run_colours
from moereg.viz.clinical import Picture
from moereg.viz.tables import Table, cells_of

__all__ = ["fragment", "write_report"]

FOLDER = Path(__file__).parent

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def write_report(
    path: str | Path,
    *,
    title: str,
    payload: dict | Sequence[dict] = (),
    tables: Sequence[Table | dict] = (),
    history: dict[str, dict[str, Sequence[float | None]]] | None = None,
    notes: Sequence[str] = (),
    subtitle: str = "",
    findings: Sequence[str] = (),
    figures: Sequence[Picture] = (),
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
        findings: lines at the top: what was found, before anything is shown.
        figures: pictures below them, before the explorers.
        facts: small print at the foot: device, seconds, versions.

    Returns:
        The path, as `Path`.
    """
    payloads = [payload] if isinstance(payload, dict) else list(payload)
    tables = [table if isinstance(table, Table) else Table(**table) for table in tables]
    page = _templates().get_template("report.html.jinja")
    text = page.render(
        policy=POLICY,
        title=title,
        subtitle=subtitle,
        style=_style("explorer.css", "report.css"),
        findings=findings,
        figures=figures,
        payloads=[_parts(payload) for payload in payloads],
        script=_script(),
        tables=[{"table": table, "rows": cells_of(table)} for table in tables],
        history=history or {},
        notes=notes,
        facts=facts or {},
    )
    return write_text_whole(path, text)


def fragment(payload: dict) -> str:
    """The explorer as a piece of HTML for a page of one's own: style, place, data and module, all inside."""
    piece = _templates().get_template("fragment.html.jinja")
    return piece.render(style=_style("explorer.css"), payload=_parts(payload), script=_script())


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # `tojson` writes "<" as an escape, so that no text of the data ends the script element early; JSON reads it back.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.globals |= {"charts_of": charts_of, "run_colours": run_colours, "frame": FRAME}
    return environment


def _parts(payload: dict) -> dict:
    """What becomes of a payload in a page: data for the module, and what stands in for it without JavaScript."""
    return {
        "data": {key: value for key, value in payload.items() if key != "poster"},
        "title": payload.get("title", ""),
        "poster": payload.get("poster"),
        "steps": payload["steps"] if payload.get("view") == "steps" else None,
    }


def _style(*names: str) -> str:
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def _script() -> str:
    """The explorer's module, which must be able to stand inside a page."""
    source = (FOLDER / "explorer.mjs").read_text(encoding="utf-8")
    if "</script" in source.lower():
        raise ValueError("explorer.mjs must not contain an end tag of script: it is written into a page.")
    return source

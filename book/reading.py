"""How long a chapter takes, section by section: an estimate by a stated rule, computed from the notebook.

Reading: words / 180 + 0.3 per displayed formula + lines of code / 10 + 0.5 per picture or view + 1 per prompt. Lines
that import, print, draw or assert are looked over, 40 a minute; hidden ones are not read. (English non-fiction is read
at about 240 words a minute, and at 140 to 200 by those who mean to learn it.) Exercises: 6 per one in code, 2 per other
one, not part of the reading. Running: the seconds that the chapter declares.

A section that a first reading may leave out says so in its first paragraph (`LEFT_OUT`): its minutes are named apart.
"""

import ast
import re
from dataclasses import dataclass

from nbformat import NotebookNode

from tools.notebooks import WIDGET_VIEW

WORDS, FORMULA, LINES, LOOKED_OVER, PICTURE, PROMPT, CODED, ASKED = 180, 0.3, 10, 40, 0.5, 1, 6, 2
LEFT_OUT = "A first reading may leave this section out."
FORMULAS = re.compile(r"\$\$.*?\$\$", re.DOTALL)
APART = re.compile(r"\$\$.*?\$\$|<[^>]+>|https?://\S+", re.DOTALL)
SHOWS = re.compile(
    r"(print|display|plt|ax|axes|axis|figure|left|right|above|below|bar|show_\w+|draw_\w+)\b|torch\.testing"
)


@dataclass
class Section:
    """A heading of the second or third level, or the beginning of a chapter, and the minutes that it costs."""

    title: str
    reading: float = 0.0
    running: float = 0.0
    exercises: float = 0.0
    left_out: bool = False

    @property
    def anchor(self) -> str:
        """As Sphinx makes it of the title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def title(notebook: NotebookNode) -> str:
    """Of the chapter: its first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return found[1]
    return ""


def sections(notebook: NotebookNode) -> list[Section]:
    """The chapter's sections with their minutes; the first one is what stands before the first heading."""
    found = [Section("Beginning")]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=##+ )", cell.source, flags=re.MULTILINE):
                if heading := re.match(r"##+ (.+)", part):
                    found.append(Section(heading[1].strip(), left_out=LEFT_OUT in " ".join(part.split())))
                found[-1].reading += text_minutes(part)
        elif cell.cell_type == "code":
            solved = "solution" in cell.metadata.get("tags", [])
            if solved:
                found[-1].exercises += code_minutes(cell)
            else:
                found[-1].reading += code_minutes(cell)
    # Running is shared out evenly: a reader waits wherever the cells are.
    seconds = notebook.metadata.get("moereg", {}).get("budget", {}).get("smoke_seconds", 0)
    for section in found:
        section.running = seconds / 60 / len(found)
    return found


def text_minutes(text: str) -> float:
    """Of prose: its words, its displayed formulas, and its answers, each of which followed a prompt."""
    words = len(APART.sub(" ", text).split())
    return words / WORDS + FORMULA * len(FORMULAS.findall(text)) + PROMPT * text.count("<details>")


def code_minutes(cell: NotebookNode) -> float:
    """Of one code cell: reading it and looking at what it shows, or solving the exercise in it."""
    tags = cell.metadata.get("tags", [])
    if "solution" in tags:
        return CODED if re.search(r"^def |^class ", cell.source, re.MULTILINE) else ASKED
    read, looked_over = (0, 0) if "hide-input" in tags else count_lines(cell.source)
    shown = [output.get("data", {}) for output in cell.get("outputs", ())]
    pictures = sum("image/png" in data or WIDGET_VIEW in data for data in shown)
    return read / LINES + looked_over / LOOKED_OVER + PICTURE * pictures


def count_lines(source: str) -> tuple[int, int]:
    """Lines of a cell that are read, and lines that are looked over."""
    try:
        return _lines(ast.parse(source).body)
    except SyntaxError:  # a magic
        return sum(bool(line.strip()) for line in source.splitlines()), 0


def _lines(body: list[ast.stmt]) -> tuple[int, int]:
    """A loop of which all is looked over is looked over, its first line too."""
    read = looked_over = 0
    for statement in body:
        inner = [part for name in ("body", "orelse", "finalbody") for part in getattr(statement, name, [])]
        length = statement.end_lineno - statement.lineno + 1
        if inner:
            own_read, own_looked = _lines(inner)
            head = length - (inner[-1].end_lineno - inner[0].lineno + 1)
            read += own_read + head if own_read else 0
            looked_over += own_looked + (0 if own_read else head)
        elif _is_shown(statement):
            looked_over += length
        else:
            read += length
    return read, looked_over


def _is_shown(statement: ast.stmt) -> bool:
    """Whether it imports, asserts, prints or draws, and computes nothing."""
    if isinstance(statement, ast.Expr | ast.Assign) and isinstance(statement.value, ast.Call):
        called = ast.unparse(statement.value.func)
        drawn = called.startswith(("plt.", "figure.")) or called.endswith(".imshow")
        return drawn or (isinstance(statement, ast.Expr) and bool(SHOWS.match(called)))
    return isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom)


def total(notebook: NotebookNode) -> float:
    """Minutes of a first reading, running included: without exercises, without what may be left out."""
    return sum(section.reading for section in sections(notebook) if not section.left_out) + _running(notebook)


def exercises(notebook: NotebookNode) -> float:
    """Minutes of the chapter's exercises."""
    return sum(section.exercises for section in sections(notebook))


def further(notebook: NotebookNode) -> float:
    """Minutes of the sections that a first reading may leave out."""
    return sum(section.reading for section in sections(notebook) if section.left_out)


def _running(notebook: NotebookNode) -> float:
    return sum(section.running for section in sections(notebook))


def rounded(minutes: float) -> int:
    """To five minutes: the rule is no better than that."""
    return 5 * round(minutes / 5)


def how_long(notebook: NotebookNode) -> str:
    """A chapter's minutes in one phrase."""
    parts = [f"about {rounded(total(notebook))} minutes"]
    if more := rounded(further(notebook)):
        parts.append(f"{more} for sections that a first reading may leave out")
    if asked := rounded(exercises(notebook)):
        parts.append(f"{asked} for the exercises")
    return ", ".join(parts)


def in_words() -> str:
    """The rule, as one phrase for a page."""
    return (
        f"{WORDS} words a minute, {60 * FORMULA:g} seconds per displayed formula, {LINES} lines of code a minute and "
        f"{LOOKED_OVER} of those that import, print, draw or assert, half a minute per picture, {PROMPT:g} per prompt, "
        f"and the seconds that the cells run; apart from that {CODED} per exercise in code, {ASKED} per other exercise"
    )


def tables(notebooks: dict[str, NotebookNode]) -> str:
    """Minutes per chapter, with those of its sections folded below, as Markdown."""
    parts = []
    for stem, notebook in notebooks.items():
        rows = [
            f"| {one.title}{' (may be left out)' * one.left_out} | {one.reading:.0f} | {one.exercises:.0f} |"
            for one in sections(notebook)
        ]
        parts += [f":::{{dropdown}} {stem[:2]} {title(notebook)}: {how_long(notebook)}", ""]
        parts += [f"Its cells run for {_running(notebook):.1g} minutes on two cores.", ""]
        parts += ["| section | reading | exercises |", "| --- | ---: | ---: |", *rows, "", ":::", ""]
    return "\n".join(parts)

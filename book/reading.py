"""How long a chapter takes, section by section: an estimate by a stated rule, computed from the notebook.

minutes = words / 130 + lines of code / 10 + 0.5 per picture or view + 1.5 per prompt + 6 per exercise in code
          + 2 per other exercise + the seconds that running it takes
"""

import re
from dataclasses import dataclass

from nbformat import NotebookNode

from tools.notebooks import WIDGET_VIEW

WORDS, LINES, PICTURE, PROMPT, CODED, ASKED = 130, 10, 0.5, 1.5, 6, 2
APART = re.compile(r"\$\$.*?\$\$|<[^>]+>|https?://\S+", re.DOTALL)


@dataclass
class Section:
    """A heading of the second level, or the beginning of a chapter, and what it costs."""

    title: str
    minutes: float = 0.0

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
            for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                if heading := re.match(r"## (.+)", part):
                    found.append(Section(heading[1].strip()))
                words = len(APART.sub(" ", part).split())
                found[-1].minutes += words / WORDS + PROMPT * part.count("<details>")
        elif cell.cell_type == "code":
            found[-1].minutes += code_minutes(cell)
    # Running is shared out evenly: a reader waits wherever the cells are.
    seconds = notebook.metadata.get("moereg", {}).get("budget", {}).get("smoke_seconds", 0)
    for section in found:
        section.minutes += seconds / 60 / len(found)
    return found


def code_minutes(cell: NotebookNode) -> float:
    """Of one code cell: reading it, looking at what it shows, or solving the exercise in it."""
    tags = cell.metadata.get("tags", [])
    if "solution" in tags:
        return CODED if re.search(r"^def |^class ", cell.source, re.MULTILINE) else ASKED
    lines = sum(bool(line.strip()) for line in cell.source.splitlines()) * ("hide-input" not in tags)
    shown = [output.get("data", {}) for output in cell.get("outputs", ())]
    return lines / LINES + PICTURE * sum("image/png" in data or WIDGET_VIEW in data for data in shown)


def total(notebook: NotebookNode) -> float:
    """Minutes of the whole chapter."""
    return sum(section.minutes for section in sections(notebook))


def in_words() -> str:
    """The rule, as one phrase for a page."""
    return (
        f"{WORDS} words a minute, {LINES} lines of code a minute, half a minute per picture, {PROMPT:g} per prompt, "
        f"{CODED} per exercise in code, {ASKED} per other exercise, and the seconds that the cells run"
    )


def tables(notebooks: dict[str, NotebookNode]) -> str:
    """Minutes per chapter, with those of its sections folded below, as Markdown."""
    parts = []
    for stem, notebook in notebooks.items():
        found = sections(notebook)
        rows = [f"| {section.title} | {section.minutes:.0f} |" for section in found]
        minutes = 5 * round(sum(section.minutes for section in found) / 5)
        parts += [f":::{{dropdown}} {stem[:2]} {title(notebook)}: about {minutes} minutes", ""]
        parts += ["| section | minutes |", "| --- | ---: |", *rows, "", ":::", ""]
    return "\n".join(parts)

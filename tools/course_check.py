"""`make course-check`: the form of the chapters, rule by rule. Nothing is executed.

    python -m tools.course_check                all chapters
    python -m tools.course_check 08_shmoe       some

| rule     | what it asks                                                                                        |
|----------|-----------------------------------------------------------------------------------------------------|
| pairing  | .py and .ipynb say the same, every cell was run in order, pictures have a text, no machine is named  |
| length   | a code cell has at most 30 lines                                                                    |
| width    | a line of code has at most 88 characters: the page cuts off the rest                                |
| outputs  | a cell that prints or draws has its output committed                                                |
| numbers  | a decimal or a percentage in prose stands in the code of a neighbouring cell, or in `course.toml`   |
| prompts  | a question in bold is followed by a folded output and by "What you should have seen"                |
| aims     | every aim of the head is met in a section named in `course.toml`, by an assertion or an exercise     |
| dpi      | a figure has at least 110 dots per inch                                                             |
| scale    | a map whose colours mean numbers has a colour bar                                                   |
| order    | what an alternative text states of an order or a maximum has a row `figure` in `course.toml`         |
| minutes  | a first reading takes 25 to 45 minutes, to five, exercises apart, and meets every aim                |

What needs execution (legends beside data, equal outputs of a rerun, figures whose data say what their text does) is
`tools/course_rerun.py`, in the notebooks layer.
Where a rule cannot be kept, `tools/course.toml` says so by chapter and rule, with a reason; an exception that nothing
needs is a complaint too.
"""

import argparse
import ast
import base64
import re
import struct
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book import reading
from tools.notebooks import NOTEBOOKS, WIDGET_VIEW, complaints, from_script

SETTINGS = Path(__file__).with_name("course.toml")
LINES, WIDTH, DPI = 30, 88, 110
LEAST, MOST = 25, 45  # minutes of a first reading
SEEN = "What you should have seen"
NUMERIC_MAPS = re.compile(r"cmap=\"(?:viridis|magma|cividis|inferno|plasma|RdBu|coolwarm|PuOr|seismic|hot)\"")
ORDER = re.compile(
    r"\b(?:most|least|fewest|largest|smallest|highest|lowest|longest|shortest|grows?|falls?|rises?|minimum|maximum|"
    r"(?:lower|higher|more|less|larger|smaller) than)\b"
)
NUMBER = re.compile(r"(?<![\w.,])\d+\.\d+(?![\w.])|\d+(?:\.\d+)?(?= ?%)")
# No text that a reader reads as prose: code, formulas, tags, targets of links, identifiers of papers.
APART = re.compile(
    r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|<[^>]*>|\]\([^)]*\)|arXiv \d{4}\.\d{5}|10\.\d{4,}/\S+", re.DOTALL
)
EXERCISES = re.compile(r"^## (?:Exercises|\w+ more exercises)", re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """One notebook as it is committed, and what `course.toml` says of it."""

    stem: str
    cells: list[NotebookNode]
    aims: list[list[str]]  # for each aim of the head the sections that meet it
    allowed: list[str]  # phrases with numbers that prose may hold
    script: Path
    figures: list[dict]  # what alternative texts say, and how it is tested
    budget: float = 0  # seconds that its cells run

    @classmethod
    def read(cls, script: Path, settings: dict) -> "Chapter":
        """From the executed notebook beside the script; from the script where there is none."""
        paired = script.with_suffix(".ipynb")
        notebook = nbformat.read(paired, as_version=4) if paired.exists() else from_script(script)
        allowed = [row["text"] for row in settings.get("number", []) if row["chapter"] in ("*", script.stem)]
        named, figures = settings.get("aims", {}).get(script.stem, []), statements(settings, script.stem)
        budget = notebook.metadata.get("moereg", {}).get("budget", {}).get("smoke_seconds", 0)
        return cls(script.stem, notebook.cells, named, allowed, script, figures, budget)

    def code(self) -> Iterator[tuple[int, NotebookNode]]:
        """Code cells with their numbers, from 1."""
        return ((i, cell) for i, cell in enumerate(self.cells, start=1) if cell.cell_type == "code")

    def prose(self) -> Iterator[tuple[int, str]]:
        """Texts before the exercises, with the numbers of their cells."""
        for i, cell in enumerate(self.cells, start=1):
            if cell.cell_type == "markdown":
                found = EXERCISES.search(cell.source)
                yield i, cell.source[: found.start()] if found else cell.source
                if found:
                    return


def pairing(chapter: Chapter) -> list[str]:
    """What `tools.notebooks` complains of."""
    return [sentence.removeprefix(f"{chapter.stem}.ipynb: ") for sentence in complaints(chapter.script)]


def length(chapter: Chapter) -> list[str]:
    """Code cells that are too long."""
    counts = ((i, len(cell.source.splitlines())) for i, cell in chapter.code())
    return [f"cell {i} has {count} lines, at most {LINES}" for i, count in counts if count > LINES]


def width(chapter: Chapter) -> list[str]:
    """Lines of code that the page cuts off."""
    return [
        f"cell {i} has a line of {len(line)} characters, at most {WIDTH}: {line.strip()[:40]}"
        for i, cell in chapter.code()
        for line in cell.source.splitlines()
        if len(line) > WIDTH
    ]


def outputs(chapter: Chapter) -> list[str]:
    """Cells that print or draw and have nothing to show for it."""
    return [
        f"cell {i} prints or draws, and no output is committed"
        for i, cell in chapter.code()
        if _shows(cell.source) and not cell.get("outputs")
    ]


def _shows(source: str) -> bool:
    """Whether a statement of the cell itself (not of a function in it) prints or draws."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    calls = [node.value for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return any(ast.unparse(call.func) in ("print", "display", "plt.show") for call in calls)


def numbers(chapter: Chapter) -> list[str]:
    """Numbers in prose that no neighbouring code holds."""
    wrong = []
    for i, text in chapter.prose():
        for phrase in chapter.allowed:
            text = text.replace(phrase, "")
        near = "\n".join(cell.source for _, cell in _neighbours(chapter, i))
        for found in NUMBER.finditer(APART.sub(" ", text)):
            if not re.search(rf"(?<![\d.]){re.escape(found[0])}(?!\d)", near):
                wrong.append(f"cell {i} holds a typed number, {found[0]}, that no cell beside it holds")
    return wrong


def prompts(chapter: Chapter) -> list[str]:
    """Questions in bold whose answer is in sight, or not there."""
    events = list(_events(chapter))
    wrong = []
    for place, (kind, cell, what) in enumerate(events):
        if kind != "prompt":
            continue
        later = events[place + 1 :]
        answer = next((n for n, event in enumerate(later) if event[0] == "answer"), None)
        before = later if answer is None else later[:answer]
        if answer is None or any(event[0] == "prompt" and event[1] != cell for event in before):
            wrong.append(f"cell {cell} asks and nothing says what was to be seen: {what[:50]}")
        shown = next((event for event in before if event[0] == "shown"), None)
        if shown is None:
            wrong.append(f"cell {cell} asks, and no cell answers: {what[:50]}")
        elif shown[2] != "folded":
            wrong.append(f"cell {shown[1]} answers cell {cell} in sight: tag it hide-output")
    return wrong


def _events(chapter: Chapter) -> Iterator[tuple[str, int, str]]:
    """What a reader meets before the exercises, in order: prompts, outputs (folded or in sight), answers."""
    texts = dict(chapter.prose())
    last = max(texts, default=0)
    for i, cell in enumerate(chapter.cells[:last], start=1):
        folded = "hide-output" in cell.metadata.get("tags", ())
        controls = [WIDGET_VIEW in output.get("data", {}) for output in cell.get("outputs", ())]
        if controls and (folded or not any(controls)):  # what the reader moves is no answer
            yield "shown", i, "folded" if folded else "in sight"
        for found in re.finditer(rf"\*\*([^*]+)\*\*|{SEEN}", texts.get(i, "")):
            said = " ".join((found[1] or "").split())
            if not said:
                yield "answer", i, ""
            elif said.endswith("?") or re.match(r"Predict|Guess|Before you", said):
                yield "prompt", i, said


def aims(chapter: Chapter) -> list[str]:
    """Aims of the head that no named section meets."""
    head = next((cell.source for cell in chapter.cells if cell.source.startswith("# ")), "")
    promised = re.findall(r"^\* (.+?)(?=^\* |^$|\Z)", head, re.MULTILINE | re.DOTALL)
    if not promised:
        return ["the head promises nothing: a list after 'You will be able to'"]
    if len(promised) != len(chapter.aims):
        return [f"the head has {len(promised)} aims, course.toml names sections for {len(chapter.aims)}"]
    sections = _sections(chapter)
    wrong = []
    for aim, named in zip(promised, chapter.aims, strict=True):
        for name in named:
            if name not in sections:
                wrong.append(f"there is no section {name!r}, named for the aim {aim.strip()[:40]!r}")
        if not any("assert" in sections.get(name, "") or "check(" in sections.get(name, "") for name in named):
            wrong.append(f"no section named for the aim {aim.strip()[:40]!r} asserts or asks anything")
    return wrong


def _sections(chapter: Chapter) -> dict[str, str]:
    """Heading -> the code below it, as far as the next heading."""
    found: dict[str, str] = {}
    name = ""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^#{2,3} (.+)$", cell.source, re.MULTILINE):
                name = heading
                found.setdefault(name, "")
        elif name:
            found[name] += cell.source + "\n"
    return found


def dpi(chapter: Chapter) -> list[str]:
    """Figures that are coarser than they should be. A picture that stands in for a widget has its own size."""
    wrong = []
    for i, cell in chapter.code():
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            picture = None if WIDGET_VIEW in data else data.get("image/png")
            found = picture and dots_per_inch(base64.b64decode(picture))
            if found and found < DPI:
                wrong.append(f"cell {i} shows a figure of {found} dots per inch, at least {DPI}")
    return wrong


def dots_per_inch(png: bytes) -> int | None:
    """As the file itself says; None where it does not."""
    place = png.find(b"pHYs")
    return None if place < 0 else round(struct.unpack(">I", png[place + 4 : place + 8])[0] * 0.0254)


def scale(chapter: Chapter) -> list[str]:
    """Maps of numbers that say nothing about them."""
    return [
        f"cell {i} shows numbers as colours without a colour bar"
        for i, cell in chapter.code()
        if NUMERIC_MAPS.search(cell.source) and "colorbar" not in cell.source
    ]


def order(chapter: Chapter) -> list[str]:
    """Alternative texts that state an order or a maximum which no row of `course.toml` tests on the figure's data."""
    wrong, texts = [], {i: alternative_text(cell) for i, cell in chapter.code()}
    for i, text in texts.items():
        for row in chapter.figures:
            text = text.replace(row["says"], "")
        wrong += [f"cell {i}: nothing tests what its alternative text says: {m[0]!r}" for m in ORDER.finditer(text)]
    for row in chapter.figures:
        if not any(row["says"] in text for text in texts.values()):
            wrong.append(f"no alternative text says {row['says']!r} any more")
    return wrong


def alternative_text(cell: NotebookNode) -> str:
    """Of the pictures of a cell; empty where it has none."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def statements(settings: dict, stem: str) -> list[dict]:
    """Rows on a chapter's alternative texts: words, and what they mean (`holds`) or name (`name`)."""
    return [row for row in settings.get("figure", []) if row["chapter"] == stem]


def minutes(chapter: Chapter) -> list[str]:
    """A chapter that is too short or too long at a first reading, or whose aims stand only where it may be left out."""
    seconds = chapter.budget
    notebook = nbformat.v4.new_notebook(
        cells=chapter.cells, metadata={"moereg": {"budget": {"smoke_seconds": seconds}}}
    )
    found = reading.rounded(reading.total(notebook))
    wrong = [] if LEAST <= found <= MOST else [f"a first reading takes {found} minutes, {LEAST} to {MOST} are meant"]
    left_out = {section.title for section in reading.sections(notebook) if section.left_out}
    for named in chapter.aims:
        if set(named) <= left_out:
            wrong.append(f"an aim is met only where a first reading may leave it out: {', '.join(named)}")
    return wrong


def _neighbours(chapter: Chapter, number: int, count: int = 1) -> list[tuple[int, NotebookNode]]:
    """The code cells before and after a cell, as many on either side."""
    code = list(chapter.code())
    return [pair for pair in code if pair[0] < number][-count:] + [pair for pair in code if pair[0] > number][:count]


RULES: dict[str, Callable[[Chapter], list[str]]] = {
    rule.__name__: rule
    for rule in (pairing, length, width, outputs, numbers, prompts, aims, dpi, scale, order, minutes)
}


def check(scripts: list[Path], settings: dict) -> list[str]:
    """Every complaint about the chapters that no exception covers, and every exception that covers none."""
    found = []
    for script in scripts:
        chapter = Chapter.read(script, settings)
        excepted = {row["rule"] for row in settings.get("exception", []) if row["chapter"] == chapter.stem}
        for name, rule in RULES.items():
            wrong = rule(chapter)
            if name in excepted and not wrong:
                found.append(f"{chapter.stem}: the exception from {name!r} is needed no more")
            found += [] if name in excepted else [f"{chapter.stem}: {name}: {sentence}" for sentence in wrong]
        text = "\n".join(source for _, source in chapter.prose())
        own = [row["text"] for row in settings.get("number", []) if row["chapter"] == chapter.stem]
        found += [f"{chapter.stem}: no text holds {phrase!r} any more" for phrase in own if phrase not in text]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stems", nargs="*", help="chapters, all if none is named")
    options = parser.parse_args(arguments)
    settings = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    scripts = [NOTEBOOKS / f"{stem}.py" for stem in options.stems] or sorted(NOTEBOOKS.glob("*.py"))
    found = check(scripts, settings)
    excepted = [f"{row['chapter']}: {row['rule']}: {row['reason']}" for row in settings.get("exception", [])]
    for title, lines in (("exceptions", excepted), ("complaints", found)):
        print(f"{len(lines)} {title}", *lines, sep="\n   ")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`make slides`: every chapter as a deck, for the projector, from the same executed notebooks.

    python -m tools.slides [NAME ...] [--out build/slides]

A deck is one page over reveal.js that needs no network: headings, first sentences, lists, formulas and pictures on the
slides, whole paragraphs in the speaker's notes (key S). What a cell hides until the reader has answered comes on a
slide of its own, after the question; solutions of exercises stay away. Where Chromium is there, each deck becomes a PDF
too.
"""

import argparse
import html
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jinja2 import Template
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from playwright.sync_api import sync_playwright

from book import build
from tools.notebooks import NOTEBOOKS

ROOT = Path(__file__).resolve().parent.parent
LINES = 14  # of code or of printed text that a room can read
LINE = 70  # characters of text
FULL = 13.5  # lines of text, before the next slide begins
TEXT_PAGE = Path(__file__).with_name("slides.html.jinja")

FROM_NPM = {
    "reveal.js@5.2.1": {
        "dist/reveal.js": ("reveal/reveal.js", "46538b52db48724192f59bf46f5e851a18e302777c46f4a34c32709d010d6a29"),
        "dist/reveal.css": ("reveal/reveal.css", "68f915a11ebf7203c0446576b7e952ff61c5dd02134a8a226ffaf62ed42136d2"),
        "dist/reset.css": ("reveal/reset.css", "1aa8e84c9cabcbfe4d95b19879fe48b9c2c5e6d54574cbe679bc22edb9fe12b6"),
        "plugin/notes/notes.js": (
            "reveal/notes.js",
            "df1201d19d03241a2897d39c3d38768177df1cbd4bde06327b321cb83461ae89",
        ),
    },
    "mathjax@3.2.2": {
        "es5/tex-svg-full.js": (
            "tex-svg-full.js",
            "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6",
        ),
    },
}


def _formula(content: str, options: dict) -> str:
    """As MathJax finds it."""
    left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{left}{html.escape(content)}{right}"


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table").use(dollarmath_plugin, renderer=_formula)
FIRST_SENTENCE = re.compile(r"^.*?[.:?!](?:\*\*|_|\*)?(?=\s+[A-Z*`$\"“]|\s*$)", re.S)
EXERCISE = re.compile(r"\*\*(Exercise )?\d+")
TITLE, ANSWER = "What you should have seen", 4
PROMPT = re.compile(r"\*\*[^*]+\*\*")


@dataclass
class Slide:
    """One of a deck: HTML pieces under a heading, and what the speaker reads."""

    title: str
    pieces: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    level: int = 2  # 1 the chapter's title, 2 a section, 3 what follows under it, 4 an answer

    @property
    def height(self) -> float:
        """How full it is, in lines of text."""
        return sum(height(piece) for piece in self.pieces)

    @property
    def scale(self) -> int:
        """Percent that its letters shrink to where one piece alone, a long table, is more than it holds."""
        return min(100, round(100 * FULL / max(self.height, 1)))


def height(piece: str) -> float:
    """Of one piece, in lines of text."""
    if "<img" in piece:
        return 9.5
    if piece.startswith("<pre"):
        return 0.65 * (piece.count("\n") + 2)
    rows, formulas = piece.count("<tr"), piece.count(r"\[")
    words = len(re.sub(r"<[^>]+>", "", piece)) / LINE if not rows else 0
    return words + piece.count("<p>") * 0.7 + piece.count("<li>") * 0.5 + rows + 1.5 * formulas


def slides_of(notebook: NotebookNode) -> list[Slide]:
    """The deck of an executed notebook, in its order."""
    deck = [Slide("", level=1)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for block in _blocks(cell.source):
                _add_block(deck, block)
        elif cell.cell_type == "code" and not _is_exercise(cell):
            _add_code(deck, cell)
    return [slide for slide in deck if slide.pieces]


def _blocks(source: str) -> list[str]:
    """Paragraphs, lists, tables, formulas and folded answers of a Markdown cell; a fence stays whole."""
    pieces = re.split(r"(^```.*?^```\s*?$|^\$\$.*?\$\$\s*?$|^<details>.*?^</details>)", source, flags=re.S | re.M)
    blocks = []
    for place, piece in enumerate(pieces):
        blocks += [piece] if place % 2 else re.split(r"\n\s*\n", piece)
    return [block.strip("\n") for block in blocks if block.strip()]


def _add_block(deck: list[Slide], block: str) -> None:
    """A heading begins a slide; a paragraph leaves its first sentence and its questions, the rest goes to the notes."""
    heading, _, rest = block.partition("\n")
    if match := re.match(r"(#+)\s+(.*)", heading):
        deck.append(Slide(_inline(match[2]), level=min(len(match[1]), 2)))
        if rest.strip():
            _add_block(deck, rest)
    elif block.startswith("<details>"):
        answer = re.sub(r"</?details>|<summary>.*?</summary>", "", block, flags=re.S)
        if deck[-1].level != ANSWER:
            deck.append(Slide(TITLE, level=ANSWER))
        for part in _blocks(answer):
            _put(deck, MARKDOWN.render(part), title=TITLE)
        deck.append(_below(deck))
    elif re.match(r"([-*+]|\d+\.)\s|\||\$\$|```|>|<", block):
        _put(deck, MARKDOWN.render(block))
    else:
        slide = _put(deck, MARKDOWN.render(headline(block)))
        slide.notes.append(MARKDOWN.render(block))


def headline(paragraph: str) -> str:
    """The first sentence of a paragraph and the sentences in bold, which are its questions; all of an exercise."""
    paragraph = " ".join(paragraph.split())
    if EXERCISE.match(paragraph):
        return paragraph
    first = FIRST_SENTENCE.match(paragraph)
    kept = first[0] if first else paragraph
    if kept.count("**") % 2:  # a sentence within bold ones: all of them
        kept = paragraph[: paragraph.index("**", len(kept)) + 2]
    rest = paragraph[len(kept) :]
    return " ".join([kept, *(found for found in PROMPT.findall(rest) if len(found) > 24)])


def _add_code(deck: list[Slide], cell: NotebookNode) -> None:
    """Pictures on slides of their own; code where a room can read it and no picture says the same."""
    printed, pictures = [], []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.get("output_type") == "stream":
            printed.append(output.text)
        elif "image/png" in data:
            pictures.append(_picture(data["image/png"], cell))
        elif "text/markdown" in data:
            printed.append(MARKDOWN.render(data["text/markdown"]))
        elif "text/html" in data and "<table" in data["text/html"]:
            printed.append(data["text/html"])
    code = cell.source.strip()
    shown = code and not pictures and not _is_setup(code) and code.count("\n") < LINES
    parts = [f"<pre><code>{html.escape(code)}</code></pre>"] if shown else []
    texts = [text if text.lstrip().startswith("<") else _pre(text) for text in printed]
    hidden = "hide-output" in cell.metadata.get("tags", ())
    if parts and (texts or not hidden):
        _put(deck, "".join(parts))
    if hidden and (texts or pictures):
        deck.append(Slide(TITLE, level=ANSWER))
    for piece in (*texts, *pictures):
        _put(deck, piece, title=TITLE if hidden else None)


def _below(deck: list[Slide]) -> Slide:
    """An empty slide that goes on with the section."""
    return Slide(next(slide.title for slide in reversed(deck) if slide.level < 3), level=3)


def _is_exercise(cell: NotebookNode) -> bool:
    """A solution, or the check of one."""
    return "solution" in cell.metadata.get("tags", ()) or cell.source.lstrip().startswith("check(")


def _is_setup(code: str) -> bool:
    """Imports and settings alone."""
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith((" ", ")"))]
    return all(line.startswith(("import ", "from ", "plt.rcParams", "budget =", "#")) for line in lines)


def _picture(data: str, cell: NotebookNode) -> str:
    text = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    return f'<img src="data:image/png;base64,{"".join(data.split())}" alt="{html.escape(text, quote=True)}">'


def _pre(text: str) -> str:
    lines = text.rstrip().splitlines()
    cut = [*lines[: LINES - 1], "..."] if len(lines) > LINES else lines
    return f'<pre class="printed">{html.escape(chr(10).join(cut))}</pre>'


def _put(deck: list[Slide], piece: str, *, title: str | None = None) -> Slide:
    """Onto the last slide, or onto the next one where that would be too full or hold two pictures."""
    last = deck[-1]
    two = "<img" in piece and any("<img" in other for other in last.pieces)
    if last.pieces and (two or last.height + height(piece) > FULL):
        deck.append(Slide(title, level=ANSWER) if title else _below(deck))
    deck[-1].pieces.append(piece)
    return deck[-1]


def _inline(text: str) -> str:
    return MARKDOWN.renderInline(text)


def page(title: str, deck: list[Slide]) -> str:
    """The deck as one HTML page beside the folder `vendor`."""
    return Template(TEXT_PAGE.read_text(encoding="utf-8")).render(title=title, slides=deck)


def vendor(out: Path) -> None:
    """reveal.js and MathJax, where the pages look for them."""
    build.VENDOR.mkdir(parents=True, exist_ok=True)
    for package, files in FROM_NPM.items():
        if not all(build.has_hash(build.VENDOR / name, expected) for name, expected in files.values()):
            build.fetch(package, files)
        for name, _ in files.values():
            (out / "vendor" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(build.VENDOR / name, out / "vendor" / name)


def print_pdf(path: Path) -> Path | None:
    """The deck beside itself as PDF; None without Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return None
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=browser, args=["--no-sandbox"]) as chromium,
    ):
        shown = chromium.new_page()
        shown.goto(f"{path.resolve().as_uri()}?print-pdf")
        shown.wait_for_function("window.Reveal && Reveal.isReady()", timeout=120_000)
        shown.evaluate("() => MathJax.startup.promise")
        shown.pdf(path=path.with_suffix(".pdf"), prefer_css_page_size=True, print_background=True)
    return path.with_suffix(".pdf")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="stems of chapters, default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "slides")
    parser.add_argument("--no-pdf", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    vendor(options.out)
    for name in options.names or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
        deck = slides_of(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))
        path = options.out / f"{name}.html"
        path.write_text(page(name, deck), encoding="utf-8")
        printed = None if options.no_pdf else print_pdf(path)
        print(f"{path}: {len(deck)} slides{f', {printed.name}' if printed else ''}", flush=True)


if __name__ == "__main__":
    main()

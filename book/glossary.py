"""The glossary: its page, and a link at the first use of every term in every chapter.

    terms = load()
    page(terms)                     text of glossary.md
    link_terms(notebook, terms)     in place

Text is linked, not headings, code, formulas, other links or HTML tags. The definition is the link's title, so a pointer
or a screen reader gets it without leaving the page.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
import yaml

from book.formula_page import index

TERMS = Path(__file__).resolve().parent / "glossary.yaml"
# What is left alone: fenced code, code, formulas, links with their text, roles, HTML tags, attributes of a heading.
APART = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]+\$|!?\[[^\]]*\]\([^)]*\)|\{[a-z:-]+\}`[^`]*`|<summary>.*?</summary>|<[^>]+>|^#.*?$"
    r"|^\|.*?$",
    re.DOTALL | re.MULTILINE,
)


def load(path: Path = TERMS) -> list[dict]:
    """The terms, as the file lists them."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def anchor(term: str) -> str:
    """Of a term on the page: "term-attention-head"."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def page(terms: Sequence[dict]) -> str:
    """The page, terms in alphabetical order."""
    parts = ["# Glossary", "", "Terms of the course, each with the chapter that builds it.", ""]
    for entry in sorted(terms, key=lambda entry: entry["term"].lower()):
        also = f" ({', '.join(entry['also'])})" if "also" in entry else ""
        names = (entry["term"], *entry.get("also", ()))  # of the index: the search looks through it
        parts += [index(names), ""]
        parts += [f"({anchor(entry['term'])})=", f"**{entry['term']}**{also}"]
        parts += [f": {entry['is']} [Chapter]({entry['chapter']})", ""]
    return "\n".join(parts)


def link_terms(notebook: nbformat.NotebookNode, terms: Sequence[dict]) -> None:
    """Link the first use of every term in the notebook's text, in place; longer terms are looked for first."""
    left = {form.lower(): entry for entry in terms for form in (entry["term"], *entry.get("also", ()))}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, left)


def _linked(source: str, left: dict[str, dict]) -> str:
    """The text with links; terms that were linked are taken out of `left`, in all their forms."""
    parts, end = [], 0
    for apart in APART.finditer(source):
        parts += [_link_words(source[end : apart.start()], left), apart[0]]
        end = apart.end()
    return "".join([*parts, _link_words(source[end:], left)])


def _link_words(text: str, left: dict[str, dict]) -> str:
    if not left or not text.strip():
        return text
    forms = "|".join(re.escape(form).replace(r"\ ", r"\s") for form in sorted(left, key=len, reverse=True))

    def link(found: re.Match) -> str:
        entry = left.get(" ".join(found[0].lower().split()))
        if entry is None:  # a form of a term that was linked further up in this very text
            return found[0]
        for form in [form for form, other in left.items() if other is entry]:
            del left[form]
        place = f"glossary.html#{anchor(entry['term'])}"
        return f'<a class="term" href="{place}" title="{escape(entry["is"])}">{found[0]}</a>'

    return re.sub(rf"(?<![\w-])(?:{forms})(?![\w-])", link, text, flags=re.IGNORECASE)

"""The library by subject: a page of functions with shapes, formula and chapter, and the way back from every API page.

    rows = load()
    page(rows)                text of subjects.md
    chapters_of(rows)         module -> chapters that build it
    modules_of(rows)          chapter -> modules

Signatures and first sentences are read from the source; nothing is imported.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
SUBJECTS = BOOK / "subjects.yaml"
HEAD = """# API by subject

What the library has, in the order in which the course builds it. Every name leads to its full description: shapes,
formula, errors, source. [All modules](api/index.md) are listed apart.
"""


def load(path: Path = SUBJECTS) -> list[dict]:
    """The subjects, as the file lists them."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def chapters_of(rows: Sequence[dict]) -> dict[str, list[str]]:
    """Module -> chapters that build something of it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["module"], []).append(row["chapter"])
    return {module: list(dict.fromkeys(chapters)) for module, chapters in found.items()}


def modules_of(rows: Sequence[dict]) -> dict[str, list[str]]:
    """Chapter -> modules of which it builds something."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["chapter"], []).append(row["module"])
    return {chapter: list(dict.fromkeys(modules)) for chapter, modules in found.items()}


def source_of(module: str) -> Path:
    """The file of a module."""
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def definitions(module: str) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, by name."""
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def first_sentence(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Of the docstring, code in its backticks."""
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.:])\s", text)[0].rstrip(":")


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Arguments by name, without their types: "(image, displacement, mode, padding)"."""
    if isinstance(node, ast.ClassDef):
        inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not inits:
            return ""
        node = inits[0]
    arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args) if argument.arg != "self"]
    keywords = [argument.arg for argument in node.args.kwonlyargs]
    return f"({', '.join([*arguments, *(['*'] if keywords else []), *keywords])})"


def page(rows: Sequence[dict], titles: dict[str, str] | None = None) -> str:
    """The page, a section per subject. `titles` are those of chapters; their stems stand in for them."""
    parts = [HEAD]
    for row in rows:
        chapter = row["chapter"]
        shown = (titles or {}).get(chapter, chapter)
        parts += [f"## {row['subject']}", "", f"Built in [{shown}]({chapter}.ipynb).", ""]
        found = definitions(row["module"])
        for name in row["names"]:
            node = found[name]
            parts += [
                f'<a href="api/{row["module"]}.html#{row["module"]}.{name}"><code>{name}{signature(node)}</code></a>',
                f": {first_sentence(node)}",
                "",
            ]
    return "\n".join(parts)

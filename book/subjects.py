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
EXAMPLES = BOOK / "examples.yaml"
HEAD = """# API by subject

What the library has, in the order in which the course builds it: shapes, [formula](formulas.md), an example that the
tests run, the chapter that builds it. Every name leads to its full description with errors and source. [All
modules](api/index.md) are listed apart.
"""
SHAPE = re.compile(r"(Float|Integer|Int|Bool|Shaped)\[Tensor, [\"'] ?([^\"']*)[\"']\]")
PIECE = re.compile(r"(?:\w+ )?(?:\([^)]*\)|one number)")  # "image (batch, channel, *space)"


def load(path: Path = SUBJECTS) -> list[dict]:
    """The subjects, as the file lists them."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def examples(path: Path = EXAMPLES) -> dict[str, str]:
    """An example of every name of the page, as a session of Python."""
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
    return re.split(r"(?<=\.)\s", text)[0]


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


def shapes(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Axes of all tensors that a function, or a module's `forward`, takes and gives; empty where there are none."""
    if isinstance(node, ast.ClassDef):
        calls = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in ("forward", "of")]
        if not calls:
            return ""
        node = calls[0]
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    given = [
        f"{argument.arg} {_axes(argument.annotation)}"
        for argument in arguments
        if argument.annotation is not None and _axes(argument.annotation)
    ]
    back = _axes(node.returns) if node.returns is not None else ""
    return " -> ".join(filter(None, (", ".join(given), back)))


def in_pieces(axes: str) -> str:
    """Shapes as Markdown, a piece of code for each tensor, so that a line breaks between two of them.

    Spaces within a piece, and the one after the arrow, let no line break.
    """
    given, arrow, back = axes.rpartition(" -> ")
    sides = ([given] if arrow else []) + [back]
    hard = "\N{NO-BREAK SPACE}"
    pieces = [", ".join(f"`{one.replace(' ', hard)}`" for one in PIECE.findall(side)) for side in sides]
    return f" \N{RIGHTWARDS ARROW}{hard}".join(pieces)


def _axes(annotation: ast.expr) -> str:
    found = [axes.strip() or "one number" for _, axes in SHAPE.findall(ast.unparse(annotation))]
    return ", ".join(f"({axes.replace(' ', ', ')})" if axes != "one number" else axes for axes in found)


def page(
    rows: Sequence[dict],
    titles: dict[str, str] | None = None,
    formulas: dict[str, list[dict]] | None = None,
    shown: dict[str, str] | None = None,
) -> str:
    """The page, a section per subject.

    Args:
        titles: of chapters, by stem; the stems stand in for them.
        formulas: of `formula_page.formula_of`.
        shown: examples by qualified name.
    """
    parts = [HEAD]
    for row in rows:
        chapter = row["chapter"]
        title = (titles or {}).get(chapter, chapter)
        parts += [f"## {row['subject']}", "", f"Built in [{title}]({chapter}.ipynb).", ""]
        found = definitions(row["module"])
        for name in row["names"]:
            node = found[name]
            full = f"{row['module']}.{name}"
            parts += [
                f'<a href="api/{row["module"]}.html#{full}"><code>{name}{signature(node)}</code></a>',
                f": {first_sentence(node)}",
                "",
            ]
            parts += _below(node, (formulas or {}).get(full, ()), (shown or {}).get(full, ""))
    return "\n".join(parts)


def _below(node: ast.FunctionDef | ast.ClassDef, formulas: Sequence[dict], example: str) -> list[str]:
    """Paragraphs below a name: shapes, formulas, an example."""
    lines = []
    if axes := shapes(node):
        lines += [f"Shapes: {in_pieces(axes)}", ""]
    for entry in formulas:
        lines += ["$$", entry["tex"], "$$", ""]
    if example:
        lines += ["```python", *example.rstrip().splitlines(), "```", ""]
    return [f"  {line}" if line else "" for line in lines]

"""Lines of the library, quoted beside what they compute.

A line that is quoted carries a comment at its end (or above it, where the line is full):

    scores, indices = logits.topk(k, dim=2)  # step: top-k

Names and formulas in the line may change freely; the quote follows. `tests/viz/test_steps.py` walks every quote of
every kind of layer, so that a comment that is lost fails there. For a reader a lost comment means a step without its
line, not an error.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable
from pathlib import Path

import moereg

ROOT = Path(moereg.__file__).parent.parent
MARK = re.compile(r"#\s*step:\s*(.+?)\s*$")


def quote(function: Callable, step: str) -> dict[str, str | int]:
    """The statement of a function's source that is marked `# step: <step>`, whole, and where it stands.

    Returns:
        {"code", "function", "file", "line"}. Where nothing carries the mark, or there is no source, `code` is empty and
        `line` is that of the function (0 without source).
    """
    function = inspect.unwrap(function)
    found = {"code": "", "function": function.__qualname__, "file": "", "line": 0}
    try:
        lines, first = inspect.getsourcelines(function)
        found["file"] = _readable(Path(inspect.getsourcefile(function) or ""))
    except (OSError, TypeError):  # typed into a console, or shipped without source
        return found
    source = textwrap.dedent("".join(lines))
    number = marks(source).get(step)
    node = None if number is None else _statement(source, number)
    if node is None:
        return found | {"line": first}
    shown = source.splitlines()[node.lineno - 1 : node.end_lineno]
    code = textwrap.dedent("\n".join(MARK.sub("", line).rstrip() for line in shown))
    return found | {"code": code, "line": first + node.lineno - 1}


def marks(source: str) -> dict[str, int]:
    """Name of a step -> line of its comment, counted from 1. Text in strings is no comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [(token.start[0], MARK.search(token.string)) for token in tokens if token.type == tokenize.COMMENT]
    return {mark[1]: number for number, mark in comments if mark}


def _statement(source: str, number: int) -> ast.stmt | None:
    """The simple statement on this line, else the next one below it."""
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    nodes = sorted((node for node in ast.walk(ast.parse(source)) if isinstance(node, simple)), key=lambda n: n.lineno)
    return next((node for node in nodes if (node.end_lineno or node.lineno) >= number), None)


def _readable(file: Path) -> str:
    """Relative to the library's folder where it is inside; of a layer from elsewhere the name alone."""
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name

"""`make student`: the notebooks with stubs in place of solutions, for a class.

    python -m tools.student [--out build/student]

The source is the solution: cells tagged "solution" in notebooks/*.py. Of such a cell a function keeps its head and its
docstring, its body becomes `...`; an assignment's value becomes `...`; the answer in `check("name", answer)` becomes
`...` where it is written down there. Everything else is handed out as it is, without outputs.
"""

import argparse
import ast
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.notebooks import NOTEBOOKS, from_script

ROOT = Path(__file__).resolve().parent.parent
TAG = "solution"


def student(script: Path) -> NotebookNode:
    """The notebook of a script with stubs in place of solutions."""
    notebook = from_script(script)
    for cell in notebook.cells:
        if cell.cell_type == "code" and TAG in cell.metadata.get("tags", ()):
            cell.source = stubbed(cell.source)
    return notebook


def stubbed(source: str) -> str:
    """The source of a cell without its answers.

    Raises:
        ValueError: nothing in it can be taken out, so the cell gives its solution away.
    """
    lines = source.splitlines()
    holes = [hole for statement in ast.parse(source).body for hole in _holes(statement)]
    if not holes:
        raise ValueError(f"a cell tagged {TAG!r} must hold a function, an assignment or a check, got {source[:60]!r}.")
    for first, last in sorted(holes, key=lambda hole: (hole[0].lineno, hole[0].col_offset), reverse=True):
        before = lines[first.lineno - 1].encode()[: first.col_offset].decode()
        after = lines[last.end_lineno - 1].encode()[last.end_col_offset :].decode()
        lines[first.lineno - 1 : last.end_lineno] = [f"{before}...{after}"]
    return "\n".join(lines)


def _holes(statement: ast.stmt) -> list[tuple]:
    """First and last node of everything that a statement gives away."""
    if isinstance(statement, ast.FunctionDef):
        body = statement.body[1:] if ast.get_docstring(statement) is not None else statement.body
        return [(body[0], body[-1])] if body else []
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        return [(statement.value, statement.value)]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        asked = isinstance(call.func, ast.Name) and call.func.id == "check" and len(call.args) > 1
        # A name is what the reader wrote in a cell above; only what is written down here is an answer.
        return [(call.args[1], call.args[1])] if asked and not isinstance(call.args[1], ast.Name) else []
    return []


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "student")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for script in sorted(NOTEBOOKS.glob("*.py")):
        nbformat.write(student(script), options.out / f"{script.stem}.ipynb")
        print(options.out / f"{script.stem}.ipynb")


if __name__ == "__main__":
    main()

"""What only a run of a chapter shows: equal outputs, legends beside the data, alternative texts that the data bear out.

    python -m tools.course_rerun notebooks/08_shmoe.ipynb

Executes the notebook in a fresh kernel, compares the text outputs with the committed ones, and looks at every figure
while it is drawn (`tools/figure_watch.py`). Texts are compared where the notebook was made with the same versions of
Python, torch and numpy on the same kind of processor (`made` in its metadata): elsewhere a training ends a little
differently. The file stays as it is. Exit code 1 where anything is wrong.
"""

import argparse
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.course_check import SETTINGS, alternative_text, statements
from tools.figure_watch import FILE, SAYS
from tools.notebooks import ROOT, WIDGET_VIEW, made, one_thread

START = "from tools.figure_watch import watch; watch(get_ipython()); del watch"
# What differs from run to run and says nothing: places in memory.
IDLE = re.compile(r"0x[0-9a-f]{6,}")


def rerun(path: Path) -> list[str]:
    """Execute a notebook; what is wrong with it, one sentence each."""
    committed = nbformat.read(path, as_version=4)
    claims = claimed(committed, path.stem)
    again = nbformat.from_dict(json.loads(json.dumps(committed)))
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "figures.jsonl"
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        sayings = Path(folder) / "says.json"
        sayings.write_text(json.dumps(claims), encoding="utf-8")
        environment = {**one_thread(), FILE: str(notes), SAYS: str(sayings), "PYTHONPATH": python_path}
        client = NotebookClient(
            again,
            timeout=600,
            resources={"metadata": {"path": str(path.parent)}},
            extra_arguments=[f"--IPKernelApp.exec_lines={START}"],
        )
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            return [str(error)]
        seen = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    run = [i for i, cell in enumerate(again.cells, start=1) if cell.cell_type == "code" and cell.source.strip()]
    wrong = {f"cell {run[entry['cell'] - 1]}: {said}" for entry in seen for said in entry["wrong"]}
    true = {(entry["cell"], words) for entry in seen for words in entry["true"]}
    for number, of_cell in claims.items():
        untrue = [words for words in of_cell if (number, words) not in true]
        wrong |= {f"cell {run[number - 1]}: its figure's data do not say {words!r}" for words in untrue}
    exact = committed.metadata.get("made") == made()
    return sorted(wrong) + (differences(committed, again) if exact else [])


def claimed(notebook: NotebookNode, stem: str) -> dict[int, dict[str, str]]:
    """What `course.toml` says that figures show: number of the code cell that runs, from 1 -> {words: expression}."""
    rows = [row for row in statements(tomllib.loads(SETTINGS.read_text(encoding="utf-8")), stem) if "holds" in row]
    run = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    found = {}
    for number, cell in enumerate(run, start=1):
        text = alternative_text(cell)
        of_cell = {row["says"]: row["holds"] for row in rows if row["says"] in text}
        if of_cell:
            found[number] = of_cell
    return found


def differences(committed: NotebookNode, again: NotebookNode) -> list[str]:
    """Cells whose text outputs are not the committed ones."""
    wrong = []
    for i, (old, new) in enumerate(zip(committed.cells, again.cells, strict=True), start=1):
        if old.cell_type != "code" or "not-repeated" in old.metadata.get("tags", ()):
            continue
        before, after = texts(old), texts(new)
        if before != after:
            where = next((a for a, b in zip(after, before, strict=False) if a != b), "another number of outputs")
            wrong.append(f"cell {i} printed something else than the committed text: {where.strip()[:80]!r}")
    return wrong


def texts(cell: NotebookNode) -> list[str]:
    """Text outputs of a cell: what it printed, joined, and results that are text. Pictures and widgets are left out."""
    printed, results = [], []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if output["output_type"] == "stream":
            printed.append(output["text"])
        elif data and WIDGET_VIEW not in data and not any(kind.startswith("image/") for kind in data):
            results.append(data.get("text/markdown") or data.get("text/plain", ""))
    lines = ["".join(printed), *results]
    return [line.rstrip() for text in lines for line in IDLE.sub("0x", text).splitlines()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    options = parser.parse_args(arguments)
    rows = tomllib.loads(SETTINGS.read_text(encoding="utf-8")).get("exception", [])
    excepted = {row["rule"] for row in rows if row["chapter"] == options.notebook.stem}
    found = rerun(options.notebook)
    if "legends" in excepted:
        found = [sentence for sentence in found if "the legend of" not in sentence]
    if "repeated" in excepted:
        found = [sentence for sentence in found if "printed something else" not in sentence]
    for sentence in found:
        print(f"{options.notebook.stem}: {sentence}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

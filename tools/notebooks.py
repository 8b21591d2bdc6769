"""`make notebooks`: execute notebooks/*.py (the source) and write the paired .ipynb, outputs included.

    python tools/notebooks.py                     all of them, under MOEREG_BUDGET (smoke if unset)
    python tools/notebooks.py 00_tour             one
    MOEREG_BUDGET=full python tools/notebooks.py --receipt 09_shmoareg      also leave data/receipts/09_shmoareg.json

`complaints` is what the tests hold every committed pair to.
"""

import argparse
import hashlib
import os
import platform
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

from moereg.course import receipts
from moereg.course.budget import Budget, Declared

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RECEIPTS = ROOT / "data" / "receipts"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

PROGRESS = re.compile(r"\d%\|")
# Where a file of this or another machine is named: in a warning's location, in a printed path.
MACHINE_PATH = re.compile(r"(?:/home/|/root/|/tmp/|/Users/|/site-packages/|\b[A-Z]:\\|ipykernel_\d)[^\s\"'<>]*")


def from_script(script: Path) -> NotebookNode:
    """The notebook that a percent script says, without outputs. The same script gives the same bytes."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNEL,
            "language_info": {"name": "python"},
            "jupytext": {"formats": "ipynb,py:percent"},
            "moereg": notebook.metadata.get("moereg", {}),
        }
    )
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell.metadata.pop("lines_to_next_cell", None)  # of the script's layout, not of the notebook
        tags = cell.metadata.get("tags", ())
        if "hide-output" in tags:  # the site reads the tag, JupyterLab reads this
            cell.metadata["jupyter"] = {"outputs_hidden": True}
        if "hide-input" in tags:
            cell.metadata.setdefault("jupyter", {})["source_hidden"] = True
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run all cells in a fresh kernel, working in `folder`. State of widgets is kept, times are not."""
    client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(folder)}})
    client.execute(env=one_thread())
    drop_progress(notebook)
    notebook.metadata["kernelspec"], notebook.metadata["language_info"] = KERNEL, {"name": "python"}
    notebook.metadata["made"] = made()
    return notebook


def drop_progress(notebook: NotebookNode) -> None:
    """Leave bars of progress out: they say nothing afterwards, and as widgets each page would load scripts for them."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not PROGRESS.search(_plain(output))]
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    if not any(WIDGET_VIEW in output.get("data", {}) for output in outputs):
        notebook.metadata.pop("widgets", None)


def _plain(output: NotebookNode) -> str:
    data = output.get("data", {})
    return data.get("text/plain", "") if WIDGET_VIEW in data else ""


def made() -> dict[str, str]:
    """With what a notebook is executed: where all of it is equal, a rerun prints the same."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{_processor()}",
    }


def _processor() -> str:
    """The processor's name, where Linux knows it: two makers' sums end in other digits."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f", {line.partition(':')[2].strip()}"
    return ""


def one_thread() -> dict[str, str]:
    """The environment of a kernel whose sums are added in one order, so that a rerun prints the same."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


def complaints(script: Path) -> list[str]:
    """What is wrong with a script and the notebook beside it; empty if nothing is. Nothing is executed."""
    paired = script.with_suffix(".ipynb")
    if not paired.exists():
        return [f"{paired.name} is missing: run `make notebooks`"]
    expected, found = from_script(script), nbformat.read(paired, as_version=4)
    wrong = [f"{paired.name}: {sentence}" for sentence in (*_differences(expected, found), *_bad_outputs(found))]
    try:
        Declared.from_metadata(expected.metadata, script.name)
    except ValueError as error:
        wrong.append(str(error))
    return wrong


def alt_texts(cell: NotebookNode, state: dict) -> list[str]:
    """One text per picture among a cell's outputs, empty where there is none.

    It stands with the output (`display(Image(data, alt=...))`), or with the cell
    (`# %% mystnb={"image": {"alt": "..."}}`), or in the `<img>` of an HTML output. Pictures inside widgets count.
    """
    of_cell = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    texts = []
    for output in _all_outputs(cell, state):
        for kind in output.get("data", {}):
            if kind.startswith("image/"):
                texts.append(output.get("metadata", {}).get(kind, {}).get("alt", "") or of_cell)
            elif kind == "text/html":
                for tag in re.findall(r"<img\b[^>]*>", _text(output.data[kind])):
                    alt = re.search(r"""\balt=(["'])(.*?)\1""", tag, re.DOTALL)
                    texts.append(alt[2] if alt else "")
    return texts


def outputs_below(output: dict, state: dict) -> list[dict]:
    """What is saved inside a widget that a cell shows: the outputs drawn below its controls."""
    found, waiting = [], [output.get("data", {}).get(WIDGET_VIEW, {}).get("model_id")]
    while waiting:
        values = state.get(waiting.pop(), {}).get("state", {})
        found += values.get("outputs", ())
        waiting += [child.removeprefix("IPY_MODEL_") for child in values.get("children", ())]
    return found


def widget_state(notebook: NotebookNode) -> dict:
    """Saved state of all widgets, by model id."""
    return notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})


def _differences(expected: NotebookNode, found: NotebookNode) -> list[str]:
    """Where inputs and settings are not what the script says."""
    if len(expected.cells) != len(found.cells):
        return [f"has {len(found.cells)} cells, the script has {len(expected.cells)}: run `make notebooks`"]
    wrong = []
    for number, (wanted, got) in enumerate(zip(expected.cells, found.cells, strict=True), start=1):
        if (wanted.cell_type, wanted.source, wanted.metadata) != (got.cell_type, got.source, got.metadata):
            wrong.append(f"cell {number} is not what the script says: run `make notebooks`")
    for name in ("kernelspec", "language_info", "moereg"):
        if expected.metadata[name] != found.metadata.get(name):
            wrong.append(f"metadata {name} is not what the script says: run `make notebooks`")
    return wrong


def _bad_outputs(notebook: NotebookNode) -> list[str]:
    """Cells that were not run, that failed, that name a place on some machine, or show a picture without a text."""
    wrong, count, state = [], 0, widget_state(notebook)
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        count += 1
        if cell.execution_count != count:
            wrong.append(f"cell {number} was not executed in order (count {cell.execution_count}, expected {count})")
        outputs = _all_outputs(cell, state)
        if "raises-exception" not in cell.metadata.get("tags", ()):
            wrong += [f"cell {number} ends in {out['ename']}" for out in outputs if out["output_type"] == "error"]
        places = {place for output in outputs for place in _places(output)}
        wrong += [f"cell {number} names a place on a machine: {place}" for place in sorted(places)]
        if not all(alt_texts(cell, state)):
            wrong.append(f"cell {number} shows a picture without an alternative text")
    return wrong


def _all_outputs(cell: NotebookNode, state: dict) -> list[dict]:
    shown = list(cell.get("outputs", ()))
    return [*shown, *(inner for output in shown for inner in outputs_below(output, state))]


def _places(output: dict) -> list[str]:
    texts = [output.get("text", ""), "\n".join(output.get("traceback", ()))]
    texts += [_text(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    return [
        place
        for text in texts
        for place in MACHINE_PATH.findall(_text(text)) + re.findall(re.escape(str(ROOT)), _text(text))
    ]


def _text(data: str | list[str]) -> str:
    return data if isinstance(data, str) else "".join(data)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stems", nargs="*", help="notebooks, all if none is named")
    parser.add_argument("--receipt", action="store_true", help="write data/receipts/STEM.json (full budget only)")
    options = parser.parse_args(arguments)
    budget = Budget.from_env()
    if options.receipt and budget.name != "full":
        parser.error("a receipt is written for a full run: set MOEREG_BUDGET=full")
    for script in [NOTEBOOKS / f"{stem}.py" for stem in options.stems] or sorted(NOTEBOOKS.glob("*.py")):
        began = time.perf_counter()
        notebook = execute(from_script(script), NOTEBOOKS)
        seconds = time.perf_counter() - began
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        print(f"{script.stem}: {seconds:.1f} s under {budget.name}", flush=True)
        if options.receipt:
            print(_receipt(script, notebook, seconds, budget).write(RECEIPTS))


def _receipt(script: Path, notebook: NotebookNode, seconds: float, budget: Budget) -> receipts.Receipt:
    return receipts.Receipt(
        notebook=script.stem,
        notebook_hash=receipts.hash_files([script]),
        library_hash=receipts.library_hash(),
        device=torch.cuda.get_device_name() if budget.device.type == "cuda" else "cpu",
        seconds=round(seconds, 1),
        # of the largest kernel so far (ru_maxrss is in kilobytes): one notebook a call gives its own
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        metrics=receipts.published(notebook),
    )


if __name__ == "__main__":
    main(sys.argv[1:])

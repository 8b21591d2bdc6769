"""Scripts and notebooks say the same, committed outputs are clean, and every notebook keeps its declared budget."""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from moereg.course.budget import Declared, slowness
from tools import notebooks as tool

SCRIPTS = sorted(tool.NOTEBOOKS.glob("*.py"))
by_stem = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


@by_stem
def test_a_script_and_its_notebook_say_the_same_and_outputs_are_clean(script):
    assert tool.complaints(script) == []


def test_no_notebook_is_without_its_script():
    assert {path.stem for path in tool.NOTEBOOKS.glob("*.ipynb")} <= {script.stem for script in SCRIPTS}


def test_declared_seconds_stay_within_a_minute_each_and_twelve_minutes_for_the_course():
    declared = [Declared.from_metadata(tool.from_script(script).metadata, script.name) for script in SCRIPTS]
    assert all(budget.smoke_seconds <= 60 for budget in declared)
    assert sum(budget.smoke_seconds for budget in declared) <= 12 * 60


@pytest.mark.notebook
@by_stem
def test_a_notebook_runs_within_its_declared_budget(script, capfd):
    declared = Declared.from_metadata(tool.from_script(script).metadata, script.name)
    # The machine's speed right before and right after: whichever is slower counts, others may be using it.
    before = slowness()
    seconds, peak_memory_mb, code = run_again(script.with_suffix(".ipynb"))
    slow = max(before, slowness())
    with capfd.disabled():
        print(
            f"\n{script.stem}: {seconds:.1f} s of {declared.smoke_seconds:g} s, {peak_memory_mb:.0f} MB of "
            f"{declared.peak_memory_mb:g} MB, machine {slow:.2f} times as slow as the reference",
            flush=True,
        )
    assert code == 0, f"{script.stem} failed, see the output above"
    assert declared.complaints(seconds=seconds, peak_memory_mb=peak_memory_mb, slowness=slow) == []


def run_again(notebook: Path) -> tuple[float, float, int]:
    """Seconds, megabytes of the largest process (the kernel), and exit code of one smoke run in its own process.

    The code is not zero either where the notebook prints something else than what is committed, or draws a legend over
    data (`tools/course_rerun.py`).
    """
    environment = {**os.environ, "MOEREG_BUDGET": "smoke", "CUDA_VISIBLE_DEVICES": ""}
    began = time.perf_counter()
    command = [sys.executable, "-m", "tools.course_rerun", str(notebook)]
    process = subprocess.Popen(command, cwd=tool.ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)  # its usage includes that of the kernel, which it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - began, usage.ru_maxrss / 1024, process.returncode


@pytest.mark.notebook
def test_nbval_runs_a_chapter_too():
    """Whoever tests notebooks with nbval gets the same answer; one chapter stands for all, the others run above."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "nbval", "-p", "no:cacheprovider", "-q"]
    command += ["--no-header", "--nbval-lax", "--nbval-cell-timeout=300", str(tool.NOTEBOOKS / "01_fields.ipynb")]
    environment = {**os.environ, "MOEREG_BUDGET": "smoke", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tool.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_bars_of_progress_are_left_out():
    def shown(text, **more):
        return nbformat.v4.new_output("display_data", data={"text/plain": text} | more)

    view = {tool.WIDGET_VIEW: {"model_id": "a"}}
    bar, explorer = shown("train:   0%|          | 0/40", **view), shown("Explorer(model)", **view)
    book = nbformat.v4.new_notebook(metadata={"widgets": {"state": 1}})
    book.cells = [nbformat.v4.new_code_cell("x", outputs=[bar, shown("50%| is text"), explorer])]
    tool.drop_progress(book)
    assert book.cells[0].outputs == [shown("50%| is text"), explorer]
    assert "widgets" in book.metadata
    book.cells[0].outputs = [bar]
    tool.drop_progress(book)
    assert book.cells[0].outputs == []
    assert "widgets" not in book.metadata


SCRIPT = """# ---
# jupyter:
#   moereg:
#     budget: {smoke_seconds: 30, full_seconds: 30, peak_memory_mb: 500}
# ---

# %% [markdown]
# # A title

# %%
print(1 + 1)

# %% mystnb={"image": {"alt": "A red square."}}
from IPython.display import Image

Image(b"not really a picture", format="png")
"""
OUTPUTS = {
    1: [{"output_type": "stream", "name": "stdout", "text": "2\n"}],
    2: [{"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {}}],
}


@pytest.fixture
def pair(tmp_path):
    """A script, and the notebook that executing it would give (written by hand, no kernel is started)."""
    script = tmp_path / "01_small.py"
    script.write_text(SCRIPT)
    notebook = tool.from_script(script)
    for index, outputs in OUTPUTS.items():
        notebook.cells[index].execution_count = index
        notebook.cells[index].outputs = [nbformat.from_dict(output) for output in outputs]
    nbformat.write(notebook, script.with_suffix(".ipynb"))
    return script, notebook


def test_a_clean_pair_has_no_complaints(pair):
    script, notebook = pair
    nbformat.validate(notebook)
    assert tool.complaints(script) == []


def test_the_same_script_gives_the_same_bytes(pair):
    script, _ = pair
    assert nbformat.writes(tool.from_script(script)) == nbformat.writes(tool.from_script(script))


def test_an_output_that_is_to_be_guessed_first_is_folded_in_jupyterlab_too(tmp_path):
    script = tmp_path / "01_small.py"
    script.write_text(SCRIPT.replace("# %%\nprint", '# %% tags=["hide-output"]\nprint'))
    hidden = [cell.metadata.get("jupyter") for cell in tool.from_script(script).cells]
    assert hidden == [None, {"outputs_hidden": True}, None]


def test_code_that_is_hidden_on_the_site_is_hidden_in_jupyterlab_too(tmp_path):
    script = tmp_path / "01_small.py"
    script.write_text(SCRIPT.replace("# %%\nprint", '# %% tags=["hide-input", "hide-output"]\nprint'))
    hidden = [cell.metadata.get("jupyter") for cell in tool.from_script(script).cells]
    assert hidden == [None, {"outputs_hidden": True, "source_hidden": True}, None]


def test_a_changed_script_is_noticed(pair):
    script, _ = pair
    script.write_text(SCRIPT.replace("1 + 1", "1 + 2"))
    assert tool.complaints(script) == ["01_small.ipynb: cell 2 is not what the script says: run `make notebooks`"]
    script.write_text(SCRIPT + "\n# %%\n3\n")
    assert "has 3 cells, the script has 4" in tool.complaints(script)[0]
    script.write_text(SCRIPT.replace("smoke_seconds: 30", "smoke_seconds: 40"))
    assert "metadata moereg" in tool.complaints(script)[0]


def test_a_script_without_a_budget_or_a_notebook_is_noticed(pair):
    script, _ = pair
    script.write_text(SCRIPT.replace("smoke_seconds: 30, ", ""))
    assert "01_small.py must declare moereg.budget" in tool.complaints(script)[-1]
    script.with_suffix(".ipynb").unlink()
    assert "01_small.ipynb is missing" in tool.complaints(script)[0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda cells: cells[1].update(execution_count=None), "cell 2 was not executed in order"),
        (
            lambda cells: cells[1].outputs.append(
                nbformat.from_dict({"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []})
            ),
            "cell 2 ends in KeyError",
        ),
        (lambda cells: cells[1].outputs[0].update(text="saved /home/ada/out.png"), "a machine: /home/ada/out.png"),
        (lambda cells: cells[1].outputs[0].update(text=f"in {tool.ROOT}"), "cell 2 names a place on a machine"),
    ],
)
def test_bad_outputs_are_noticed(pair, change, complaint):
    script, notebook = pair
    change(notebook.cells)
    nbformat.write(notebook, script.with_suffix(".ipynb"))
    assert any(complaint in sentence for sentence in tool.complaints(script))


def test_pictures_need_a_text():
    def texts(output, metadata=None):
        cell = nbformat.v4.new_code_cell("x", metadata=metadata or {}, outputs=[nbformat.from_dict(output)])
        return tool.alt_texts(cell, {})

    png = {"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {}}
    assert texts(png) == [""]
    assert texts(png, {"mystnb": {"image": {"alt": "of the cell"}}}) == ["of the cell"]
    assert texts({**png, "metadata": {"image/png": {"alt": "of the output"}}}) == ["of the output"]
    html = {"output_type": "display_data", "data": {"text/html": "<img src='a'><img\nalt=\"two\" src='b'>"}}
    assert texts({**html, "metadata": {}}) == ["", "two"]


def test_what_a_widget_shows_is_held_to_the_same(pair):
    script, notebook = pair
    drawn = {"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {}}
    failed = {"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": ["at /home/ada/x.py"]}
    notebook.metadata["widgets"] = {tool.WIDGET_STATE: {"state": {
        "box": {"state": {"children": ["IPY_MODEL_slider", "IPY_MODEL_area"]}},
        "area": {"state": {"outputs": [drawn, failed]}},
    }}}  # fmt: skip
    view = {"output_type": "display_data", "data": {tool.WIDGET_VIEW: {"model_id": "box"}}, "metadata": {}}
    notebook.cells[1].outputs = [nbformat.from_dict(view)]
    nbformat.write(notebook, script.with_suffix(".ipynb"))
    assert tool.complaints(script) == [
        "01_small.ipynb: cell 2 ends in KeyError",
        "01_small.ipynb: cell 2 names a place on a machine: /home/ada/x.py",
        "01_small.ipynb: cell 2 shows a picture without an alternative text",
    ]

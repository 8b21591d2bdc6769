"""Legends over data are seen while figures are drawn; outputs that a rerun does not repeat are noticed."""

import json

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.figure import Figure

from tools import course_rerun as tool
from tools.figure_watch import legends_over_data
from tools.notebooks import made


def panel():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1), title="panel")
    return figure, axes


def covered(draw, loc="upper right"):
    figure, axes = panel()
    draw(axes)
    axes.plot([], [], label="named")
    axes.legend(loc=loc)
    return legends_over_data(figure)


DATA = {
    "a line or its points": lambda axes: axes.plot([0, 1], [0.2, 1]),
    "points": lambda axes: axes.scatter([0.93], [0.93]),
    "a bar": lambda axes: axes.bar([0.9], [0.95], width=0.1),
    "an image": lambda axes: axes.imshow([[1]], extent=(0, 1, 0, 1)),
}


@pytest.mark.parametrize("what", DATA)
def test_a_legend_over_data(what):
    (sentence,) = covered(DATA[what])
    assert sentence == f"the legend of panel lies over {what}"


@pytest.mark.parametrize("what", [what for what in DATA if what != "an image"])
def test_a_legend_beside_data(what):
    assert covered(DATA[what], loc="upper left" if what != "a line or its points" else "lower right") == []


def test_a_line_that_crosses_without_a_point_in_the_legend_and_points_without_a_line():
    assert covered(lambda axes: axes.plot([0.5, 1], [0.85, 0.95]))
    assert covered(lambda axes: axes.plot([0.5, 1], [0.85, 0.95], "o", markersize=1)) == []


def test_axes_of_words():
    figure = Figure()
    axes = figure.subplots()
    axes.plot(["liver", "spleen"], [0.0, 1.0], label="named")
    axes.legend(loc="upper left")
    assert legends_over_data(figure) == []
    axes.legend(loc="upper right")
    assert legends_over_data(figure) == ["the legend of a panel lies over a line or its points"]


def test_a_legend_of_the_figure():
    figure, axes = panel()
    axes.plot([0, 1], [0, 1], label="named")
    figure.legend(loc="center")
    assert legends_over_data(figure) == ["the legend of the figure lies over a line or its points"]
    figure, axes = panel()
    figure.subplots_adjust(bottom=0.3)
    axes.plot([0, 1], [0, 1], label="named")
    figure.legend(loc="lower center")
    assert legends_over_data(figure) == []


def printed(text, **metadata):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=part) for part in text]
    return nbformat.v4.new_code_cell("print()", outputs=outputs, metadata=metadata)


def between(old, new):
    book = nbformat.v4.new_notebook
    return tool.differences(book(cells=[old]), book(cells=[new]))


def test_differences():
    assert between(printed(["a 1\n", "b 2\n"]), printed(["a 1\nb 2\n"])) == [], "streams come in any pieces"
    (sentence,) = between(printed(["a 1\nb 2\n"]), printed(["a 1\nb 3\n"]))
    assert sentence == "cell 1 printed something else than the committed text: 'b 3'"
    assert "another number of outputs" in between(printed(["a\n"]), printed(["a\nb\n"]))[0]
    assert between(printed(["<f at 0x7f12345678>"]), printed(["<f at 0x7f87654321>"])) == []
    assert between(printed(["1"], tags=["not-repeated"]), printed(["2"])) == []


def test_pictures_and_widgets_are_not_compared():
    def showing(kind, value):
        output = nbformat.v4.new_output("display_data", data={kind: value, "text/plain": str(value)})
        return nbformat.v4.new_code_cell("x", outputs=[output])

    assert between(showing("image/png", "AAAA"), showing("image/png", "BBBB")) == []
    assert between(showing(tool.WIDGET_VIEW, {"model_id": "a"}), showing(tool.WIDGET_VIEW, {"model_id": "b"})) == []
    assert between(showing("text/markdown", "**a**"), showing("text/markdown", "**b**")) != []
    places = (showing("text/latex", f"<Generator at 0x7fa6ec16cb{i}0>") for i in (1, 2))
    assert between(*places) == []


def test_claims_are_those_of_the_chapter_s_texts(tmp_path, monkeypatch):
    """Numbers count the code cells that run, as the kernel does; names and other chapters' rows are left out."""
    rows = [("01_small", "it falls", 'holds = "falls(line(0))"'), ("01_small", "the largest gate", 'name = "a map"')]
    rows.append(("02_other", "it falls", 'holds = "False"'))
    settings = tmp_path / "course.toml"
    settings.write_text(
        "".join(f'[[figure]]\nchapter = "{chapter}"\nsays = "{says}"\n{rest}\n' for chapter, says, rest in rows)
    )
    monkeypatch.setattr(tool, "SETTINGS", settings)
    alt = {"mystnb": {"image": {"alt": "Of the largest gate it falls."}}}
    code = nbformat.v4.new_code_cell
    cells = [nbformat.v4.new_markdown_cell("it falls"), code(""), code("x = 1"), code("plt.show()", metadata=alt)]
    assert tool.claimed(nbformat.v4.new_notebook(cells=cells), "01_small") == {2: {"it falls": "falls(line(0))"}}


CELLS = (
    "import matplotlib.pyplot as plt",
    'plt.plot([0, 1], [0, 1], label="named")\nplt.legend(loc="upper right")\nplt.show()',
    "print(1 + 1)",
)


@pytest.mark.notebook
def test_a_kernel_is_watched(tmp_path, capsys, monkeypatch):
    path = tmp_path / "01_small.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="3\n")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"made": made()})
    nbformat.write(notebook, path)
    assert tool.main([str(path)]) == 1
    said = capsys.readouterr().out
    assert "01_small: cell 2: the legend of a panel lies over a line or its points" in said
    assert "01_small: cell 3 printed something else than the committed text: '2'" in said

    notebook.metadata["made"] = {**made(), "torch": "0.1"}
    notebook.cells[1].source = CELLS[1].replace("upper right", "upper left")
    nbformat.write(notebook, path)
    assert tool.main([str(path)]) == 0, "with other versions texts may differ"
    assert json.loads(path.read_text())["cells"][2]["outputs"][0]["text"] == ["3\n"], "the file stays as it is"

    claims = {2: {"it rises": "rises(line(0))", "it falls": "falls(line(0))"}}
    monkeypatch.setattr(tool, "claimed", lambda *_: claims)
    assert tool.main([str(path)]) == 1
    assert capsys.readouterr().out == "01_small: cell 2: its figure's data do not say 'it falls'\n"

    notebook.cells[2].source = "1 / 0"
    nbformat.write(notebook, path)
    assert tool.main([str(path)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


plt.switch_backend("agg")

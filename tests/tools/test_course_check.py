"""Every rule of `make course-check` fails on a small chapter that breaks it, and passes on one that does not."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import pytest

from tools import course_check as tool

HEAD = "# A title\n\nYou will be able to\n\n* add one and one,\n* draw a line.\n"
ALT = {"image": {"alt": "A line that rises."}}
RISES = {"chapter": "01_small", "says": "A line that rises", "holds": "rises(line(0))"}


def png(dots):
    buffer = io.BytesIO()
    figure = plt.figure(figsize=(0.3, 0.3))
    figure.savefig(buffer, format="png", dpi=dots)
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def printed(source, text="2\n", **metadata):
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_code_cell(source, outputs=[output], metadata=metadata)


def drawn(source, dots=110, **metadata):
    output = nbformat.v4.new_output("display_data", data={"image/png": png(dots)})
    return nbformat.v4.new_code_cell(source, outputs=[output], metadata=metadata)


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def chapter(*cells, aims=(), allowed=(), figures=(), budget=0):
    script = tool.NOTEBOOKS / "01_small.py"
    return tool.Chapter("01_small", list(cells), list(aims), list(allowed), script, list(figures), budget)


GOOD = (
    text(HEAD),
    text("## Adding\n\nOne and 0.5. **What is one and one?**"),
    printed("print(1 + 1, 0.5)\nassert 1 + 1 == 2", tags=["hide-output"]),
    text("<details><summary>What you should have seen</summary>\n\nTwo.\n\n</details>\n\n## Drawing"),
    drawn('plt.imshow([[1]], cmap="viridis")\nplt.colorbar()\nplt.show()\nassert 1 < 2', mystnb=ALT),
    text("## Exercises\n\n**1.** What is 3.25 and one?"),
)


@pytest.mark.parametrize("name", [name for name in tool.RULES if name not in ("pairing", "minutes")])
def test_a_good_chapter_has_no_complaints(name):
    assert tool.RULES[name](chapter(*GOOD, aims=[["Adding"], ["Drawing"]], figures=[RISES])) == []


BROKEN = {
    "length": (printed("\n".join(["x = 1"] * 31)), "has 31 lines, at most 30"),
    "width": (printed("x = " + "1" * 85), "a line of 89 characters, at most 88"),
    "outputs": (nbformat.v4.new_code_cell("print(2)"), "no output is committed"),
    "numbers": (text("It is 0.85 now."), "a typed number, 0.85"),
    "dpi": (drawn("plt.show()", dots=100), "100 dots per inch, at least 110"),
    "scale": (drawn('plt.imshow([[1]], cmap="magma")'), "without a colour bar"),
    "order": (
        drawn("plt.show()", mystnb={"image": {"alt": "The largest is red."}}),
        "nothing tests what its alternative text says: 'largest'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_noticed(name):
    cell, words = BROKEN[name]
    (sentence,) = tool.RULES[name](chapter(text(HEAD), cell))
    assert words in sentence


def test_words_of_an_order_are_covered_by_rows_that_they_stand_in():
    """A row covers its own words and no others; one whose words stand nowhere is a complaint."""
    cell = drawn("plt.show()", mystnb={"image": {"alt": "The error falls, the largest expert grows."}})
    rows = [{"says": "The error falls", "holds": "falls(line(0))"}]
    found = tool.order(chapter(cell, figures=rows))
    assert [sentence.split(": ")[-1] for sentence in found] == ["'largest'", "'grows'"]
    rows.append({"says": "the largest expert grows", "name": "what is shown"})
    assert tool.order(chapter(cell, figures=rows)) == []
    rows.append({"says": "it rises", "holds": "True"})
    assert tool.order(chapter(cell, figures=rows)) == ["no alternative text says 'it rises' any more"]


def test_rows_are_those_of_the_chapter():
    rows = [{"chapter": "01_small", "says": "a"}, {"chapter": "02_other", "says": "b"}]
    assert tool.statements({"figure": rows}, "01_small") == rows[:1]
    assert tool.statements({}, "01_small") == []


def words(count):
    return text("word " * count)


def test_minutes_of_a_first_reading():
    """180 words a minute, to five minutes; running counts, exercises and what may be left out do not."""
    assert tool.minutes(chapter(words(180 * 35))) == []
    assert tool.minutes(chapter(words(180 * 20)))[0].startswith("a first reading takes 20 minutes, 25 to 45")
    assert tool.minutes(chapter(words(180 * 47))) == [], "rounded to five"
    assert tool.minutes(chapter(words(180 * 45), budget=600))[0].startswith("a first reading takes 55 minutes")
    more = text("## Aside\n\n*A first reading may leave this section out.*\n\n" + "word " * 5000)
    assert tool.minutes(chapter(words(180 * 35), more)) == []
    solved = [printed("def f():\n    return 1", tags=["solution"]) for _ in range(9)]
    assert tool.minutes(chapter(words(180 * 35), *solved)) == []
    (sentence,) = tool.minutes(chapter(words(180 * 35), more, aims=[["Aside"], ["Aside", "Other"]]))
    assert sentence == "an aim is met only where a first reading may leave it out: Aside"


def test_an_output_is_asked_only_of_what_the_cell_itself_prints():
    assert tool.outputs(chapter(nbformat.v4.new_code_cell("def f():\n    print(2)\n\n\nx = 1"))) == []
    assert tool.outputs(chapter(nbformat.v4.new_code_cell("plt.show()"))) != []
    assert tool.outputs(chapter(nbformat.v4.new_code_cell("%matplotlib inline"))) == []


@pytest.mark.parametrize(
    "apart", ["$0.85$", "`0.85`", "```\n0.85\n```", "arXiv 2509.20073", "DOI 10.1109/TMI.2025.3620406", "12 pairs"]
)
def test_what_is_no_prose_may_hold_numbers(apart):
    assert tool.numbers(chapter(text(f"See {apart} there."))) == []


def test_numbers_that_code_or_the_list_holds():
    prose = text("It is 0.85, or 12 % of all.")
    assert len(tool.numbers(chapter(prose))) == 2
    assert tool.numbers(chapter(prose, printed("x = 0.85, 12"))) == []
    assert len(tool.numbers(chapter(prose, printed("x = 0.855, 112")))) == 2, "other numbers"
    assert len(tool.numbers(chapter(prose, printed("y = 1"), printed("x = 0.85, 12")))) == 2, "not beside it"
    assert tool.numbers(chapter(prose, allowed=["0.85, or 12 % of all"])) == []


ASK = text("**Which is larger?**")
SEEN = text("<details><summary>What you should have seen</summary></details>")
FOLDED = printed("print(2)", tags=["hide-output"])
PROMPTS = {
    "nothing says what was to be seen": (ASK, FOLDED),
    "no cell answers": (ASK, SEEN),
    "in sight: tag it hide-output": (ASK, printed("print(2)"), SEEN),
    "nothing says what was to be seen: Which": (ASK, FOLDED, text("**Guess the second.**"), FOLDED, SEEN),
}


@pytest.mark.parametrize("words", PROMPTS)
def test_prompts_without_a_hidden_answer(words):
    assert any(words in sentence for sentence in tool.prompts(chapter(*PROMPTS[words])))


def test_a_control_and_a_definition_are_no_answers():
    view = nbformat.v4.new_output("display_data", data={tool.WIDGET_VIEW: {"model_id": "a"}})
    slider = nbformat.v4.new_code_cell("interact(f)", outputs=[view])
    silent = nbformat.v4.new_code_cell("def f(): ...")
    assert tool.prompts(chapter(ASK, slider, silent, FOLDED, SEEN)) == []


def test_bold_text_that_asks_nothing_and_two_questions_of_one_cell():
    assert tool.prompts(chapter(text("**Station 1: the liver.** Look."), printed("print(2)"))) == []
    both = text("**Which is larger?** and **Predict: by how much.**")
    assert tool.prompts(chapter(both, FOLDED, SEEN)) == []


AIMS = {
    "promises nothing": ((text("# A title"), *GOOD[1:]), [["Adding"]]),
    "has 2 aims, course.toml names sections for 1": (GOOD, [["Adding"]]),
    "there is no section 'Adding two'": (GOOD, [["Adding two", "Adding"], ["Drawing"]]),
    "asserts or asks anything": ((*GOOD, text("## Talk"), printed("print(2)")), [["Adding"], ["Talk"]]),
}


@pytest.mark.parametrize("words", AIMS)
def test_aims_that_no_section_meets(words):
    cells, aims = AIMS[words]
    assert any(words in sentence for sentence in tool.aims(chapter(*cells, aims=aims)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One chapter on disk that breaks `width` and `pairing`."""
    script = tmp_path / "01_small.py"
    script.write_text("# %% [markdown]\n# # A title\n# It is 12 % now.\n\n# %%\nx = " + "1" * 85 + "\n")
    return script


def test_exceptions_have_to_be_needed(folder):
    excepted = [{"chapter": "01_small", "rule": rule} for rule in ("width", "length", "pairing", "aims", "minutes")]
    allowed = [{"chapter": "01_small", "text": "12 %"}, {"chapter": "01_small", "text": "13 %"}]
    found = tool.check([folder], {"exception": excepted, "number": allowed})
    assert found == [
        "01_small: the exception from 'length' is needed no more",
        "01_small: no text holds '13 %' any more",
    ]
    plain = tool.check([folder], {})
    assert any("width: cell 2" in sentence for sentence in plain)
    assert any("pairing" in sentence and "is missing" in sentence for sentence in plain)
    assert any("numbers: cell 1" in sentence for sentence in plain)


def test_the_committed_chapters(capsys):
    assert tool.main([]) == 0, capsys.readouterr().out

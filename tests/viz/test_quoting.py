"""A quote is the marked statement, whole, without its mark; where the mark is lost there is no quote and no error."""

import inspect
from pathlib import Path

import pytest

from moereg.nn import routing
from moereg.viz.quoting import marks, quote

HERE = Path(__file__)


def example(features):
    text = "# step: no comment"
    summed = sum(  # step: sum
        features,
        start=1,
    )
    # step: above
    if text:
        summed += 1
    summed: int = summed * 2  # doubled  # step: doubled
    print(summed)  # step: said aloud
    return summed  # a comment, no step: at all


def line_of(fragment: str) -> int:
    numbers = [n for n, line in enumerate(HERE.read_text().splitlines(), start=1) if line.strip().startswith(fragment)]
    return numbers[0]


@pytest.mark.parametrize(
    ("step", "code", "line"),
    [
        ("sum", "summed = sum(\n    features,\n    start=1,\n)", "summed = sum("),
        ("above", "summed += 1", "summed += 1"),
        ("doubled", "summed: int = summed * 2  # doubled", "summed: int"),
        ("said aloud", "print(summed)", "print(summed)"),
    ],
)
def test_the_marked_statement_is_quoted_whole(step, code, line):
    found = quote(example, step)
    assert found == {
        "code": code, "function": "example", "file": found["file"], "line": line_of(line),
    }  # fmt: skip
    assert Path(found["file"]).name == "test_quoting.py"


def test_marks_are_comments_and_not_text():
    source = inspect.getsource(example)
    assert list(marks(source)) == ["sum", "above", "doubled", "said aloud"]
    assert marks(source)["sum"] == 3


@pytest.mark.parametrize("step", ["no comment", "at all", "never written", "su"])
def test_a_mark_that_is_lost_leaves_the_function(step):
    found = quote(example, step)
    assert (found["code"], found["function"], found["line"]) == ("", "example", line_of("def example"))


def test_a_mark_below_the_last_statement_marks_nothing():
    def ends(x):
        return x
        # step: late

    assert quote(ends, "late")["code"] == ""


def test_a_method_is_quoted_with_its_place_in_the_library():
    found = quote(routing.Router.forward, "logits")
    assert found["function"] == "Router.forward"
    assert found["file"] == "moereg/nn/routing.py"
    line = Path(routing.__file__).read_text().splitlines()[found["line"] - 1]
    assert line.strip().startswith(found["code"])
    assert found["code"].startswith("logits = ")


def test_a_function_without_source_is_no_error():
    space = {}
    exec("def typed(x):\n    return x  # step: x", space)
    assert quote(space["typed"], "x") == {"code": "", "function": "typed", "file": "", "line": 0}


def test_a_layer_from_elsewhere_is_named_by_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def mine(x):\n    return x  # step: mine\n")
    space = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    assert quote(space["mine"], "mine") == {"code": "return x", "function": "mine", "file": "mine.py", "line": 2}

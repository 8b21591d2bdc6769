"""The student's edition: what was an answer is a hole, and everything else stands."""

import ast

import nbformat
import pytest

from tools import student

SCRIPT = '''# %% [markdown]
# # A chapter

# %%
kept = 1

# %% tags=["solution"]
def twice(x):
    """Two times x."""
    y = x + x  # not to be seen
    return y


# %%
check("twice", twice)

# %% tags=["solution"]
check("number", 26, row=30)
'''


def test_solutions_become_holes_and_nothing_else_changes(tmp_path):
    script = tmp_path / "99_chapter.py"
    script.write_text(SCRIPT, encoding="utf-8")
    sources = [cell.source for cell in student.student(script).cells]
    assert sources == [
        "# A chapter",
        "kept = 1",
        'def twice(x):\n    """Two times x."""\n    ...',
        'check("twice", twice)',
        'check("number", ..., row=30)',
    ]


@pytest.mark.parametrize(
    ("solution", "hole"),
    [
        ("def f(x):\n    return x", "def f(x):\n    ..."),
        ("answer = {\n    1: 2,\n}\nprint(answer)", "answer = ...\nprint(answer)"),
        ("a = 1; b = 2", "a = ...; b = ..."),
        ('check("größe", 1.5, given=2)', 'check("größe", ..., given=2)'),
        ('check("set", {\n    "a",\n}, given=2)', 'check("set", ..., given=2)'),
        ('answer = 3\ncheck("name", answer)', 'answer = ...\ncheck("name", answer)'),
    ],
)
def test_what_a_hole_is(solution, hole):
    assert student.stubbed(solution) == hole


@pytest.mark.parametrize("source", ["print(3)", "import torch", 'check("name", name)', 'check("name")'])
def test_a_solution_that_stays_in_sight_is_refused(source):
    with pytest.raises(ValueError, match="a cell tagged 'solution' must hold"):
        student.stubbed(source)


def test_every_chapter_has_an_edition_that_parses(tmp_path, capsys):
    student.main(["--out", str(tmp_path / "edition")])
    written = sorted((tmp_path / "edition").glob("*.ipynb"))
    assert len(written) == len(list(student.NOTEBOOKS.glob("*.py")))
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    for path in written:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                ast.parse(cell.source)
                assert not cell.outputs

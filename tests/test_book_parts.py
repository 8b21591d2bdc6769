"""What the site adds to the notebooks: minutes, downloads, notes below controls, claims, subjects; pages with code."""

import doctest
import re

import nbformat
import pytest
import yaml

from book import build, chapters, made, reading, subjects
from tools.notebooks import NOTEBOOKS, WIDGET_VIEW

ROOT = build.ROOT
markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
NO_REPOSITORY = {"address": "", "repository": "", "branch": "main", "pages_branch": "gh-pages", "jupyterhub": ""}
PUBLISHED = NO_REPOSITORY | {"repository": "https://github.com/some-one/moe.reg/", "jupyterhub": "https://hub.example/"}


def notebook(*cells, seconds=0):
    return nbformat.v4.new_notebook(cells=list(cells), metadata={"moereg": {"budget": {"smoke_seconds": seconds}}})


# ---- minutes ----


def test_minutes_follow_the_stated_rule():
    view = nbformat.v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": "a"}})
    solution = code("def f(x):\n    return x", metadata={"tags": ["solution"]})
    asked = code('check("a", 3)', metadata={"tags": ["solution"]})
    chapter = notebook(
        markdown("# A chapter\n\n" + "word " * 177),  # and three of the heading
        markdown("## One\n\n<details><summary>What you should have seen</summary>\n\n</details>\n\n$$x$$"),
        code("\n".join(["a = 1"] * 20), outputs=[view]),
        markdown("### Part\n\n*A first reading may leave\nthis section out.*\n\n" + "word " * 352),
        markdown("## Two"),
        solution,
        asked,
        seconds=90,
    )
    found = reading.sections(chapter)
    assert [section.title for section in found] == ["Beginning", "One", "Part", "Two"]
    assert [section.left_out for section in found] == [False, False, True, False]
    assert found[0].reading == pytest.approx(1)
    assert found[1].reading == pytest.approx(1 + 2 + 0.5 + 0.3 + 7 / 180)  # heading and summary are seven words
    assert found[2].reading == pytest.approx(362 / 180)
    assert (found[3].reading, found[3].exercises) == pytest.approx((2 / 180, 6 + 2))
    assert [section.running for section in found] == pytest.approx([1.5 / 4] * 4)
    assert found[1].anchor == "one"
    assert reading.total(chapter) == pytest.approx(1 + found[1].reading + 2 / 180 + 1.5)
    assert (reading.further(chapter), reading.exercises(chapter)) == pytest.approx((362 / 180, 8))
    said = "about 5 minutes, 10 for the exercises"  # two minutes that may be left out are none, to five
    assert reading.how_long(chapter) == said
    table = reading.tables({"01_a": chapter})
    assert f"01 A chapter: {said}" in table
    assert "| Part (may be left out) | 2 | 0 |" in table
    assert "| Two | 0 | 8 |" in table


def test_hidden_code_is_not_read():
    assert reading.code_minutes(code("a = 1\n" * 30, metadata={"tags": ["hide-input"]})) == 0


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import torch\nfrom a import b", (0, 2)),
        ("x = 1\nassert x == 1\nprint(x)", (1, 2)),
        ("figure, ax = plt.subplots()\nax.plot(x)\nplt.show()", (0, 3)),
        ("for x in y:\n    print(x)", (0, 2)),
        ("for x in y:\n    z = x\n    print(x)", (2, 1)),
        ("def f(x):\n    return x", (2, 0)),
        ("drawn = ax.imshow(\n    x,\n)", (0, 3)),
        ("%matplotlib inline\nx", (2, 0)),
    ],
)
def test_lines_that_show_are_looked_over(source, lines):
    assert reading.count_lines(source) == lines


# ---- controls ----


def saved(name, module="@jupyter-widgets/controls"):
    return {"box": {"state": {"children": ["IPY_MODEL_it"]}}, "it": {"model_name": name, "model_module": module}}


@pytest.mark.parametrize(
    ("state", "needs"),
    [
        (saved("IntSliderModel"), True),
        (saved("DropdownModel"), True),
        (saved("AnyModel", "anywidget"), False),
        (saved("OutputModel", "@jupyter-widgets/output"), False),
        (saved("LabelModel"), False),
    ],
)
def test_a_control_of_python_gets_a_line_and_no_other_does(state, needs):
    view = nbformat.v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": "box"}})
    cell = code("x", outputs=[view, nbformat.v4.new_output("stream", text="after")])
    chapters.mark_kernel_controls(cell, state)
    assert len(cell.outputs) == 2 + needs
    if needs:
        assert "needs-kernel" in cell.outputs[1]["data"]["text/html"]


# ---- taking away ----


def test_without_a_repository_no_page_offers_to_run_elsewhere(monkeypatch):
    assert chapters.hosted("01_fields", NO_REPOSITORY) == {}
    assert "http" not in chapters.download_links("01_fields", NO_REPOSITORY)
    monkeypatch.setenv("MOEREG_REPOSITORY", "https://github.com/a/b")
    assert chapters.site_settings()["repository"] == "https://github.com/a/b"


def test_with_a_repository_buttons_lead_to_the_chapter():
    places = chapters.hosted("01_fields", PUBLISHED)
    assert places == {
        "Colab": "https://colab.research.google.com/github/some-one/moe.reg/blob/gh-pages/download/01_fields.ipynb",
        "Binder": "https://mybinder.org/v2/gh/some-one/moe.reg/main?urlpath=lab/tree/notebooks/01_fields.ipynb",
        "JupyterHub": "https://hub.example/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fsome-one%2Fmoe.reg"
        "&urlpath=lab%2Ftree%2Fmoe.reg%2Fnotebooks%2F01_fields.ipynb",
    }
    assert "run in Colab" in chapters.download_links("01_fields", PUBLISHED)


def test_the_first_cell_fetches_what_is_missing():
    assert "git clone --quiet --depth 1 https://github.com/some-one/moe.reg moereg-course" in (
        chapters.setup_cell(PUBLISHED).source
    )
    source = chapters.setup_cell(NO_REPOSITORY).source
    exec(source, {})  # the library is here: silent
    with pytest.raises(ModuleNotFoundError, match="moereg is missing"):
        exec(source.replace('find_spec("moereg")', 'find_spec("moereg_is_not_here")'), {})


def test_downloads_are_complete_and_begin_with_that_cell(tmp_path, monkeypatch):
    one = NOTEBOOKS / "01_fields.ipynb"
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    for path in (one, one.with_suffix(".py")):
        (tmp_path / "notebooks" / path.name).write_bytes(path.read_bytes())
    assert chapters.write_downloads(tmp_path / "out", NO_REPOSITORY) == ["01_fields"]
    whole = nbformat.read(tmp_path / "out" / "01_fields.ipynb", as_version=4)
    without = nbformat.read(tmp_path / "out" / "student" / "01_fields.ipynb", as_version=4)
    for edition in (whole, without):
        nbformat.validate(edition)
        assert edition.cells[0].id == "fetch-the-library"
    assert any("..." in cell.source for cell in without.cells if "solution" in cell.metadata.get("tags", ()))
    assert "widgets" not in whole.metadata
    assert (tmp_path / "out" / "01_fields.py").exists()


# ---- head and foot ----


def test_a_chapter_says_how_long_and_links_claims_and_modules():
    chapter = notebook(markdown("# A chapter\n\nText."), code("1"))
    rows = [
        {"id": "a", "statement": "It is <so>.", "status": "holds here", "evidence": {"cell": "01_fields"}},
        {"id": "b", "statement": "No.", "status": "holds here", "evidence": {"none": ""}, "chapter": "02_similarity"},
    ]
    chapters.add_head(chapter, "01_fields", NO_REPOSITORY)
    chapters.add_foot(chapter, "01_fields", rows, ["moereg.fields"])
    assert chapter.cells[0].source.startswith('# A chapter\n\n<p class="take-away">About 0 minutes. Take it away: ')
    assert chapter.cells[0].source.endswith("Text.")
    foot = chapter.cells[-1].source
    assert '<a href="claims.html#claim-a">It is &lt;so&gt;.</a> *holds here*' in foot
    assert "claim-b" not in foot
    assert "[`moereg.fields`](api/moereg.fields.md)" in foot


def test_nothing_is_added_where_there_is_nothing_to_say():
    chapter = notebook(markdown("# A chapter"))
    chapters.add_foot(chapter, "01_fields", [], [])
    assert len(chapter.cells) == 1


# ---- subjects ----


def test_every_subject_is_there_with_its_chapter_and_a_first_sentence():
    rows = subjects.load()
    for row in rows:
        assert (NOTEBOOKS / f"{row['chapter']}.py").exists(), row
        found = subjects.definitions(row["module"])
        for name in row["names"]:
            assert subjects.first_sentence(found[name]), f"{row['module']}.{name}"
    text = subjects.page(rows)
    assert '<a href="api/moereg.fields.html#moereg.fields.warp"><code>warp(image, displacement, mode, padding)' in text
    assert subjects.modules_of(rows)["01_fields"] == ["moereg.fields", "moereg.viz.dragfield"]
    assert subjects.chapters_of(rows)["moereg.regularity"] == ["02_similarity"]


# ---- pages ----


@pytest.mark.plain_errors
def test_common_errors_are_the_library_s_own():
    failed, tried = doctest.testfile(str(ROOT / "book" / "errors.md"), module_relative=False)
    assert (failed, tried > 12) == (0, True)


def test_the_instructor_s_page_names_sections_that_exist():
    text = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    named = re.findall(r"\[(\d\d), ([^\]]+)\]\((\w+)\.ipynb\)", text)
    assert len(named) > 10
    for number, section, stem in named:
        assert stem.startswith(number)
        assert f"# ## {section}\n" in (NOTEBOOKS / f"{stem}.py").read_text(encoding="utf-8"), f"{stem}: {section}"


def test_how_the_site_was_made_names_versions_costs_and_trainings():
    text = made.page({"mathjax@3.2.2": {}})
    assert re.search(r"\| torch \| \d+\.\d+", text)
    assert re.search(r"\| \[01_fields\]\(01_fields\.ipynb\) \| \d+ \| \d+ \| \d+ \|", text)
    assert "[abdomen-flat](networks.md) | 7000 |" in text
    assert made.versions(["no-such-package"])["no-such-package"] == "not installed"


def test_numbers_are_filled_in_where_a_page_has_room_for_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("About {{hours}} hours.")
    build.fill(page, hours=12)
    assert page.read_text() == "About 12 hours."
    with pytest.raises(build.BookError, match=r"page\.md must hold \{\{hours\}\}"):
        build.fill(page, hours=12)


def test_settings_of_the_site_are_those_that_are_read():
    assert set(yaml.safe_load((ROOT / "book" / "site.yml").read_text())) == set(NO_REPOSITORY)

"""What the site adds to the notebooks: minutes, downloads, notes below controls, claims, subjects; pages with code."""

import doctest
import importlib
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import torch
import yaml

from book import build, chapters, comparison, decks, formula_page, glossary, made, missing, reading, subjects, uses
from tools.notebooks import NOTEBOOKS, WIDGET_VIEW, widget_state

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
def test_a_control_of_python_is_refused_and_no_other_is(state, needs):
    view = nbformat.v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": "box"}})
    cell = code("# A slider\nx", outputs=[view, nbformat.v4.new_output("stream", text="after")])
    if not needs:
        return build.refuse_kernel_controls(Path("01_x.ipynb"), cell, state)
    with pytest.raises(
        build.BookError, match=r"^01_x\.ipynb must show controls that live without a kernel .* '# A slider'"
    ):
        build.refuse_kernel_controls(Path("01_x.ipynb"), cell, state)


def test_no_chapter_shows_a_control_of_python():
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        chapter = nbformat.read(path, as_version=4)
        for cell in chapter.cells:
            build.refuse_kernel_controls(path, cell, widget_state(chapter))


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
        "Binder": "https://mybinder.org/v2/gh/some-one/moe.reg/gh-pages?urlpath=lab/tree/download/01_fields.ipynb",
        "JupyterHub": "https://hub.example/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fsome-one%2Fmoe.reg"
        "&branch=gh-pages&urlpath=lab%2Ftree%2Fmoe.reg%2Fdownload%2F01_fields.ipynb",
    }
    assert "run in Colab" in chapters.download_links("01_fields", PUBLISHED)


def test_every_hosted_place_opens_a_notebook_that_begins_with_the_cell_that_fetches_the_library():
    """All three open the site's own folder of downloads, of its own branch; `write_downloads` puts the cell there."""
    for name, place in chapters.hosted("01_fields", PUBLISHED).items():
        assert unquote(unquote(place)).endswith("download/01_fields.ipynb"), name
        assert "gh-pages" in place, name


def test_binder_brings_what_the_library_needs_in_the_tested_versions():
    environment = yaml.safe_load(chapters.binder_environment())
    (packages,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    assert {"python=3.11", "git", "pip"} <= {part for part in environment["dependencies"] if isinstance(part, str)}
    assert len(packages) > 8
    assert all(package in tested for package in packages)
    assert {"torch", "jupyterlab"} <= {package.split("==")[0] for package in packages}


def test_slides_are_printed_once_and_linked_where_they_are(tmp_path, monkeypatch):
    slides = pytest.importorskip("tools.slides", reason="slides are printed by playwright")
    printed = []

    def print_pdf(path):
        printed.append(path.stem)
        path.with_suffix(".pdf").write_bytes(b"%PDF")
        return path.with_suffix(".pdf")

    monkeypatch.setattr(slides, "vendor", lambda out: (out / "vendor").mkdir(exist_ok=True))
    monkeypatch.setattr(slides, "print_pdf", print_pdf)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "14_your_scans-old.pdf").write_bytes(b"old")
    for _ in range(2):
        assert decks.write(tmp_path / "kept", tmp_path / "out", ["14_your_scans"]) == ["14_your_scans"]
    assert printed == ["14_your_scans"]
    assert (tmp_path / "out" / "14_your_scans.pdf").read_bytes() == b"%PDF"
    assert not (tmp_path / "kept" / "14_your_scans-old.pdf").exists()
    monkeypatch.setattr(slides, "print_pdf", lambda path: None)  # no Chromium
    assert decks.write(tmp_path / "other", tmp_path / "none", ["14_your_scans"]) == []
    links = chapters.download_links("14_your_scans", NO_REPOSITORY, ["14_your_scans"])
    assert 'href="download/slides/14_your_scans.pdf"' in links
    assert "slides" not in chapters.download_links("14_your_scans", NO_REPOSITORY)


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
    chapters.add_foot(chapter, "01_fields", rows, ["moereg.fields"], ["moereg.fields.warp"])
    assert chapter.cells[0].source.startswith('# A chapter\n\n<p class="take-away">About 0 minutes. Take it away: ')
    assert chapter.cells[0].source.endswith("Text.")
    foot = chapter.cells[-1].source
    assert '<a href="claims.html#claim-a">It is &lt;so&gt;.</a> *holds here*' in foot
    assert "claim-b" not in foot
    assert "[`moereg.fields`](api/moereg.fields.md)" in foot
    assert '<a href="api/moereg.fields.html#moereg.fields.warp"><code>warp</code></a>' in foot


def test_a_chapter_and_the_instructor_s_page_name_the_same_minutes(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    monkeypatch.setattr(build, "library_uses", dict)
    monkeypatch.setattr(build, "write_library", lambda called: None)
    monkeypatch.setattr(build.views, "embed", lambda notebook, state: None)  # takes long, and is about widgets
    for stem in build.copy_notebooks():
        before = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
        page = nbformat.read(tmp_path / f"{stem}.ipynb", as_version=4)
        (head,) = [cell.source for cell in page.cells if 'class="take-away"' in cell.source]
        assert f'<p class="take-away">{reading.how_long(before).capitalize()}.' in head, stem


def test_what_a_cell_printed_in_one_go_is_one_output():
    def printed(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "1"})
    cell = code("x")
    cell.outputs = [printed("a  "), printed("b\n"), printed("c", "stderr"), shown, printed("d\n"), printed("\n")]
    chapters.join_streams(cell)
    assert [one.get("text") for one in cell.outputs] == ["a  b\n", "c", None, "d\n\n"]
    cell.outputs = [shown, printed(" \n")]
    chapters.join_streams(cell)
    assert cell.outputs == [shown]  # no empty box


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
            sentence = subjects.first_sentence(found[name])
            assert sentence, f"{row['module']}.{name}"
            assert sentence.count("(") == sentence.count(")"), sentence  # not cut in the middle of a bracket
    text = subjects.page(rows)
    assert '<a href="api/moereg.fields.html#moereg.fields.warp"><code>warp(image, displacement, mode, padding)' in text
    assert subjects.modules_of(rows)["01_fields"] == ["moereg.fields", "moereg.viz.dragfield"]
    assert subjects.chapters_of(rows)["moereg.regularity"] == ["02_similarity"]


EXAMPLES = subjects.examples()
# Names that neither take tensors nor give them: settings, records, views, and functions of models and files.
WITHOUT_SHAPES = {
    "smoothing_matrices", "fit", "Routing", "SHMoARegSizes", "Registration", "load_model", "save_weights", "build",
    "observe", "find_routers", "intervene", "rerouted", "make", "paired_effect", "Explorer", "RouterSteps", "DragField",
    "stills",
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_api_prints_what_stands_there(name):
    module = importlib.import_module(name.rsplit(".", 1)[0])
    known = {key: value for key, value in vars(module).items() if not key.startswith("_")} | {"torch": torch}
    torch.manual_seed(0)
    session = doctest.DocTestParser().get_doctest(EXAMPLES[name], known, name, None, 0)
    assert session.examples
    found = doctest.DocTestRunner().run(session)
    assert found.failed == 0


def test_every_name_by_subject_has_shapes_an_example_and_a_sentence():
    rows = subjects.load()
    names = [f"{row['module']}.{name}" for row in rows for name in row["names"]]
    assert set(names) == set(EXAMPLES)
    for row in rows:
        found = subjects.definitions(row["module"])
        bare = {name for name in row["names"] if not subjects.shapes(found[name])}
        assert bare <= WITHOUT_SHAPES
    warp = subjects.definitions("moereg.fields")["warp"]
    assert subjects.shapes(warp) == (
        "image (batch, channel, *source), displacement (batch, dims, *space) -> (batch, channel, *space)"
    )
    assert subjects.in_pieces("u (B, D), v one number -> (B), one number").replace("\N{NO-BREAK SPACE}", "_") == (
        "`u_(B,_D)`, `v_one_number` \N{RIGHTWARDS ARROW}_`(B)`, `one_number`"
    )
    assert subjects.in_pieces("(dims, *space)") == "`(dims,\N{NO-BREAK SPACE}*space)`"
    for row in rows:  # nothing is lost on the way
        for axes in filter(None, map(subjects.shapes, subjects.definitions(row["module"]).values())):
            plain = subjects.in_pieces(axes).replace("\N{NO-BREAK SPACE}", " ").replace("`", "")
            assert plain.replace("\N{RIGHTWARDS ARROW}", "->") == axes
    text = subjects.page(rows, None, formula_page.formula_of(formula_page.load()), EXAMPLES)
    assert "  $$\n  \\det(I + \\nabla u(x))\n  $$" in text
    assert "  >>> identity_grid((2, 3))[1]" in text


# ---- formulas ----


def test_every_formula_names_a_function_that_is_there_and_a_chapter_that_uses_it():
    formulas = formula_page.load()
    assert len(formulas) >= 24
    assert len({entry["name"] for entry in formulas}) == len(formulas)
    for entry in formulas:
        assert (NOTEBOOKS / f"{entry['chapter']}.py").exists(), entry
        parts = entry["of"].split(".")
        method = parts.pop() if parts[-2][0].isupper() else None
        found = subjects.definitions(".".join(parts[:-1]))[parts[-1]]
        assert method is None or method in {part.name for part in found.body if hasattr(part, "name")}, entry
    assert set(formula_page.formula_of(formulas)["moereg.nn.routing.Routing"][0]) >= {"name", "tex", "is", "of"}


def test_names_of_formulas_and_terms_go_into_the_index_of_the_search():
    text = formula_page.page(
        [{"name": "LNCC", "also": ["NCC"], "tex": "c", "is": "So.", "of": "moereg.similarity.lncc", "chapter": "02_x"}]
    )
    assert "## LNCC\n\n```{index} single: NCC\n```\n\n$$\nc\n$$" in text
    assert '<a href="api/moereg.similarity.html#moereg.similarity.lncc"><code>lncc</code></a>' in text
    terms = glossary.page([{"term": "gate", "also": ["gates"], "is": "A weight.", "chapter": "06_routers"}])
    assert "```{index} single: gate\n```\n\n```{index} single: gates\n```\n\n(term-gate)=" in terms


# ---- where chapters use the library ----


def test_uses_are_found_through_the_chapter_s_own_imports():
    chapter = notebook(
        markdown("# One\n\n## The grid"),
        code(
            "%matplotlib inline\nfrom moereg import fields\nfrom moereg.similarity import lncc as alike\nimport numpy"
        ),
        code("u = fields.warp(a, b)\nnumpy.warp(a)\nother.warp(b)"),
        markdown("## Later"),
        code("def f():\n    return alike(a, b)"),
        code("v = alike(b, a)"),  # once more in the same section
        code("!ls"),
    )
    defined = {"warp": ["moereg.fields", "moereg.pulling"], "lncc": ["moereg.similarity"], "fields": ["moereg.viz.x"]}
    found = uses.uses({"01_x": chapter}, defined)
    assert found == {
        "moereg.fields.warp": [uses.Use("01_x", "The grid", "u = fields.warp(a, b)")],
        "moereg.similarity.lncc": [uses.Use("01_x", "Later", "")],
    }
    assert found["moereg.fields.warp"][0].address == "01_x.html#the-grid"
    assert uses.chapter_names(found, "01_x") == ["moereg.fields.warp", "moereg.similarity.lncc"]
    assert uses.chapter_names(found, "02_y") == []
    assert uses.example(found["moereg.similarity.lncc"]) is None


# ---- pages ----


def test_commands_and_code_of_the_pages_fit_a_line():
    """91 letters fit beside both side bars at 1280 pixels; errors.md quotes errors as they are."""
    pages = [path for path in (ROOT / "book").glob("*.md") if path.name != "errors.md"]
    for path in [*pages, *NOTEBOOKS.glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = nbformat.reads(text, as_version=4).cells
            text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for block in re.findall(r"```(?:bash|python)\n(.*?)```", text, re.DOTALL):
            assert [line for line in block.splitlines() if len(line) > 91] == [], path.name


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


def test_an_address_that_leads_nowhere_gets_a_page_whose_links_lead_on():
    page = missing.page("https://some-one.github.io/moereg/")
    assert '<base href="https://some-one.github.io/moereg/">' in page  # else they would start where nothing was found
    assert page.index("<base") < page.index('href="_static')
    assert "<base" not in missing.page("")
    assert {"index.html", "search.html", "api/index.html"} <= set(re.findall(r'<a href="([^"]+)"', page))
    assert "<article>" in page


def test_dice_of_each_structure_is_the_mean_over_seeds_where_it_is_known():
    common = {"method": "net", "budget": "steps", "refined": False}
    rows = [common | {"dice_per_label": labels} for labels in ({"liver": 0.8, "aorta": None}, {"liver": 0.6})]
    rows.append({"method": "idle", "budget": None, "refined": False, "dice_per_label": {"aorta": 0.25}})
    expected = [
        "| method | liver | aorta |",
        "|---|---|---|",
        "| net, equal steps | 0.700 | – |",
        "| idle | – | 0.250 |",
    ]
    assert comparison.label_tables(rows) == [*expected, ""]
    rows[0]["dice_per_label"] |= {str(number): 0.5 for number in range(5)}
    text = comparison.label_tables(rows)
    heads = [line for line in text if line.startswith("| method")]
    assert heads == ["| method | liver | aorta | 0 | 1 | 2 | 3 |", "| method | 4 |"]
    assert text[4] == "", "tables stand apart"


def test_the_page_of_speed_writes_exponents_as_such():
    aim = {"what": "windows of 8^3, 24^3", "kind": "share", "aim": 1.0, "measured": 0.5, "met": True}
    text = "\n".join(comparison.of_speed({"date": "today", "machine": "One.", "aims": [aim]}))
    assert "| windows of 8³, 24³ | share | 1.00 | 0.50 | met |" in text


def test_settings_of_the_site_are_those_that_are_read():
    assert set(yaml.safe_load((ROOT / "book" / "site.yml").read_text())) == set(NO_REPOSITORY)

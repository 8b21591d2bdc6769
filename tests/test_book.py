"""The site builds without a warning, is complete, asks no other host for anything, and the convention card is right."""

import doctest
import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from book import build
from tools import notebooks as tool

ROOT = Path(__file__).parents[1]


def load_extension():
    """book/extensions/docstrings.py, which only Sphinx has on its path."""
    path = ROOT / "book" / "extensions" / "docstrings.py"
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("docstrings", path))
    spec.loader.exec_module(module)
    return module


# ---- the site itself (layer "book") ----


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built anew; everything below looks at what a reader would get."""
    command = [sys.executable, "-m", "book.build"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return build.SITE


LOADED = {
    **dict.fromkeys(("script", "iframe", "audio", "embed"), ("src",)),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    **dict.fromkeys(("link", "use"), ("href",)),
    "video": ("src", "poster"),
    "object": ("data",),
}


class References(HTMLParser):
    """What a page loads by itself, and where its links lead."""

    def __init__(self, html: str):
        super().__init__()
        self.loaded, self.linked, self.without_alt, self.styles = [], [], [], []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        is_page = tag == "link" and attrs.get("rel") in ("next", "prev", "canonical", "index", "search", "author")
        self.loaded += [attrs[name] for name in LOADED.get(tag, ()) if attrs.get(name) and not is_page]
        self.linked += [attrs["href"]] if tag == "a" and "href" in attrs else []
        self.without_alt += [attrs.get("src", "")] if tag == "img" and not attrs.get("alt", "").strip() else []
        self.styles += [attrs["style"]] if "style" in attrs else []
        self._in_style = tag == "style"

    def handle_data(self, data):
        self.styles += [data] if self._in_style else []

    def handle_endtag(self, tag):
        self._in_style = self._in_style and tag != "style"


def loaded_by_css(css: str) -> list[str]:
    """Places that a style sheet loads."""
    return re.findall(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))


def is_outside(place: str) -> bool:
    """Whether a browser would ask another host for it."""
    return bool(re.match(r"(?:[a-z][a-z0-9+.-]*:)?//", place, re.IGNORECASE))


def pages_of(site: Path) -> list[Path]:
    """Pages that a reader sees; the theme leaves templates of its own in _static."""
    return [page for page in site.rglob("*.html") if "_static" not in page.parts]


@pytest.mark.book
def test_no_page_and_no_style_sheet_loads_anything_from_another_host(site):
    outside = []
    for page in pages_of(site):
        found = References(page.read_text())
        loaded = found.loaded + [place for style in found.styles for place in loaded_by_css(style)]
        outside += [(page.name, place) for place in loaded if is_outside(place)]
    for sheet in site.rglob("*.css"):
        outside += [(sheet.name, place) for place in loaded_by_css(sheet.read_text()) if is_outside(place)]
    assert outside == []


@pytest.mark.book
def test_everything_that_a_page_loads_or_links_to_is_there(site):
    missing = []
    for page in pages_of(site):
        found = References(page.read_text())
        for place in found.loaded + found.linked:
            path = re.sub(r"[?#].*", "", place)
            if path and not is_outside(place) and not re.match(r"(data|mailto|javascript):", place):
                target = (page.parent / path).resolve()
                missing += [] if target.exists() else [(page.name, place)]
    assert missing == []


@pytest.mark.book
def test_icon_fonts_are_at_both_places_where_the_widgets_look(site):
    scope = site / "_static" / "vendor" / "@jupyter-widgets"
    fonts = {path.name for path in (scope / "html-manager" / "dist").glob("*.woff2")}
    assert len(fonts) == 3
    assert fonts == {path.name for path in scope.glob("*.woff2")}


@pytest.mark.book
def test_every_picture_has_an_alternative_text(site):
    assert {page.name: bare for page in pages_of(site) if (bare := References(page.read_text()).without_alt)} == {}


@pytest.mark.book
def test_every_notebook_and_every_public_module_has_a_page(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (site / f"{notebook.stem}.html").exists()
    networks = (site / "networks.html").read_text()
    for card in (ROOT / "data" / "weights").glob("*.json"):
        assert f"<h2>{card.stem}<" in networks
    index = (site / "api" / "index.html").read_text()
    for module in build.public_modules():
        assert (site / "api" / f"{module}.html").exists()
        assert f'href="{module}.html"' in index
    assert 'id="moereg.fields.warp"' in (site / "api" / "moereg.fields.html").read_text()


# ---- the tools that make it (unit layer) ----


def test_code_on_the_convention_card_gives_what_the_card_says():
    failed, tried = doctest.testfile(str(ROOT / "book" / "conventions.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)


def test_the_sentence_of_an_outside_request_is_recognised():
    page = References(
        '<script src="https://cdn.example/a.js"></script><img src="//cdn.example/b.png"><img src="c.png" alt="c">'
        '<a href="https://papers.example">read</a><style>@import "http://fonts.example/x.css";</style>'
        '<link rel="next" href="b.html"><p style="background: url(HTTPS://cdn.example/d.png)">'
    )
    loaded = page.loaded + [place for style in page.styles for place in loaded_by_css(style)]
    assert [place for place in loaded if is_outside(place)] == [
        "https://cdn.example/a.js",
        "//cdn.example/b.png",
        "http://fonts.example/x.css",
        "HTTPS://cdn.example/d.png",
    ]
    assert not is_outside("data:image/png;base64,AA//")
    assert not is_outside("../a//b.css")
    assert page.without_alt == ["//cdn.example/b.png"]


def test_public_modules_are_found_without_importing_them():
    modules = build.public_modules()
    assert modules["moereg.nn.routing"].startswith("Routers:")
    assert "moereg.nn" in modules
    assert not any("._" in name for name in modules)


def test_docstrings_become_restructuredtext():
    lines = """*Mean* of `a | b` and *S, a_ b.

    y = x_1 * 2
    |y| <= 3

| name | what |
|------|------|
| `x|y` | first * |
* one
  more
* two
After.

Args:
    image: `(B, C, *S)`,
        any size.
"""
    assert load_extension().to_rst(lines.splitlines()) == [
        r"*Mean* of ``a | b`` and \*S, a\_ b.", "",
        "", ".. code-block:: text", "", "    y = x_1 * 2", "    |y| <= 3", "", "",
        "", ".. list-table::", "   :header-rows: 1", "",
        "   * - name", "     - what", "   * - ``x|y``", r"     - first \*", "",
        "* one", "  more", "* two", "", "After.", "", "Args:", "    image: ``(B, C, *S)``,", "        any size.",
    ]  # fmt: skip


def test_a_widget_gets_a_picture_for_readers_without_javascript():
    view = {"output_type": "display_data", "data": {tool.WIDGET_VIEW: {"model_id": "box"}}, "metadata": {}}
    metadata = {"mystnb": {"image": {"alt": 'A "warped" image'}}}
    cell = nbformat.v4.new_code_cell("x", metadata=metadata, outputs=[nbformat.from_dict(view)])
    state = {
        "box": {"state": {"children": ["IPY_MODEL_slider", "IPY_MODEL_area"]}},
        "slider": {"state": {"value": 1}},
        "area": {"state": {"outputs": [{"data": {"text/plain": "2"}}, {"data": {"image/png": "QUFB\n"}}]}},
    }
    build.add_stand_ins(cell, state)
    html = '<noscript><img src="data:image/png;base64,QUFB" alt="A &quot;warped&quot; image"></noscript>'
    assert [output["data"].get("text/html") for output in cell.outputs] == [None, html]
    assert References(html).without_alt == []


def test_solutions_are_folded_and_nothing_else_is():
    cells = [nbformat.v4.new_code_cell("1", metadata={"tags": tags}) for tags in (["solution"], ["hide-output"], [])]
    for cell in cells:
        build.fold_solution(cell)
    assert [cell.metadata["tags"] for cell in cells] == [["solution", "hide-cell"], ["hide-output"], []]
    assert cells[0].metadata["mystnb"] == {"code_prompt_show": "Show the solution"}
    assert "mystnb" not in cells[1].metadata


def test_a_missing_npm_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build.node.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(build.BookError, match=r"^npm is missing; "):
        build.run_npm(["pack"], str(tmp_path))


def test_a_changed_npm_package_is_refused(monkeypatch, tmp_path):
    def pack(arguments, folder):
        (Path(folder) / "package").mkdir()
        (Path(folder) / "package" / "require.js").write_text("something else")
        return subprocess.run(["tar", "czf", "requirejs.tgz", "package"], cwd=folder, capture_output=True, text=True)

    monkeypatch.setattr(build, "run_npm", pack)
    monkeypatch.setattr(build, "VENDOR", tmp_path)
    with pytest.raises(build.BookError, match=r"require\.js of requirejs@2\.3\.8 has the SHA-256"):
        build.fetch("requirejs@2.3.8", build.FROM_NPM["requirejs@2.3.8"])
    assert list(tmp_path.iterdir()) == []

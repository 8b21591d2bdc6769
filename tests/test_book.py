"""The site builds without a warning, is complete, asks no other host for anything, and the convention card is right."""

import doctest
import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from book import build, formula_page, glossary, subjects
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


MOST_BYTES = 2_500_000  # of a chapter with all that it can load, unpacked
MOST_WAITED_FOR = 600_000  # bytes that a browser must have before it draws anything, besides the page
IMPORTED = re.compile(r"""(?:import|from)\s*\(?\s*["']\./([\w./-]+)["']""")


def chapters() -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def loaded_files(site: Path, page: Path) -> set[Path]:
    """Files that a page loads, if a reader scrolls to its end: with what its modules and style sheets ask for."""
    html = page.read_text()
    found = {(page.parent / re.sub(r"[?#].*", "", place)).resolve() for place in References(html).loaded}
    found |= {(page.parent / place).resolve() for place in IMPORTED.findall(html)}
    found |= {(page.parent / place).resolve() for place in re.findall(r"_images/[\w.-]+", html)}  # those of views too
    kinds = set(re.findall(r'data-view="(\w+)"', html))
    found |= {site / "_static" / "views" / f"{kind}.{ending}" for kind in kinds for ending in ("mjs", "css")}
    return {path for path in found if path.is_file()} | {page}


@pytest.mark.book
@pytest.mark.parametrize("stem", chapters())
def test_a_chapter_is_light(site, stem):
    files = loaded_files(site, site / f"{stem}.html")
    size = sum(path.stat().st_size for path in files)
    print(f"{stem}: {size / 1e6:.2f} MB in {len(files)} files")
    assert len(files) > 10
    assert size <= MOST_BYTES


@pytest.mark.book
def test_little_is_waited_for_before_a_page_is_drawn(site):
    for page in pages_of(site):
        head = page.read_text().partition("</head>")[0]
        waited = [
            place
            for tag, place in re.findall(r'<script ([^>]*)src="([^"]+)"', head)
            if not re.search("defer|async|module", tag)
        ]
        if page.stem != "search":
            names = [Path(re.sub(r"[?#].*", "", place)).name for place in waited]
            assert names == ["documentation_options.js"] * ("documentation_options" in head), page
        waited += re.findall(
            r'<link[^>]*rel="stylesheet"[^>]*href="([^"]+)"|<link[^>]*href="([^"]+)"[^>]*rel="stylesheet"', head
        )
        files = {
            (page.parent / re.sub(r"[?#].*", "", p if isinstance(p, str) else p[0] or p[1])).resolve() for p in waited
        }
        size = sum(path.stat().st_size for path in files if path.is_file())
        assert size <= MOST_WAITED_FOR or page.stem == "search", (page, size)


@pytest.mark.book
def test_pictures_have_room_before_they_come_and_later_ones_wait(site):
    for stem in chapters():
        tags = re.findall(r"<img[^>]*_images/[^>]*>", (site / f"{stem}.html").read_text())
        assert all(re.search(r' width="\d+" height="\d+"', tag) or "width:" in tag for tag in tags)
        assert all('loading="lazy"' in tag for tag in tags[1:])


def index_of(site: Path) -> dict:
    """The search's index, as its page reads it."""
    text = (site / "searchindex.js").read_text()
    return json.loads(text[len("Search.setIndex(") : text.rindex(")")])


@pytest.mark.book
def test_the_search_knows_formulas_and_terms_by_all_their_names(site):
    index = index_of(site)
    names = index["docnames"]
    titles = {title.lower(): {names[place] for place, _ in places} for title, places in index["alltitles"].items()}
    entries = {name: {names[place[0]] for place in places} for name, places in index["indexentries"].items()}
    for entry in formula_page.load():
        assert "formulas" in titles[entry["name"].lower()]
        for other in entry.get("also", ()):
            assert "formulas" in entries[other.lower()], other
    for entry in glossary.load():
        for form in (entry["term"], *entry.get("also", ())):
            assert "glossary" in entries[form.lower()], form


class Places(HTMLParser):
    """Ids of a page, headings of its article without one, links to places."""

    def __init__(self, html: str):
        super().__init__()
        self.ids, self.bare, self.links, self._open = set(), [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.ids |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        if tag == "section":
            self._open.append(attrs.get("id", ""))
        if tag in ("h1", "h2", "h3") and self._open and not self._open[-1]:
            self.bare.append(tag)
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])

    def handle_endtag(self, tag):
        if tag == "section" and self._open:
            self._open.pop()


@pytest.mark.book
def test_every_section_has_an_anchor_and_every_link_into_a_page_finds_one(site):
    places = {page.resolve(): Places(page.read_text()) for page in pages_of(site)}
    assert {page.name: found.bare for page, found in places.items() if found.bare} == {}
    lost = []
    for page, found in places.items():
        for link in found.links:
            path, _, fragment = link.partition("#")
            target = (page.parent / re.sub(r"\?.*", "", path)).resolve() if path else page
            if fragment and not is_outside(link) and target in places and unquote(fragment) not in places[target].ids:
                lost.append((page.name, link))
    assert lost == []


@pytest.mark.book
def test_every_page_describes_itself_and_shows_a_picture_that_is_there(site):
    for page in pages_of(site):
        head = page.read_text().partition("</head>")[0]
        tags = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', head))
        assert len(tags["description"]) > 3, page
        assert tags["og:title"], page
        assert (page.parent / tags["og:image"]).is_file(), page
        assert "<title>" in head
        assert 'rel="icon"' in head, page  # else a browser asks for /favicon.ico


@pytest.mark.book
def test_every_function_of_the_library_that_a_chapter_builds_or_uses_leads_there_and_back(site):
    formulas, shown = formula_page.formula_of(formula_page.load()), subjects.examples()
    built = {f"{row['module']}.{name}": row["chapter"] for row in subjects.load() for name in row["names"]}
    called = build.library_uses()
    assert len(called) > 100
    for name in {*built, *called}:
        module = name.rsplit(".", 1)[0]
        page = (site / "api" / f"{module}.html").read_text()
        _, there, rest = page.partition(f'id="{name}"')
        assert there, name
        own = rest.partition('<dt class="sig sig-object py" id="moereg')[0]
        if name in built:
            assert f'href="../{built[name]}.html"' in own, name
            assert "highlight-python" in own, name
            assert own.count('class="math') >= len(formulas.get(name, ())), name
        if name in called:
            assert f'href="../{called[name][0].address}"' in own, name
        for stem in {use.stem for use in called.get(name, ())}:
            assert f'href="api/{module}.html#{name}"' in (site / f"{stem}.html").read_text(), (name, stem)
    assert set(shown) == set(built)


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


def test_a_view_without_a_picture_gets_words():
    view = {"output_type": "display_data", "data": {tool.WIDGET_VIEW: {"model_id": "walk"}}, "metadata": {}}
    payload = {"title": "layer", "steps": [{"sentence": "It decides.", "quote": {"code": "choose()"}}]}
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(view)])
    build.add_stand_ins(cell, {"walk": {"state": {"view": "steps", "payload": payload}}})
    (html,) = [output["data"]["text/html"] for output in cell.outputs[1:]]
    assert html.startswith("<noscript><p><strong>layer</strong></p><ol><li>It decides. <code>choose()</code></li></ol>")


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
        build.fetch("requirejs@2.3.8", {"require.js": ("require.js", "0" * 64)})
    assert list(tmp_path.iterdir()) == []

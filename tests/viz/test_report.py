"""The report is one file, whole or absent, asks nobody for anything, and shows markup instead of obeying it."""

import json
import re
from html.parser import HTMLParser

import pytest

from moereg import files
from moereg.viz import palette, report
from moereg.viz.report import fragment, write_report
from moereg.viz.tables import Table

VOID = {"meta", "link", "img", "br"}


class Node(list):
    """An element as a browser would see it: its children, texts among them."""

    def __init__(self, name: str, attributes: dict):
        super().__init__()
        self.name, self.attributes = name, attributes

    def all(self, name: str) -> list["Node"]:
        """Every element of this name below, in the order of the page."""
        own = [child for child in self if isinstance(child, Node)]
        return [found for child in own for found in ([child] if child.name == name else []) + child.all(name)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self).strip()


class Reader(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.path = [Node("", {})]
        self.feed(page)
        assert len(self.path) == 1, "an element is not closed"

    def handle_starttag(self, tag, attributes):
        node = Node(tag, dict(attributes))
        self.path[-1].append(node)
        if tag not in VOID:
            self.path.append(node)

    def handle_endtag(self, tag):
        assert self.path.pop().name == tag

    def handle_data(self, data):
        self.path[-1].append(data)


def read(page: str) -> Node:
    return Reader(page).path[0]


def written(tmp_path, **parts) -> Node:
    return read(write_report(tmp_path / "report.html", **({"title": "t"} | parts)).read_text())


EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture
def page(tmp_path, payload3):
    payload = payload3 | {"title": EVIL, "label_names": {"1": EVIL}}
    tables = [
        Table(
            EVIL,
            ["Organ", "Before", "After"],
            [[EVIL, 0.25, 0.75], ["spleen", None, 1]],
            best={"by": "row", "of": {EVIL: "max"}},
        ),
        {
            "caption": "Field",
            "columns": ["Method", "Folds"],
            "rows": [["a", -0.5], ["b", 0.0]],
            "best": {"of": {"Folds": "min"}},
        },
    ]
    history = {EVIL: {"step": [1, 2, 3], "loss": [3.0, None, 1.0]}}
    path = write_report(
        tmp_path / "deep" / "report.html",
        title=EVIL,
        subtitle=EVIL,
        payload=payload,
        tables=tables,
        history=history,
        notes=[EVIL],
        facts={EVIL: EVIL},
    )
    return path.read_text()


def test_nothing_is_fetched(page):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses if not address.startswith(("x", "$", "{")))
    assert "default-src 'none'" in page
    # Namespaces have names that nobody fetches; the view library knows those of SVG, MathML and HTML.
    assert "http:" not in re.sub(r"http://www\.w3\.org/(2000/svg|1998/Math/MathML|1999/xhtml)\b", "", page)
    assert "https:" not in page


def test_markup_in_names_is_text(page):
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2  # the data's and the module's own


def test_data_is_read_back_from_the_page(page, payload3):
    data = re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)["data"] == payload3["data"]
    assert json.loads(data)["title"] == EVIL


def test_a_picture_stands_in_without_javascript(page):
    assert re.search(r'<img src="data:image/png;base64,[^"]{1000,}" alt="Fixed, moving and warped slice', page)


def test_best_numbers_are_marked_and_signs_are_minus(page):
    assert "<td class=best>0.750</td>" in page
    assert "<td class=best>−0.500</td>" in page
    assert "<td>–</td>" in page


def test_curves_are_drawn_inline(page):
    assert page.count("<polyline") == 1
    assert 'aria-label="loss over training steps' in page


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = write_report(tmp_path / "report.html", title="old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(path, title="new")
    assert "old" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_fragment_brings_everything_along(payload3):
    piece = fragment(payload3)
    assert "data-moereg-explorer" in piece
    assert "mountAll(document)" in piece


def test_the_module_can_stand_inside_a_page():
    source = (report.FOLDER / "explorer.mjs").read_text()
    assert "</script" not in source.lower()
    assert "innerHTML" not in source
    assert not re.search(r"\bimport\b[^:]*\bfrom\b", source)


# --------------------------------------------------------------------------------------- read back as a browser would


def test_head_and_texts(tmp_path):
    page = written(tmp_path, title="Liver & co", subtitle="of two", notes=["first", "second"], facts={"device": "cpu"})
    assert page.all("html")[0].attributes["lang"] == "en"
    assert [node.text for node in page.all("title") + page.all("h1")] == ["Liver & co"] * 2
    assert page.all("header")[0].all("p")[0].text == "of two"
    assert [node.text for node in page.all("main")[0].all("p")] == ["of two", "first", "second"]
    assert [node.text for node in page.all("dt") + page.all("dd")] == ["device", "cpu"]
    policy = {node.attributes.get("http-equiv"): node.attributes.get("content") for node in page.all("meta")}
    assert policy["Content-Security-Policy"] == report.POLICY
    style = page.all("style")[0].text
    assert ".moe" in style
    assert ".report" in style


def test_a_page_without_parts_has_none_of_them(tmp_path):
    page = written(tmp_path)
    for name in ("section", "table", "svg", "footer", "script", "p"):
        assert page.all(name) == []


def test_a_table_shows_its_cells_in_order(tmp_path):
    table = Table(
        "Dice & folds",
        ["Organ", "Before", "After"],
        [["liver", 0.5, 0.75], ["spleen", 0.75, 0.25]],
        digits=2,
        best={"by": "row", "of": {"liver": "max", "spleen": "max"}},
        note="of one pair",
    )
    page = written(tmp_path, tables=[table, {"caption": "b", "columns": ["x"], "rows": [[1]]}])
    first, second = page.all("table")
    assert [node.text for node in first.all("caption")] == ["Dice & folds"]
    assert [node.text for node in first.all("thead")[0].all("th")] == ["Organ", "Before", "After"]
    rows = first.all("tbody")[0].all("tr")
    assert [[cell.text for cell in row if isinstance(cell, Node)] for row in rows] == [
        ["liver", "0.50", "0.75"], ["spleen", "0.75", "0.25"],
    ]  # fmt: skip
    assert [row.all("th")[0].attributes for row in rows] == [{"scope": "row"}] * 2
    assert [[cell.attributes.get("class") for cell in row.all("td")] for row in rows] == [
        [None, "best"], ["best", None],
    ]  # fmt: skip
    assert [node.text for node in page.all("p")] == ["of one pair"]
    assert page.all("div")[0].attributes["aria-label"] == "Dice & folds"
    assert second.all("td") == []


def test_curves_stand_in_their_charts_with_the_keys_colours(tmp_path):
    history = {
        "A": {"step": [0, 100], "loss": [2.0, 1.0]},
        "B": {"step": [0, 100], "loss": [3.0, 3.0], "dice": [0.5, 0.75], "folds": [None, None]},
    }
    page = written(tmp_path, history=history)
    names = [(span.text, span.all("i")[0].attributes["style"]) for span in page.all("p")[0].all("span")]
    assert names == [("A", f"background:{palette.RUNS[0]}"), ("B", f"background:{palette.RUNS[1]}")]
    loss, dice, folds = page.all("figure")
    lines = [line.attributes for line in loss.all("polyline")]
    assert lines == [
        {"points": "58.0,88.0 412.0,168.0", "style": f"stroke:{palette.RUNS[0]}"},
        {"points": "58.0,8.0 412.0,8.0", "style": f"stroke:{palette.RUNS[1]}"},
    ]
    assert loss.all("svg")[0].attributes["aria-label"] == "loss over training steps: A ends at 1; B ends at 3"
    assert loss.all("svg")[0].attributes["viewbox"] == "0 0 420 200"
    assert loss.all("path")[0].attributes["d"] == "M58 8V176H412"
    ticks = [(tick.text, *tick.attributes.values()) for tick in loss.all("text")]
    assert ticks == [
        ("1", "52.0", "172.0", "end"), ("3", "52.0", "12.0", "end"),
        ("0", "58.0", "194.0", "start"), ("100", "412.0", "194.0", "end"),
    ]  # fmt: skip
    assert [line.attributes["style"] for line in dice.all("polyline")] == [f"stroke:{palette.RUNS[1]}"]
    assert dice.all("figcaption")[0].text == "dice (B ends at 0.75)"
    assert folds.text == "folds: no values"


def test_a_long_curve_is_faint_below_its_mean(tmp_path):
    page = written(tmp_path, history={"A": {"step": list(range(99)), "loss": list(range(99))}})
    assert [line.attributes.get("class") for line in page.all("polyline")] == ["faint", None]


def test_explorers_are_numbered_and_carry_their_data(tmp_path):
    walk = {
        "view": "steps",
        "title": "one voxel",
        "steps": [
            {"sentence": "Two < three.", "quote": {"code": "a < b"}},
            {"sentence": "No line here.", "quote": {"code": ""}},
        ],
    }
    picture = {"version": 1, "title": "pair", "poster": {"src": "data:,", "alt": "A pair."}}
    bare = {"title": "bare", "poster": None, "zebra": 1, "ant": 2}
    page = written(tmp_path, payload=[picture, walk, bare])
    places = [node for node in page.all("div") if "data-moereg-explorer" in node.attributes]
    assert [place.attributes["data-moereg-explorer"] for place in places] == ["0", "1", "2"]
    data = [json.loads(place.all("script")[0].text) for place in places]
    assert data == [{"version": 1, "title": "pair"}, walk, {"title": "bare", "zebra": 1, "ant": 2}]
    assert list(data[2]) == ["title", "zebra", "ant"]  # the page shows labels in the order in which they came
    first, second, third = ([n for n in place.all("div") if "data-moereg-mount" in n.attributes] for place in places)
    assert first[0].all("img")[0].attributes == {"src": "data:,", "alt": "A pair."}
    assert first[0].all("figcaption")[0].text == "A pair."
    assert [item.text for item in second[0].all("li")] == ["Two < three. a < b", "No line here."]
    assert [code.text for code in second[0].all("code")] == ["a < b"]
    assert second[0].all("h2")[0].text == "one voxel"
    assert third[0].text == "bare: this figure needs JavaScript."
    module = [node for node in page.all("script") if node.attributes["type"] == "module"]
    assert len(module) == 1
    assert module[0].text.endswith("mountAll(document);")


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(tmp_path / "report.html", title="t", payload={"title": "t", "value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_fragment_is_one_explorer(payload3):
    piece = read(fragment(payload3))
    assert [child.name for child in piece if isinstance(child, Node)] == ["style", "div", "script"]
    assert json.loads(piece.all("div")[0].all("script")[0].text)["data"] == payload3["data"]
    assert ".report" not in piece.all("style")[0].text


def test_a_module_that_would_end_its_element_is_refused(tmp_path, monkeypatch):
    for name in ("explorer.mjs", "explorer.css", "report.css"):
        (tmp_path / name).write_text("const end = '</SCRIPT>';")
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"explorer\.mjs must not contain an end tag"):
        report._script()

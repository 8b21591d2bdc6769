"""The report is one file, whole or absent, asks nobody for anything, and shows markup instead of obeying it."""

import json
import re

import pytest

from moereg.viz import report
from moereg.viz.report import Table, fragment, write_report

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
    monkeypatch.setattr(report.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
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

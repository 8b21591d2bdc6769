"""`make compare` in miniature: what it writes, and that a run which was broken off is not done twice."""

import json
import re

import pytest

from book import comparison as page
from moereg.course.recorded import compared
from moereg.experiments.comparing import MEASURES, rivals_of, verdicts
from moereg.viz.comparison import draw_costs, draw_measures, draw_verdicts
from tools import compare as tool

pytestmark = pytest.mark.plain_errors


def test_in_miniature(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "MODELS", {"shmoareg": {}, "segreg": {"backbone_sizes": tool.SMALL_BACKBONE}})
    monkeypatch.setattr(tool, "METHODS", {name: tool.METHODS[name] for name in ("identity", "demons-symmetric")})
    monkeypatch.setattr(tool, "ITK_METHODS", {"itk-symmetric": tool.ITK_METHODS["itk-symmetric"]})
    monkeypatch.setattr(tool, "QUICK", tool.replace(tool.QUICK, families=("abdomen",)))
    monkeypatch.setattr(tool, "costs", lambda scale: tool.cost_of("shmoareg", (8, 12)))
    monkeypatch.setattr(tool, "SHIPPED", {})
    monkeypatch.setattr(tool, "there", lambda: False)  # SyN has tests of its own
    options = ["--quick", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    tool.main(options)
    record = compared(folder=tmp_path / "out")
    kinds = {(row["method"], row["budget"], row["refined"]) for row in record["rows"]}
    assert kinds == {
        ("identity", None, False), ("demons-symmetric", None, False), ("itk-symmetric", None, False),
        ("identity", None, True), ("demons-symmetric", None, True),
        *(("shmoareg", *rest) for rest in (("steps", False), ("steps", True), ("seconds", False))),
        *(("segreg", *rest) for rest in (("steps", False), ("steps", True), ("seconds", False))),
    }  # fmt: skip
    assert {row["seed"] for row in record["rows"] if row["method"] == "segreg"} == {0, 1}
    assert record["steps"]["steps"] == {"shmoareg": 2, "segreg": 2}
    assert record["steps"]["seconds"]["shmoareg"] == 2
    assert [row["edge"] for row in record["costs"]] == [8, 12]
    assert record["costs"][0]["multiply_adds"] > 0

    monkeypatch.setattr(tool, "compare_row", None)  # everything is known by now
    tool.main(options)
    again = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert again["rows"] == record["rows"]
    assert again["seconds"] > record["seconds"] > 0, "of both goes together"

    assert len(draw_measures(record["rows"], "abdomen").axes) == len(MEASURES)
    champion = {"method": "shmoareg", "budget": "steps", "refined": False}
    found = verdicts(record["rows"], champion, rivals_of(record["rows"], champion))
    (axes,) = draw_verdicts(found, "abdomen").axes
    assert len(axes.get_yticks()) == len(kinds) - 1
    assert len(draw_costs(record["costs"]).axes) == 4

    speed = tmp_path / "speed.json"
    aim = {"what": "a warp", "kind": "share", "aim": 1.0, "measured": 2.0, "met": False}
    speed.write_text(json.dumps({"date": "today", "machine": "A machine.", "aims": [aim]}))
    page.write(tmp_path, speed=speed, compare=tmp_path / "out")
    text = (tmp_path / "comparison.md").read_text()
    assert "| a warp | share | 1.00 | 2.00 | **missed** |" in text
    assert "0 of 1 aims are met" in text
    assert "is handed the true labels" in text
    asked = [one["word"] for one in found if (one["task"], one["measure"]) == ("abdomen", "seconds")]
    assert f"| shmoareg | processor seconds per pair | {asked.count('worse')} of {len(asked)} |" in text
    assert text.count(":::{dropdown} To whom") == 4
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 3
    assert all((tmp_path / picture).exists() for picture in pictures)


def test_the_page_says_what_is_not_there(tmp_path):
    page.write(tmp_path, speed=tmp_path / "none.json", compare=tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "`make compare`" in text
    assert "`make bench`" in text


def test_numbers_that_mean_nothing_do_not_replace_recorded_ones(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--quick"])
    assert "--quick needs --out" in capsys.readouterr().err


def test_a_missing_comparison_says_what_makes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="`make compare` writes one"):
        compared(folder=tmp_path)

"""`make compare` in miniature: what it writes, and that a run which was broken off is not done twice."""

import json
import re
from dataclasses import replace

import pytest

from book import comparison as page
from moereg.course.recorded import compared
from moereg.experiments.comparing import MEASURES, rivals_of, verdicts
from moereg.viz.comparison import draw_costs, draw_measures, draw_pair_costs, draw_verdicts
from tools import compare as tool
from tools import compare_costs as cost
from tools import compare_entries as made

pytestmark = pytest.mark.plain_errors


def in_miniature(monkeypatch):
    """Two networks, two methods of ours, one of SimpleITK's, one family."""
    monkeypatch.setattr(made, "MODELS", {"shmoareg": {}, "segreg": {"backbone_sizes": made.SMALL_BACKBONE}})
    monkeypatch.setattr(made, "METHODS", {name: made.METHODS[name] for name in ("identity", "demons-symmetric")})
    monkeypatch.setattr(made, "ITK_METHODS", {"itk-symmetric": made.ITK_METHODS["itk-symmetric"]})
    monkeypatch.setattr(tool, "QUICK", replace(tool.QUICK, families=("abdomen",)))
    monkeypatch.setattr(made, "SHIPPED", {})
    monkeypatch.setattr(made, "there", lambda: False)  # SyN has tests of its own


def measured_costs(edges, device, workers):
    return {
        "costs": cost.cost_of("shmoareg", (8, 12), device),
        "pair_costs": cost.pair_cost_of("demons-symmetric", (16, 20)),
    }


def test_in_miniature(tmp_path, monkeypatch, capsys):
    in_miniature(monkeypatch)
    monkeypatch.setattr(tool, "costs", measured_costs)
    options = ["--quick", "--workers", "1", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
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
    assert [row["edge"] for row in record["pair_costs"]] == [16, 20]
    assert record["pair_costs"][1]["pair_seconds"] > 0

    monkeypatch.setattr(made, "compare_row", None)  # everything is known by now
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
    assert len(draw_pair_costs([*record["costs"], *record["pair_costs"]]).axes) == 2

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
    assert text.count(":::{dropdown} Dice of each structure") == 1
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 4
    assert all((tmp_path / picture).exists() for picture in pictures)


def test_the_page_says_what_is_not_there(tmp_path):
    page.write(tmp_path, speed=tmp_path / "none.json", compare=tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "`make compare`" in text
    assert "`make bench`" in text


def entries_of(scale):
    budgets = {"steps": dict.fromkeys(made.MODELS, 300), "seconds": dict.fromkeys(made.MODELS, 300) | {"segreg": 100}}
    return made.entries(scale, budgets)


def test_a_training_is_never_done_by_two_processes_at_once(monkeypatch):
    """What is measured first needs no other's training; the rest finds its own on disk."""
    in_miniature(monkeypatch)
    trains, finds = entries_of(tool.QUICK)
    trained = [(entry.name, entry.seed, entry.steps) for entry in trains]
    assert len(trained) == len(set(trained)) == 6
    assert {entry.name for entry in trains[:2]} == {"segreg"}, "the longest come first"
    assert {(entry.name, entry.seed, entry.steps) for entry in finds if entry.seed is not None} <= set(trained)


@pytest.mark.processes
def test_processes_find_what_one_finds(tmp_path):
    asked = [made.Entry(name, ("abdomen",)) for name in ("identity", "demons-symmetric")]
    rows = {}
    for workers in (1, 2):
        found = made.in_processes(asked, tool.QUICK, tmp_path, workers)
        rows[workers] = sorted((row["method"], row["dice"], row["epe"]) for group in found for row in group)
    assert rows[1] == rows[2]
    assert len(rows[1]) == 2


@pytest.mark.processes
def test_what_fails_in_a_process_is_told(tmp_path):
    with pytest.raises(KeyError, match="nonsense"):
        list(made.in_processes([made.Entry("nonsense", ("abdomen",))], tool.QUICK, tmp_path, 2))


def test_a_cost_that_cannot_be_measured_is_told(monkeypatch):
    for name, value in (("MODELS", {"nonsense": {}}), ("METHODS", {}), ("ITK_METHODS", {}), ("there", lambda: False)):
        monkeypatch.setattr(cost, name, value)
    with pytest.raises(RuntimeError, match="cost of nonsense could not be measured"):
        cost.costs((16,))


def test_numbers_that_mean_nothing_do_not_replace_recorded_ones(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--quick"])
    assert "--quick needs --out" in capsys.readouterr().err


def test_a_missing_comparison_says_what_makes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="`make compare` writes one"):
        compared(folder=tmp_path)

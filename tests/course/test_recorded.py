"""Recorded experiments are read whole, in one place, and a wrong name or file is said in one sentence."""

import json
from pathlib import Path

import pytest

from moereg import files
from moereg.course.recorded import recorded

DATA = Path(__file__).parents[2] / "data" / "experiments"
ONE = {
    "machine": {"device": "cpu"},
    "seconds": 90,
    "question": "What?",
    "rows": [{"dice": 0.5}],
    "sentence": "That.",
    "shape": [8, 9],
    "protocol": {"seeds": [0, 1]},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(ONE))
    several = {key: ONE[key] for key in ("machine", "seconds")}
    several["findings"] = [{"question": q, "rows": [{"n": n}], "sentence": "S."} for n, q in enumerate("ab")]
    (tmp_path / "audit.json").write_text(json.dumps(several))
    (tmp_path / "two.json").write_text(json.dumps(several | {"protocols": [{"steps": 1}, {"steps": 2}], "shape": [4]}))
    return tmp_path


def test_a_record_with_one_finding(folder):
    record = recorded("one", folder=folder)
    assert (record.name, record.machine, record.seconds) == ("one", {"device": "cpu"}, 90.0)
    assert (record.shape, record.protocols) == ([8, 9], ({"seeds": [0, 1]},))
    assert record.findings == (record.finding,)
    finding = record.finding
    assert (finding.question, finding.rows, finding.sentence) == ("What?", [{"dice": 0.5}], "That.")


def test_a_record_with_several_findings(folder):
    record = recorded("two", folder=str(folder))
    assert [(f.question, f.rows) for f in record.findings] == [("a", [{"n": 0}]), ("b", [{"n": 1}])]
    assert record.protocols == ({"steps": 1}, {"steps": 2})
    assert record.shape == [4]
    with pytest.raises(ValueError, match="finding of 'two' must be the only one, the record has 2"):
        _ = record.finding


def test_an_audit_has_no_protocol(folder):
    record = recorded("audit", folder=folder)
    assert (record.protocols, record.shape, len(record.findings)) == ((), None, 2)


def test_an_unknown_name_is_told_the_known_ones(folder):
    with pytest.raises(ValueError, match=r"name must be one of the experiments in .*, audit, one, two, got 'three'"):
        recorded("three", folder=folder)
    with pytest.raises(ValueError, match="none, got 'one'"):
        recorded("one", folder=folder / "empty")


@pytest.mark.parametrize("text", ["", '{"machine": {}', "[]", "{}", '{"seconds": 1, "machine": {}, "findings": 3}'])
def test_a_file_that_is_no_record_is_named(folder, text):
    (folder / "broken.json").write_text(text)
    with pytest.raises(ValueError, match=r"broken\.json must hold a recorded experiment, reading it failed"):
        recorded("broken", folder=folder)


def test_the_folder_is_the_checkouts_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert recorded("ablation").finding.question == json.loads((DATA / "ablation.json").read_text())["question"]


def test_without_a_checkout_the_folder_is_looked_for_above(monkeypatch, tmp_path, folder):
    place = tmp_path / "clone" / "data" / "experiments"
    place.mkdir(parents=True)
    (place / "one.json").write_text((folder / "one.json").read_text())
    (tmp_path / "clone" / "notebooks").mkdir()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "moereg" / "files.py"))
    monkeypatch.chdir(tmp_path / "clone" / "notebooks")
    assert recorded("one").seconds == 90
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="recorded experiments must stand in data/experiments"):
        recorded("one")


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_every_committed_record_is_readable(path):
    record = recorded(path.stem)
    assert record.seconds > 0
    assert all(finding.question and finding.rows and finding.sentence for finding in record.findings)
    assert record.protocols == () or len(record.protocols) == len(record.findings)

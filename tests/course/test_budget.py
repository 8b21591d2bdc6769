"""The two budgets, what a notebook declares, and the receipts of full runs."""

import json
from pathlib import Path

import pytest
import torch

from moereg.course import receipts
from moereg.course.budget import Budget, Declared, calibration_seconds
from moereg.course.receipts import Receipt

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("value", "name"), [(None, "smoke"), ("", "smoke"), ("smoke", "smoke"), ("full", "full")])
def test_environment_names_the_budget(monkeypatch, value, name):
    monkeypatch.delenv("MOEREG_BUDGET", raising=False)
    if value is not None:
        monkeypatch.setenv("MOEREG_BUDGET", value)
    assert Budget.from_env().name == name


def test_an_unknown_budget_is_one_sentence(monkeypatch):
    monkeypatch.setenv("MOEREG_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"^MOEREG_BUDGET must be 'smoke' or 'full', got 'huge'\.$"):
        Budget.from_env()


def test_pick_takes_the_value_of_its_budget():
    assert Budget("smoke").pick(smoke=(32, 32), full=(96, 96, 96)) == (32, 32)
    assert Budget("full").pick(smoke=(32, 32), full=(96, 96, 96)) == (96, 96, 96)


def test_smoke_stays_on_the_cpu_and_full_takes_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Budget("smoke").device == torch.device("cpu")
    assert Budget("full").device == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Budget("full").device == torch.device("cpu")


DECLARED = {"smoke_seconds": 40, "full_seconds": 600, "peak_memory_mb": 1000}


def test_a_quarter_more_than_declared_is_held():
    declared = Declared.from_metadata({"moereg": {"budget": DECLARED}})
    assert declared.complaints(seconds=49.0, peak_memory_mb=1249.0, slowness=1.0) == []
    assert declared.complaints(seconds=98.0, peak_memory_mb=1000.0, slowness=2.0) == []  # a machine half as fast
    assert "declared 40 s" in declared.complaints(seconds=51.0, peak_memory_mb=1000.0, slowness=0.5)[0]
    assert "declared 1000 MB" in declared.complaints(seconds=1.0, peak_memory_mb=1251.0, slowness=2.0)[0]


@pytest.mark.parametrize(
    "budget",
    [{}, {"smoke_seconds": 40}, {**DECLARED, "minutes": 1}, {**DECLARED, "smoke_seconds": -1}],
)
def test_a_declaration_that_is_not_one_names_the_notebook(budget):
    with pytest.raises(ValueError, match=r"^09_shmoareg must declare"):
        Declared.from_metadata({"moereg": {"budget": budget}}, "09_shmoareg")


def test_calibration_measures_something():
    assert calibration_seconds(repeats=1) > 0


@pytest.fixture
def receipt(tmp_path) -> Receipt:
    notebook = tmp_path / "01_fields.py"
    notebook.write_text("# %%\n1 + 1\n")
    return Receipt(
        notebook="01_fields",
        notebook_hash=receipts.hash_files([notebook]),
        library_hash=receipts.library_hash(),
        device="cpu",
        seconds=2.5,
        peak_memory_mb=300.0,
        metrics={"dice": 0.5},
    )


def test_a_receipt_comes_back_as_it_was_written(receipt, tmp_path):
    path = receipt.write(tmp_path / "receipts")
    assert path.name == "01_fields.json"
    assert receipts.read(path) == receipt
    assert [file.name for file in path.parent.iterdir()] == ["01_fields.json"]


def test_a_receipt_is_current_until_the_notebook_changes(receipt, tmp_path):
    notebook = tmp_path / "01_fields.py"
    assert receipt.is_current(notebook)
    notebook.write_text("# %%\n1 + 2\n")
    assert not receipt.is_current(notebook)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("seconds", -1.0, "seconds of a receipt must be a positive number"),
        ("device", "", "device of a receipt must be a non-empty text"),
        ("metrics", {"dice": float("nan")}, "metrics of a receipt must be finite numbers"),
        ("hue", 3, "unexpected keyword"),
    ],
)
def test_a_wrong_receipt_is_refused_with_its_file_name(receipt, tmp_path, field, value, sentence):
    path = receipt.write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=f"01_fields.json is not a receipt: .*{sentence}"):
        receipts.read(path)


def test_a_truncated_receipt_is_refused(receipt, tmp_path):
    path = receipt.write(tmp_path)
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match="is not a receipt"):
        receipts.read(path)


def test_published_metrics_are_collected_from_the_outputs():
    data = receipts.publish(dice=torch.tensor(0.25), epe=2)._repr_mimebundle_()
    assert data["text/plain"] == "dice = 0.25\nepe = 2"
    notebook = {"cells": [{"cell_type": "markdown"}, {"outputs": [{"data": data}, {"output_type": "stream"}]}]}
    assert receipts.published(notebook) == {"dice": 0.25, "epe": 2.0}


def test_committed_receipts_are_valid_and_belong_to_a_notebook():
    for path in (ROOT / "data" / "receipts").glob("*.json"):
        assert receipts.read(path).notebook == path.stem
        assert (ROOT / "notebooks" / f"{path.stem}.py").exists()

"""The two budgets, what a notebook declares, and the receipts of full runs."""

import json
from pathlib import Path

import pytest
import torch

from moereg.course import budget, receipts
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
    "entries",
    [{}, {"smoke_seconds": 40}, {**DECLARED, "minutes": 1}, {**DECLARED, "smoke_seconds": -1}],
)
def test_a_declaration_that_is_not_one_names_the_notebook(entries):
    with pytest.raises(ValueError, match=r"^09_shmoareg must declare"):
        Declared.from_metadata({"moereg": {"budget": entries}}, "09_shmoareg")


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


@pytest.mark.parametrize("metadata", [{}, {"moereg": {}}, {"moereg": {"budget": {}}}])
def test_what_must_be_declared_is_said(metadata):
    wanted = "moereg.budget with smoke_seconds, full_seconds, peak_memory_mb in its header, got {}"
    with pytest.raises(ValueError, match=f"^the notebook must declare {wanted}"):
        Declared.from_metadata(metadata)


def test_declared_numbers_are_above_zero():
    assert Declared.from_metadata({"moereg": {"budget": DECLARED | {"smoke_seconds": 0.5}}}).smoke_seconds == 0.5
    with pytest.raises(ValueError, match="must declare positive numbers"):
        Declared.from_metadata({"moereg": {"budget": DECLARED | {"smoke_seconds": 0}}})


def test_exactly_a_quarter_more_is_held_and_what_is_not_is_said_in_numbers():
    declared = Declared.from_metadata({"moereg": {"budget": DECLARED}})
    assert declared.complaints(seconds=50.0, peak_memory_mb=1250.0) == []
    assert declared.complaints(seconds=100.0, peak_memory_mb=1250.0, slowness=2.0) == []
    slow, large = declared.complaints(seconds=50.5, peak_memory_mb=1260.0, slowness=0.5)
    assert slow == "took 50.5 s, declared 40 s (50.0 s allowed: a quarter more, on a machine 1.00 times as slow)"
    assert large == "peaked at 1260 MB, declared 1000 MB (a quarter more allowed)"
    [slow] = declared.complaints(seconds=101.0, peak_memory_mb=1.0, slowness=2.0)
    assert slow == "took 101.0 s, declared 40 s (100.0 s allowed: a quarter more, on a machine 2.00 times as slow)"


@pytest.mark.parametrize(
    ("repeats", "seconds", "median"), [(3, (90, 3, 1, 2), 2), (1, (90, 4), 4), (5, (1, 9, 2, 8, 3, 7), 7)]
)
def test_the_calibration_is_the_median_of_the_same_work_after_a_warm_up(repeats, seconds, median, monkeypatch):
    """Two volumes of 24 voxels an edge through a convolution, thirty times forward and backward."""
    real, done = budget.F.conv3d, []

    def conv3d(image, weight, **options):
        done.append((tuple(image.shape), tuple(weight.shape), options, float(image.sum()), float(weight.sum())))
        return real(image[:, :, :1, :1, :1], weight, **options)  # the work itself is of no interest here

    clock = iter([tick for start, length in enumerate(seconds) for tick in (1000.0 * start, 1000.0 * start + length)])
    monkeypatch.setattr(budget.F, "conv3d", conv3d)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: next(clock))
    assert calibration_seconds(repeats) == median
    assert len(done) == 30 * (1 + repeats)
    assert len(set(map(str, done))) == 1
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.randn(2, 8, 24, 24, 24, generator=generator), torch.randn(16, 8, 3, 3, 3, generator=generator)
    assert done[0] == (image.shape, weight.shape, {"padding": 1}, float(image.sum()), float(weight.sum()))

"""Weights say where they come from, and are asked whether they know the scans they are measured on."""

import json

import numpy as np
import pytest
import torch

from moereg import __version__, models
from moereg.data import datasets, save_volume
from moereg.models.storage import read_tensors, write_tensors
from moereg.training import History, TrainingConfig, provenance, seen_in_training
from moereg.training.provenance import scans_of
from tests.oracle_models import Shift, ShiftSizes, enter

pytestmark = pytest.mark.plain_errors


@pytest.fixture
def table(tmp_path):
    """A table of three scans, a to b and b to a for training, c to c for testing."""
    for number, name in enumerate("abc"):
        save_volume(tmp_path / f"{name}.nii", torch.full((3, 3, 3), 2.0).tril() + number, np.eye(4))
    rows = ["moving,fixed,split", "a.nii,b.nii,train", "b.nii,a.nii,train", "c.nii,c.nii,test"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "pairs.csv"


def test_what_is_known_of_a_training(table):
    pairs = datasets.load(table, "train")
    history = History(loss=[1.0] * 20 + [0.5] * 20, similarity=[0.25] * 40, dice=[0.5, None] * 20, seconds=3.21)
    config = TrainingConfig(steps=40, pairs_per_step=2, accumulate=3)
    found = provenance(pairs, config, history, data=str(table), licence="CC0", started_from="w", processes=4)
    assert json.loads(json.dumps(found)) == found
    assert {
        name: found[name] for name in ("data", "pairs", "licence", "started_from", "pairs_of_a_step", "processes")
    } == {
        "data": "pairs.csv",  # no folder of the user's
        "pairs": 2,
        "licence": "CC0",
        "started_from": "w",
        "pairs_of_a_step": 24,
        "processes": 4,
    }
    assert (found["steps"], found["loss"], found["similarity"], found["dice"]) == (40, 0.5, 0.25, 0.5)
    assert (found["seconds"], found["moereg"], found["torch"]) == (3.2, __version__, torch.__version__)
    assert found["identity"] == pairs.identity()
    assert found["training"]["steps"] == 40
    assert len(found["scans"]) == 2


def test_scans_that_a_network_was_trained_on_are_found_again(table):
    train, test = (datasets.load(table, split) for split in ("train", "test"))
    origin = provenance(train, TrainingConfig(), History(), data="d")
    assert (seen_in_training(origin, train), seen_in_training(origin, test)) == (2, 0)
    assert origin["loss"] is None
    for odd in ({}, {"scans": None}, {"scans": 7}, {"scans": [3, None]}):
        assert seen_in_training(odd, train) == 0
    assert scans_of(list(train)) is None  # in memory: no files to know again


def test_provenance_travels_in_the_file_and_old_files_have_none(tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    path = tmp_path / "w.safetensors"
    models.save_weights(path, Shift(ShiftSizes(dims=2)), provenance={"data": "abdomen", "steps": 3})
    assert models.read_provenance(path) == {"data": "abdomen", "steps": 3}
    assert models.load_model(path).sizes.dims == 2
    models.save_weights(path, Shift(ShiftSizes(dims=2)))
    assert models.read_provenance(path) == {}
    tensors, header = read_tensors(path)
    for odd in ("[1]", "{", "7", "{" + " " * 200_000 + "}", "[" * 5000):
        write_tensors(path, tensors, header | {"provenance": odd})
        with pytest.raises(ValueError, match="w.safetensors must tell its provenance as a table in JSON, got"):
            models.read_provenance(path)

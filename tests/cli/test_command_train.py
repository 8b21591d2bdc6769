"""`moereg train`: what each option changes in the files, and that an interrupted run goes on."""

import dataclasses
import json

import pytest
import torch

from moereg import cli, demo
from moereg.data import datasets
from moereg.models import load_model, registry, storage
from moereg.training import TrainingConfig
from tests.oracle_models import Shift, box_pair, enter

pytestmark = pytest.mark.plain_errors  # a type check would read pairs that the training does not

SHAPE = (12, 9, 8)


class Pairs(list):
    """Remembers which pairs were read, and interrupts, as Ctrl-C does, when more are read than allowed."""

    def __init__(self, pairs, allowed=None):
        super().__init__(pairs)
        self.read, self.allowed = [], allowed

    def __getitem__(self, index):
        self.read.append(index)
        if self.allowed is not None and len(self.read) > self.allowed:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.fixture
def pairs(monkeypatch):
    """Three pairs in place of every data set; `pairs.asked` is what the data was asked for."""
    enter(monkeypatch, Shift)
    made = Pairs(box_pair(SHAPE, (3, 2, 2), (4, 5, 3), shift) for shift in ((1, 0, 0), (0, 2, 0), (2, 0, 1)))
    made.asked = []

    def load(*arguments, **options):
        made.asked.append((arguments, options))
        return made

    monkeypatch.setattr(datasets, "load", load)
    plan = demo.DemoPlan((20, 21, 22), 3, 1, TrainingConfig(steps=4, similarity="mse", checkpoint_every=2), {})
    monkeypatch.setitem(demo.PLANS, ("abdomen", "cpu"), plan)
    return made


def train(out, *options, model="shift", code=0):
    """The header of the checkpoint and the trained tensors."""
    arguments = ["train", model, "--data", "abdomen", "--out", str(out), "--device", "cpu", *options]
    assert cli.main(arguments) == code
    if code:
        return None
    tensors, header = storage.read_tensors(out / f"{model}.safetensors")
    _, checkpoint = storage.read_tensors(out / "checkpoint.safetensors")
    assert {key: header[key] for key in ("model", "sizes")} == {key: checkpoint[key] for key in ("model", "sizes")}
    assert json.loads(header["provenance"])["training"] == json.loads(checkpoint["config"])
    return json.loads(checkpoint["config"]), json.loads(checkpoint["history"]), tensors


def test_weights_and_checkpoint_are_written_and_the_path_is_printed(pairs, tmp_path, capsys):
    config, history, tensors = train(tmp_path / "new")
    printed, progress = capsys.readouterr()
    assert printed == f"{tmp_path / 'new' / 'shift.safetensors'}\n"
    assert "shift: 100%" in progress
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "checkpoint.safetensors",
        "run.toml",
        "shift.safetensors",
    ]
    assert len(history["loss"]) == config["steps"] == 4
    assert tensors["offset"].abs().max() > 0
    assert torch.equal(load_model(tmp_path / "new" / "shift.safetensors").offset, tensors["offset"])
    assert config["device"] == "cpu"
    assert pairs.asked == [(("abdomen", "train"), {"shape": (20, 21, 22), "seed": 0})]


def test_steps_are_those_asked_for(pairs, tmp_path):
    config, history, _ = train(tmp_path, "--steps", "3")
    assert (config["steps"], len(history["loss"])) == (3, 3)
    assert config["similarity"] == "mse"  # the rest of the plan stays


def test_the_seed_reaches_the_data_the_first_weights_and_the_order_of_the_pairs(pairs, tmp_path):
    runs = {name: train(tmp_path / name, "--seed", seed) for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))}
    assert [options["seed"] for _, options in pairs.asked] == [5, 5, 6]
    assert [run[0]["seed"] for run in runs.values()] == [5, 5, 6]
    for tensor in ("drawn", "offset"):
        assert torch.equal(runs["a"][2][tensor], runs["b"][2][tensor])
        assert not torch.equal(runs["a"][2][tensor], runs["c"][2][tensor])
    torch.manual_seed(5)
    assert torch.equal(runs["a"][2]["drawn"], torch.rand(1))


def test_an_interrupted_training_goes_on_where_it_stopped(pairs, tmp_path, capsys):
    _, expected, whole = train(tmp_path / "whole")
    first, *order = pairs.read  # the number of axes is read off the first pair, then one pair a step
    assert (first, len(order)) == (0, 4)

    pairs.read, pairs.allowed = [], 4  # stops in the fourth step, after a checkpoint at the second
    train(tmp_path / "cut", code=130)
    assert capsys.readouterr().err.endswith("\nstopped\n")
    assert not (tmp_path / "cut" / "shift.safetensors").exists()
    before = storage.read_tensors(tmp_path / "cut" / "checkpoint.safetensors")[1]
    assert before["step"] == "2"

    pairs.read, pairs.allowed = [], None
    _, history, resumed = train(tmp_path / "cut", "--resume")
    assert pairs.read[1:] == order[2:]
    assert history["loss"] == expected["loss"]
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)

    pairs.read = []
    train(tmp_path / "cut")  # without --resume from the beginning, whatever lies there
    assert pairs.read[1:] == order


def test_nothing_to_resume_is_said(pairs, tmp_path, capsys):
    """A name that was mistyped is no place to go on from."""
    train(tmp_path / "mistyped", "--resume")
    assert f"nothing to resume: {tmp_path / 'mistyped'} holds no checkpoint; starting" in capsys.readouterr().err
    train(tmp_path / "mistyped", "--resume")
    assert "nothing to resume" not in capsys.readouterr().err


def test_other_data_is_not_gone_on_with(pairs, tmp_path, capsys):
    train(tmp_path)
    pairs.reverse()
    train(tmp_path, "--resume", code=2)
    assert "must have been made with the pairs of this training" in capsys.readouterr().err


def test_columns_that_mean_nothing_are_named(pairs, tmp_path, capsys):
    pairs.unused = ("age", "site")
    train(tmp_path)
    assert "abdomen: not used: age, site\n" in capsys.readouterr().err


def test_a_checkpoint_with_other_options_is_not_gone_on_from(pairs, tmp_path, capsys):
    train(tmp_path, "--steps", "2")
    train(tmp_path, "--steps", "1", "--resume", code=2)
    assert "must have been made with 1 steps at most, for none can be taken back, got 2" in capsys.readouterr().err
    train(tmp_path, "--smoothness", "0.7", "--resume", code=2)
    assert "must have been made with smoothness = 0.7, got 0.1" in capsys.readouterr().err


def test_the_plan_gives_shmoareg_its_sizes_and_nothing_to_others(pairs, tmp_path, monkeypatch):
    enter(monkeypatch, Shift, "shmoareg")
    plan = demo.PLANS["abdomen", "cpu"]
    sizes = {"voxels": (1.0, 2.0, 3.0)}
    monkeypatch.setitem(demo.PLANS, ("abdomen", "cpu"), demo.DemoPlan(None, 3, 1, plan.training, sizes))
    train(tmp_path, model="shmoareg")
    assert load_model(tmp_path / "shmoareg.safetensors").sizes.voxels == (1.0, 2.0, 3.0)
    train(tmp_path)
    assert load_model(tmp_path / "shift.safetensors").sizes.voxels == (0.0, 0.0, 0.0)


def test_a_model_that_learns_a_segmentation_learns_it_first(pairs, tmp_path, monkeypatch, capsys):
    """SegReg's labels are those of the pairs; files without labels can be registered with it afterwards."""
    enter(monkeypatch, Shift, "shmoareg")  # its backbone
    row = registry.MODELS["segreg"]
    without = dataclasses.replace(row, sizes_for=lambda found: row.sizes_for(found) | {"backbone_sizes": {}})
    monkeypatch.setitem(registry.MODELS, "segreg", without)
    train(tmp_path, "--steps", "2", model="segreg")
    assert "segment: 100%" in capsys.readouterr().err
    model = load_model(tmp_path / "segreg.safetensors")
    assert model.segmenter.labels == (0, 1)

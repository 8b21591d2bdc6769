"""`moereg train`: what each option changes in the files, and that an interrupted run goes on."""

import dataclasses
import json

import pytest
import torch

from moereg import cli, demo, models
from moereg.cli.trainingoptions import TRAINING
from moereg.data import datasets
from moereg.models import load_model, registry, storage
from moereg.training import TrainingConfig
from moereg.training.configfile import read_run
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
    assert (first, len(order)) == (0, 4 + len(pairs))  # then the weights are told what they were trained on

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


# ---- options, and the file of a run ----


def test_every_option_reaches_the_training_and_the_file_of_the_run(pairs, tmp_path):
    options = {
        "learning-rate": 0.25, "schedule": "constant", "warmup": 2, "similarity": "lncc", "window": 5,
        "first-window": 7, "smoothness": 0.5, "labels-weight": 0.1, "motion-weight": 0.2, "folds-weight": 0.3,
        "inverse-weight": 0.4, "balance-weight": 0.6, "information-weight": 0.7, "z-weight": 0.8, "force-weight": 0.9,
        "pairs-per-step": 2, "accumulate": 3, "average": 0.5, "precision": "bf16-mixed", "checkpoint-every": 1,
        "seed": 4, "steps": 3,
    }  # fmt: skip
    flags = [word for flag, value in options.items() for word in (f"--{flag}", str(value))]
    config, *_ = train(tmp_path, *flags)
    for flag, (name, *_) in TRAINING.items():
        assert config[name] == options[flag], flag
    found = read_run(tmp_path / "run.toml")
    assert found.config() == TrainingConfig(
        **{TRAINING[flag][0]: value for flag, value in options.items()}, device="cpu"
    )
    assert (found.model, found.data, found.sizes["dims"]) == ("shift", "abdomen", 3)


def test_a_run_is_repeated_from_its_file_and_options_beside_it_win(pairs, tmp_path):
    *_, weights = train(tmp_path / "a", "--smoothness", "0.5", "--seed", "3", "--shape", "9", "9", "9")
    again = ["train", "--config", str(tmp_path / "a" / "run.toml"), "--out"]
    assert cli.main([*again, str(tmp_path / "b")]) == 0
    tensors, _ = storage.read_tensors(tmp_path / "b" / "shift.safetensors")
    assert all(torch.equal(tensors[name], weights[name]) for name in weights)
    assert (tmp_path / "a" / "run.toml").read_text() == (tmp_path / "b" / "run.toml").read_text()
    assert pairs.asked[0] == pairs.asked[1] == (("abdomen", "train"), {"shape": (9, 9, 9), "seed": 3})
    assert cli.main([*again, str(tmp_path / "c"), "--steps", "2", "--pairs", "7"]) == 0
    assert pairs.asked[2] == (("abdomen", "train"), {"shape": (9, 9, 9), "seed": 3, "count": 7})
    found = read_run(tmp_path / "c" / "run.toml")
    assert (found.training["steps"], found.training["smoothness"], found.pairs) == (2, 0.5, 7)


def test_what_goes_on_keeps_the_options_that_it_began_with(pairs, tmp_path, capsys):
    train(tmp_path / "a", "--steps", "3", "--smoothness", "0.5", "--schedule", "constant", "--warmup", "1")
    *_, expected = train(
        tmp_path / "b", "--steps", "5", "--smoothness", "0.5", "--schedule", "constant", "--warmup", "1"
    )
    capsys.readouterr()
    assert cli.main(["train", "--out", str(tmp_path / "a"), "--resume", "--steps", "5"]) == 0
    said = capsys.readouterr().err
    assert "lengthened from 3 to 5 steps: goes on at step 3 as if it had been long from the start\n" in said
    tensors, _ = storage.read_tensors(tmp_path / "a" / "shift.safetensors")
    assert torch.equal(tensors["offset"], expected["offset"])
    assert models.read_provenance(tmp_path / "a" / "shift.safetensors")["lengthened"] == [[3, 3]]
    assert cli.main(["train", "--out", str(tmp_path / "a"), "--resume"]) == 0
    assert (
        f"nothing left to do: {tmp_path / 'a'} holds all 5 steps; more --steps lengthen it\n" in capsys.readouterr().err
    )


def test_a_lengthened_cosine_is_said_to_be_another(pairs, tmp_path, capsys):
    train(tmp_path, "--steps", "2")
    train(tmp_path, "--steps", "4", "--resume")
    said = capsys.readouterr().err
    assert "lengthened from 2 to 4 steps: goes on at step 2 at the rate that 4 steps have there: not as if" in said


def test_begin_with_weights(pairs, tmp_path, capsys):
    _, _, first = train(tmp_path / "a", "--seed", "1")
    path = tmp_path / "a" / "shift.safetensors"
    train(tmp_path / "b", "--init-weights", str(path), "--learning-rate", "1e-30")
    tensors, header = storage.read_tensors(tmp_path / "b" / "shift.safetensors")
    assert all(torch.equal(tensors[name], first[name]) for name in first)
    assert json.loads(header["provenance"])["started_from"] == str(path)
    enter_other = ["train", "rman", "--data", "abdomen", "--out", str(tmp_path / "c"), "--init-weights", str(path)]
    assert cli.main(enter_other) == 2
    assert "--init-weights must be of rman, got weights of shift." in capsys.readouterr().err
    train(path.parent, "--init-weights", str(path), code=2)
    assert "must not be an input, which would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "abdomen"], "model must be named, on the command line or in the file of --config, got nothing"),
        (["shift"], "--data must be named, on the command line or in the file of --config, got nothing"),
        (["shift", "--data", "abdomen", "--threads", "0"], "--threads must be a positive integer, got 0"),
        (["shift", "--data", "abdomen", "--pairs", "-1"], "--pairs must be a positive integer, got -1"),
        (["shift", "--data", "abdomen", "--checkpointing", "--compile"], "must not both be on"),
        (["shift", "--data", "abdomen", "--precision", "16-mixed"], "on a CPU, got '16-mixed', which needs a GPU"),
        (["shift", "--data", "abdomen", "--precision", "8"], "precision must be one of '32-true', '16-mixed'"),
        (["shift", "--data", "abdomen", "--init-weights", "no.safetensors"], "no.safetensors does not exist"),
        (["shift", "--data", "abdomen", "--config", "no.toml"], "no.toml must be the file of a run"),
        (["shift", "--data", "abdomen", "--accumulate", "0"], "accumulate must be a positive integer, got 0"),
    ],
)
def test_every_option_is_checked_before_any_data_is_read(options, sentence, pairs, tmp_path, capsys):
    assert cli.main(["train", *options, "--device", "cpu", "--out", str(tmp_path / "new")]) == 2
    assert sentence in capsys.readouterr().err
    assert pairs.asked == []
    assert not (tmp_path / "new").exists()


def test_the_folder_is_checked_before_any_data_is_read(pairs, tmp_path, capsys):
    (tmp_path / "taken").write_text("x")
    train(tmp_path / "taken", code=2)
    assert "taken must be a folder" in capsys.readouterr().err
    assert pairs.asked == []


def test_augmentation_is_that_of_the_options_on_top_of_the_file(pairs, tmp_path, capsys):
    changes = [
        "--augment-turn",
        "4",
        "--augment-mirror",
        "0",
        "2",
        "--augment-exchange",
        "1:2",
        "--augment-bend-sigma",
        "3",
    ]
    config, *_ = train(tmp_path / "a", *changes)
    drawn = {name: value for name, value in config["augmentation"].items() if value}
    assert drawn == {"turn": 4.0, "mirror": [0, 2], "exchange": [[1, 2]], "bend_sigma": 3.0}
    config, *_ = train(tmp_path / "b", "--config", str(tmp_path / "a" / "run.toml"), "--augment-turn", "2")
    assert (config["augmentation"]["turn"], config["augmentation"]["mirror"]) == (2.0, [0, 2])
    assert train(tmp_path / "c")[0]["augmentation"] is None
    for wrong, words in (
        (["--augment-mirror", "3"], "mirror must be axes below 3, the number that the images have, got (3,)."),
        (["--augment-mirror", "1", "1"], "mirror must be different tensor axes, counted from zero, got (1, 1)."),
        (["--augment-exchange", "1:2", "2:3"], "exchange must be couples of labels, each label once"),
        (["--augment-noise", "-1"], "noise must be zero or more, got -1.0."),
    ):
        capsys.readouterr()
        train(tmp_path / "d", *wrong, code=2)
        assert words in capsys.readouterr().err
    for wrong in ("2", "x:3", "2:x"):
        with pytest.raises(SystemExit):
            train(tmp_path / "d", "--augment-exchange", wrong)
        told = f"argument --augment-exchange: must be two labels, as 2:3, got {wrong!r}."
        assert told in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_threads_are_those_asked_for(pairs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    train(tmp_path, "--threads", "3")
    assert asked == [3]


# ---- what is said of labels, and what weights say of themselves ----


@pytest.fixture
def own(table, monkeypatch):
    """`moereg train shift` on a table of labelled pairs."""
    enter(monkeypatch, Shift)

    def run(out, *options):
        arguments = ["train", "shift", "--data", str(table), "--out", str(out), "--steps", "1", "--device", "cpu"]
        return cli.main([*arguments, *options])

    return run


def test_labels_of_a_table_are_used_or_it_is_said_that_they_are_not(own, table, tmp_path, capsys):
    assert own(tmp_path / "a") == 0
    said = capsys.readouterr().err
    assert f"{table}: labels of 3 pairs are not learnt from, only measured; --labels-weight uses them\n" in said
    assert f"{table}: no column split, all 3 pairs are taken\n" in said
    assert own(tmp_path / "b", "--labels-weight", "0.5") == 0
    assert f"{table}: labels of 3 pairs are learnt from, weight 0.5\n" in capsys.readouterr().err
    rows = table.read_text().splitlines()
    for name, kept in (("some", 2), ("none", 0)):
        part = [",".join(row.split(",")[:2]) + ",," for row in rows[1 + kept :]]
        (table.parent / f"{name}.csv").write_text("\n".join([*rows[: 1 + kept], *part]) + "\n")
    assert own(tmp_path / "c", "--labels-weight", "0.5", "--data", str(table.parent / "some.csv")) == 0
    assert (
        "labels of 2 pairs are learnt from, weight 0.5; the other 1 teach by their images alone"
        in capsys.readouterr().err
    )
    assert own(tmp_path / "d", "--labels-weight", "0.5", "--data", str(table.parent / "none.csv")) == 2
    assert "--labels-weight must have labels to weigh, got none of both images in" in capsys.readouterr().err
    assert own(tmp_path / "e", "--motion-weight", "0.5") == 2
    assert "--motion-weight must have pairs of known displacement, as phantoms are" in capsys.readouterr().err


def test_weights_say_where_they_come_from_and_whom_they_know(own, table, tmp_path, capsys, monkeypatch):
    assert own(tmp_path, "--licence", "CC-BY 4.0", "--seed", "5") == 0
    path = tmp_path / "shift.safetensors"
    capsys.readouterr()
    assert cli.main(["describe", str(path)]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == str(path)
    for line in ("model shift", "provenance", "data pairs.csv", "licence CC-BY 4.0", "seed 5", "pairs 3", "steps 1"):
        assert line in lines
    assert cli.main(["evaluate", "--weights", str(path), "--data", str(table)]) == 0
    said = capsys.readouterr().err
    assert f"{path} was trained on 4 of the scans in {table}: no test of what it does on new ones\n" in said
    models.save_weights(tmp_path / "old.safetensors", load_model(path))
    assert cli.main(["describe", str(tmp_path / "old.safetensors")]) == 0
    assert "provenance     not told; files of before did not\n" in capsys.readouterr().out


def test_what_a_header_holds_cannot_steer_the_terminal(tmp_path, capsys):
    storage.write_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, {"model": "\x1b[2J\n", "long": "x" * 9000})
    assert cli.main(["describe", str(tmp_path / "w.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 300
    assert "2 (float32)" in shown

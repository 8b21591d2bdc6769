"""The main job with models whose answer is known: the right numbers in the right row, column and file.

SHMoAReg's place is taken by a model that moves by the true displacement, VoxelMorph's by one that is wrong by two
voxels, Demons' by one that moves by half of it, and the shipped network's by one that moves by twice as much. The box
has four voxels along the first axis and is moved by two of them.
"""

import inspect
import itertools
import json
import re
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from moereg import demo, files
from moereg.models import load_model, save_weights
from moereg.training import History, TrainingConfig
from moereg.viz import payload
from moereg.viz.packing import unpack
from tests.oracle_models import Shift, ShiftSizes, box_pair, enter

TRUTH, WRONG = (2.0, 0.0, 0.0), (0.0, 1.0, 0.0)
SHAPE = (12, 9, 8)
TRAINING = TrainingConfig(steps=3, device="cpu", learning_rate=0.02, checkpoint_every=9)
PLAN = demo.DemoPlan(SHAPE, 3, 2, TRAINING, {"voxels": TRUTH}, "known")
HALF, TWICE = (1.0, 0.0, 0.0), (4.0, 0.0, 0.0)
DICE = {
    "identity": 0.5,
    "demons-symmetric": 0.75,
    "voxelmorph": 0.5 * 4 / 5,  # one of five voxels further off along axis 1
    "shmoareg": 1.0,
    "shipped": 0.5,
}
EPE = {"identity": 2.0, "demons-symmetric": 1.0, "voxelmorph": 5**0.5, "shmoareg": 0.0, "shipped": 2.0}

Training = namedtuple("Training", "model pairs config options seed")
Job = namedtuple("Job", "result out trainings asked report text")


def pairs_of(split):
    if split == "train":
        return [box_pair(SHAPE, (3, 2 + n, 3), (3, 4, 4), (1, 1, 0)) for n in range(3)]
    return [box_pair(SHAPE, (3 + n, 2, 2), (4, 5, 3), (2, 0, 0)) for n in range(2)]


def do_the_job(out, patch) -> Job:
    """`demo.run` with seed 7, and everything that it handed to others. Each look at the clock takes ten seconds."""
    trainings, asked, reports, measured, built = [], [], [], [], []
    real = {name: getattr(demo, name) for name in ("build", "write_report", "evaluate")}

    def load(data, split, **options):
        asked.append((data, split, options))
        return pairs_of(split)

    def fit(model, train, config, **options):
        trainings.append(Training(model, train, config, options, torch.initial_seed()))
        for step in range(config.steps):
            if options["on_step"] is not None:
                options["on_step"](step + 1, model)
        number = len(trainings)
        return History([number + 0.5, number + 0.25, number], [0.0] * 3, [0.5, None, 0.75], 2.0 * number)

    def evaluate(methods, pairs, **options):
        measured.append(options)
        return real["evaluate"](methods, pairs, **options)

    def build(name, **sizes):
        built.append((name, sizes))
        return real["build"](name, **sizes)

    def write_report(path, **parts):
        reports.append(parts)
        return real["write_report"](path, **parts)

    enter(patch, Shift, "shmoareg")
    enter(patch, Shift, "voxelmorph", voxels=WRONG)
    patch.setattr(demo.datasets, "load", load)
    patch.setitem(demo.METHODS, "demons-symmetric", Shift(ShiftSizes(voxels=HALF)))
    patch.setattr(demo, "load_model", lambda weights: {"known": Shift(ShiftSizes(voxels=TWICE))}[weights])
    for replacement in (build, fit, evaluate, write_report):
        patch.setattr(demo, replacement.__name__, replacement)
    patch.setattr(demo, "time", SimpleNamespace(perf_counter=itertools.count(100, 10).__next__))
    patch.setattr(payload, "_poster", lambda pair, result: None)
    result = demo.run(out, data="lung", plan=PLAN, seed=7)
    models = {name: load_model(out / f"{name}.safetensors") for name in ("shmoareg", "voxelmorph")}
    assert {name: model.sizes.voxels for name, model in models.items()} == {"shmoareg": TRUTH, "voxelmorph": WRONG}
    assert measured == [{"device": torch.device("cpu"), "progress": True}]
    assert built == [("shmoareg", {"dims": 3, "voxels": TRUTH}), ("voxelmorph", {"dims": 3})]
    [report] = reports
    return Job(result, out, {t.model.name: t for t in trainings}, asked, report, demo.as_text(result))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return do_the_job(tmp_path_factory.mktemp("job") / "new", patch)


# ---- what is trained, on what ----


def test_pairs_come_from_the_two_splits_in_the_numbers_of_the_plan(job):
    same = {"shape": SHAPE, "seed": 7, "parted": True}  # a table is parted by subject
    assert job.asked == [("lung", "train", {"count": 3} | same), ("lung", "test", {"count": 2} | same)]


def test_both_models_train_alike_on_the_training_pairs(job):
    ours, theirs = job.trainings["shmoareg"], job.trainings["voxelmorph"]
    assert ours.config == theirs.config == replace(TRAINING, seed=7)
    for training in (ours, theirs):
        assert len(training.pairs) == 3
        assert all(float(pair.displacement.sum()) == 2 * 12 * 9 * 8 for pair in training.pairs)  # one and one voxel
        assert all(int(pair.fixed_labels.sum()) == 3 * 4 * 4 for pair in training.pairs)  # not the test pairs' box
        assert training.seed == 7
    assert torch.equal(ours.model.drawn, theirs.model.drawn)  # made from the seed, not one after the other
    torch.manual_seed(7)
    assert torch.equal(ours.model.drawn, torch.rand(1))
    assert (ours.options["title"], theirs.options["title"]) == ("SHMoAReg", "VoxelMorph (MONAI)")
    assert ours.options["progress"] is theirs.options["progress"] is True


# ---- the numbers ----


def test_every_row_is_that_of_its_method(job):
    methods = job.result["methods"]
    assert list(methods) == list(DICE)
    for name, method in methods.items():
        assert method["dice"] == pytest.approx(DICE[name])
        assert method["dice_per_label"] == {"box": pytest.approx(DICE[name])}
        assert method["epe"] == pytest.approx(EPE[name], abs=1e-6)
        assert len(method["pairs"]) == 2
        assert method["fold_fraction"] == 0
    assert methods["shmoareg"]["hd95"] == methods["shmoareg"]["asd"] == 0
    assert methods["identity"]["hd95"] == 2
    assert methods["demons-symmetric"]["hd95"] == 1


def test_training_plan_and_seed_are_recorded(job):
    result = job.result
    assert result["data"] == "lung"
    assert result["seed"] == 7
    assert result["plan"]["test_pairs"] == 2
    assert result["plan"]["training"]["learning_rate"] == 0.02
    for number, name in ((1, "shmoareg"), (2, "voxelmorph")):
        assert result["training"][name] == {
            "parameters": 3,
            "steps": 3,
            "seconds": 2.0 * number,
            "steps_per_second": 1.5 / number,
            "loss": [number + 0.5, number + 0.25, number],
            "dice": [0.5, None, 0.75],
        }
    assert result["machine"]["device"] == "cpu"
    assert result["machine"]["torch"] == torch.__version__
    assert result["seconds"] == {"data": 10, "total": 30}  # looked at: start, pairs there, measured, payload there


def test_the_file_holds_the_result_and_all_files_are_there(job):
    assert json.loads((job.out / "metrics.json").read_text()) == json.loads(json.dumps(job.result))
    assert sorted(path.name for path in job.out.iterdir()) == [
        "metrics.json",
        "report.html",
        "shmoareg.safetensors",
        "voxelmorph.safetensors",
    ]


def test_numbers_are_on_disk_before_the_page_is_made(tmp_path, monkeypatch):
    """A page that cannot be made does not cost the training."""

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(demo, "explorer_payload", fail)
    with pytest.raises(MemoryError):
        do_the_job(tmp_path, monkeypatch)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["methods"]["shmoareg"]["dice"] == pytest.approx(1)
    assert numbers["seconds"] == {"data": 10, "total": 20}


def test_defaults():
    parameters = inspect.signature(demo.run).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "out": "demo-out",
        "data": "abdomen",
        "plan": None,
        "device": "auto",
        "seed": 0,
        "progress": True,
        "tell": None,
    }


# ---- text and report ----


def test_the_text_has_one_column_per_method_in_order(job):
    lines = job.text.splitlines()
    titles = ["before", "Demons", "VoxelMorph (MONAI)", "SHMoAReg", "SHMoAReg, shipped"]
    assert re.split(" {2,}", lines[0].strip()) == titles
    rows = {line[:30].strip(): line[30:].split() for line in lines}
    assert rows["Dice box"] == rows["Dice, mean"] == ["0.500", "0.750", "0.400", "1.000", "0.500"]
    assert rows["endpoint error, voxels"] == ["2.000", "1.000", "2.236", "0.000", "2.000"]
    assert rows["folded voxels, %"] == ["0.000"] * 5
    assert len({len(line) for line in lines[:9]}) == 1  # columns end below each other
    assert lines[0].index("before") + len("before") == lines[1].index("0.500") + len("0.500") == 30 + 8
    assert lines[-2] == demo.verdict(job.result["methods"])
    assert lines[-3] == ""
    assert lines[-1].endswith(" minutes on cpu.")


def test_no_number_is_a_dash_and_percent_are_percent(job):
    methods = {name: dict(method) for name, method in job.result["methods"].items()}
    methods["shmoareg"] |= {"epe": None, "fold_fraction": 0.25, "dice_per_label": {}}
    rows = {
        line[:30].strip(): line[30:].split() for line in demo.as_text(job.result | {"methods": methods}).splitlines()
    }
    assert rows["endpoint error, voxels"] == ["2.000", "1.000", "2.236", "-", "2.000"]
    assert rows["folded voxels, %"] == ["0.000", "0.000", "0.000", "25.000", "0.000"]
    assert rows["Dice box"] == ["0.500", "0.750", "0.400", "-", "0.500"]
    minutes = demo.as_text(job.result | {"seconds": {"total": 90.0}}).splitlines()[-1]
    assert minutes == "1.5 minutes on cpu."


def test_the_tables_of_the_report(job):
    overlap, others, training = job.report["tables"]
    titles = ["before", "Demons", "VoxelMorph (MONAI)", "SHMoAReg", "SHMoAReg, shipped"]
    assert overlap.columns == ["structure", *titles]
    assert [row[0] for row in overlap.rows] == ["box", "mean"]
    for row in overlap.rows:
        assert row[1:] == pytest.approx(list(DICE.values()))
    assert overlap.best == {"by": "row", "of": {"box": "max", "mean": "max"}}
    assert others.columns == ["measure", *titles]
    assert [row[0] for row in others.rows] == [
        "endpoint error, voxels",
        "Hausdorff distance 95 %, mm",
        "surface distance, mm",
        "folded voxels, %",
        "sd of log Jacobian",
        "seconds per pair",
    ]
    assert others.rows[0][1:] == pytest.approx(list(EPE.values()), abs=1e-6)
    assert training.columns == ["model", "parameters", "steps", "seconds", "steps per second"]
    assert training.rows == [["SHMoAReg", 3, 3, 2.0, 1.5], ["VoxelMorph (MONAI)", 3, 3, 4.0, 0.75]]
    assert training.digits == [0, 0, 0, 0, 2]
    assert [table.caption for table in job.report["tables"]] == [
        "Dice per structure, mean over test pairs",
        "Error, regularity, cost",
        "Training",
    ]


def test_a_measure_that_nobody_has_is_no_row_and_one_that_some_have_is_a_dash(job, tmp_path, monkeypatch):
    methods = {name: dict(method) for name, method in job.result["methods"].items()}
    for method in methods.values():
        method["epe"] = None
    methods["shmoareg"] |= {"hd95": None, "fold_fraction": 0.25, "dice_per_label": {}}
    written = []
    monkeypatch.setattr(demo, "write_report", lambda path, **parts: written.append(parts))
    demo.write_demo_report(tmp_path / "r.html", job.result | {"methods": methods}, {}, {})
    overlap, others, _ = written[0]["tables"]
    assert overlap.rows[0] == ["box", *map(pytest.approx, (0.5, 0.75, 0.4)), None, pytest.approx(0.5)]
    rows = {row[0]: row[1:] for row in others.rows}
    assert "endpoint error, voxels" not in rows
    assert rows["Hausdorff distance 95 %, mm"][3] is None
    assert rows["folded voxels, %"] == [0, 0, 0, 25, 0]


def test_the_report_explains_this_run(job):
    report = job.report
    assert report["title"] == "SHMoAReg, trained and opened"
    assert report["subtitle"] == demo.verdict(job.result["methods"])
    assert report["history"] == {
        "SHMoAReg": {"step": [1, 2, 3], "loss": [1.5, 1.25, 1], "dice": [0.5, None, 0.75]},
        "VoxelMorph (MONAI)": {"step": [1, 2, 3], "loss": [2.5, 2.25, 2], "dice": [0.5, None, 0.75]},
    }
    facts = report["facts"]
    assert (facts["data"], facts["seed"]) == ("lung", "7")
    assert facts["device"] == "cpu"
    assert facts["minutes"] == "0.5"
    assert (facts["train pairs"], facts["test pairs"]) == ("3", "2")
    assert facts["python"] == job.result["machine"]["python"]
    assert all(isinstance(value, str) for value in facts.values())


def test_the_explorer_opens_shmoareg_on_the_first_test_pair(job):
    shown = job.report["payload"]
    assert shown["metrics"] == pytest.approx({"folds": 0, "dice": 1.0, "endpoint_error": 0.0}, abs=1e-6)
    first = box_pair(SHAPE, (3, 2, 2), (4, 5, 3), (2, 0, 0))
    assert (unpack(shown, shown["labels"]["fixed"]) == first.fixed_labels[0].numpy()).all()
    assert [snapshot["step"] for snapshot in shown["snapshots"]] == [1, 2, 3]
    assert all(snapshot["metrics"]["dice"] == 1 for snapshot in shown["snapshots"])  # of SHMoAReg, not of the other


# ---- plans ----


@pytest.mark.parametrize(
    ("data", "device", "shape", "pairs", "training", "sizes", "shipped"),
    [
        ("abdomen", "cpu", (48, 48, 48), (32, 8), (160, "lncc", 0.0, 0.1), {}, "abdomen"),
        ("abdomen", "cuda", (96, 96, 96), (200, 20), (3000, "lncc", 0.0, 0.1), {"stem_stride": 1}, None),
        ("hippocampus", "cpu", None, (2000, 12), (160, "mse", 1.0, 0.3), {}, "hippocampus"),
        ("hippocampus", "mps", None, (2000, 40), (4000, "mse", 1.0, 0.3), {"stem_stride": 1}, None),
        ("lung", "cpu", None, (32, 8), (160, "lncc", 0.0, 0.1), {}, None),
        ("my/pairs.csv", "cuda", None, (None, None), (3000, "lncc", 0.0, 0.1), {"stem_stride": 1}, None),
    ],
)
def test_the_plan_goes_by_data_and_device(data, device, shape, pairs, training, sizes, shipped, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    plan = demo.plan_for(data, device)
    t = plan.training
    assert (plan.shape, (plan.train_pairs, plan.test_pairs), plan.sizes) == (shape, pairs, sizes)
    assert (t.steps, t.similarity, t.labels, t.smoothness) == training
    assert (t.device, t.learning_rate, t.seed) == (device, 1e-3, 0)
    assert plan.sizes_of("shmoareg") == sizes
    assert plan.sizes_of("voxelmorph") == {}
    assert plan.shipped == shipped


def test_the_shipped_network_is_a_column_where_its_file_is(tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "moereg" / "files.py"))
    plan, cpu = replace(PLAN, shipped="liver"), torch.device("cpu")
    assert demo.shipped(plan, cpu) == demo.shipped(replace(plan, shipped=None), cpu) == {}
    save_weights(tmp_path / "data" / "weights" / "liver.safetensors", Shift(ShiftSizes(voxels=TWICE)))
    [(name, network)] = demo.shipped(plan, torch.device("meta")).items()
    assert (name, network.sizes.voxels, network.offset.device.type) == ("shipped", TWICE, "meta")
    assert demo.shipped(replace(plan, shipped=None), cpu) == {}


@pytest.mark.parametrize("labelled", [False, True])
def test_pairs_that_cannot_show_which_is_better_are_refused_before_any_training(labelled, tmp_path, monkeypatch):
    """Labels of both images or a known displacement; labels of the moving image alone do not do."""
    whole = box_pair(SHAPE, (3, 2, 2), (4, 5, 3), (2, 0, 0))
    bare = replace(whole, displacement=None, fixed_labels=None)
    known = replace(whole, displacement=None) if labelled else replace(bare, displacement=whole.displacement)
    monkeypatch.setattr(demo, "fit", None)
    monkeypatch.setattr(demo.datasets, "load", lambda data, split, **options: [bare])
    with pytest.raises(ValueError, match="data must name labels of its test pairs to compare the methods by, got none"):
        demo.run(tmp_path / "out", data="t.csv", plan=PLAN)
    assert not (tmp_path / "out").exists()
    demo.require_comparable("t.csv", [bare, known])


def test_without_a_plan_the_one_for_data_and_device_is_taken(monkeypatch, tmp_path):
    asked = []

    class Enough(Exception):
        pass

    def load(data, split, **options):
        asked.append((data, split, options))
        raise Enough

    monkeypatch.setattr(demo.datasets, "load", load)
    monkeypatch.setitem(demo.PLANS, ("lung", "cpu"), demo.DemoPlan((9, 10, 11), 4, 1, TRAINING, {}))
    with pytest.raises(Enough):
        demo.run(tmp_path, data="lung", device="cpu")
    assert asked == [("lung", "train", {"shape": (9, 10, 11), "count": 4, "seed": 0, "parted": True})]
    with pytest.raises(ValueError, match="device must be one of"):
        demo.run(tmp_path, data="lung", device="tpu")


@pytest.mark.plain_errors
def test_few_pairs_are_read_once_and_many_on_demand(monkeypatch, capsys):
    class Set:
        def __init__(self, count):
            self.count, self.read = count, []

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            self.read.append(index)
            return index

    for split, count, kept in (("train", 200, True), ("train", 201, False), ("test", 201, True)):
        made = Set(count)
        pairs = demo.load_pairs(made, split, progress=split == "test")
        assert (pairs == list(range(count))) is kept
        assert made.read == (list(range(count)) if kept else [])
        shown = capsys.readouterr().err
        assert ("test pairs: 100%" in shown) is (split == "test")
        assert ("train pairs" in shown) is False


def test_the_machine_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    monkeypatch.setattr(demo.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(demo.platform, "python_version", lambda: "3.11.2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    expected = {"processor": "arm64", "threads": 3, "python": "3.11.2", "torch": torch.__version__}
    expected["moereg"] = demo.__version__
    assert demo.machine(torch.device("mps")) == {"device": "mps"} | expected
    assert demo.machine(torch.device("cuda")) == {"device": "name of cuda"} | expected

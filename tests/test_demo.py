"""The main job in a short form: whole path, small sizes, on phantoms and where they are on real scans."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from moereg import demo, models
from moereg.data import datasets, save_volume
from moereg.training import TrainingConfig

TINY = {"widths": (4, 6, 8), "decoder_widths": (4, 4, 4), "heads": 2, "head_dim": 4}
PLAN = demo.DemoPlan((16, 16, 16), 2, 2, TrainingConfig(steps=2, device="cpu"), TINY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, demo.run(out, plan=PLAN, progress=False)


def test_everything_is_written(finished):
    out, result = finished
    assert sorted(p.name for p in out.iterdir()) == [
        "metrics.json",
        "report.html",
        "shmoareg.safetensors",
        "voxelmorph.safetensors",
    ]
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(result))
    assert models.load_model(out / "shmoareg.safetensors").sizes.widths == (4, 6, 8)


def test_weights_say_what_they_were_trained_on_and_where_they_come_from(finished):
    out, result = finished
    for name in ("shmoareg", "voxelmorph"):
        trained = models.read_trained(out / f"{name}.safetensors")
        assert (trained.data, trained.shape, trained.normalisation) == ("abdomen", (16, 16, 16), "unit")
        origin = models.read_provenance(out / f"{name}.safetensors")
        assert (origin["data"], origin["pairs"], origin["steps"]) == ("abdomen", 2, 2)
        assert origin["licence"] == "phantoms made by moereg, no data of others"
        assert origin["loss"] == pytest.approx(result["training"][name]["loss"][-1], abs=1e-5)
    assert result["table"] == []


def test_how_a_table_was_parted_is_said_before_any_work(tmp_path, monkeypatch):
    """Three pairs of subjects of their own, one of which is for testing."""
    save_volume(tmp_path / "labels.nii", torch.ones(6, 5, 4, dtype=torch.int64), np.eye(4))
    rows = ["moving,fixed,age,moving_labels,fixed_labels,fixed_mask"]
    for number in range(3):
        for role in ("moving", "fixed"):
            image = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(10 * number + len(role)))
            save_volume(tmp_path / f"{role}{number}.nii", image, np.eye(4))
        rows.append(f"moving{number}.nii,fixed{number}.nii,7,labels.nii,labels.nii,labels.nii")
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(demo, "load_pairs", lambda *_: pytest.fail("begun") if len(said) < 2 else [])
    monkeypatch.setattr(demo, "require_comparable", lambda data, test: 1 / 0)
    said = []
    with pytest.raises(ZeroDivisionError):
        demo.run(tmp_path / "out", data=str(table), plan=replace(PLAN, shape=None), progress=False, tell=said.append)
    assert said == [
        f"{table}: not used: age",
        f"{table}: no column split, parted by subject: 2 pairs for train, 1 pairs for test",
        f"{table}: labels of 2 pairs are not learnt from, only measured",
        f"{table}: masks count in the training; methods register whole images when they are measured",
    ]


def test_both_models_train_for_the_same_steps_and_are_measured_alike(finished):
    _, result = finished
    steps = {name: training["steps"] for name, training in result["training"].items()}
    assert steps == {"shmoareg": 2, "voxelmorph": 2}
    measures = ["asd", "dice", "dice_per_label", "epe", "fold_fraction", "hd95", "pairs", "sd_log_jacobian"]
    for name in ("identity", "demons-symmetric", "voxelmorph", "shmoareg"):
        assert sorted(result["methods"][name]) == [*measures, "seconds_per_pair"]
    names = {name: [pair["pair"] for pair in table["pairs"]] for name, table in result["methods"].items()}
    assert names == dict.fromkeys(names, names["identity"])  # on the same pairs
    assert len(set(names["identity"])) == 2
    assert len(result["methods"]["identity"]["dice_per_label"]) >= 10
    assert result["methods"]["shmoareg"]["epe"] is not None


def test_the_report_is_one_file_without_outside_requests(finished):
    page = (finished[0] / "report.html").read_text()
    assert "default-src 'none'" in page
    assert 'src="http' not in page
    assert "decoder.0.shmoe" in page
    assert demo.verdict(finished[1]["methods"]) in page.replace("&#x27;", "'")


def test_text_names_every_organ(finished):
    text = demo.as_text(finished[1])
    assert "Dice liver" in text
    assert "endpoint error" in text


def measured(dices, errors=None):
    """What `evaluate` says of a method, as far as a verdict reads it."""
    errors = errors or [None] * len(dices)
    pairs = [{"dice_mean": dice, "epe": error} for dice, error in zip(dices, errors, strict=True)]
    mean = None if errors[0] is None else sum(errors) / len(errors)
    return {"dice": sum(dices) / len(dices), "epe": mean, "pairs": pairs}


def shifted(values, gains):
    return [value + gain for value, gain in zip(values, gains, strict=True)]


THEIRS = (0.6, 0.7, 0.8)  # the spread between pairs is no part of the paired difference
BEFORE = measured((0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("gains", "word", "interval"),
    [
        # sd 0.01, three pairs: 4.303 * 0.01 / sqrt(3) = 0.025
        ((0.03, 0.04, 0.05), "better", "+0.040 [+0.015, +0.065]"),
        ((-0.03, -0.04, -0.05), "worse", "-0.040 [-0.065, -0.015]"),
        ((0.01, 0.02, 0.03), "not told apart", "+0.020 [-0.005, +0.045]"),
    ],
)
def test_the_verdict_follows_the_numbers(gains, word, interval):
    same = measured(shifted(THEIRS, gains))
    methods = {"identity": BEFORE, demo.DEMONS: same, demo.YARDSTICK: measured(THEIRS), demo.OURS: same}
    sentences = demo.verdict(methods)
    mean = sum(shifted(THEIRS, gains)) / 3
    assert f"SHMoAReg to VoxelMorph (MONAI): Dice {mean:.3f} to 0.700, {word} ({interval})." in sentences
    assert f"SHMoAReg to Demons: Dice {mean:.3f} to {mean:.3f}, not told apart (+0.000 [+0.000, +0.000])." in sentences
    assert sentences.startswith(
        "On 3 pairs never trained on, one training of each network; before: Dice 0.500. SHMoAReg to "
    )
    assert "shipped" not in sentences


def test_errors_are_judged_where_they_are_known_and_less_is_better():
    """Demons is ahead of the short run in both, behind the shipped network in Dice alone."""
    errors = (1.0, 2.0, 3.0)
    methods = {
        "identity": measured((0.4, 0.5, 0.6), (4.0, 5.0, 6.0)),
        demo.DEMONS: measured(THEIRS, errors),
        demo.YARDSTICK: measured(shifted(THEIRS, (-0.2, -0.2, -0.21)), shifted(errors, (1.0, 1.0, 1.1))),
        demo.OURS: measured(shifted(THEIRS, (-0.1, -0.1, -0.11)), shifted(errors, (0.5, 0.5, 0.51))),
        demo.SHIPPED: measured(shifted(THEIRS, (0.1, 0.1, 0.11)), shifted(errors, (0.2, 0.2, 0.21))),
    }
    lead, *sentences = demo.verdict(methods).split(". ")
    assert lead.endswith("before: Dice 0.500, endpoint error 5.000 voxels")
    # Where the network is behind in anything comes first, in the order of the questions.
    heads = [sentence.split(": ")[0] for sentence in sentences]
    assert heads == ["SHMoAReg to Demons", "SHMoAReg, shipped to Demons", "SHMoAReg to VoxelMorph (MONAI)"]
    assert "Dice 0.597 to 0.700, worse (-0.103 [" in sentences[0]
    assert "endpoint error 2.503 to 2.000 voxels, worse (+0.503 [" in sentences[0]
    assert "Dice 0.803 to 0.700, better (" in sentences[1]
    assert "endpoint error 2.203 to 2.000 voxels, worse (+0.203 [" in sentences[1]
    assert "Dice 0.597 to 0.497, better (" in sentences[2]
    ahead = methods | {demo.OURS: methods[demo.DEMONS], demo.SHIPPED: methods[demo.YARDSTICK]}
    first = demo.verdict(ahead).split(". ")[1]
    assert first.startswith("SHMoAReg, shipped to Demons: Dice 0.497 to 0.700, worse")


def test_train_and_test_pairs_are_different():
    train, test = (datasets.load("abdomen", split, shape=(16, 16, 16), count=2) for split in ("train", "test"))
    assert not any((a.fixed == b.fixed).all() for a in train for b in test)


@pytest.mark.data
@pytest.mark.usefixtures("hippocampus")
def test_the_same_job_on_real_scans(tmp_path):
    plan = demo.plan_for("hippocampus", "cpu")
    plan = replace(plan, train_pairs=2, test_pairs=2, training=replace(plan.training, steps=1), sizes=TINY)
    result = demo.run(tmp_path, data="hippocampus", plan=plan, progress=False)
    assert set(result["methods"]["shmoareg"]["dice_per_label"]) == {"anterior", "posterior"}
    assert 0.3 < result["methods"]["identity"]["dice"] < 0.8
    assert result["methods"]["identity"]["epe"] is None

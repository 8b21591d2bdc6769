"""The training loop: it learns, repeats itself, resumes, and refuses what does not fit."""

import json
from dataclasses import replace

import lightning_fabric
import pytest
import torch

from moereg import fields, metrics, models, training
from moereg.data.pairs import Pair
from moereg.models.storage import read_tensors
from moereg.training import TrainingConfig, fit, loop

CONFIG = TrainingConfig(steps=8, similarity="mse", device="cpu", checkpoint_every=4)


def tiny_model(seed=0, **sizes):
    torch.manual_seed(seed)
    sizes = {"widths": (4, 6), "decoder_widths": (6, 6), "moa_levels": (1,), "heads": 2} | sizes
    return models.build("shmoareg", dims=2, **sizes)


def blob_pairs(count=3, size=24):
    """A disc and the same disc moved by two voxels: a task that a few steps can learn."""
    pairs = []
    grid = fields.identity_grid((size, size))
    for i in range(count):
        centre = torch.tensor([size / 2 - 1, size / 2 + i]).reshape(2, 1, 1)
        images, labels = [], []
        for shift in (0, 2):
            distance = (grid - centre - shift).square().sum(0, keepdim=True).sqrt()
            images.append(torch.sigmoid(6 - distance))
            labels.append((distance < 6).long())
        pairs.append(Pair(*images, *labels, label_names={1: "disc"}, name=f"disc {i}"))
    return pairs


def weights_of(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_training_improves_the_overlap():
    model, pairs = tiny_model(), blob_pairs()
    before = metrics.evaluate({"m": model}, pairs, surfaces=False)["m"]["dice"]
    history = fit(model, pairs, replace(CONFIG, steps=60, learning_rate=5e-3, smoothness=0.01), progress=False)
    after = metrics.evaluate({"m": model}, pairs, surfaces=False)["m"]["dice"]
    assert len(history.loss) == 60
    assert after > before + 0.1


def test_the_same_seed_gives_the_same_weights():
    runs = []
    for seed in (0, 0, 1):
        model = tiny_model()
        fit(model, blob_pairs(), replace(CONFIG, seed=seed), progress=False)
        runs.append(weights_of(model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path):
    whole = tiny_model()
    expected = fit(whole, blob_pairs(), CONFIG, out=tmp_path / "whole", progress=False)

    class Interrupt(Exception):
        pass

    def interrupt(step, model):
        if step == 6:  # two steps after the last checkpoint
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(tiny_model(), blob_pairs(), CONFIG, out=tmp_path / "cut", progress=False, on_step=interrupt)
    resumed = tiny_model(seed=5)
    history = fit(resumed, blob_pairs(), CONFIG, out=tmp_path / "cut", resume=True, progress=False)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert (history.loss, history.similarity, history.dice) == (expected.loss, expected.similarity, expected.dice)
    ends = [read_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut")]
    assert {name.split(".")[1] for name in ends[0][0] if name.startswith("adam.")} == {"step", "exp_avg", "exp_avg_sq"}
    assert ends[0][0].keys() == ends[1][0].keys()
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])  # Adam's moments too


def test_every_pair_is_seen_once_an_epoch():
    config = replace(CONFIG, pairs_per_step=2)
    seen = [index for step in range(5) for index in training.choose_pairs(step, 5, config)]
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert seen[:5] != seen[5:]


@pytest.mark.parametrize("without", ["moving_labels", "fixed_labels"])
def test_a_batch_without_both_label_maps_has_no_overlap(without):
    batch = training.collate(blob_pairs(1), "cpu")
    registration = models.Registration(torch.zeros(2, 2, 24, 24), batch.moving)
    # In each direction one disc against the other, as the labels have it without registration.
    (disc,) = metrics.dice(batch.moving_labels[0], batch.fixed_labels[0]).values()
    assert training.batch_dice(registration, batch) == pytest.approx(disc)
    unlabelled = replace(batch, **{without: None})
    assert unlabelled.labels is None
    with pytest.raises(ValueError, match="batch must have label maps to be measured by, got none"):
        training.batch_dice(registration, unlabelled)


def test_label_supervision_and_routing_losses_are_in_the_loss():
    model, batch = tiny_model(), training.collate(blob_pairs(1), "cpu")
    registration = model(batch.moving, batch.fixed)
    config = replace(CONFIG, labels=0.5, balance=0.2, z=0.3, smoothness=0.4)
    total, parts = training.registration_loss(registration, batch, config)
    weights = {"similarity": 1, "smoothness": 0.4, "labels": 0.5, "balance": 0.2, "z": 0.3}
    assert parts.keys() == weights.keys()
    torch.testing.assert_close(total, sum(weights[name] * parts[name] for name in weights))


def test_learning_rate_warms_up_and_ends_near_zero():
    config = replace(CONFIG, steps=100, learning_rate=1.0)
    rates = [training.learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == 1
    assert rates[-1] < 0.001
    assert rates[5:] == sorted(rates[5:], reverse=True)


@pytest.mark.plain_errors
class TestBadInput:
    def test_no_pairs(self):
        with pytest.raises(ValueError, match="pairs must hold at least one pair, got none"):
            fit(tiny_model(), [], CONFIG, progress=False)

    def test_config(self):
        with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
            TrainingConfig(steps=0)
        with pytest.raises(ValueError, match="similarity must be one of 'lncc', 'mse', 'mi', got 'nmi'"):
            TrainingConfig(similarity="nmi")
        with pytest.raises(ValueError, match="smoothness must be zero or more, got -1"):
            TrainingConfig(smoothness=-1)

    def test_a_checkpoint_of_another_model_or_configuration(self, tmp_path):
        fit(tiny_model(), blob_pairs(1), CONFIG, out=tmp_path, progress=False)
        with pytest.raises(ValueError, match="checkpoint .* must be of sizes"):
            fit(tiny_model(heads=3), blob_pairs(1), CONFIG, out=tmp_path, resume=True, progress=False)
        other = replace(CONFIG, steps=7)
        with pytest.raises(ValueError, match="checkpoint .* must have been made with 7 steps at most, .* got 8"):
            fit(tiny_model(), blob_pairs(1), other, out=tmp_path, resume=True, progress=False)
        with pytest.raises(ValueError, match="must hold weights written by moereg"):
            models.load_model(tmp_path / "checkpoint.safetensors")

    def test_a_loss_that_explodes_says_so(self):
        model = tiny_model()
        with torch.no_grad():
            model.mixtures[0].readout.fill_(1e30)
        with pytest.raises(ValueError, match="loss must stay finite"):
            fit(model, blob_pairs(1), CONFIG, progress=False)


def test_model_and_steps_go_to_the_one_device_that_was_asked_for(monkeypatch):
    """Fabric is asked for it, in the precision of the configuration; here it gets the CPU instead."""
    asked, moved, real = [], [], lightning_fabric.Fabric

    def fabric(**options):
        asked.append(options)
        made = real(accelerator="cpu", devices=1, precision="32-true")
        to_device = made.to_device
        monkeypatch.setattr(made, "to_device", lambda thing: moved.append(thing) or to_device(thing))
        return made

    monkeypatch.setattr(lightning_fabric, "Fabric", fabric)
    monkeypatch.setattr(loop, "collate", lambda pairs, device: moved.append(device) or training.collate(pairs, device))
    monkeypatch.setattr(loop, "check_precision", lambda precision, device: asked.append((precision, device.type)))
    monkeypatch.setattr(loop, "best_device", lambda name: torch.device({"mps": "cuda"}[name]))
    model = tiny_model()
    fit(model, blob_pairs(1), replace(CONFIG, steps=1, device="mps", precision="bf16-mixed"), progress=False)
    assert asked == [("bf16-mixed", "cuda"), {"accelerator": "cuda", "devices": 1, "precision": "bf16-mixed"}]
    assert moved[0] is model
    assert moved[1] == torch.device("cpu")  # of the batch


def test_history_is_plain_json(tmp_path):
    history = fit(tiny_model(), blob_pairs(1), CONFIG, out=tmp_path, progress=False)
    assert json.loads(json.dumps(history.__dict__))["loss"] == history.loss

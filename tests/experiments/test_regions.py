"""Experiments on regions in a form of one step; degraded labels; fitted lines; what the sentences say."""

import json
from pathlib import Path

import pytest
import torch
from moereg.evaluation import regions
from moereg.evaluation.regions import GloballySmooth, RegionProtocol, boundary_noise, grown, line, measure

from moereg.data import phantoms
from moereg.experiments import Task
from moereg.metrics import dice
from moereg.models import SegReg, SegRegSizes
from moereg.models.registration import Registration
from moereg.regularity import diffusion
from moereg.similarity import mse
from moereg.training import TrainingConfig
from moereg.viz import draw

SIZES = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
PROTOCOL = RegionProtocol(
    TrainingConfig(steps=1, similarity="mse", device="cpu"), seeds=(0, 1), sizes=SIZES, segmenter_steps=1
)


def task(anatomy, shape):
    pairs = [phantoms.make(anatomy, shape, seed) for seed in range(2)]
    return Task("small", pairs, pairs)


class Still(torch.nn.Module):
    def forward(self, moving, fixed):
        zero = moving.new_zeros(len(moving), moving.ndim - 2, *moving.shape[2:])
        return Registration(zero, moving, (zero,))


def test_true_labels_and_quality_sweep(monkeypatch):
    monkeypatch.setattr(regions, "NOISE", (0.0, 3.0))
    monkeypatch.setattr(regions, "GROWTH", (-1, 0, 1))
    small = task("abdomen", (24, 24))
    finding, trained = regions.true_labels(small, PROTOCOL)
    assert [(r["labels"], r["seed"]) for r in finding.rows] == [
        (name, seed) for seed in (0, 1) for name in ("backbone alone", "true labels", "own segmentation")
    ]
    quality = {row["labels"]: row["quality"] for row in finding.rows}
    assert quality["true labels"] == 1 > quality["own segmentation"]
    assert "Dice is" in finding.sentence
    assert len(draw(finding).axes) == 3
    sweep = regions.quality_sweep(trained, small.test, seeds=PROTOCOL.seeds)
    assert len(sweep.rows) == 2 * (2 + 3)
    worse = {row["amount"]: row["quality"] for row in sweep.rows if row["way"] == "boundary noise"}
    assert worse[0.0] == 1 > worse[3.0]
    assert sweep.sentence.count("near-linear") >= 3
    assert len(draw(sweep).axes) == 2


def test_sliding_compares_three_methods():
    protocol = RegionProtocol(
        PROTOCOL.training, seeds=(0,), sizes=SIZES, groups=(tuple(range(1, 10)),), smoothness=(0.01, 0.1)
    )
    finding = regions.sliding(task("lung", (32, 32)), protocol)
    assert [(r["regularity"], r["smoothness"]) for r in finding.rows] == [
        (method, weight) for weight in (0.01, 0.1) for method in ("backbone", "uniform", "adaptive")
    ]
    assert finding.rows[0]["near_before"] > 0
    assert "within 3 voxels of the sliding interface" in finding.sentence
    assert [axes.get_title(loc="left") for axes in draw(finding).axes] == [
        "within 3 voxels of the interface", "elsewhere",
    ]  # fmt: skip


def test_uniform_smoothness_sees_the_seam_and_adaptive_does_not(generator):
    """Both get one backbone: fields agree, only what the loss asks of them differs."""

    class Blocks(torch.nn.Module):
        def forward(self, moving, fixed):
            amount = torch.arange(float(len(moving))).view(-1, 1, 1, 1).expand(-1, 2, *moving.shape[2:])
            return Registration(amount, moving, (amount,))

    moving, fixed = torch.rand(2, 1, 1, 16, 16, generator=generator).unbind()
    labels = (torch.arange(16) >= 8).long().expand(1, 1, 16, 16)
    given = {"moving_labels": labels, "fixed_labels": labels}
    adaptive, uniform = (
        kind(SegRegSizes(dims=2), backbone=Blocks())(moving, fixed, **given) for kind in (SegReg, GloballySmooth)
    )
    assert torch.equal(adaptive.displacement, uniform.displacement)
    assert adaptive.regional_loss(moving, fixed, mse)[1] == 0
    assert uniform.regional_loss(moving, fixed, mse)[1] == diffusion(uniform.displacement) > 0
    assert adaptive.regional_loss(moving, fixed, mse)[0] == uniform.regional_loss(moving, fixed, mse)[0]


@pytest.mark.parametrize("shape", [(40, 40), (24, 24, 24)])
def test_labels_get_worse_with_the_amount(shape):
    truth = phantoms.make("abdomen", shape, 3).fixed_labels
    noise = [boundary_noise(truth, a, torch.Generator().manual_seed(0)) for a in (0.0, 1.0, 2.0, 4.0)]
    assert torch.equal(noise[0], truth)
    assert set(noise[3].unique().tolist()) <= set(truth.unique().tolist())
    quality = [sum(dice(labels, truth).values()) for labels in noise]
    assert quality == sorted(quality, reverse=True)
    assert quality[3] < 0.9 * quality[0]


def test_organs_grow_by_whole_voxels_and_shrink_back():
    truth = torch.zeros(1, 16, 16, dtype=torch.int64)
    truth[0, 5:10, 5:10] = 3
    assert torch.equal(grown(truth, 0), truth)
    larger = grown(truth, 2)
    assert (larger == 3).sum() == 9 * 9
    assert larger[0, 3, 3] == 3
    assert torch.equal(grown(larger, -2), truth)
    truth[0, 5:10, 10:13] = 4  # neighbours keep what they have
    assert torch.equal(grown(truth, 1)[0, 5:10, 5:13], truth[0, 5:10, 5:13])
    assert (grown(truth, -1)[0, 5:10, 9:11] == 0).all()


def test_a_line_is_found():
    rows = [{"quality": q, "dice": 0.2 + 0.7 * q} for q in (0.1, 0.5, 0.9)]
    found = line(rows)
    assert found["slope"] == pytest.approx(0.7)
    assert found["intercept"] == pytest.approx(0.2)
    assert found["r2"] == pytest.approx(1)
    assert found["residual"] == pytest.approx(0, abs=1e-9)
    bent = line([*rows[:2], {"quality": 0.9, "dice": 0.0}])
    assert bent["r2"] < 0.5


def test_measure_takes_the_true_labels_however_bad_the_given_ones_are():
    pair = phantoms.make("abdomen", (32, 32), 0)
    model = SegReg(SegRegSizes(dims=2), backbone=Still())
    none = (torch.zeros_like(pair.moving_labels), torch.zeros_like(pair.fixed_labels))
    before, bad = measure(model, pair), measure(model, pair, labels=none)
    assert before["dice"] == bad["dice"] > 0
    assert (before["quality"], bad["quality"]) == (1.0, 0.0)
    assert before["epe"] == pytest.approx(float(pair.displacement.norm(dim=0)[pair.region[0]].mean()), rel=1e-4)


def test_what_is_recorded_says_what_its_rows_say():
    record = json.loads((Path(__file__).parents[2] / "data" / "experiments" / "segreg.json").read_text())
    sentences = (regions._labels_sentence, regions._quality_sentence, regions._sliding_sentence)
    for finding, sentence in zip(record["findings"], sentences, strict=True):
        assert finding["sentence"] == sentence(finding["rows"])
    assert len(record["protocols"]) == 3

"""What regions add: a backbone that does better on single regions, a segmenter that is wrong in a known way."""

import importlib

import pytest
import torch

from moereg.data import phantoms
from moereg.data.pairs import Pair
from moereg.experiments import RegionProtocol, Task, true_labels
from moereg.experiments.regions import labels_sentence, mean_over, measure, over_pairs
from moereg.models import Segmenter, SegReg, SegRegSizes
from moereg.models.registration import Registration
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import Shifts, Toy, field_of, slab_pair

PROTOCOL = RegionProtocol(
    TrainingConfig(steps=1, similarity="mse", device="cpu"), seeds=(0, 1), model="toy", segmenter_steps=17
)
regions = importlib.import_module("moereg.experiments.regions")


class HalfSegmenter(Segmenter):
    """Finds the slab's first four rows of eight, whatever it was told; keeps what it was made and trained with."""

    widths = (8, 16, 32)
    made, trained = (), ()

    def __init__(self, labels, *, dims):
        torch.nn.Module.__init__(self)
        self.labels, self.dims, self.born = tuple(labels), dims, torch.initial_seed()
        type(self).made = (*self.made, (self.labels, dims, self.born))

    def segment(self, image):
        found = torch.zeros_like(image, dtype=torch.int64)
        start = int(image[0, 0, :, 0].argmax())
        found[:, :, start : start + 4] = 1
        return found


@pytest.fixture
def segmented(monkeypatch):
    """`true_labels` with `HalfSegmenter`; the calls of its training."""
    calls = []
    monkeypatch.setattr(HalfSegmenter, "made", ())
    monkeypatch.setattr(regions, "Segmenter", HalfSegmenter)
    monkeypatch.setattr(
        regions, "fit_segmenter", lambda segmenter, pairs, *, steps, seed: calls.append((segmenter, pairs, steps, seed))
    )
    return calls


def test_three_ways_on_every_pair_with_every_seed(fitted, segmented, toys_err, monkeypatch):
    """The backbone errs by three voxels if it sees the whole image, by one where all but a region is masked; half a
    voxel is added for seed 1."""

    def forward(self, moving, fixed):
        error = (1.0 if fixed.min() < 0 else 3.0) + self.born / 2
        field = field_of((error, 0.0), moving)
        return Registration(field, moving, (field,))

    monkeypatch.setattr(Toy, "forward", forward)
    train, test = [slab_pair(2)], [slab_pair(), slab_pair()]
    told = []
    finding, trained = true_labels(Task("slabs", train, test), PROTOCOL, on_rows=lambda rows: told.append(list(rows)))
    ways = (("backbone alone", 3.0, 1.0), ("true labels", 1.0, 1.0), ("own segmentation", 1.0, 2 / 3))
    assert [(r["labels"], r["seed"], r["epe"], pytest.approx(r["quality"])) for r in finding.rows] == [
        (name, seed, error + seed / 2, quality) for seed in (0, 1) for name, error, quality in ways
    ]
    assert [len(rows) for rows in told] == [3, 3]
    assert [row for rows in told for row in rows] == finding.rows
    assert finding.rows[0]["per_pair"]["epe"] == [3.0, 3.0]
    assert finding.rows[0]["dice"] == pytest.approx(1 - 3 / 8)
    assert [(type(call.model), call.config.seed) for call in fitted.calls] == [
        (kind, seed) for seed in (0, 1) for kind in (Toy, SegReg)
    ]
    assert all(call.pairs is train for call in fitted.calls)
    assert [model.backbone.born for model in trained] == [0, 1]
    assert all(isinstance(model, SegReg) and model.needs_labels for model in trained)
    assert HalfSegmenter.made == (((0, 1), 2, 0), ((0, 1), 2, 1))
    assert [(pairs, steps, seed) for _, pairs, steps, seed in segmented] == [(train, 17, 0), (train, 17, 1)]
    assert finding.question == "What do regions add?"
    assert finding.sentence == labels_sentence(finding.rows)
    assert len(draw(finding).axes) == 4


def test_labels_are_those_of_the_training_pairs_and_the_background(fitted, segmented):
    pair = slab_pair()
    labels = torch.where(pair.fixed_labels == 1, 7, 3)  # no background anywhere
    other = torch.where(pair.fixed_labels == 1, 5, 3)
    train = [Pair(p.moving, p.fixed, lab, lab) for p, lab in ((pair, labels), (pair, other))]
    usual = RegionProtocol(PROTOCOL.training, seeds=(0,), model="toy")
    true_labels(Task("t", train, [pair]), usual)
    assert HalfSegmenter.made[0][0] == (0, 3, 5, 7)
    assert segmented[0][2] == usual.segmenter_steps == 200
    assert (usual.groups, usual.smoothness) == ((), (0.1,))


def test_a_real_segmenter_is_trained_and_used():
    sizes = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    protocol = RegionProtocol(PROTOCOL.training, seeds=(0,), sizes=sizes, segmenter_steps=1)
    pairs = [phantoms.make("abdomen", (24, 20), 0)]
    finding, [model] = true_labels(Task("small", pairs, pairs), protocol)
    quality = {row["labels"]: row["quality"] for row in finding.rows}
    assert quality["backbone alone"] == quality["true labels"] == 1 > quality["own segmentation"]
    assert model.segmenter is None
    assert not model.training


def test_measure_by_hand():
    """A slab that folds: everything above row 10 moves 4 rows down, everything below 4 rows up."""

    class Folds(torch.nn.Module):
        def forward(self, moving, fixed):
            field = field_of((4.0, 0.0), moving)
            field[:, 0, 10:] = -4.0
            return Registration(field, moving, (field,))

    pair = slab_pair()
    measured = measure(Folds(), pair)
    # u = +4 above row 10 and -4 from there on: rows 2 to 9 and 10 to 17 read rows 6 to 13, twice the slab.
    assert measured["dice"] == pytest.approx(2 * 8 / (8 + 16))
    assert measured["epe"] == 4.0
    # Central differences fold rows 9 and 10, of which none is at a seam: those are rows 5, 6 and 13, 14.
    assert measured["seam_fold_fraction"] == 0
    assert measured["other_fold_fraction"] == pytest.approx(2 / 16)
    assert measured["quality"] == 1.0
    labels = torch.zeros_like(pair.fixed_labels)
    labels[0, 9:] = 1
    moved = Pair(pair.moving, pair.fixed, labels, labels, pair.displacement)
    assert measure(Folds(), moved)["seam_fold_fraction"] == pytest.approx(1 / 2)  # row 9 of rows 8 and 9
    assert measure(Folds(), moved)["other_fold_fraction"] == pytest.approx(1 / 18)


def test_no_seam_has_no_folds():
    pair = slab_pair()
    ones = torch.ones_like(pair.fixed_labels)
    measured = measure(Shifts(), Pair(pair.moving, pair.fixed, ones, ones, pair.displacement))
    assert (measured["seam_fold_fraction"], measured["other_fold_fraction"]) == (0, 0)
    rows = torch.arange(8).view(1, 4, 2).clone()  # every voxel is at a seam
    image, truth = torch.zeros(1, 4, 2), torch.zeros(2, 4, 2)
    assert measure(Shifts(), Pair(image, image, rows, rows, truth))["other_fold_fraction"] == 0


def test_the_error_is_measured_within_the_region():
    pair = slab_pair()
    truth = pair.displacement.clone()
    truth[0, 10:] = 3.0
    region = torch.zeros(1, 20, 8, dtype=torch.bool)
    region[0, 8:14] = True
    inside = Pair(pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels, truth, region=region)
    assert measure(Shifts(1.0, 0.0), inside)["epe"] == pytest.approx((2 * 1 + 4 * 2) / 6)


def test_errors_in_organs_and_between_them():
    """The slab has to move by two voxels, what lies beside it by three; the last columns are no body."""
    pair = slab_pair()
    organ = pair.fixed_labels == 1
    region = torch.ones(1, 20, 8, dtype=torch.bool)
    region[..., 4:] = False
    truth = torch.where(organ, 2.0, torch.where(region, 3.0, 99.0)) * torch.tensor([1.0, 0.0]).view(2, 1, 1)
    inside = Pair(pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels, truth, region=region)
    measured = measure(Shifts(), inside)
    assert (measured["organ_epe"], measured["between_epe"]) == (2.0, 3.0)
    without_region = Pair(pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels, truth)
    assert measure(Shifts(), without_region)["between_epe"] == pytest.approx((3 + 99) / 2)


class Asked(torch.nn.Module):
    """Registers with labels and keeps them."""

    needs_labels = True

    def forward(self, moving, fixed, *, moving_labels, fixed_labels):
        self.labels = (moving_labels, fixed_labels)
        return Shifts()(moving, fixed)


def test_labels_that_are_used_are_the_given_ones_and_dice_is_that_of_the_true_ones():
    pair = slab_pair(3)
    model = Asked()
    before = measure(model, pair)
    assert torch.equal(model.labels[0], pair.moving_labels[None])
    assert torch.equal(model.labels[1], pair.fixed_labels[None])
    given = (pair.moving_labels.roll(2, 1), pair.fixed_labels.roll(4, 1))
    bad = measure(model, pair, labels=given)
    assert torch.equal(model.labels[0], given[0][None])
    assert torch.equal(model.labels[1], given[1][None])
    assert before["dice"] == bad["dice"] == pytest.approx(1 - 3 / 8)
    assert before["quality"] == 1
    assert bad["quality"] == pytest.approx((6 / 8 + 4 / 8) / 2)


def test_the_quality_of_a_segmenter_is_that_of_both_images():
    model = SegReg(SegRegSizes(dims=2), backbone=Shifts(), segmenter=HalfSegmenter((0, 1), dims=2))
    assert measure(model, slab_pair(3))["quality"] == pytest.approx(2 * 4 / 12)


def test_each_image_is_segmented_by_itself():
    """The fixed image's slab starts at row 6, the moving one's at row 9: that one is found whole."""

    class WholeInMoving(HalfSegmenter):
        def segment(self, image):
            return image.long() if image[0, 0, 6, 0] == 0 else super().segment(image)

    model = SegReg(SegRegSizes(dims=2), backbone=Shifts(), segmenter=WholeInMoving((0, 1), dims=2))
    assert measure(model, slab_pair(3))["quality"] == pytest.approx((1 + 2 / 3) / 2)


def test_means_over_pairs_and_rows():
    entries = [{"dice": 0.5, "epe": 1.0}, {"dice": 0.9, "epe": 4.0}]
    assert over_pairs(entries) == {
        "dice": pytest.approx(0.7), "epe": 2.5, "per_pair": {"dice": [0.5, 0.9], "epe": [1.0, 4.0]},
    }  # fmt: skip
    rows = [
        {"labels": name, "seed": seed, "dice": dice} for name, seed, dice in (("a", 0, 1), ("a", 1, 3), ("b", 0, 9))
    ]
    assert mean_over(rows, "dice", labels="a") == 2
    assert mean_over(rows, "dice", labels="a", seed=1) == 3
    assert mean_over(rows, "dice") == pytest.approx(13 / 3)


def test_the_sentence_by_hand():
    """Two seeds: gains 0.09 and 0.11, mean 0.1 +- 12.706 * 0.01; losses of 0.2 sharp."""

    def row(name, seed, dice, epe, quality, seam=0.0, other=0.0):
        return {
            "labels": name, "seed": seed, "dice": dice, "epe": epe, "quality": quality,
            "seam_fold_fraction": seam, "other_fold_fraction": other,
        }  # fmt: skip

    rows = [
        row("backbone alone", 0, 0.5, 2.0, 1.0, 0.9, 0.9),
        row("backbone alone", 1, 0.6, 3.0, 1.0, 0.9, 0.9),
        row("true labels", 0, 0.59, 1.0, 1.0, 0.2, 0.04),
        row("true labels", 1, 0.71, 1.5, 1.0, 0.4, 0.06),
        row("own segmentation", 0, 0.3, 4.0, 0.25),
        row("own segmentation", 1, 0.4, 5.0, 0.75),
    ]
    assert labels_sentence(rows) == (
        "Dice is 0.550 with the backbone alone, 0.650 with true labels (not told apart, +0.100 [-0.027, +0.227], "
        "segmentation Dice 1.000), 0.350 with own segmentation (worse, -0.200 [-0.200, -0.200], segmentation Dice "
        "0.500). Endpoint errors in voxels: 2.50 backbone alone, 1.25 true labels, 4.50 own segmentation; with true "
        "labels not told apart (-1.25 [-4.43, +1.93]). With true labels 30.00 % of the voxels at seams fold, 5.00 % "
        "elsewhere."
    )

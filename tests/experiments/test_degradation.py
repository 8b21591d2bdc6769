"""Worse and worse label maps, and a line through what they cost."""

import importlib

import pytest
import torch
from scipy import ndimage
from scipy.stats import linregress

from moereg.data import phantoms
from moereg.experiments import quality_sweep
from moereg.experiments.degradation import boundary_noise, grown, line, mean_points, quality_sentence
from moereg.fields import warp_labels
from moereg.metrics import dice
from moereg.models import SegReg, SegRegSizes
from moereg.viz import draw
from tests.oracles import Shifts, slab_pair

degradation = importlib.import_module("moereg.experiments.degradation")


@pytest.mark.parametrize("shape", [(40, 40), (20, 24, 18)])
def test_labels_get_worse_with_the_amount(shape):
    truth = phantoms.make("abdomen", shape, 3).fixed_labels
    noise = [boundary_noise(truth, a, torch.Generator().manual_seed(0)) for a in (0.0, 1.0, 2.0, 4.0)]
    assert torch.equal(noise[0], truth)
    assert set(noise[3].unique().tolist()) <= set(truth.unique().tolist())
    quality = [sum(dice(labels, truth).values()) for labels in noise]
    assert quality == sorted(quality, reverse=True)
    assert quality[3] < 0.9 * quality[0]


def test_boundaries_move_by_at_most_so_many_voxels_and_differ_by_axis(monkeypatch):
    """Stand-in waves of +1 along the first axis and -1 along the second: the whole map moves by the amount."""
    asked = []

    def pattern(shape, length, generator):
        asked.append((shape, length, generator))
        return torch.full(shape, 1.0 if len(asked) % 2 else -1.0)

    monkeypatch.setattr(degradation, "smooth_pattern", pattern)
    labels = torch.zeros(1, 16, 32, dtype=torch.int64)
    labels[0, 8, 20] = 3
    generator = torch.Generator()
    moved = boundary_noise(labels, 2.0, generator)
    assert moved.nonzero().tolist() == [[0, 6, 22]]  # moved[x] = labels[x + (2, -2)]
    assert asked == [((16, 32), 8 / 16, generator)] * 2
    boundary_noise(torch.zeros(1, 4, 32, dtype=torch.int64), 1.0, generator)
    assert asked[-1][1] == 1.0  # waves no longer than the image


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


@pytest.mark.parametrize("shape", [(14, 11), (9, 8, 7)])
def test_growing_and_shrinking_are_scipys(shape, generator):
    organ = torch.rand(1, *shape, generator=generator) > 0.9
    cube = ndimage.generate_binary_structure(len(shape), len(shape))
    for voxels in (1, 2):
        expected = ndimage.binary_dilation(organ[0].numpy(), cube, voxels)
        assert (grown(organ.long(), voxels)[0].numpy() == expected).all()
        thick = grown(organ.long(), 3)
        expected = ndimage.binary_erosion(thick[0].numpy() > 0, cube, voxels, border_value=1)
        assert (grown(thick, -voxels)[0].numpy() == expected).all()


class Keeps(torch.nn.Module):
    """Registers by labels, which it keeps; errs by `voxels`."""

    needs_labels = True

    def __init__(self, voxels):
        super().__init__()
        self.shift, self.seen = Shifts(float(voxels), 0.0), []

    def forward(self, moving, fixed, *, moving_labels, fixed_labels):
        self.seen.append((moving_labels[0], fixed_labels[0]))
        return self.shift(moving, fixed)


@pytest.fixture
def swept(monkeypatch):
    """Two models on two pairs, three amounts each way; the sweep takes any model that registers by labels."""
    monkeypatch.setattr(degradation, "NOISE", (0.0, 2.0))
    monkeypatch.setattr(degradation, "GROWTH", (-1, 0, 2))
    return [slab_pair(1), slab_pair(2)]


@pytest.mark.plain_errors
def test_both_images_labels_are_degraded_alike_for_every_model(swept):
    models = [Keeps(0), Keeps(2)]
    finding = quality_sweep(models, swept, seeds=(5, 8))
    ways = [("boundary noise", 0.0), ("boundary noise", 2.0)] + [("grown or shrunk", a) for a in (-1.0, 0.0, 2.0)]
    assert [(r["seed"], r["way"], r["amount"]) for r in finding.rows] == [(s, *way) for s in (5, 8) for way in ways]
    for seed, model in zip((5, 8), models, strict=True):
        expected = []
        for way, amount in ways:
            generator = torch.Generator().manual_seed(seed)
            for pair in swept:
                truth = (pair.moving_labels, pair.fixed_labels)
                if way == "boundary noise":  # by the test's own waves: one draw after the other
                    expected.append(tuple(noisy(labels, amount, generator) for labels in truth))
                else:
                    expected.append(tuple(grown(labels, int(amount)) for labels in truth))
        assert len(model.seen) == len(expected) == 10
        for seen, wanted in zip(model.seen, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(seen, wanted, strict=True))
    assert [row["epe"] for row in finding.rows] == [1.5] * 5 + [0.5] * 5
    assert finding.rows[0]["per_pair"]["epe"] == [1.0, 2.0]
    shrunk, truth, larger = (row["quality"] for row in finding.rows[2:5])
    assert truth == finding.rows[0]["quality"] == 1
    assert shrunk == pytest.approx(2 * 6 / 14)  # 6 rows of 8: the image's border does not count as background
    assert larger == pytest.approx(2 * 8 / 20)
    assert finding.question == "Is accuracy linear in the quality of the segmentation?"
    assert finding.sentence == quality_sentence(finding.rows)
    assert len(draw(finding).axes) == 2


@pytest.mark.plain_errors
def test_three_seeds_are_usual_and_every_model_has_its_own(swept):
    rows = quality_sweep([Keeps(0)] * 3, swept).rows
    assert list(dict.fromkeys(row["seed"] for row in rows)) == [0, 1, 2]
    with pytest.raises(ValueError, match="shorter|longer"):
        quality_sweep([Keeps(0)], swept, seeds=(0, 1))


def noisy(labels, amount, generator):
    from moereg.data.phantoms.motion import smooth_pattern

    waves = torch.stack([smooth_pattern((20, 8), 1.0, generator) for _ in range(2)])
    return warp_labels(labels[None], amount * waves[None])[0]


def test_segreg_is_swept():
    model = SegReg(SegRegSizes(dims=2), backbone=Shifts())
    pairs = [phantoms.make("abdomen", (24, 20), 0)]
    finding = quality_sweep([model], pairs, seeds=(0,))
    assert [row["amount"] for row in finding.rows] == [0, 1, 1.5, 2, 3, 4, 6, -3, -2, -1, 0, 1, 2, 3]
    assert finding.rows[0]["quality"] == 1 > finding.rows[6]["quality"]


def test_a_line_is_scipys():
    quality, accuracy = (0.1, 0.4, 0.6, 0.9), (0.3, 0.45, 0.7, 0.72)
    found = line([{"quality": q, "dice": d} for q, d in zip(quality, accuracy, strict=True)])
    theirs = linregress(quality, accuracy)
    assert found["slope"] == pytest.approx(theirs.slope)
    assert found["intercept"] == pytest.approx(theirs.intercept)
    assert found["r2"] == pytest.approx(theirs.rvalue**2)
    residuals = [d - theirs.intercept - theirs.slope * q for q, d in zip(quality, accuracy, strict=True)]
    assert found["residual"] == pytest.approx(max(map(abs, residuals)))


def test_a_line_is_found():
    rows = [{"quality": q, "dice": 0.2 + 0.7 * q} for q in (0.1, 0.5, 0.9)]
    found = line(rows)
    assert found["slope"] == pytest.approx(0.7)
    assert found["intercept"] == pytest.approx(0.2)
    assert found["r2"] == pytest.approx(1)
    assert found["residual"] == pytest.approx(0, abs=1e-9)
    bent = line([*rows[:2], {"quality": 0.9, "dice": 0.0}])
    assert bent["r2"] < 0.5


def test_accuracy_that_never_changes_has_no_r2():
    found = line([{"quality": q, "dice": 0.5} for q in (0.25, 0.5, 0.75)])
    assert found["r2"] != found["r2"]
    assert found["residual"] == pytest.approx(0, abs=1e-12)


def row(way, amount, seed, quality, accuracy):
    return {
        "way": way, "amount": amount, "seed": seed, "quality": quality, "dice": accuracy, "epe": 1.0 + seed,
        "seam_fold_fraction": 0.5, "other_fold_fraction": 0.25,
    }  # fmt: skip


def test_points_are_means_over_seeds():
    rows = [row("a", 1.0, 0, 0.5, 0.2), row("a", 1.0, 1, 0.7, 0.4), row("a", 2.0, 0, 0.1, 0.1), row("b", 1.0, 0, 0, 0)]
    first, second = mean_points(rows, "a")
    assert first == {
        "amount": 1.0, "dice": pytest.approx(0.3), "epe": 1.5, "seam_fold_fraction": 0.5, "other_fold_fraction": 0.25,
        "quality": pytest.approx(0.6),
    }  # fmt: skip
    assert (second["amount"], second["dice"]) == (2.0, 0.1)


def test_the_sentence_by_hand():
    """Noise lies on 0.2 + 0.5 q; organs grown by 2 or shrunk by 1 do not lie on any line."""
    rows = [row("boundary noise", a, 0, q, 0.2 + 0.5 * q) for a, q in ((0.0, 1.0), (1.0, 0.6), (2.0, 0.2))]
    rows += [row("grown or shrunk", a, 0, q, d) for a, q, d in ((-1.0, 0.0, 0.5), (0.0, 1.0, 0.6), (2.0, 0.5, 0.1))]
    # through (0, 0.5), (0.5, 0.1), (1, 0.6): slope 0.1, mean 0.4, residuals 0.15, -0.3, 0.15
    r2 = 1 - 0.135 / 0.14
    assert quality_sentence(rows) == (
        "boundary noise, 3 amounts, quality 0.20 to 1.00: slope 0.50, R^2 1.000, largest distance from the line 0.000 "
        "Dice, near-linear; grown or shrunk, 3 amounts, quality 0.00 to 1.00: slope 0.10, "
        f"R^2 {r2:.3f}, largest distance from the line 0.300 Dice, not near-linear (near-linear: R^2 of at least 0.9). "
        "From 0.600 with the truth, Dice goes to 0.100 where both images' organs are grown by 2 voxels (quality 0.50), "
        "and to 0.500 where they are shrunk by 1 (quality 0.00). Grown by 2 against the truth: Dice not told apart "
        "(-0.500, a single value), endpoint error not told apart (+0.000, a single value)."
    )

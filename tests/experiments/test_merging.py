"""Where SegReg's endpoint error comes from: a loss in which regions count alike, fields that are put together anew."""

import pytest
import torch

from moereg.data import phantoms
from moereg.experiments import RegionProtocol, Task, merges
from moereg.experiments.merging import EqualRegions, OrgansAlone, merges_sentence
from moereg.models import SegReg, SegRegSizes
from moereg.models.registration import Registration
from moereg.similarity import mse
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import Shifts, field_of


class Slopes(torch.nn.Module):
    """Nothing moves along the first axis; along the second, the field rises by one voxel per voxel."""

    def forward(self, moving, fixed):
        field = field_of((0.0, 0.0), moving)
        field[:, 1] = torch.arange(moving.shape[3]) * 1.0
        return Registration(field, moving, (field,))


def both_kinds(labels, moving, fixed, backbone):
    given = {"moving_labels": labels, "fixed_labels": labels}
    kinds = (SegReg, EqualRegions)
    return [kind(SegRegSizes(dims=2), backbone=backbone)(moving, fixed, **given) for kind in kinds]


def test_regions_of_equal_size_lose_what_they_lost():
    labels = (torch.arange(16) >= 8).long().expand(1, 1, 12, 16)
    moving, fixed = torch.rand(2, 1, 1, 12, 16, generator=torch.Generator().manual_seed(0)).unbind()
    usual, equal = both_kinds(labels, moving, fixed, Shifts())
    assert torch.equal(usual.displacement, equal.displacement)
    for one, other in zip(*(kind.regional_loss(moving, fixed, mse) for kind in (usual, equal)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_small_region_counts_as_much_as_a_large_one():
    """A quarter of the voxels differs by 0.4, the rest by 0.2: usually .04 + .03, alike (.16 + .04) / 2."""
    labels = (torch.arange(16) >= 12).long().expand(2, 1, 12, 16)
    moving, fixed = torch.zeros(2, 1, 12, 16), torch.where(labels == 1, 0.4, 0.2)
    usual, equal = both_kinds(labels, moving, fixed, Shifts())
    assert usual.regional_loss(moving, fixed, mse)[0] == pytest.approx(0.04 + 0.03)
    assert equal.regional_loss(moving, fixed, mse)[0] == pytest.approx((0.16 + 0.04) / 2)


def test_smoothness_is_weighed_like_similarity():
    """Differences of one voxel within regions and their rims of two voxels: 13 of 15 columns and 5 of 15."""
    labels = (torch.arange(16) >= 12).long().expand(1, 1, 12, 16)
    usual, equal = both_kinds(labels, *torch.zeros(2, 1, 1, 12, 16), Slopes())
    images = torch.zeros(2, 1, 1, 12, 16)
    assert usual.regional_loss(*images, mse)[1] == pytest.approx(13 / 15 + 5 / 15)
    assert equal.regional_loss(*images, mse)[1] == pytest.approx((13 / 15 / 0.75 + 5 / 15 / 0.25) / 2)


def test_regions_that_no_pair_shares_lose_nothing():
    maps = {"moving_labels": torch.ones(1, 1, 6, 6).long(), "fixed_labels": torch.zeros(1, 1, 6, 6).long()}
    images = torch.rand(2, 1, 1, 6, 6)
    result = EqualRegions(SegRegSizes(dims=2), backbone=Shifts())(*images, **maps)
    assert [float(term) for term in result.regional_loss(*images, mse)] == [0, 0]


def test_organs_take_one_field_and_the_rest_another():
    labels = (torch.arange(8) >= 5).long().expand(1, 1, 6, 8)
    model = OrgansAlone(SegReg(SegRegSizes(dims=2), backbone=Shifts(2.0, 0.0)), Shifts(0.0, 1.0))
    result = model(*torch.rand(2, 1, 1, 6, 8), moving_labels=labels, fixed_labels=labels)
    assert (result.displacement[0, :, :, 5:] == torch.tensor([2.0, 0.0]).view(2, 1, 1)).all()
    assert (result.displacement[0, :, :, :5] == torch.tensor([0.0, 1.0]).view(2, 1, 1)).all()


def test_six_ways_with_every_seed():
    sizes = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": ()}
    training = TrainingConfig(steps=1, similarity="mse", device="cpu")
    protocol = RegionProtocol(training, seeds=(0, 1), sizes=sizes)
    pairs = [phantoms.make("abdomen", (20, 20), seed) for seed in (0, 1)]
    told = []
    finding = merges(Task("small", pairs, pairs), protocol, on_rows=told.extend)
    ways = ["whole images", "regions", "every region counts alike", "soft seams", "whole images between organs", "both"]
    assert [(row["merge"], row["seed"]) for row in finding.rows] == [(way, seed) for seed in (0, 1) for way in ways]
    assert told == finding.rows
    rows = {row["merge"]: row for row in finding.rows[:6]}
    assert rows["both"]["organ_epe"] == rows["every region counts alike"]["organ_epe"] != rows["regions"]["organ_epe"]
    assert rows["both"]["between_epe"] == rows["whole images"]["between_epe"] != rows["regions"]["between_epe"]
    assert rows["whole images between organs"]["organ_epe"] == rows["regions"]["organ_epe"]
    assert rows["soft seams"]["epe"] != rows["regions"]["epe"]
    assert finding.sentence == merges_sentence(finding.rows)
    assert len(draw(finding).axes) == 3


def test_the_sentence_by_hand():
    """Two seeds, differences without scatter."""
    values = {"whole images": (0.5, 2.0, 1.0), "regions": (0.75, 1.5, 1.25), "both": (0.875, 1.0, 1.0)}
    rows = [
        {
            "merge": name, "seed": seed, "dice": dice + seed, "epe": organ + between + seed, "organ_epe": organ + seed,
            "between_epe": between + seed,
        }
        for name, (dice, organ, between) in values.items() for seed in (0, 1)
    ]  # fmt: skip
    assert merges_sentence(rows) == (
        "Against whole images the endpoint error of regions, in voxels, is better in organs (-0.50 [-0.50, -0.50]) and "
        "worse between them (+0.25 [+0.25, +0.25]). Against regions as they are, both: error better (-0.75 [-0.75, "
        "-0.75]), Dice better (+0.125 [+0.125, +0.125])."
    )

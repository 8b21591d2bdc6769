"""Force against missing displacement, on forces whose answer is known."""

from dataclasses import replace

import pytest
import torch
from moereg.evaluation.driving import CONTROLS, compare, missing_displacement

from moereg import models
from moereg.data import phantoms
from moereg.experiments import force_against_truth
from moereg.fields import compose, sample, upsample_field
from moereg.filters import halve
from moereg.models import DrivenRegistration, DrivenStep
from moereg.viz import draw

SHAPE = (48, 48)


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("abdomen", SHAPE, seed) for seed in range(4)]


def step(before, force, level=0):
    return DrivenStep(level, before, force, force, before)


def test_missing_displacement_completes_the_field(pairs):
    truth = pairs[0].displacement[None]
    before = 0.5 * halve(truth) / 2  # on the next coarser grid
    missing = missing_displacement(step(before, before), truth)
    torch.testing.assert_close(compose(before, missing), halve(truth) / 2, atol=1e-3, rtol=0)
    nothing = missing_displacement(step(0 * truth, truth), truth)
    torch.testing.assert_close(nothing, truth)


@pytest.mark.parametrize(("turn", "angle"), [(0.0, 0.0), (90.0, 90.0), (180.0, 180.0)])
def test_angle_and_rank_of_a_turned_truth(pairs, turn, angle):
    truth = pairs[0].displacement[None]
    radians = torch.deg2rad(torch.tensor(turn))
    rotation = torch.tensor([[radians.cos(), -radians.sin()], [radians.sin(), radians.cos()]])
    force = 0.1 * torch.einsum("ij,bjyx->biyx", rotation, truth)
    measured, rank = compare(step(0 * truth, force), pairs[0])
    assert measured == pytest.approx(angle, abs=0.1)
    assert rank == pytest.approx(1.0, abs=1e-4)


def test_nothing_missing_is_not_measured(pairs):
    truth = pairs[0].displacement[None]
    assert compare(step(truth, truth), pairs[0]) is None


class Oracle(torch.nn.Module):
    """Knows every pair's truth, by its fixed image, and drives with a share of it, on two levels."""

    def __init__(self, pairs, share):
        super().__init__()
        self.pairs, self.share = pairs, share

    def forward(self, moving, fixed):
        truth = next(pair.displacement[None] for pair in self.pairs if torch.equal(pair.fixed[None], fixed))
        coarse = halve(truth) / 2
        first = step(torch.zeros_like(coarse), self.share * coarse, level=1)
        first = replace(first, displacement=0.5 * coarse)
        before = upsample_field(first.displacement, SHAPE)
        second = step(before, self.share * (truth - before))
        return DrivenRegistration(truth, sample(moving, truth), driven=(first, second))


def test_a_knowing_force_is_told_from_its_controls(pairs):
    finding = force_against_truth(Oracle(pairs, 0.3), pairs, untrained=Oracle(pairs, -0.3))
    angle = {(row["level"], row["control"]): row["angle"] for row in finding.rows}
    rank = {(row["level"], row["control"]): row["rank_correlation"] for row in finding.rows}
    assert set(angle) == {(level, control) for level in (0, 1) for control in CONTROLS}
    for level in (0, 1):
        assert angle[level, "own"] < 15
        assert 40 < angle[level, "other pair"] < 140
        assert angle[level, "untrained"] > 165
        assert rank[level, "own"] > 0.9 > rank[level, "other pair"]
    assert "first rounds, 4 pairs" in finding.sentence
    figure = draw(finding)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "angle between, degrees",
        "rank correlation of lengths",
    ]


def test_networks_are_measured_on_every_level(pairs):
    sizes = {"dims": 2, "widths": (4, 6, 8), "compared": 3, "heads": 2, "head_dim": 4}
    networks = [models.build("drivenmorph", **sizes) for _ in range(2)]
    rows = force_against_truth(networks[0], pairs[:2], untrained=networks[1]).rows
    assert {0, 1} <= {row["level"] for row in rows}
    assert all(0 <= row["angle"] <= 180 and -1 <= row["rank_correlation"] <= 1 for row in rows)


def test_pairs_without_truth_get_one_sentence(pairs):
    subjects = phantoms.make("abdomen", SHAPE, 0, kind="subjects")
    for bad in ([subjects, subjects], pairs[:1]):
        with pytest.raises(ValueError, match="pairs must be two or more, each with its true displacement"):
            force_against_truth(torch.nn.Identity(), bad, untrained=torch.nn.Identity())

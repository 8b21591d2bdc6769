"""Force against missing displacement, on forces whose answer is known."""

import importlib
from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from moereg import models
from moereg.data import phantoms
from moereg.data.pairs import Pair
from moereg.experiments import driving_measures, force_against_truth
from moereg.experiments.forces import CONTROLS, force_against_missing, force_sentence, missing_displacement
from moereg.fields import compose, sample, upsample_field
from moereg.filters import halve
from moereg.models import DrivenRegistration, DrivenStep
from moereg.nn import NeuralDemonsLayer
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


def test_missing_displacement_is_refined_ten_times():
    """`before` is -0.5 x: r = u + 0.5 (x + r) doubles the share that is known with every iteration."""
    place = torch.arange(64.0).expand(1, 1, 8, 64)
    before = torch.cat([torch.zeros(1, 1, 8, 64), -0.5 * place], 1)
    truth = torch.cat([torch.zeros(1, 1, 8, 64), -0.5 * place + 1.0], 1)
    for iterations in (0, 1, 4):
        missing = missing_displacement(step(before, before), truth, iterations=iterations)
        # r_0 = 1, r_(n+1) = 1 + 0.5 r_n: 2 - 0.5^n
        assert missing[0, 1, 4, 20] == pytest.approx(2 - 0.5**iterations)
    assert missing_displacement(step(before, before), truth)[0, 1, 4, 20] == pytest.approx(2 - 0.5**10)


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 180.0])
def test_angle_and_rank_of_a_turned_truth(pairs, turn):
    truth = pairs[0].displacement[None]
    radians = torch.deg2rad(torch.tensor(turn))
    rotation = torch.tensor([[radians.cos(), -radians.sin()], [radians.sin(), radians.cos()]])
    force = 0.1 * torch.einsum("ij,bjyx->biyx", rotation, truth)
    measured, rank = force_against_missing(step(0 * truth, force), pairs[0])
    assert measured == pytest.approx(turn, abs=0.1)
    assert rank == pytest.approx(1.0, abs=1e-4)


def known_pair(truth, region=None):
    image = torch.zeros(1, *truth.shape[1:])
    return Pair(image, image, displacement=truth, region=region)


def test_angles_are_measured_where_both_have_a_length():
    """Rows of 20 voxels: right, turned by 90 degrees, no force, hardly anything missing (a quarter of a voxel)."""
    truth, force = torch.zeros(2, 12, 20), torch.zeros(2, 12, 20)
    truth[0] = 1.0
    force[0, 0:4], force[1, 4:6] = 0.5, 0.5
    truth[0, 9:], force[1, 9:] = 0.25, 1.0  # turned as well, and too short to count
    angle, rank = force_against_missing(step(0 * truth[None], force[None]), known_pair(truth))
    assert angle == pytest.approx(90 * 2 / 6, abs=0.05)
    lengths = [field.norm(dim=0).flatten().numpy() for field in (force, truth)]
    assert rank == pytest.approx(spearmanr(*lengths).statistic)  # of all voxels
    region = torch.zeros(1, 12, 20, dtype=torch.bool)
    region[0, 4:7] = True
    angle, rank = force_against_missing(step(0 * truth[None], force[None]), known_pair(truth, region))
    assert angle == pytest.approx(90, abs=0.05)
    assert rank == 0  # the truth is the same everywhere in there


@pytest.mark.parametrize(("voxels", "measured"), [(29, False), (30, True)])
def test_few_voxels_say_nothing(voxels, measured):
    truth = torch.zeros(2, 4, 20)
    truth[0].view(-1)[:voxels] = 1.0
    found = force_against_missing(step(0 * truth[None], torch.ones(1, 2, 4, 20)), known_pair(truth))
    assert (found is not None) == measured
    if measured:
        assert found[0] == pytest.approx(45, abs=0.05)


def test_nothing_missing_is_not_measured(pairs):
    truth = pairs[0].displacement[None]
    assert force_against_missing(step(truth, truth), pairs[0]) is None


@pytest.mark.parametrize("shape", [(21, 30), (11, 14, 12)])
def test_the_region_is_read_on_the_levels_own_grid(shape):
    """Odd sizes, half of the image is body; outside of it the force points backwards."""
    truth = torch.zeros(len(shape), *shape)
    truth[-1] = 2.0
    region = torch.zeros(1, *shape, dtype=torch.bool)
    region[..., : shape[-1] // 2] = True
    force = truth * torch.where(region, 1.0, -1.0)
    coarse = halve(torch.zeros(1, *truth.shape))
    small = force[(slice(None), *[slice(None, None, 2)] * len(shape))][None]
    angle, _ = force_against_missing(step(coarse, small, level=1), known_pair(truth, region))
    assert angle == pytest.approx(0, abs=0.1)


class Oracle(torch.nn.Module):
    """Knows every pair's truth by its fixed image; drives with a share of it, on two levels, twice on the coarse."""

    def __init__(self, pairs, share, noise=0.0):
        super().__init__()
        self.pairs, self.share, self.noise = pairs, share, noise

    def forward(self, moving, fixed):
        assert not torch.is_grad_enabled()
        assert not self.training
        truth = next(pair.displacement[None] for pair in self.pairs if torch.equal(pair.fixed[None], fixed))
        coarse = halve(truth) / 2
        first = step(torch.zeros_like(coarse), self.share * coarse, level=1)
        first = replace(first, displacement=0.5 * coarse)
        turn = step(first.displacement, -self.share * coarse, level=1)  # the second round drives backwards
        before = upsample_field(first.displacement, truth.shape[2:])
        force = self.share * (truth - before)
        force = force + self.noise * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
        return DrivenRegistration(truth, sample(moving, truth), driven=(first, turn, step(before, force)))


@pytest.fixture(scope="module")
def finding(pairs):
    return force_against_truth(Oracle(pairs, 0.3), pairs, untrained=Oracle(pairs, -0.3))


def test_a_knowing_force_is_told_from_its_controls(finding, pairs):
    angle = {(row["level"], row["round"], row["control"]): row["angle"] for row in finding.rows}
    rank = {(row["level"], row["round"], row["control"]): row["rank_correlation"] for row in finding.rows}
    places = ((1, 1), (1, 2), (0, 1))  # level, round
    assert set(angle) == {(*place, control) for place in places for control in CONTROLS}
    for level in (0, 1):
        assert angle[level, 1, "own"] < 15
        assert 40 < angle[level, 1, "other pair"] < 140
        assert angle[level, 1, "untrained"] > 165
        assert rank[level, 1, "own"] > 0.9 > rank[level, 1, "other pair"]
    assert angle[1, 2, "own"] > 165
    assert angle[1, 2, "untrained"] < 15
    assert all(row["pairs"] == 4 for row in finding.rows)
    assert finding.question == "Does the force point where the tissue has to go?"
    assert finding.sentence == force_sentence(finding.rows, 4)
    assert [axes.get_ylabel() for axes in draw(finding).axes] == [
        "angle between, degrees",
        "rank correlation of lengths",
    ]


def test_the_other_pair_is_the_next_one(pairs):
    """Angle and rank of the first level by hand, pair by pair, against the truth of the pair after it."""
    rows = force_against_truth(Oracle(pairs, 1.0), pairs, untrained=Oracle(pairs, 1.0)).rows
    [row] = [r for r in rows if (r["level"], r["round"], r["control"]) == (1, 1, "other pair")]
    angles, ranks = [], []
    for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        force, missing = (halve(p.displacement[None])[0] / 2 for p in (pair, other))
        inside = other.region[0, ::2, ::2] & (missing.norm(dim=0) > 0.25) & (force.norm(dim=0) > 1e-6)
        cosine = torch.nn.functional.cosine_similarity(force.double(), missing.double(), dim=0)
        angles.append(float(torch.rad2deg(torch.acos(cosine[inside])).mean()))
        body = other.region[0, ::2, ::2]
        ranks.append(spearmanr(force.norm(dim=0)[body].numpy(), missing.norm(dim=0)[body].numpy()).statistic)
    assert row["angle"] == pytest.approx(sum(angles) / 4, rel=1e-3)
    assert row["angles"] == pytest.approx(dict(enumerate(angles)), rel=1e-3)
    assert row["rank_correlation"] == pytest.approx(sum(ranks) / 4, abs=1e-3)


def test_angles_keep_the_number_of_their_pair_where_another_has_nothing_to_miss(pairs):
    still = replace(pairs[1], displacement=torch.zeros_like(pairs[1].displacement))
    some = [pairs[0], still, pairs[2]]
    rows = force_against_truth(Oracle(some, 1.0), some, untrained=Oracle(some, 1.0)).rows
    own = next(r for r in rows if (r["level"], r["round"], r["control"]) == (1, 1, "own"))
    assert (own["pairs"], sorted(own["angles"])) == (2, [0, 2])


def test_noise_points_anywhere(pairs):
    rows = force_against_truth(Oracle(pairs, 0.0, noise=1.0), pairs, untrained=Oracle(pairs, 0.3)).rows
    found = {row["control"]: row for row in rows if row["level"] == 0}
    assert found["own"]["angle"] == pytest.approx(90, abs=6)
    assert found["own"]["rank_correlation"] == pytest.approx(0, abs=0.1)
    assert found["untrained"]["angle"] < 15


def test_networks_are_measured_on_every_level(pairs):
    sizes = {"dims": 2, "widths": (4, 6, 8), "compared": 3, "heads": 2, "head_dim": 4}
    networks = [models.build("drivenmorph", **sizes) for _ in range(2)]
    rows = force_against_truth(networks[0], pairs[:2], untrained=networks[1]).rows
    assert {0, 1} <= {row["level"] for row in rows}
    assert all(0 <= row["angle"] <= 180 and -1 <= row["rank_correlation"] <= 1 for row in rows)


def test_the_sentence_by_hand():
    def row(level, turn, control, angle, rank):
        return {
            "level": level, "round": turn, "control": control, "angle": angle, "rank_correlation": rank, "pairs": 4,
        }  # fmt: skip

    rows = [
        row(0, 1, "own", 40.0, 0.5),
        row(2, 1, "own", 30.0, 0.25),
        row(2, 2, "own", 70.0, 1.0),
        row(2, 2, "other pair", 88.0, 1.0),
        row(2, 2, "untrained", 65.0, 1.0),
        row(0, 2, "untrained", 66.0, 1.0),
        row(2, 1, "other pair", 91.0, -0.125),
        row(0, 1, "other pair", 80.0, 0.0),
        row(2, 1, "untrained", 60.0, 0.1),  # nothing was far enough on level 0
    ]
    assert force_sentence(rows, 4) == (
        "Levels coarse to fine, first rounds, 4 pairs: the trained force is 30, 40 degrees away from the missing "
        "displacement, 91, 80 from another pair's (90 is chance), and without training 60, -; the lengths have rank "
        "correlations +0.25, +0.50, against -0.12, +0.00 and +0.10, -. Round 2: 70, - degrees, 88, - from another "
        "pair's, without training 65, 66."
    )


def test_measures_of_a_trained_network(pairs):
    """First rounds point along the truth, the later one backwards; three axes' widths of two layers."""
    oracle = Oracle(pairs, 0.3)
    oracle.layers = torch.nn.ModuleList(NeuralDemonsLayer(2, sigma=sigma) for sigma in (0.5, 1.5))
    measured = driving_measures(oracle, pairs)
    assert measured["angle"] < 10
    assert measured["later_angle"] > 165
    assert measured["sigma"] == pytest.approx(1.0)
    once = Oracle(pairs, 0.3)
    once.layers = oracle.layers
    once.forward = lambda moving, fixed: replace(result := oracle(moving, fixed), driven=result.driven[:1])
    assert driving_measures(once, pairs)["later_angle"] is None


def test_pairs_without_truth_get_one_sentence(pairs):
    subjects = phantoms.make("abdomen", SHAPE, 0, kind="subjects")
    for bad in ([subjects, subjects], pairs[:1], [pairs[0], subjects]):
        with pytest.raises(ValueError, match="pairs must be two or more, each with its true displacement"):
            force_against_truth(torch.nn.Identity(), bad, untrained=torch.nn.Identity())


def test_the_controls_are_named_once():
    module = importlib.import_module("moereg.experiments.forces")
    assert module.CONTROLS == ("own", "other pair", "untrained")

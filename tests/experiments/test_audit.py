"""The audit on networks whose routing is known, so that every question has a known answer, yes as well as no."""

import pytest
import torch
from moereg.evaluation.statistics import labels_on_grid, matched, mutual_information, spearman
from torch import nn

from moereg import models
from moereg.data import phantoms
from moereg.data.pairs import Pair
from moereg.models.registration import Registration
from moereg.nn.routing import Router
from moereg.viz import draw

NAMES = ("1²", "3²")


def pair_of(seed, size=32):
    """A square organ somewhere in a body; expert needed: moving is fixed shifted by two columns, inside the organ."""
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.randint(2, size - 14, (2,), generator=generator).tolist()
    labels = torch.ones(1, size, size, dtype=torch.int64)
    labels[0, row : row + 12, column : column + 12] = 2
    image = labels.float() + 0.1 * torch.rand(1, size, size, generator=generator)
    truth = torch.zeros(2, size, size)
    truth[1][labels[0] == 2] = 2.0
    names = {1: "body", 2: "organ"}
    return Pair(image, image, labels, labels, truth, label_names=names, name=f"pair {seed}")


class Oracle(nn.Module):
    """Routes by intensity: expert 0 (proposes nothing) in the body, expert 1 (proposes the truth) in the organ."""

    def __init__(self, contrast=20.0):
        super().__init__()
        self.router = Router(2, NAMES, k=1, gate="renormalised", routers=("y", "x"))
        with torch.no_grad():
            self.router.weight.copy_(torch.tensor([[0.0, 0], [contrast, -1.5 * contrast]]).repeat(2, 1))

    def forward(self, moving, fixed):
        features = torch.cat([fixed, torch.ones_like(fixed)], 1)
        routing = self.router(features)
        proposals = torch.zeros(len(fixed), 2, 2, *fixed.shape[2:])
        proposals[:, 1, 1] = 2.0
        routing = routing.with_proposals(proposals)
        displacement = routing.contributions.sum(2)
        return Registration(displacement, moving, (displacement,), {"decoder.0.shmoe": routing})


class Coin(Oracle):
    """The same layer with logits that have nothing to do with the image."""

    def forward(self, moving, fixed):
        noise = torch.rand(fixed.shape, generator=torch.Generator().manual_seed(int(fixed.sum()))) + 1
        return super().forward(moving, noise)


@pytest.fixture
def pairs():
    return [pair_of(seed) for seed in range(4)]


def test_load_of_the_oracle_is_the_organs_area(pairs):
    rows = specialisation.load(Oracle(), pairs).rows
    share = {(row["router"], row["expert"]): row["load"] for row in rows}
    assert share["x", "3²"] == pytest.approx(12 * 12 / 32**2, abs=1e-6)
    assert "none is idle" in specialisation.load(Oracle(), pairs).sentence


def test_usage_sees_an_expert_that_follows_the_organ(pairs):
    finding = specialisation.usage_by_organ(Oracle(), pairs)
    for row in finding.rows:
        assert row["usage"]["organ"]["3²"] == pytest.approx(1)
        assert row["bits_own"] > 10 * row["bits_other"]
        assert row["bits_shuffled"] < 0.01
    assert "In 2 of 2 decoder routers" in finding.sentence


def test_usage_does_not_see_one_that_flips_coins(pairs):
    finding = specialisation.usage_by_organ(Coin(), pairs)
    assert all(row["bits_own"] < 0.01 for row in finding.rows)
    assert "In 0 of 2 decoder routers" in finding.sentence


def test_knock_out_finds_who_is_missed(pairs):
    finding = specialisation.knock_out(Oracle(), pairs)
    rows = {(row["change"], row["what"]): row for row in finding.rows}
    assert rows["complete", ""]["epe"] == 0
    assert rows["expert", "3²"]["epe"] == pytest.approx(2 * 144 / 1024, abs=1e-5)
    assert rows["expert", "1²"]["epe"] == pytest.approx(2 * (1 - 144 / 1024), abs=1e-5)
    assert rows["uniform gates", "x"]["epe"] == pytest.approx(1)
    assert rows["uniform gates", "y"]["epe"] == 0  # nobody proposes anything along y
    assert 0.5 < rows["random gates", "x"]["epe"] < 1.5
    assert "Without expert 1² the endpoint error changes by +1.719" in finding.sentence
    assert not any(module._forward_hooks for module in Oracle().modules())


def test_knock_out_leaves_the_model_as_it_was(pairs):
    model = Oracle()
    before = model(pairs[0].moving[None], pairs[0].fixed[None]).displacement
    specialisation.knock_out(model, pairs)
    assert torch.equal(model(pairs[0].moving[None], pairs[0].fixed[None]).displacement, before)
    assert not any(module._forward_hooks for module in model.modules())


def test_seeds_agree_with_themselves_and_not_with_a_coin(pairs):
    same = specialisation.seed_stability([Oracle(), Oracle()], pairs)
    assert all(row["agreement"] == pytest.approx(1) for row in same.rows)
    assert "well above" in same.sentence
    other = specialisation.seed_stability([Coin(), Oracle()], pairs)
    assert all(row["agreement"] == pytest.approx(row["chance"], abs=0.03) for row in other.rows)
    assert "hardly above" in other.sentence


def test_matching_undoes_a_permutation():
    joint = torch.tensor([[0.0, 0.5], [0.4, 0.1]], dtype=torch.float64)
    assert matched(joint) == pytest.approx(0.9)


def test_entropy_that_follows_the_error_is_found(pairs):
    class Doubting(Oracle):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            routing = result.routing["decoder.0.shmoe"]
            wrong = torch.rand(fixed.shape, generator=torch.Generator().manual_seed(0))
            logits = torch.cat([torch.zeros_like(wrong), 3 * (1 - wrong)], 1)[:, None].expand(-1, 2, -1, -1, -1)
            record = type(routing)(logits, routing.gates, routing.indices, routing.experts, routing.routers)
            field = torch.cat([wrong, wrong], 1)
            return Registration(field, moving, (field,), {"decoder.0.shmoe": record})

    blank = [Pair(p.moving, p.fixed, displacement=torch.zeros(2, 32, 32)) for p in pairs]
    finding = specialisation.entropy_against_error(Doubting(), blank)
    assert all(row["spearman"] > 0.95 for row in finding.rows)
    assert "in 2 of 2 decoder routers" in finding.sentence
    assert "rises" in finding.sentence


def test_mutual_information_by_hand():
    assert mutual_information(torch.eye(2) / 2) == pytest.approx(1)
    assert mutual_information(torch.ones(2, 4)) == pytest.approx(0, abs=1e-7)


def test_spearman_is_scipys(generator):
    from scipy.stats import spearmanr

    first, second = torch.rand(50, generator=generator), torch.rand(50, generator=generator)
    second = second + first**3
    assert spearman(first, second) == pytest.approx(spearmanr(first.numpy(), second.numpy()).statistic)
    assert spearman(first, -torch.exp(first)) == pytest.approx(-1)
    assert spearman(first, torch.zeros(50)) == 0


def test_labels_are_read_where_the_level_has_its_voxels():
    labels = torch.arange(35).reshape(1, 5, 7)
    assert labels_on_grid(labels, (3, 4)).tolist() == [[0, 2, 4, 6], [14, 16, 18, 20], [28, 30, 32, 34]]


def test_audit_of_a_real_network_asks_everything():
    torch.manual_seed(0)
    model = models.build("shmoareg", dims=2, widths=(4, 6), decoder_widths=(4, 4), moa_levels=(1,), heads=2)
    data = [phantoms.make("abdomen", (32, 32), seed) for seed in range(2)]
    findings = specialisation.audit(model, data)
    assert [finding.question for finding in findings] == [
        "How is the load shared?",
        "Do experts know the organs?",
        "Who is missed?",
        "Does doubt mark error?",
    ]
    assert all(finding.rows and finding.sentence.endswith(".") for finding in findings)
    for finding in findings:
        assert draw(finding).axes

"""The audit of networks whose routing is known, so that every question has a known answer, yes as well as no."""

import pytest
import torch

from moereg import models
from moereg.data import phantoms
from moereg.data.pairs import Pair
from moereg.experiments import audit, control_networks, expert_load
from moereg.experiments.running import registrations
from moereg.models.registration import Registration
from moereg.nn.observe import find_routers
from moereg.nn.routing import Routing
from moereg.viz import draw
from tests.oracles import ORGAN_EXPERTS, RoutesByNothing, RoutesByOrgan, organ_pair

CORNERS = ((2, 3), (15, 8), (9, 17))
ORGAN = 12 * 12  # voxels of the organ, of 32 x 32


@pytest.fixture(scope="module")
def pairs():
    return [organ_pair(corner) for corner in CORNERS]


# ---- load ----


def test_load_is_the_organs_area(pairs):
    finding = expert_load(RoutesByOrgan(), pairs)
    share = {(row["layer"], row["router"], row["expert"]): row["load"] for row in finding.rows}
    assert len(finding.rows) == len(share) == 2 + 2 * 2 * 3
    for router in ("y", "x"):
        assert [share["decoder.0.shmoe", router, expert] for expert in ORGAN_EXPERTS] == pytest.approx(
            [0, 1 - ORGAN / 1024, ORGAN / 1024], abs=1e-6
        )
        # the organ has 6 x 6 voxels on the coarse grid wherever it lies
        assert share["decoder.1.shmoe", router, "5²"] == pytest.approx(36 / 256, abs=1e-6)
    assert share["encoder.0.moa", "token", "head 1"] == pytest.approx(1, abs=1e-4)
    assert finding.question == "How is the load shared?"
    assert draw(finding).axes


def test_load_is_the_mean_over_pairs(pairs):
    empty = Pair(0 * pairs[0].moving, 0 * pairs[0].fixed)
    rows = expert_load(RoutesByOrgan(), [pairs[0], empty]).rows
    found = {(row["layer"], row["expert"]): row["load"] for row in rows if row["router"] != "y"}
    assert found["decoder.0.shmoe", "5²"] == pytest.approx(ORGAN / 1024 / 2, abs=1e-6)


def test_idle_experts_are_named(pairs):
    """Expert 0 is never chosen by four routers, head 2 by none."""
    assert expert_load(RoutesByOrgan(), pairs).sentence == (
        "5 of 14 experts (counted per router) get less than 2% of the assignments, all of them in "
        "decoder.0.shmoe, decoder.1.shmoe, encoder.0.moa."
    )

    class Busy(RoutesByOrgan):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            thirds = torch.arange(1024).view(1, 1, 1, 32, 32) % self.parts
            share = torch.where(thirds < 2, thirds, 2)
            own = Routing(torch.zeros(1, 1, 3, 32, 32), torch.zeros(1, 1, 3, 32, 32), share, ORGAN_EXPERTS, ("y",))
            return Registration(result.displacement, moving, (), {"a": own})

    model = Busy()
    model.parts = 3
    assert expert_load(model, pairs[:1]).sentence == (
        "0 of 3 experts (counted per router) get less than 2% of the assignments: none is idle."
    )
    model.parts = 64  # 1/64 is less than 2 %
    assert expert_load(model, pairs[:1]).sentence == (
        "2 of 3 experts (counted per router) get less than 2% of the assignments, all of them in a."
    )
    model.parts = 49  # 1/49 is more
    assert "none is idle" in expert_load(model, pairs[:1]).sentence


# ---- controls ----


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    return models.build("shmoareg", dims=2, widths=(4, 6), decoder_widths=(4, 4), moa_levels=(1,), heads=2)


def test_control_networks_are_a_fresh_one_and_one_with_other_routers(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1  # trained, so to speak
    before = {name: value.clone() for name, value in network.state_dict().items()}
    controls = control_networks(network, seed=3)
    assert list(controls) == ["untrained", "random-router"]
    torch.manual_seed(3)
    fresh = models.build("shmoareg", dims=2, widths=(4, 6), decoder_widths=(4, 4), moa_levels=(1,), heads=2)
    assert all(torch.equal(value, controls["untrained"].state_dict()[n]) for n, value in fresh.state_dict().items())
    routers = {f"{n}.weight" for n, module in network.named_modules() if module in find_routers(network).values()}
    assert len(routers) == 3
    for name, value in controls["random-router"].state_dict().items():
        assert torch.equal(value, before[name]) == (name not in routers)
        if name in routers:
            assert float(value.std()) == pytest.approx(float(before[name].std()), rel=0.6)
            assert abs(float(value.mean())) < 0.5  # the trained ones are about one
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(control.training for control in controls.values())
    again, other = (control_networks(network, seed=seed)["random-router"].state_dict() for seed in (3, 4))
    same = controls["random-router"].state_dict()
    assert all(torch.equal(again[name], same[name]) for name in same)
    assert not any(torch.equal(other[name], same[name]) for name in routers)


# ---- all of it ----


def test_runs_are_in_evaluation_mode_and_without_gradients(pairs):
    model = RoutesByOrgan().train()
    results = list(registrations(model, pairs))
    assert [pair for pair, _ in results] == pairs
    assert not model.training
    assert not any(result.displacement.requires_grad for _, result in results)
    assert [float(r.routing["decoder.0.shmoe"].load()[0, 2]) for _, r in results] == pytest.approx([ORGAN / 1024] * 3)


QUESTIONS = ["How is the load shared?", "Do experts know the organs?", "Who is missed?", "Does doubt mark error?"]


def test_every_question_is_asked_with_the_same_seed(pairs):
    first, same, other = ([f.rows for f in audit(RoutesByOrgan(), pairs[:2], seed=seed)] for seed in (0, 0, 1))
    assert [finding.question for finding in audit(RoutesByOrgan(), pairs[:2])] == QUESTIONS
    assert first == same
    assert first[:2] == other[:2]
    assert first[2][-1]["epe"] != other[2][-1]["epe"]  # random gates
    noise = [audit(RoutesByNothing(), pairs[:2], seed=seed)[3].rows[1]["oracle"] for seed in (0, 1)]
    assert noise[0] != noise[1]


def test_controls_are_asked_what_means_something_for_them(pairs):
    found = audit(RoutesByOrgan(), pairs[:2], controls={"other": RoutesByOrgan(order=(2, 1, 0))})
    named = [{row.get("network", "trained") for row in finding.rows} for finding in found]
    assert named == [{"trained"}, {"trained", "other"}, {"trained"}, {"trained", "other"}]
    together, one_by_one = (audit(RoutesByOrgan(), pairs[:2], single=single)[2].rows for single in (False, True))
    assert {row["layer"] for row in together} == {"all"}
    assert len({row["layer"] for row in one_by_one}) == 4


def test_without_the_truth_doubt_is_not_asked_for(pairs):
    blind = Pair(pairs[1].moving, pairs[1].fixed, pairs[1].moving_labels, pairs[1].fixed_labels)
    assert [f.question for f in audit(RoutesByOrgan(), [pairs[0], blind])] == QUESTIONS[:3]


def test_audit_of_a_real_network(network):
    pairs = [phantoms.make("abdomen", (24, 20), seed) for seed in range(3)]
    findings = audit(network, pairs, controls=control_networks(network))
    assert [finding.question for finding in findings] == QUESTIONS
    assert all(finding.rows and finding.sentence.endswith(".") for finding in findings)
    for finding in findings:
        assert draw(finding).axes

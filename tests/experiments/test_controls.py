"""What replaces a router's decision in an audit."""

from dataclasses import replace

import pytest
import torch

from moereg.experiments.controls import random_gates, uniform_gates, with_gates, without_expert
from moereg.nn.routing import Router, choose

NAMES = ("1³", "3³", "5³")


@pytest.fixture
def routing(generator):
    """Two directions, three experts, two of them chosen at each of 20 x 30 voxels, with logits of spread 4."""
    router = Router(4, NAMES, k=2, gate="topk_softmax", routers=("y", "x"))
    router.weight.data.normal_(0, 2, generator=generator)
    return router(torch.randn(1, 4, 20, 30, generator=generator))


@pytest.mark.parametrize("expert", [0, 2])
def test_without_an_expert_the_others_share_its_work(routing, expert):
    changed = without_expert(expert, "topk_softmax")(routing)
    assert not (changed.indices == expert).any()
    assert (changed.gates[:, :, expert] == 0).all()
    assert torch.allclose(changed.gates.sum(2), torch.ones(()))
    others = [e for e in range(3) if e != expert]
    expected = routing.logits[:, :, others].softmax(2)  # two of the two that are left
    torch.testing.assert_close(changed.gates[:, :, others], expected)


@pytest.mark.parametrize("router", [0, 1])
def test_one_direction_alone_is_changed(routing, router):
    before = routing.gates.clone()
    changed = with_gates(router, uniform_gates)(routing)
    assert torch.equal(routing.gates, before)  # the real decision stays as it was
    assert torch.equal(changed.gates[:, router], torch.full((1, 3, 20, 30), 1 / 3))
    assert torch.equal(changed.gates[:, 1 - router], before[:, 1 - router])
    assert torch.equal(changed.logits, routing.logits)


def test_random_gates_choose_as_many_and_weigh_them_as_the_router_does(routing, generator):
    gates = random_gates("topk_softmax", generator)(routing, 1)
    assert gates.shape == (1, 3, 20, 30)
    assert ((gates > 0).sum(1) == 2).all()
    torch.testing.assert_close(gates.sum(1), torch.ones(1, 20, 30))
    raw = random_gates("raw", generator)(routing, 1)
    assert (raw.sum(1) < 1).any()  # the share of the third is missing


def test_random_gates_have_the_spread_of_the_real_logits_and_no_meaning(routing):
    """The noise is known: the same draw, times the standard deviation of the direction's own logits."""
    for router in (0, 1):
        real = routing.logits[:, router]
        noise = torch.randn(1, 1, 3, 20, 30, generator=torch.Generator().manual_seed(5)) * real.std()
        expected = choose(noise, 2, "topk_softmax")[0][:, 0]
        gates = random_gates("topk_softmax", torch.Generator().manual_seed(5))(routing, router)
        torch.testing.assert_close(gates, expected)
        chosen = (gates > 0).float().mean((0, 2, 3))
        assert chosen.tolist() == pytest.approx([2 / 3] * 3, abs=0.08)  # no expert is preferred
        follows = torch.corrcoef(torch.stack([gates.flatten(), routing.gates[:, router].flatten()]))[0, 1]
        assert abs(follows) < 0.1
    assert routing.logits[:, 0].std() != routing.logits[:, 1].std()


def test_numbers_stay_of_their_kind(routing, generator):
    double = replace(routing, logits=routing.logits.double(), gates=routing.gates.double())
    assert random_gates("topk_softmax", generator)(double, 0).dtype == torch.float64


def test_every_call_draws_anew(routing, generator):
    gates = random_gates("topk_softmax", generator)
    assert not torch.equal(gates(routing, 0), gates(routing, 0))

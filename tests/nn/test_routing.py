"""Gates, statistics and losses of routers."""

import math

import pytest
import torch

from moereg.nn.routing import GATES, Router, Routing, Site, choose

NAMES = ("a", "b", "c", "d")


def routing_of(logits, k=2, gate="renormalised", routers=("token",)):
    """A Routing from logits (B, R, N, *S)."""
    gates, indices = choose(logits, k, gate)
    return Routing(logits, gates, indices, NAMES[: logits.shape[2]], routers)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5)])
def test_gates_follow_their_rule(gate, shape, generator):
    logits = torch.randn(2, 3, 4, *shape, generator=generator, dtype=torch.float64)
    k = 4 if gate in ("soft", "uniform") else 2
    gates, indices = choose(logits, k, gate)
    p = logits.softmax(2)
    top = p.topk(k, 2)
    assert torch.equal(indices, top.indices)
    assert ((gates > 0).sum(2) == k).all()
    kept = gates.gather(2, indices)
    if gate == "uniform":
        torch.testing.assert_close(kept, torch.full_like(kept, 0.25))
    elif gate in ("raw", "soft"):
        torch.testing.assert_close(kept, top.values)
    else:
        # softmax over the chosen logits is the renormalised softmax: three rules, one forward value
        torch.testing.assert_close(kept, top.values / top.values.sum(2, keepdim=True))


def test_stopped_gates_send_gradient_to_every_logit_and_renormalised_ones_do_not(generator):
    logits = torch.randn(1, 1, 4, 1, 1, generator=generator, dtype=torch.float64)
    gradients = {}
    for gate in ("stopped", "renormalised", "topk_softmax"):
        leaf = logits.clone().requires_grad_()
        gates, indices = choose(leaf, 2, gate)
        gates.gather(2, indices)[:, :, 0].sum().backward()
        gradients[gate] = leaf.grad.flatten()
    chosen = choose(logits, 2, "raw")[1].flatten()
    others = [i for i in range(4) if i not in chosen]
    assert (gradients["stopped"][others].abs() > 1e-3).all()
    assert gradients["renormalised"][others].abs().max() < 1e-12
    torch.testing.assert_close(gradients["renormalised"], gradients["topk_softmax"])


def test_k_equal_one_stopped_gate_is_one_with_a_gradient(generator):
    logits = torch.randn(1, 1, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    gates, _ = choose(logits, 1, "stopped")
    torch.testing.assert_close(gates.sum(2), torch.ones(1, 1, 2, 2, dtype=torch.float64))
    (gates**2).sum().backward()
    assert logits.grad.abs().max() > 0


def test_a_zero_router_is_uniform(generator):
    router = Router(5, NAMES, k=4, gate="soft", routers=("z", "y", "x"))
    torch.nn.init.zeros_(router.weight)
    routing = router(torch.randn(2, 5, 3, 4, generator=generator))
    torch.testing.assert_close(routing.gates, torch.full((2, 3, 4, 3, 4), 0.25))
    torch.testing.assert_close(routing.entropy(), torch.full((2, 3, 3, 4), math.log(4)))


def test_router_is_linear_in_the_features(generator):
    router = Router(5, NAMES, k=2, routers=("y", "x"))
    features = torch.randn(2, 5, 3, 4, generator=generator)
    logits = router(features).logits
    expected = torch.einsum("rnc,bchw->brnhw", router.weight.view(2, 4, 5), features)
    torch.testing.assert_close(logits, expected)


def test_noise_is_drawn_from_the_generator_and_only_while_training(generator):
    router = Router(5, NAMES, k=2, noise=True)
    features = torch.randn(1, 5, 3, 4, generator=generator)
    draws = [router(features, torch.Generator().manual_seed(seed)).logits for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    router.eval()
    assert torch.equal(router(features).logits, router(features).logits)
    assert torch.equal(router(features).logits, router._linear(router.weight, features))


def test_load_and_importance_by_hand():
    # three places; the first two choose (a, b), the third (b, c)
    p = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.6, 0.3]])
    routing = routing_of(p.log().T.reshape(1, 1, 3, 1, 3))
    torch.testing.assert_close(routing.load(), torch.tensor([[2 / 6, 3 / 6, 1 / 6]]))
    torch.testing.assert_close(routing.importance(), p.mean(0)[None])
    expected = 3 * (torch.tensor([2 / 6, 3 / 6, 1 / 6]) * p.mean(0)).sum()
    torch.testing.assert_close(routing.balance_loss(), expected)
    torch.testing.assert_close(routing.z_loss(), torch.zeros(()), atol=1e-12, rtol=0)  # logsumexp of log p is 0
    assert routing.first().flatten().tolist() == [0, 0, 1]


def test_balance_loss_pushes_the_overused_expert_down(generator):
    logits = torch.randn(1, 1, 4, 6, 6, generator=generator)
    logits[:, :, 0] += 2
    logits.requires_grad_()
    routing = routing_of(logits)
    assert routing.balance_loss() > 1
    gradient = torch.autograd.grad(routing.balance_loss(), logits)[0].sum(dim=(0, 1, 3, 4))
    assert gradient[0] > 0
    assert (gradient[1:] < 0).all()


def test_information_is_averaged_over_routers_and_taken_over_all_places_of_a_batch():
    """Two items of one place each, two routers: the first tells the items apart, the second is never sure."""
    logits = torch.tensor([[[30.0, 0.0], [1.0, 1.0]], [[0.0, 30.0], [1.0, 1.0]]])[..., None, None]  # (B, R, N, 1, 1)
    routing = routing_of(logits, routers=("y", "x"))
    torch.testing.assert_close(routing.information_loss(), torch.tensor(-math.log(2) / 2))


def test_information_loss_makes_a_place_surer_of_what_it_leans_to(generator):
    logits = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).reshape(1, 1, 2, 1, 2).requires_grad_()
    gradient = torch.autograd.grad(routing_of(logits).information_loss(), logits)[0][0, 0, :, 0]
    assert (gradient.diag() < 0).all()
    assert gradient[0, 1] > 0
    assert gradient[1, 0] > 0


def test_agreement(generator):
    logits = torch.randn(1, 2, 4, 8, 8, generator=generator)
    routing = routing_of(logits, routers=("y", "x"))
    assert routing.agreement(routing).tolist() == [1, 1]
    other = logits.clone()
    other[:, 1] = -other[:, 1]
    assert routing.agreement(routing_of(other, routers=("y", "x")))[1] < 0.1


def test_half_precision_logits_are_gated_in_single(generator):
    logits = torch.randn(1, 1, 4, 8, 8, generator=generator).bfloat16()
    assert choose(logits, 2, "stopped")[0].dtype == torch.float32


@pytest.mark.plain_errors
def test_bad_input(generator):
    with pytest.raises(ValueError, match=r"k must be between 1 and the number of experts \(4\), got 5"):
        Router(3, NAMES, k=5)
    with pytest.raises(ValueError, match="gate must be one of 'raw', .* got 'hard'"):
        Router(3, NAMES, k=1, gate="hard")
    routing = routing_of(torch.randn(1, 1, 4, 2, 2, generator=generator))
    with pytest.raises(ValueError, match="other must come from the same layer and grid"):
        routing.agreement(routing_of(torch.randn(1, 1, 4, 3, 2, generator=generator)))
    with pytest.raises(ValueError, match="proposals are not known"):
        _ = routing.contributions


def test_routers_start_small_without_a_bias():
    torch.manual_seed(0)
    router = Router(400, NAMES, k=2, routers=("z", "y", "x"), noise=True)
    assert router.weight.shape == router.noise_weight.shape == (12, 400)
    assert float(router.weight.detach().std()) == pytest.approx(0.1 / 20, rel=0.05)
    assert router.noise_weight.abs().max() == 0
    assert [name for name, _ in router.named_parameters()] == ["weight", "noise_weight"]


def test_a_router_by_default(generator):
    router = Router(3, NAMES, k=2)
    assert (router.gate, router.routers, router.experts, router.k) == ("stopped", ("token",), NAMES, 2)
    assert router.noise_weight is None
    assert router.site == Site(name="", role="", stride=1)
    routing = router(torch.randn(1, 3, 2, 2, generator=generator))
    assert (routing.name, routing.role, routing.stride) == ("", "", 1)
    assert routing.proposals is None
    for gate in ("soft", "uniform"):
        assert Router(3, NAMES, k=2, gate=gate).k == 4


def test_noise_is_its_formula(generator):
    router = Router(5, NAMES, k=2, noise=True)
    torch.nn.init.normal_(router.noise_weight, std=1.0, generator=generator)
    features = torch.randn(2, 5, 3, 4, generator=generator)

    def linear(weight):
        return torch.einsum("nc,bchw->bnhw", weight, features)[:, None]

    normal = torch.randn(2, 1, 4, 3, 4, generator=torch.Generator().manual_seed(7))
    spread = torch.log1p(linear(router.noise_weight).exp()) + 0.01
    noisy = router(features, torch.Generator().manual_seed(7)).logits
    torch.testing.assert_close(noisy, linear(router.weight) + normal * spread)
    assert not torch.equal(router(features).logits, router(features).logits)


def test_statistics_of_several_routers_and_items(generator):
    """Counted one by one."""
    logits = torch.randn(2, 3, 4, 2, 5, generator=generator)
    routing = routing_of(logits, k=2, routers=("z", "y", "x"))
    load, first = torch.zeros(3, 4), routing.first()
    for b, r, i, j in torch.cartesian_prod(*(torch.arange(n) for n in (2, 3, 2, 5))).tolist():
        order = logits[b, r, :, i, j].argsort(descending=True)
        load[r, order[:2]] += 1 / 40
        assert first[b, r, i, j] == order[0]
    torch.testing.assert_close(routing.load(), load)
    p = logits.softmax(2)
    importance = p.mean((0, 3, 4))
    torch.testing.assert_close(routing.probabilities, p)
    torch.testing.assert_close(routing.importance(), importance)
    torch.testing.assert_close(routing.balance_loss(), 4 * (load * importance).sum(1).mean())
    torch.testing.assert_close(routing.z_loss(), (logits.exp().sum(2).log() ** 2).mean())
    torch.testing.assert_close(routing.entropy(), -(p * p.log()).sum(2))


def test_agreement_is_a_share_of_places(generator):
    first = torch.tensor([[3.0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]]).T.reshape(1, 1, 3, 1, 4)
    second = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 3, 0], [0, 3, 0]]).T.reshape(1, 1, 3, 1, 4)
    assert routing_of(first).agreement(routing_of(second)).tolist() == [0.5]


def test_contributions_are_gates_times_proposals(generator):
    """Also where one router decides for all directions, in the precision of the proposals."""
    logits = torch.randn(1, 1, 4, 2, 3, generator=generator)
    proposals = torch.randn(1, 2, 4, 2, 3, generator=generator, dtype=torch.float64)
    routing = routing_of(logits).with_proposals(proposals)
    assert routing.contributions.dtype == torch.float64
    for d in range(2):
        expected = routing.gates[:, 0].double() * proposals[:, d]
        torch.testing.assert_close(routing.contributions[:, d], expected)


def test_a_detached_record_is_the_same_without_a_graph(generator):
    site = Site("decoder.0.shmoe", "decoder", 2)
    router = Router(3, NAMES, k=2, routers=("y", "x"), site=site)
    routing = router(torch.randn(1, 3, 2, 2, generator=generator))
    assert routing.logits.requires_grad
    assert routing.gates.requires_grad
    assert routing.detach().proposals is None
    routing = routing.with_proposals(2 * routing.gates)
    kept = routing.detach()
    for name in ("logits", "gates", "proposals", "indices"):
        assert torch.equal(getattr(kept, name), getattr(routing, name))
        assert not getattr(kept, name).requires_grad
    assert (kept.site, kept.experts, kept.routers) == (site, NAMES, ("y", "x"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_close_logits_of_half_precision_are_told_apart_in_their_gates(dtype):
    logits = torch.tensor([1.0, 1.0 + 2**-7, 0.0]).to(dtype).view(1, 1, 3, 1, 1)
    gates, indices = choose(logits, 2, "renormalised")
    assert indices.flatten().tolist() == [1, 0]
    assert float(gates.flatten()[1]) == pytest.approx(1 / (1 + math.exp(-(2**-7))), abs=1e-6)
    assert choose(logits.double(), 2, "renormalised")[0].dtype == torch.float64


def test_contributions_are_in_the_precision_of_the_proposals():
    routing = routing_of(torch.zeros(1, 1, 2, 3, 3), k=1).with_proposals(torch.ones(1, 1, 2, 3, 3).half())
    assert routing.contributions.dtype == torch.float16


def test_noise_has_the_precision_of_the_logits(generator):
    router = Router(5, NAMES, k=2, noise=True).double()
    features = torch.randn(1, 5, 3, 4, generator=generator, dtype=torch.float64)
    drawn = router(features, torch.Generator().manual_seed(1)).logits - router.eval()(features).logits
    normal = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # W_n is zero: softplus(0) + 0.01
    torch.testing.assert_close(drawn, normal * (math.log(2) + 0.01))

"""Leaving experts out, another k, another temperature: only what was asked for changes, and only for a while."""

import pytest
import torch

from moereg.data import phantoms
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes
from moereg.nn.observe import find_routers, reroute, rerouted
from moereg.nn.routing import Router


@pytest.fixture(scope="module")
def pair():
    return phantoms.make("abdomen", (13, 16, 14), 1)


@pytest.fixture(scope="module")
def model():
    """Two levels, with readouts and routers enlarged so that experts differ and something moves."""
    torch.manual_seed(0)
    sizes = {"widths": (6, 8), "decoder_widths": (6, 6), "moa_levels": (1,), "heads": 4, "head_dim": 4, "window": 3}
    model = SHMoAReg(SHMoARegSizes(**sizes)).eval()
    for mixture in model.mixtures:
        mixture.readout.data *= 30
        mixture.router.weight.data *= 20
    return model


@pytest.fixture(scope="module")
def result(model, pair):
    return run(model, pair)


@pytest.fixture(scope="module")
def routers(model):
    return find_routers(model)


def run(model, pair):
    with torch.no_grad():
        return model(pair.moving[None], pair.fixed[None])


def test_every_routed_layer_has_its_router(routers, model, result):
    assert set(routers) == set(result.routing)
    assert routers["decoder.0.shmoe"] is model.mixtures[0].router
    assert routers["encoder.1.moa"] is model.attention["1"].moa.router


def test_an_expert_left_out_is_never_chosen(routers, model, pair, result):
    with rerouted(routers, without={"decoder.0.shmoe": (1, 3)}):
        changed = run(model, pair)
    routing = changed.routing["decoder.0.shmoe"]
    assert set(routing.indices.unique().tolist()) == {0, 2}
    assert routing.entropy().isfinite().all()
    assert not torch.equal(changed.displacement, result.displacement)
    # Layers that come before it are untouched.
    assert torch.equal(changed.routing["decoder.1.shmoe"].gates, result.routing["decoder.1.shmoe"].gates)


def test_the_model_is_itself_again_afterwards(routers, model, pair, result):
    with rerouted(routers, without={"decoder.0.shmoe": (0,)}, temperature=3.0):
        pass
    assert torch.equal(run(model, pair).displacement, result.displacement)


def test_without_any_change_nothing_changes(routers, model, pair, result):
    with rerouted(routers, k={"decoder.0.shmoe": 2}):
        assert torch.equal(run(model, pair).displacement, result.displacement)


def test_another_k(routers, model, pair):
    with rerouted(routers, k={"decoder.1.shmoe": 1}):
        routing = run(model, pair).routing["decoder.1.shmoe"]
    assert routing.indices.shape[2] == 1
    assert torch.allclose(routing.gates.sum(2), torch.ones(()))


def test_temperature_flattens_the_gates_and_keeps_the_choice(generator):
    features = torch.randn(1, 8, 5, 6, generator=generator)
    router = Router(8, ("a", "b", "c"), k=2, gate="stopped")
    router.weight.data *= 30
    sharp = router(features)
    flat = reroute(sharp, "stopped", temperature=50.0)
    assert torch.equal(sharp.indices, flat.indices)
    assert flat.gates.amax(2).max() < sharp.gates.amax(2).max()
    assert torch.allclose(flat.logits, sharp.logits / 50)


def test_k_never_exceeds_the_experts_that_are_left(generator):
    router = Router(4, ("a", "b", "c"), k=3)
    routing = reroute(router(torch.randn(1, 4, 3, 3, generator=generator)), "stopped", without=(0, 1))
    assert routing.indices.unique().tolist() == [2]


@pytest.mark.parametrize("gate", ["soft", "uniform", "renormalised", "topk_softmax"])
def test_gates_of_those_that_are_left_add_up_to_one(gate, generator):
    router = Router(4, ("a", "b", "c"), k=2, gate=gate)
    routing = reroute(router(torch.randn(1, 4, 3, 3, generator=generator)), gate, without=(1,))
    assert torch.allclose(routing.gates.sum(2), torch.ones(()), atol=1e-6)
    assert (routing.gates[:, :, 1] == 0).all()


@pytest.mark.plain_errors
def test_errors_name_the_argument(routers, generator):
    router = Router(4, ("a", "b"), k=1)
    routing = router(torch.randn(1, 4, 3, 3, generator=generator))
    with pytest.raises(ValueError, match="without must leave at least one of the 2 experts"):
        reroute(routing, "stopped", without=(0, 1))
    with pytest.raises(ValueError, match="temperature must be above zero, got 0"):
        reroute(routing, "stopped", temperature=0)
    with pytest.raises(ValueError, match="must name layers among"), rerouted(routers, without={"decoder.9": (0,)}):
        pass

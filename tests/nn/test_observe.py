"""What routed layers saw and did, where they sit, and changes of what they decide: as asked for, and for a while."""

import contextlib

import pytest
import torch

from moereg.data import phantoms
from moereg.models import build
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes
from moereg.nn.observe import find_routers, intervene, observe, reroute, rerouted
from moereg.nn.routing import Router, Routing, Site


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


# ---- the recorder ----


@pytest.fixture(scope="module")
def seen(model, pair, result):
    """What was seen in a pass that followed another one, of the images exchanged."""
    with torch.no_grad(), observe(model) as seen:
        model(pair.fixed[None], pair.moving[None])
        again = model(pair.moving[None], pair.fixed[None])
    assert torch.equal(again.displacement, result.displacement)
    return seen


def test_the_recorder_names_layers_as_the_result_does(seen, model, result):
    assert set(seen) == set(result.routing)
    layers = {f"decoder.{level}.shmoe": mixture for level, mixture in enumerate(model.mixtures)}
    layers["encoder.1.moa"] = model.attention["1"].moa
    assert {name: seen[name].layer for name in seen} == layers


def test_the_recorder_keeps_the_decisions_of_the_last_pass(seen, result):
    for name, routing in result.routing.items():
        assert torch.equal(seen[name].routing.logits, routing.logits)
        assert torch.equal(seen[name].routing.gates, routing.gates)


@torch.no_grad()
def test_what_a_layer_saw_gives_what_it_did(seen, result):
    for name, observation in seen.items():
        output, routing = observation.layer(*observation.inputs)
        assert torch.equal(output, observation.output)
        assert torch.equal(routing.gates, result.routing[name].gates)
    finest = seen["decoder.0.shmoe"]
    torch.testing.assert_close(finest.output, finest.routing.contributions.sum(2))
    features, context = seen["encoder.1.moa"].inputs
    assert features.shape == (2, 8, 4, 4, 4)  # moving and fixed image, 13 x 16 x 14 voxels at stride 4
    assert context is None


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_the_recorder_leaves_no_hooks_also_where_the_model_fails(model, pair):
    with contextlib.suppress(ZeroDivisionError), observe(model) as seen:
        assert hooks(model) == 3
        run(model, pair)
        raise ZeroDivisionError
    assert hooks(model) == 0
    kept = {name: observation.routing for name, observation in seen.items()}
    with torch.no_grad():
        model(pair.fixed[None], pair.moving[None])
    assert all(seen[name].routing is kept[name] for name in kept)
    assert len(kept) == 3


def test_the_recorder_of_a_single_layer_knows_it_by_its_site(generator):
    torch.manual_seed(0)
    moa = SHMoAReg(SHMoARegSizes(dims=2, widths=(6, 8), decoder_widths=(4, 4), moa_levels=(1,))).attention["1"].moa
    features, context = torch.rand(2, 1, 8, 5, 4, generator=generator).unbind()
    with observe(moa) as seen:
        output, _ = moa(features, context)
    assert list(seen) == ["encoder.1.moa"]
    assert seen["encoder.1.moa"].layer is moa
    assert seen["encoder.1.moa"].output is output
    assert seen["encoder.1.moa"].inputs[0] is features
    assert seen["encoder.1.moa"].inputs[1] is context
    assert seen["encoder.1.moa"].router is moa.router
    assert seen["encoder.1.moa"].features is features
    assert seen["encoder.1.moa"].context is context
    with observe(moa) as seen:
        moa(features)
    assert seen["encoder.1.moa"].features is features
    assert seen["encoder.1.moa"].context is None


# ---- where layers sit ----


def test_routers_without_a_site_are_not_found():
    routers = torch.nn.ModuleList(
        [Router(3, ("a", "b"), k=1), Router(3, ("a", "b"), k=1, site=Site("here", "decoder", 4))]
    )
    assert find_routers(routers) == {"here": routers[1]}
    assert find_routers(torch.nn.Linear(2, 2)) == {}


def local_model(stem_stride):
    """SHMoAReg without normalisation and with still fields: nothing mixes distant voxels but convolutions."""
    torch.manual_seed(0)
    sizes = {"widths": (3, 4), "decoder_widths": (3, 4), "heads": 2, "head_dim": 2, "window": 2, "kernel_sizes": (1, 3)}
    model = build("shmoareg", dims=2, stem_stride=stem_stride, moa_levels=(0, 1), **sizes)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    for mixture in model.mixtures:
        torch.nn.init.zeros_(mixture.readout)
    return model


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_sites_name_layers_their_role_and_their_stride(stem_stride):
    model = local_model(stem_stride)
    expected = {
        "encoder.0.moa": ("encoder", stem_stride),
        "encoder.1.moa": ("encoder", 2 * stem_stride),
        "decoder.0.shmoe": ("decoder", stem_stride),
        "decoder.1.shmoe": ("decoder", 2 * stem_stride),
    }
    with torch.no_grad():
        routing = model(torch.rand(1, 1, 19, 26), torch.rand(1, 1, 19, 26)).routing
    assert {name: (layer.role, layer.stride) for name, layer in routing.items()} == expected
    assert all(layer.name == name for name, layer in routing.items())
    sites = {name: router.site for name, router in find_routers(model).items()}
    assert sites == {name: Site(name, *where) for name, where in expected.items()}
    for layer in routing.values():
        assert layer.logits.shape[3:] == tuple(-(-n // layer.stride) for n in (19, 26))


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("name", ["encoder.0.moa", "decoder.0.shmoe", "decoder.1.shmoe"])
def test_voxel_i_of_a_layer_sits_on_voxel_stride_times_i_of_the_image(stem_stride, name, generator):
    """Convolutions see as far to one side as to the other: the middle of what logits depend on is where they sit."""
    model = local_model(stem_stride)
    if name != "encoder.0.moa":
        for block in model.attention.values():  # windows are not centred on their tokens
            torch.nn.init.zeros_(block.moa.output)
    moving, fixed = torch.rand(2, 1, 1, 80, 88, generator=generator).unbind()
    moving.requires_grad_(), fixed.requires_grad_()
    routing = model(moving, fixed).routing[name]
    place = (40 // routing.stride, 48 // routing.stride)
    depends = torch.autograd.grad(routing.logits[..., *place].square().sum(), (moving, fixed))
    changed = ((depends[0].abs() + depends[1].abs())[0, 0] > 1e-12).nonzero()
    first, last = changed.amin(0), changed.amax(0)
    assert ((first + last) / 2).tolist() == [routing.stride * i for i in place]
    assert first.min() > 0  # the border did not cut it


def test_sites_of_a_backbone_are_those_of_its_routing(generator):
    """SegReg hands its backbone's routing on: keys, routers and the recorder agree."""
    torch.manual_seed(0)
    small = {"widths": (3, 4), "decoder_widths": (3, 4), "moa_levels": (1,), "heads": 2, "stem_stride": 1}
    model = build("segreg", dims=2, backbone="shmoareg", backbone_sizes=small).eval()
    moving, fixed = torch.rand(2, 1, 1, 12, 16, generator=generator).unbind()
    labels = (torch.arange(16) // 8).expand(1, 1, 12, 16)
    with torch.no_grad(), observe(model) as seen:
        routing = model(moving, fixed, moving_labels=labels, fixed_labels=labels).routing
    strides = {"encoder.1.moa": 2, "decoder.1.shmoe": 2, "decoder.0.shmoe": 1}
    assert {name: layer.stride for name, layer in routing.items()} == strides
    assert {name: router.site.stride for name, router in find_routers(model).items()} == strides
    assert {name: layer.name for name, layer in routing.items()} == {name: name for name in strides}
    assert all(torch.equal(seen[name].routing.gates, layer.gates) for name, layer in routing.items())
    assert len(routing["decoder.0.shmoe"].gates) == 2  # regions are a batch


# ---- changes ----


def test_a_change_passes_every_decision_and_ends_with_the_context(routers, model, pair, result):
    """Gates all zero in one layer: it adds nothing. Its features, and the layers before it, are as they were."""

    def silent(routing):
        return Routing(**(vars(routing) | {"gates": torch.zeros_like(routing.gates)}))

    with contextlib.suppress(ZeroDivisionError), intervene({routers["decoder.0.shmoe"]: silent}):
        changed = run(model, pair)
        raise ZeroDivisionError
    assert hooks(model) == 0
    assert changed.routing["decoder.0.shmoe"].contributions.abs().max() == 0
    assert torch.equal(changed.routing["decoder.1.shmoe"].gates, result.routing["decoder.1.shmoe"].gates)
    assert torch.equal(run(model, pair).displacement, result.displacement)


def test_several_changes_each_reach_their_own_router(routers, model, pair):
    passed = []

    def note(name):
        return lambda routing: passed.append((name, routing.name)) or routing

    with intervene({router: note(name) for name, router in routers.items()}):
        run(model, pair)
    assert sorted(passed) == sorted((name, name) for name in routers)


def test_a_rerouted_decision_keeps_its_site_and_names(generator):
    site = Site("decoder.0.shmoe", "decoder", 2)
    router = Router(4, ("a", "b", "c"), k=2, routers=("y", "x"), site=site)
    routing = router(torch.randn(1, 4, 3, 3, generator=generator))
    changed = reroute(routing, "stopped", k=1, without=(0,), temperature=2.0)
    assert changed.site == site
    assert (changed.experts, changed.routers) == (routing.experts, routing.routers)


def test_rerouting_by_hand():
    """Logits 0, 1, 2, 3 without the last: softmax of the two largest that are left."""
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 4, 1, 1)
    routing = Routing(logits, logits, torch.tensor([3, 2]).view(1, 1, 2, 1, 1), ("a", "b", "c", "d"), ("token",))
    changed = reroute(routing, "stopped", without=(3, 3))
    assert changed.indices.flatten().tolist() == [2, 1]
    torch.testing.assert_close(changed.gates.flatten(), torch.tensor([0, 0.26894142, 0.73105858, 0]))
    torch.testing.assert_close(changed.probabilities[0, 0, 3].sum(), torch.tensor(0.0))
    warm = reroute(routing, "stopped", temperature=2.0)
    torch.testing.assert_close(warm.gates.flatten()[2:], torch.tensor([0.37754067, 0.62245933]))
    assert reroute(routing, "stopped", k=3).indices.flatten().tolist() == [3, 2, 1]
    assert reroute(routing, "stopped", k=3, without=(0, 1)).indices.flatten().tolist() == [3, 2]
    assert reroute(routing, "soft", k=1, without=(0,)).indices.flatten().tolist() == [3, 2, 1]
    uniform = reroute(routing, "uniform", k=1, without=(0,)).gates.flatten()
    torch.testing.assert_close(uniform, torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]))


def test_a_temperature_reaches_every_layer_and_nothing_else_does(routers, model, pair, result):
    with rerouted(routers, temperature=4.0):
        warm = run(model, pair).routing
    first = "encoder.1.moa"  # what comes later sees other features
    torch.testing.assert_close(warm[first].logits, result.routing[first].logits / 4)
    assert all(warm[name].entropy().mean() > result.routing[name].entropy().mean() for name in routers)
    with rerouted(routers, temperature=1.0):
        assert hooks(model) == 0
    with rerouted(routers, without={first: (0,)}, k={"decoder.1.shmoe": 1}):
        assert hooks(model) == 2


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

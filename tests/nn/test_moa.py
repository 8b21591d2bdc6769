"""MoA reduces to what it claims to generalise, and its two computations agree."""

import pytest
import torch

from moereg.nn.attention import MultiHeadAttention, Windows, attention_at
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import GATES, Site

SHAPES = [(8, 7), (5, 6, 4)]


def layer_of(generator, **options):
    layer = MixtureOfAttentionHeads(6, **({"heads": 4, "k": 2, "head_dim": 3, "window": 4} | options)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def features_of(shape, generator):
    return torch.randn(2, 6, *shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compute", ["dense", "sparse"])
def test_all_heads_on_equal_multi_head_attention_with_shared_keys(shape, compute, generator):
    """k = N with uniform gates is the mean of the heads: multi-head attention divided by N."""
    layer = layer_of(generator, k=4, compute=compute)
    torch.nn.init.zeros_(layer.router.weight)
    attention = MultiHeadAttention(6, heads=4, head_dim=3, shared_keys=True).double()
    with torch.no_grad():
        attention.query.copy_(layer.query)
        attention.key.copy_(layer.key[None])
        attention.value.copy_(layer.value[None])
        attention.output.copy_(layer.output / 4)
    features = features_of(shape, generator)
    windows = Windows.of(features, 4)
    expected = windows.join(attention(windows.split(features), valid=windows.valid(features.device)))
    mixed, routing = layer(features)
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        *(torch.autograd.grad(y.square().sum(), features, retain_graph=True)[0] for y in (mixed, expected)),
        rtol=1e-6,
        atol=1e-9,
    )
    assert routing.gates.shape == (2, 1, 4, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("cross", [False, True])
def test_sparse_equals_dense(shape, gate, cross, generator):
    layer = layer_of(generator, gate=gate)
    features = features_of(shape, generator)
    context = features_of(shape, generator) if cross else None
    results = []
    for compute in ("dense", "sparse"):
        layer.compute = compute
        mixed, _ = layer(features, context)
        leaves = [features, *layer.parameters(), *([context] if cross else [])]
        results.append((mixed, *torch.autograd.grad(mixed.square().sum(), leaves, materialize_grads=True)))
    for dense, sparse in zip(*results, strict=True):
        torch.testing.assert_close(dense, sparse, rtol=1e-6, atol=1e-8)


def test_sparse_works_when_a_head_gets_nothing(generator):
    layer = layer_of(generator)
    features = torch.rand(1, 6, 4, 4, generator=generator, dtype=torch.float64) + 0.5
    with torch.no_grad():
        layer.router.weight.copy_(torch.tensor([2.0, 1, 0, -1])[:, None].expand(4, 6))
    mixed, routing = layer(features)
    assert routing.load()[0].tolist() == [0.5, 0.5, 0, 0]
    layer.compute = "dense"
    torch.testing.assert_close(mixed, layer(features)[0])


def test_permuting_heads_and_router_rows_together_changes_nothing(generator):
    layer = layer_of(generator)
    features = features_of((6, 6), generator)
    before, routing = layer(features)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for parameter in (layer.router.weight, layer.query, layer.output):
            parameter.copy_(parameter[order].clone())
    after, permuted = layer(features)
    torch.testing.assert_close(after, before)
    assert torch.equal(order[permuted.indices], routing.indices)


def test_attention_from_is_what_the_layer_uses(generator):
    layer = layer_of(generator, k=4, gate="soft")
    features = features_of((7, 6), generator)
    voxel = (5, 2)
    weights = layer.attention_from(features, voxel)
    assert weights.shape == (4, 7, 6)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(4, dtype=torch.float64))
    mixed, routing = layer(features)
    values = torch.einsum("chw,cd->dhw", features[0], layer.value)
    heads = torch.einsum("nhw,dhw->nd", weights, values)
    by_hand = torch.einsum("n,nd,ndc->c", routing.gates[0, 0, :, *voxel], heads, layer.output)
    torch.testing.assert_close(mixed[0, :, *voxel], by_hand)


def saved_numbers(layer, shape, generator):
    """How many numbers a training step keeps for its backward pass."""
    kept = {}

    def note(tensor):
        kept[tensor.data_ptr(), tensor.shape] = tensor.numel()
        return tensor

    # MATH keeps its scores, as a formula would
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        mixed, _ = layer(features_of(shape, generator))
    assert mixed.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("compute", ["dense", "sparse"])
def test_memory_grows_linearly_with_voxels(compute, generator):
    """The same layer with one window over everything does worse: four times the scores for twice the voxels."""
    sizes = [(8, width) for width in (16, 32, 64)]
    few, more, most = (saved_numbers(layer_of(generator, compute=compute), size, generator) for size in sizes)
    assert most - more == pytest.approx(2 * (more - few), rel=0.05)
    wide = layer_of(generator, compute=compute, window=1000)
    wide_few, wide_more, wide_most = (saved_numbers(wide, size, generator) for size in sizes)
    assert wide_most - wide_more > 2.5 * (wide_more - wide_few)


def test_windows_do_not_see_each_other(generator):
    layer = layer_of(generator)
    features = features_of((8, 8), generator)
    before = layer(features)[0]
    with torch.no_grad():
        features[0, :, 0, 0] += 1
    changed = (layer(features)[0] != before).any(1)
    assert not changed[0, 4:, :].any()
    assert not changed[0, :, 4:].any()
    assert not changed[1].any()


@pytest.mark.plain_errors
def test_bad_compute():
    with pytest.raises(ValueError, match="compute must be one of 'dense', 'sparse', got 'fast'"):
        MixtureOfAttentionHeads(4, compute="fast")


@pytest.mark.parametrize("compute", ["dense", "sparse"])
def test_autocast_computes_in_bfloat16_and_routes_in_float32(compute, generator):
    layer = layer_of(generator, compute=compute, k=4).float()  # all heads: rounding cannot choose another one
    features = features_of((6, 5), generator).detach().float()
    mixed, _ = layer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, low_routing = layer(features)
    assert low.dtype == torch.bfloat16
    assert low_routing.gates.dtype == torch.float32
    assert (low - mixed).norm() / mixed.norm() < 0.03
    low.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_a_layer_by_default():
    torch.manual_seed(0)
    layer = MixtureOfAttentionHeads(64)
    assert layer.query.shape == (8, 64, 16)
    assert layer.key.shape == layer.value.shape == (64, 16)
    assert layer.output.shape == (8, 16, 64)
    assert (layer.window, layer.compute) == (8, "sparse")
    router = layer.router
    assert (router.k, router.gate, router.noise_weight, router.site) == (2, "stopped", None, Site())
    assert router.experts == tuple(f"head {i}" for i in range(8))
    for projection, spread in (
        (layer.query, 1 / 8),
        (layer.key, 1 / 8),
        (layer.value, 1 / 8),
        (layer.output, 32**-0.5),
    ):
        assert float(projection.detach().std()) == pytest.approx(spread, rel=0.08)


def test_options_reach_the_router():
    site = Site("encoder.1.moa", "encoder", 4)
    router = MixtureOfAttentionHeads(4, heads=3, k=1, gate="raw", noise=True, site=site).router
    assert (router.k, router.gate, router.site) == (1, "raw", site)
    assert router.noise_weight is not None


def test_sparse_evaluates_chosen_heads_only_and_dense_all(generator, monkeypatch):
    layer, called = layer_of(generator), []
    for name in ("_dense", "_sparse"):
        own = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda *given, own=own, name=name: called.append(name) or own(*given))
    for compute in ("dense", "sparse"):
        layer.compute = compute
        layer(features_of((4, 4), generator))
    assert called == ["_dense", "_sparse"]


def test_attention_from_looks_into_the_context_of_the_first_item(generator):
    layer = layer_of(generator)
    features, context = features_of((7, 6), generator), features_of((7, 6), generator)
    found = layer.attention_from(features, (6, 3), context)
    keys = layer.key.expand_as(layer.query)
    expected = attention_at(features[:1], context[:1], (6, 3), window=4, query=layer.query, key=keys)
    assert torch.equal(found, expected)
    assert not torch.equal(found, layer.attention_from(features, (6, 3)))
    assert torch.equal(layer.attention_from(features[:1], (6, 3)), layer.attention_from(features, (6, 3)))


@pytest.mark.parametrize("compute", ["dense", "sparse"])
def test_keys_and_values_come_from_the_context(compute, generator):
    """Tokens by hand: gates times heads, each looking from a token into the other map, within one window."""
    layer = layer_of(generator, compute=compute, window=8)
    features, context = features_of((3, 4), generator), features_of((3, 4), generator)
    mixed, routing = layer(features, context)
    tokens, others = features.flatten(2).mT, context.flatten(2).mT
    expected = 0
    for i in range(4):
        scores = (tokens @ layer.query[i]) @ (others @ layer.key).mT / 3**0.5
        head = scores.softmax(-1) @ (others @ layer.value) @ layer.output[i]
        expected = expected + routing.gates[:, 0, i].flatten(1)[..., None] * head
    torch.testing.assert_close(mixed, expected.mT.view_as(mixed))


@pytest.mark.parametrize("compute", ["dense", "sparse"])
def test_a_layer_in_half_precision_returns_half_precision(compute, generator):
    layer = layer_of(generator, compute=compute).bfloat16()
    mixed, routing = layer(features_of((8, 7), generator).detach().bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert routing.gates.dtype == torch.float32

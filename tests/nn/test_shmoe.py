"""SHMoE reduces to plain convolutions, and its parts add up."""

import pytest
import torch
import torch.nn.functional as F

from moereg.nn.routing import Router, Site
from moereg.nn.shmoe import EXPERT_KINDS, ConvolutionExperts, OwnedExpertsMoE, SpatialHeterogeneousMoE

SHAPES = [(9, 8), (7, 6, 8)]


def layer_of(generator, dims, **options):
    layer = SpatialHeterogeneousMoE(4, dims=dims, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return layer


def features_of(shape, generator):
    return torch.randn(2, 4, *shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["full", "nested"])
@pytest.mark.parametrize("size", [1, 3])
def test_one_expert_is_a_plain_convolution(shape, kind, size, generator):
    dims = len(shape)
    layer = layer_of(generator, dims, kernel_sizes=(size,), k=1, kind=kind)
    convolve = F.conv3d if dims == 3 else F.conv2d
    (weight, bias) = list(layer.experts.parameters())
    features = features_of(shape, generator)
    expected = convolve(features, weight, bias, padding=size // 2)
    mixed, _ = layer.mixture(features)
    displacement, _ = layer(features)
    readout = torch.einsum("dc,bc...->bd...", layer.readout, expected)
    for direction in range(dims):
        torch.testing.assert_close(mixed[:, direction], expected)
    torch.testing.assert_close(displacement, readout)
    torch.testing.assert_close(
        *(torch.autograd.grad(y.square().sum(), features, retain_graph=True)[0] for y in (displacement, readout)),
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", EXPERT_KINDS)
def test_uniform_gates_give_the_mean_of_the_experts(shape, kind, generator):
    layer = layer_of(generator, len(shape), kind=kind, gate="soft")
    torch.nn.init.zeros_(layer.router.weight)
    features = features_of(shape, generator)
    mean = torch.stack(layer.experts(features)).mean(0)
    mixed, routing = layer.mixture(features)
    torch.testing.assert_close(mixed, mean[:, None].expand_as(mixed))
    assert routing.gates.shape == (2, len(shape), 4, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_displacement_is_the_readout_of_the_mixture_and_the_sum_of_contributions(shape, k, generator):
    layer = layer_of(generator, len(shape), k=k)
    features = features_of(shape, generator)
    displacement, routing = layer(features)
    mixed, _ = layer.mixture(features)
    torch.testing.assert_close(displacement, torch.einsum("dc,bdc...->bd...", layer.readout, mixed))
    torch.testing.assert_close(displacement, routing.contributions.sum(2))
    assert ((routing.contributions != 0).sum(2) <= k).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_naive_form_with_a_copy_of_every_expert_per_direction(shape, generator):
    """D x N separate convolutions, stacked and gated: the form that the layer avoids. Value and gradient."""
    layer = layer_of(generator, len(shape), kind="full", k=2)
    features = features_of(shape, generator)
    mixed, routing = layer.mixture(features)
    naive = torch.stack(
        [
            (
                torch.stack([conv(features) for conv in layer.experts.convolutions], 1) * routing.gates[:, d, :, None]
            ).sum(1)
            for d in range(len(shape))
        ],
        1,
    )
    torch.testing.assert_close(mixed, naive)
    leaves = [features, *layer.experts.parameters(), layer.router.weight]
    gradients = [torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for y in (mixed, naive)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_equal_experts_make_the_gates_irrelevant(generator):
    layer = layer_of(generator, 2, kernel_sizes=(3, 3), k=2, kind="full")
    with torch.no_grad():
        for ours, first in zip(
            layer.experts.convolutions[1].parameters(), layer.experts.convolutions[0].parameters(), strict=True
        ):
            ours.copy_(first)
    features = features_of((6, 6), generator)
    before, _ = layer(features)
    torch.nn.init.normal_(layer.router.weight, generator=generator)
    torch.testing.assert_close(layer(features)[0], before)


def test_permuting_experts_and_router_rows_together_changes_nothing(generator):
    layer = layer_of(generator, 3, kernel_sizes=(3, 3, 3, 3), kind="full")
    features = features_of((5, 6, 4), generator)
    before, _ = layer(features)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        layer.experts.convolutions = torch.nn.ModuleList([layer.experts.convolutions[i] for i in order])
        rows = layer.router.weight.view(3, 4, -1)[:, order].reshape(12, -1).clone()
        layer.router.weight.copy_(rows)
    torch.testing.assert_close(layer(features)[0], before)


def test_directions_are_routed_separately(generator):
    layer = layer_of(generator, 3)
    features = features_of((5, 6, 4), generator)
    before = layer(features)[1]
    with torch.no_grad():
        layer.router.weight[:4] += 1  # the rows of direction z
    after = layer(features)[1]
    assert before.routers == ("z", "y", "x")
    assert not torch.equal(after.gates[:, 0], before.gates[:, 0])
    assert torch.equal(after.gates[:, 1:], before.gates[:, 1:])


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_routers_are_the_joint_form(shape, generator):
    """With the same router for every direction, separate routing is one joint decision."""
    dims = len(shape)
    joint = layer_of(generator, dims, routers="joint")
    separate = layer_of(generator, dims)
    separate.load_state_dict(joint.state_dict() | {"router.weight": joint.router.weight.repeat(dims, 1)})
    features = features_of(shape, generator)
    results = [layer(features)[0] for layer in (joint, separate)]
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        *(torch.autograd.grad(y.square().sum(), features)[0] for y in results), rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(joint.mixture(features)[0], separate.mixture(features)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_owned_experts_that_are_copies_equal_shared_ones(shape, generator):
    dims = len(shape)
    shared = layer_of(generator, dims)
    owned = OwnedExpertsMoE(4, dims=dims).double()
    owned.router.load_state_dict(shared.router.state_dict())
    owned.readout.data.copy_(shared.readout)
    for experts in owned.experts:
        experts.load_state_dict(shared.experts.state_dict())
    features = features_of(shape, generator)
    torch.testing.assert_close(owned(features)[0], shared(features)[0])
    with pytest.raises(NotImplementedError, match="mixture needs experts that all directions share"):
        owned.mixture(features)


@pytest.mark.parametrize("kind", EXPERT_KINDS)
@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_an_expert_reaches_as_far_as_its_name_says(kind, size, generator):
    experts = ConvolutionExperts(2, 3, dims=2, kernel_sizes=(1, 3, 5, 7), kind=kind).double()
    image = torch.zeros(1, 2, 15, 15, dtype=torch.float64)
    background = experts(image)
    image[..., 7, 7] = 1
    index = (1, 3, 5, 7).index(size)
    touched = (experts(image)[index] - background[index]).abs().sum(1)[0] > 0
    inside = slice(7 - size // 2, 8 + size // 2)
    assert int(touched.sum()) == size**2
    assert touched[inside, inside].all()
    assert experts.names[index] == f"{size}²"


@pytest.mark.parametrize("kind", EXPERT_KINDS)
@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
@pytest.mark.parametrize("sizes", [(1,), (3,), (5,), (1, 7), (3, 5), (1, 3, 5)])
def test_reading_in_the_kernels_is_reading_the_maps(kind, shape, sizes, generator):
    experts = ConvolutionExperts(3, 4, dims=len(shape), kernel_sizes=sizes, kind=kind).double()
    features = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    readout = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    leaves = [features, readout, *experts.parameters()]
    results = []
    for maps in (
        experts.read(features, readout),
        [torch.einsum("rc,bc...->br...", readout, e) for e in experts(features)],
    ):
        stacked = torch.stack(maps)
        used = torch.autograd.grad(stacked.square().sum(), leaves, materialize_grads=True)
        results.append((stacked, *used))
    for folded, plain in zip(*results, strict=True):
        torch.testing.assert_close(folded, plain)


@pytest.mark.plain_errors
@pytest.mark.parametrize("sizes", [(), (2,), (5, 3), (0, 1)])
def test_bad_kernel_sizes(sizes):
    with pytest.raises(ValueError, match="kernel_sizes must be odd, positive and in ascending order, got"):
        ConvolutionExperts(2, 2, dims=2, kernel_sizes=sizes, kind="full")


@pytest.mark.plain_errors
def test_bad_kind():
    with pytest.raises(ValueError, match="kind must be one of 'full', 'nested', 'separable', got 'deep'"):
        ConvolutionExperts(2, 2, dims=2, kernel_sizes=(1,), kind="deep")


def test_routers_of_the_layer_have_no_bias():
    assert [name for name, _ in Router(3, ("a", "b"), k=1).named_parameters()] == ["weight"]


@pytest.mark.parametrize("kind", EXPERT_KINDS)
def test_autocast_computes_in_bfloat16_and_routes_in_float32(kind, generator):
    layer = layer_of(generator, 3, kind=kind, k=4).float()  # all experts: rounding cannot choose another one
    features = features_of((7, 6, 8), generator).detach().float()
    displacement, routing = layer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, low_routing = layer(features)
    assert low_routing.gates.dtype == low.dtype == torch.float32
    assert relative_error(low, displacement) < 0.02
    assert relative_error(low_routing.gates, routing.gates) < 0.02
    low.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def relative_error(low, exact):
    return float((low - exact).detach().norm() / exact.norm())


@pytest.mark.parametrize(
    ("dims", "names", "directions"), [(2, ("1²", "3²", "5²", "7²"), "yx"), (3, ("1³", "3³", "5³", "7³"), "zyx")]
)
def test_a_layer_by_default(dims, names, directions):
    torch.manual_seed(0)
    layer = SpatialHeterogeneousMoE(
        400, **({} if dims == 3 else {"dims": 2, "kind": "separable"}), **({"kind": "separable"} if dims == 3 else {})
    )
    assert layer.experts.names == names
    assert layer.experts.kernel_sizes == (1, 3, 5, 7)
    router = layer.router
    assert (router.experts, router.routers) == (names, tuple(directions))
    assert (router.k, router.gate, router.noise_weight, router.site) == (2, "stopped", None, Site())
    assert layer.readout.shape == (dims, 400)
    assert float(layer.readout.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert SpatialHeterogeneousMoE(2, dims=dims).experts.kind == "nested"


def test_joint_routing_has_one_router_for_all():
    assert SpatialHeterogeneousMoE(2, dims=2, routers="joint").router.routers == ("all",)


def test_options_reach_their_parts():
    site = Site("decoder.1.shmoe", "decoder", 4)
    for mixture in (SpatialHeterogeneousMoE, OwnedExpertsMoE):
        layer = mixture(3, dims=2, out_channels=5, kernel_sizes=(3, 5), k=1, kind="full", gate="raw", site=site)
        assert layer.readout.shape == (2, 5)
        assert (layer.router.k, layer.router.gate, layer.router.site) == (1, "raw", site)
        assert layer.router.experts == ("3²", "5²")
    assert [experts.kind for experts in layer.experts] == ["full", "full"]
    assert [experts.kernel_sizes for experts in layer.experts] == [(3, 5), (3, 5)]
    assert layer.experts[0].convolutions[1].weight.shape == (5, 3, 5, 5)
    assert len(OwnedExpertsMoE(2).experts) == 3
    assert OwnedExpertsMoE(2).experts[0].kernel_sizes == (1, 3, 5, 7)


@pytest.mark.parametrize(
    ("kind", "weights"), [("full", 496 * 12), ("nested", 12 + 27 * 12 + 2 * 27 * 16), ("separable", 496 * 3 + 4 * 12)]
)
def test_experts_cost_what_the_table_says(kind, weights):
    """Kernel weights of extents 1, 3, 5, 7 from 3 to 4 channels; a longer chain goes on with 4."""
    experts = ConvolutionExperts(3, 4, dims=3, kernel_sizes=(1, 3, 5, 7), kind=kind)
    assert sum(p.numel() for name, p in experts.named_parameters() if name.endswith("weight")) == weights
    biases = [p.numel() for name, p in experts.named_parameters() if name.endswith("bias")]
    assert biases == [4] * 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", EXPERT_KINDS)
@pytest.mark.parametrize("kernel_sizes", [(1, 3, 5), (3,), (1,), (5,), (1, 5), (3, 7)])
def test_experts_see_as_far_as_their_extent_and_are_read_as_they_are(shape, kind, kernel_sizes, generator):
    dims = len(shape)
    experts = ConvolutionExperts(2, 3, dims=dims, kernel_sizes=kernel_sizes, kind=kind).double()
    features = torch.zeros(1, 2, *(9,) * dims, dtype=torch.float64)
    still = experts(features)
    features[(0, slice(None), *(4,) * dims)] = torch.rand(2, generator=generator, dtype=torch.float64) + 0.5
    moved = experts(features)
    assert len(moved) == len(kernel_sizes)
    for before, after, k in zip(still, moved, kernel_sizes, strict=True):
        reached = (before != after).any(1)[0].nonzero()
        assert reached.amin(0).tolist() == [4 - k // 2] * dims
        assert reached.amax(0).tolist() == [4 + k // 2] * dims
    readout = torch.rand(4, 3, generator=generator, dtype=torch.float64)
    for read, whole in zip(experts.read(features, readout), moved, strict=True):
        torch.testing.assert_close(read, torch.einsum("rc,bc...->br...", readout, whole))


@pytest.mark.plain_errors
@pytest.mark.parametrize("kernel_sizes", [(), (2,), (0, 1), (-1, 1), (3, 1), (1, 4, 5)])
def test_extents_that_are_refused(kernel_sizes):
    with pytest.raises(ValueError, match="kernel_sizes must be odd, positive and in ascending order, got"):
        ConvolutionExperts(2, 2, dims=2, kernel_sizes=kernel_sizes, kind="full")


@pytest.mark.plain_errors
def test_names_that_are_refused():
    with pytest.raises(ValueError, match="kind must be one of 'full', 'nested', 'separable', got 'wide'"):
        SpatialHeterogeneousMoE(2, kind="wide")
    with pytest.raises(ValueError, match="routers must be one of 'directions', 'joint', got 'all'"):
        SpatialHeterogeneousMoE(2, routers="all")


def test_experts_of_ones_own_have_no_mixture():
    with pytest.raises(NotImplementedError, match="mixture needs experts that all directions share"):
        OwnedExpertsMoE(2, dims=2).mixture(torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("kind", EXPERT_KINDS)
def test_experts_are_named_by_extent_and_dimension(kind):
    for dims, names in ((2, ("1²", "5²")), (3, ("1³", "5³"))):
        assert ConvolutionExperts(3, 4, dims=dims, kernel_sizes=(1, 5), kind=kind).names == names

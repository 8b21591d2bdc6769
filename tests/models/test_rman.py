"""Recursion and mutual attention: interface, limit cases, memory, who looks where, bad input."""

from dataclasses import asdict

import pytest
import torch

from moereg import fields, models
from moereg.data import phantoms
from moereg.models.rman import STRIDES, InstanceNorm, ResBlock, average_pooled
from moereg.nn.attention import MutualAttention, Windows
from moereg.training import TrainingConfig, fit

TINY = {"widths": (4, 5, 6, 7), "heads": 2, "head_dim": 4, "window": 4}


def tiny(dims=2, seed=0, *, lively=True, **sizes):
    """A small network; `lively` ones move tissue by voxels, as trained ones do."""
    torch.manual_seed(seed)
    model = models.build("rman", dims=dims, **(TINY | sizes))
    if lively:
        with torch.no_grad():
            model.flow.weight.mul_(100)
    return model


def images(*shape, generator, batch=2):
    return torch.rand(2, batch, 1, *shape, generator=generator).unbind()


@pytest.mark.parametrize("shape", [(32, 32), (17, 30), (5, 4), (1, 9), (1, 1), (16, 13, 11), (3, 2, 1)])
def test_any_size_passes(shape, generator):
    model = tiny(len(shape))
    moving, fixed = images(*shape, generator=generator)
    registration = model(moving, fixed, recursions=3)
    assert [step.shape for step in registration.steps] == [(2, len(shape), *shape)] * 3
    assert torch.equal(registration.steps[-1], registration.displacement)
    assert torch.isfinite(registration.displacement).all()
    torch.testing.assert_close(registration.warped, fields.warp(moving, registration.displacement), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_recursions_compose_what_single_passes_find(dims, generator):
    """K recursions are K calls with one: the moving image warped so far, fields composed as the formula says."""
    model = tiny(dims)
    moving, fixed = images(*(20, 18, 16)[:dims], generator=generator)
    together = model(moving, fixed, recursions=3)
    so_far = torch.zeros_like(together.displacement)
    for step in together.steps:
        found = model(fields.warp(moving, so_far), fixed, recursions=1).displacement
        assert found.abs().max() > 0.2
        so_far = fields.compose(so_far, found)
        torch.testing.assert_close(step, so_far, atol=2e-3, rtol=0)


def test_fewer_recursions_are_the_first_ones(generator):
    model = tiny(recursions=4)
    moving, fixed = images(24, 20, generator=generator)
    four, one = model(moving, fixed), model(moving, fixed, recursions=1)
    assert len(four.steps) == 4
    assert torch.equal(one.displacement, four.steps[0])


def test_parameters_do_not_depend_on_recursions_nor_on_whom_one_looks_at():
    def count(**sizes):
        return sum(p.numel() for p in tiny(**sizes).parameters())

    assert count(recursions=1) == count(recursions=4)
    assert count(attention="mutual") == count(attention="self")
    attention = 3 * 2 * 4 * (7 + 6) + 2 * 4 * (7 + 6)  # q, k, v and output of both modules
    places_and_norms = (2 + 2) * (7 + 6)
    assert count() - count(attention="none") == attention + places_and_norms


def test_only_mutual_attention_lets_one_branch_see_the_other(generator):
    """Change the moving image: do the features of the fixed one change, before the branches are joined?"""
    moving, fixed = images(32, 32, generator=generator, batch=1)
    for kind, sees in (("mutual", True), ("self", False)):
        model = tiny(attention=kind)
        enriched = [model.looking[0](model.encode(fixed)[3], model.encode(image)[3])[0] for image in (moving, fixed)]
        assert torch.equal(*enriched) is not sees


def test_every_parameter_is_used(generator):
    for dims, kind in ((2, "mutual"), (3, "mutual"), (2, "self"), (2, "none")):
        model = tiny(dims, attention=kind)
        moving, fixed = images(*(40, 36, 33)[:dims], generator=generator)
        (model(moving, fixed).warped - fixed).square().mean().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_batch_items_do_not_mix(generator):
    model = tiny()
    moving, fixed = images(24, 20, generator=generator, batch=3)
    together, alone = model(moving, fixed), model(moving[1:2], fixed[1:2])
    torch.testing.assert_close(together.displacement[1:2], alone.displacement, atol=2e-3, rtol=0)


def saved_numbers(model, shape, generator):
    """How many numbers a training step keeps for its backward pass."""
    kept = {}

    def note(tensor):
        kept[tensor.data_ptr(), tensor.shape] = tensor.numel()
        return tensor

    moving, fixed = images(*shape, generator=generator, batch=1)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = model(moving, fixed, recursions=1).warped
    assert result.requires_grad
    return sum(kept.values())


def test_memory_grows_linearly_with_voxels(generator):
    """Also in the part that attention has in it; the same network with one window over everything does worse."""
    model, wide = tiny(window=4), tiny(window=10_000)
    sizes = [(64, width) for width in (128, 256, 512)]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # keeps its scores, as a formula would
        few, more, most = (saved_numbers(model, size, generator) for size in sizes)
        wide_few, wide_more, wide_most = (saved_numbers(wide, size, generator) for size in sizes)
    assert most - more == pytest.approx(2 * (more - few), rel=0.01)
    assert wide_most - wide_more > 2.2 * (wide_more - wide_few)


@pytest.mark.parametrize("shape", [(40, 56), (20, 24, 33)])
@pytest.mark.parametrize("kind", ["mutual", "self"])
@pytest.mark.parametrize("image", ["fixed", "moving"])
def test_weights_of_a_token_reproduce_what_the_layer_did(shape, kind, image, generator):
    model = tiny(len(shape), attention=kind)
    moving, fixed = images(*shape, generator=generator)
    registration = model(moving, fixed)
    for module, look in enumerate(registration.looks[1]):
        own, other = (look.fixed, look.moving) if image == "fixed" else (look.moving, look.fixed)
        enriched = look.layer(look.fixed, look.moving)[("fixed", "moving").index(image)]
        seen = own if kind == "self" else other
        voxel = tuple(n - 1 for n in shape)
        weights = registration.attention_of(voxel, recursion=2, module=module, item=1, image=image)
        token = tuple(min(round(v / STRIDES[module]), n - 1) for v, n in zip(voxel, own.shape[2:], strict=True))
        assert weights.shape == (2, *own.shape[2:])
        torch.testing.assert_close(weights.flatten(1).sum(1), torch.ones(2))
        values = torch.einsum("ct,ncd->ntd", seen[1].flatten(1), look.layer.attention.value)
        mixed = torch.einsum("nt,ntd->nd", weights.flatten(1), values)
        output = torch.einsum("nd,ndc->c", mixed, look.layer.attention.output)
        where = (1, slice(None), *token)
        torch.testing.assert_close(own[where] + output, enriched[where], atol=1e-5, rtol=1e-4)


def test_a_token_looks_inside_its_window_only(generator):
    registration = tiny(window=2)(*images(64, 64, generator=generator))
    weights = registration.attention_of((63, 0), module=1)
    assert weights.shape[1:] == (8, 8)
    assert (weights[:, 6:, :2] > 0).all()
    assert weights.sum() == pytest.approx(weights[:, 6:, :2].sum())


def test_own_attention_sees_the_same_windows_as_mutual_attention(generator):
    """Two equal images: looking at the other one or at oneself is the same."""
    mutual, own = tiny(attention="mutual"), tiny(attention="self")
    image = images(40, 33, generator=generator)[0]
    assert isinstance(own.looking[0].look, MutualAttention)
    first, second = (model(image, image, recursions=1).displacement for model in (mutual, own))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def test_instance_norm_is_torchs_where_torch_has_one(generator):
    norm = InstanceNorm(3)
    features = torch.randn(2, 3, 5, 4, generator=generator)
    torch.testing.assert_close(norm(features), torch.nn.functional.instance_norm(features), atol=1e-5, rtol=0)
    assert norm(torch.randn(1, 3, 1, 1)).abs().max() < 1e-4


def test_res_block_is_its_formula(generator):
    block = ResBlock(3, 3, dims=2, dilation=2)
    x = torch.randn(1, 3, 9, 8, generator=generator)
    convolve, lrelu = torch.nn.functional.conv2d, torch.nn.functional.leaky_relu
    first, second, third = (block.body[i].weight for i in (0, 3, 6))
    instance = torch.nn.functional.instance_norm
    hidden = lrelu(instance(convolve(x, first, padding=1)), 0.2)
    hidden = lrelu(instance(convolve(hidden, second, padding=1)), 0.2)
    hidden = instance(convolve(hidden, third, padding=2, dilation=2))
    torch.testing.assert_close(block(x), lrelu(hidden + x, 0.2), atol=1e-5, rtol=0)


def test_halving_keeps_coarse_voxel_i_on_fine_voxel_2i():
    ramp = torch.arange(9.0).expand(1, 1, 7, 9)
    assert torch.equal(average_pooled(ramp)[0, 0, 0, 1:-1], torch.tensor([2.0, 4.0, 6.0]))
    assert average_pooled(torch.zeros(1, 1, 7, 8, 1)).shape == (1, 1, 4, 4, 1)


def test_it_learns():
    pairs = [phantoms.make("abdomen", (32, 32), seed) for seed in range(2)]
    config = TrainingConfig(steps=15, learning_rate=5e-3, similarity="mse", smoothness=0.003)
    history = fit(tiny(lively=False), pairs, config, progress=False)
    assert sum(history.loss[-4:]) < 0.8 * sum(history.loss[:4])


def test_weights_come_back(tmp_path, generator):
    model = tiny(recursions=3, attention="self").eval()
    models.save_weights(tmp_path / "w.safetensors", model)
    loaded = models.load_model(tmp_path / "w.safetensors")
    assert asdict(loaded.sizes) == asdict(model.sizes)
    pair = images(16, 16, generator=generator)
    assert torch.equal(loaded(*pair).displacement, model(*pair).displacement)


def test_the_map_of_a_window_is_padded_and_cut_like_the_features():
    windows = Windows.of(torch.zeros(1, 1, 5, 7), 4)
    assert windows.join(windows.split(torch.ones(1, 1, 5, 7))).shape == (1, 1, 5, 7)


@pytest.mark.plain_errors
class TestBadInput:
    @pytest.mark.parametrize(
        ("sizes", "sentence"),
        [
            ({"dims": 4}, "dims must be 2 or 3"),
            ({"widths": (8, 16)}, "widths must have four entries"),
            ({"attention": "cross"}, "attention must be one of 'mutual', 'self', 'none', got 'cross'"),
            ({"recursions": 0}, "recursions must be a positive integer, got 0"),
        ],
    )
    def test_sizes(self, sizes, sentence):
        with pytest.raises(ValueError, match=sentence):
            tiny(**sizes)

    @pytest.mark.parametrize("recursions", [0, -1, 1.5, True])
    def test_recursions(self, recursions):
        with pytest.raises(ValueError, match=f"recursions must be a positive integer, got {recursions}"):
            tiny()(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), recursions=recursions)

    @pytest.mark.parametrize(
        ("moving", "fixed", "sentence"),
        [
            (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 17), "moving and fixed must have the same shape"),
            (torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16), "moving must have 2 spatial axes and 1 channel"),
            (torch.full((1, 1, 16, 16), torch.nan), torch.zeros(1, 1, 16, 16), "moving must hold finite values"),
        ],
    )
    def test_images(self, moving, fixed, sentence):
        with pytest.raises(ValueError, match=sentence):
            tiny()(moving, fixed)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"voxel": (16, 0)}, "voxel must lie inside the image of shape"),
            ({"voxel": (0, 0), "recursion": 3}, "recursion must be from 1 to 2, got 3"),
            ({"voxel": (0, 0), "module": 2}, "module must be 0"),
            ({"voxel": (0, 0), "image": "warped"}, "image must be one of"),
        ],
    )
    def test_attention(self, asked, sentence, generator):
        registration = tiny()(*images(16, 16, generator=generator))
        with pytest.raises(ValueError, match=sentence):
            registration.attention_of(**asked)

    def test_attention_of_a_network_without_any(self, generator):
        registration = tiny(attention="none")(*images(16, 16, generator=generator))
        with pytest.raises(ValueError, match="attention must be 'mutual' or 'self' .* got 'none'"):
            registration.attention_of((0, 0))


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5)])
@pytest.mark.parametrize("kind", ["mutual", "self"])
def test_looking_block_is_its_formula(shape, kind, generator):
    """Normalised maps, with a linear map of the distance from the middle in windows, look; the record keeps both."""
    dims = len(shape)
    block = tiny(dims, attention=kind, window=6).looking[0]
    fixed, moving = 3 + torch.randn(2, 1, 7, *shape, generator=generator)
    found_fixed, found_moving, look = block(fixed, moving)
    middle = torch.tensor([(n - 1) / 2 for n in shape]).view(-1, *[1] * dims)
    place = torch.einsum("cd,d...->c...", block.place.weight.flatten(1), (fields.identity_grid(shape) - middle) / 6)
    norm = torch.nn.GroupNorm(1, 7)
    expected = norm(fixed) + place, norm(moving) + place
    torch.testing.assert_close(look.fixed, expected[0])
    torch.testing.assert_close(look.moving, expected[1])
    assert not look.fixed.requires_grad
    torch.testing.assert_close((found_fixed, found_moving), block.look(*expected))
    assert block.place.bias is None


def test_a_pass_of_the_network_written_out(generator):
    """Four blocks down, attention, one block up, attention, and three blocks of both branches to half the size."""
    model = tiny()
    moving, fixed = images(40, 36, generator=generator, batch=1)
    maps = []
    for image in (fixed, moving):
        features, own = image, []
        for block in model.down:
            features = average_pooled(block(features))
            own.append(features)
        maps.append(own)
    f, m = maps
    assert [tuple(level.shape[2:]) for level in f] == [(20, 18), (10, 9), (5, 5), (3, 3)]
    a, b, _ = model.looking[0](f[3], m[3])
    a, b = (model.up(torch.cat([fields.upsample(coarse, (5, 5)), fine[2]], 1)) for coarse, fine in ((a, f), (b, m)))
    a, b, _ = model.looking[1](a, b)
    hidden = model.joint[0](torch.cat([a, b, a - b], 1))
    for block, level, grid in ((model.joint[1], 1, (10, 9)), (model.joint[2], 0, (20, 18))):
        hidden = block(torch.cat([fields.upsample(hidden, grid), f[level], m[level]], 1))
    expected = fields.upsample_field(model.flow(hidden), (40, 36))
    result = model(moving, fixed, recursions=1)
    torch.testing.assert_close(result.displacement, expected, atol=1e-3, rtol=1e-3)
    assert len(result.looks) == 1
    assert [look.fixed.shape[2:] for look in result.looks[0]] == [(3, 3), (5, 5)]


def test_an_untrained_network_hardly_moves_anything():
    torch.manual_seed(0)
    flow = models.build("rman").flow
    assert float(flow.weight.detach().std()) == pytest.approx(1e-3, rel=0.1)
    assert flow.bias.abs().max() == 0


def test_sizes_reach_the_layers():
    model = tiny(3, image_channels=2, heads=3, head_dim=5, window=2, dilation=3)
    assert [block.body[0].weight.shape[:2] for block in model.down] == [(4, 2), (5, 4), (6, 5), (7, 6)]
    assert [block.body[6].dilation for block in (*model.down, model.up, *model.joint)] == [(3, 3, 3)] * 8
    assert [block.look.attention.query.shape for block in model.looking] == [(3, 7, 5), (3, 6, 5)]
    assert [block.look.window for block in model.looking] == [2, 2]
    assert len(tiny(attention="none").looking) == 0


def test_pooling_by_hand():
    """Means of three around every second voxel, the border repeated; in three dimensions along each axis."""
    row = torch.tensor([0.0, 3.0, 6.0, 0.0])
    assert average_pooled(row.view(1, 1, 1, 4)).flatten().tolist() == [1, 3]
    for axis in (2, 3, 4):
        shape = [1] * 5
        shape[axis] = 4
        assert average_pooled(row.view(shape)).flatten().tolist() == [1, 3]


def test_the_voxel_that_looks_is_that_of_its_token(generator):
    """By default the first recursion, the finer module, the first pair and the fixed image; the nearest token."""
    registration = tiny()(*images(40, 36, generator=generator))
    look = registration.looks[0][1]
    assert torch.equal(registration.attention_of((21, 19)), look.weights((3, 2)))
    assert torch.equal(registration.attention_of((39, 35)), look.weights((4, 4)))
    asked = registration.attention_of((21, 25), recursion=2, module=0, item=1, image="moving")
    assert torch.equal(asked, registration.looks[1][0].weights((1, 2), item=1, image="moving"))
    assert not torch.equal(look.weights((3, 2)), look.weights((3, 2), item=1))
    for voxel in ((40, 0), (0, 36), (-1, 0), (0,), (0, 0, 0)):
        with pytest.raises(ValueError, match="voxel must lie inside the image of shape"):
            registration.attention_of(voxel)
    for token in ((5, 0), (0, 5), (-1, 0), (0,)):
        with pytest.raises(ValueError, match="token must lie on the grid"):
            look.weights(token)
    for wrong in ({"recursion": 0}, {"module": -1}):
        with pytest.raises(ValueError, match="must be"):
            registration.attention_of((0, 0), **wrong)


@pytest.mark.parametrize("name", ["recursions", "dilation", "heads", "head_dim", "window"])
def test_every_size_is_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got 0"):
        tiny(**{name: 0})


@pytest.mark.parametrize("attention", ["mutual", "self"])
def test_three_pairs_at_once_are_three_single_ones(attention, generator):
    network = tiny(attention=attention).eval()
    moving, fixed = images(16, 16, generator=generator, batch=3)
    together = network(moving, fixed).displacement
    alone = torch.cat([network(moving[i : i + 1], fixed[i : i + 1]).displacement for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_in_double_precision_and_without_numbers_that_normalisation_takes_away(generator):
    network = tiny().double()
    moving, fixed = (image.double() for image in images(16, 16, generator=generator))
    assert network(moving, fixed).displacement.dtype == torch.float64
    blocks = [module for module in network.modules() if isinstance(module, ResBlock)]
    assert blocks
    for block in blocks:
        convolutions = [layer for layer in block.body if isinstance(layer, torch.nn.Conv2d)]
        assert len(convolutions) == 3
        assert all(layer.bias is None for layer in convolutions)


def test_the_flow_keeps_its_grid():
    flow = tiny().flow
    assert flow.kernel_size == (3, 3)
    assert flow.padding == (1, 1)

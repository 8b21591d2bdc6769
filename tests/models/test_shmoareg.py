"""The network as a whole: interface, geometry, gradients, any size."""

import pytest
import torch

from moereg import fields, models
from moereg.models import SHMoAReg, SHMoARegSizes, shmoareg
from moereg.nn import OwnedExpertsMoE, SpatialHeterogeneousMoE
from moereg.nn.routing import Site

TINY = {"widths": (4, 6, 8), "decoder_widths": (4, 4, 4), "heads": 3, "active_heads": 2, "head_dim": 4}


def tiny(dims=2, seed=0, **sizes):
    torch.manual_seed(seed)
    return models.build("shmoareg", dims=dims, **(TINY | sizes))


@pytest.mark.parametrize("shape", [(32, 32), (17, 30), (5, 4), (1, 9), (16, 13, 11), (3, 2, 1)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_any_size_passes(shape, stem_stride, generator):
    model = tiny(len(shape), stem_stride=stem_stride)
    moving, fixed = (torch.rand(2, 1, *shape, generator=generator) for _ in range(2))
    registration = model(moving, fixed)
    assert registration.displacement.shape == (2, len(shape), *shape)
    assert [step.shape for step in registration.steps] == [registration.displacement.shape] * 3
    assert torch.equal(registration.steps[-1], registration.displacement)
    torch.testing.assert_close(registration.warped, fields.warp(moving, registration.displacement))


def test_routing_is_named_and_complete(generator):
    moving, fixed = (torch.rand(2, 1, 16, 12, 20, generator=generator) for _ in range(2))
    routing = tiny(3)(moving, fixed).routing
    assert sorted(routing) == [
        "decoder.0.shmoe",
        "decoder.1.shmoe",
        "decoder.2.shmoe",
        "encoder.1.moa",
        "encoder.2.moa",
    ]
    finest = routing["decoder.0.shmoe"]
    assert finest.routers == ("z", "y", "x")
    assert finest.experts == ("1³", "3³", "5³", "7³")
    assert finest.gates.shape == (2, 3, 4, 8, 6, 10)
    assert routing["encoder.1.moa"].gates.shape == (4, 1, 3, 4, 3, 5)  # moving and fixed images


def test_nothing_is_kept_in_the_module(generator):
    model = tiny()
    state = {name: set(vars(module)) for name, module in model.named_modules()}
    model(*(torch.rand(1, 1, 16, 16, generator=generator) for _ in range(2)))
    assert state == {name: set(vars(module)) for name, module in model.named_modules()}
    assert not list(model.buffers())


def test_every_parameter_is_used(generator):
    model = tiny(3)
    moving, fixed = (torch.rand(2, 1, 16, 16, 16, generator=generator) for _ in range(2))
    registration = model(moving, fixed)
    (registration.warped - fixed).square().mean().backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []
    routers = [p.grad for name, p in model.named_parameters() if "router" in name]
    assert all(gradient.abs().max() > 0 for gradient in routers)


def test_levels_are_composed_coarse_to_fine(generator):
    """The field of a level is compose(upsampled coarser field, residual of this level)."""
    model = tiny(stem_stride=1).eval()
    with torch.no_grad():
        for mixture in model.mixtures:
            mixture.readout.normal_(0, 0.3)
    moving, fixed = (torch.rand(1, 1, 24, 20, generator=generator) for _ in range(2))
    registration = model(moving, fixed)
    residual = registration.routing["decoder.0.shmoe"].contributions.sum(2)
    torch.testing.assert_close(registration.displacement, fields.compose(registration.steps[1], residual))
    assert residual.abs().max() > 0.1


def test_batch_items_do_not_mix(generator):
    model = tiny().eval()
    moving, fixed = (torch.rand(3, 1, 16, 18, generator=generator) for _ in range(2))
    together = model(moving, fixed).displacement
    alone = torch.cat([model(moving[i : i + 1], fixed[i : i + 1]).displacement for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("context", ["self", "cross"])
def test_cross_attention_looks_at_the_other_image(context, generator):
    model = tiny(context=context).eval()
    moving, fixed, other = (torch.rand(1, 1, 16, 16, generator=generator) for _ in range(3))
    pyramids = [model.encode(torch.cat([moving, image]))[0] for image in (fixed, other)]
    same = torch.equal(pyramids[0][1][:1], pyramids[1][1][:1])
    assert same == (context == "self")


def test_two_dimensional_default_runs(generator):
    registration = SHMoAReg(SHMoARegSizes(dims=2))(*(torch.rand(1, 1, 30, 33, generator=generator) for _ in range(2)))
    assert registration.routing["decoder.0.shmoe"].experts == ("1²", "3²", "5²", "7²")


@pytest.mark.plain_errors
class TestBadInput:
    def test_images(self):
        model, image = tiny(), torch.zeros(1, 1, 16, 16)
        with pytest.raises(ValueError, match="moving must hold finite values only"):
            model(image + float("nan"), image)
        with pytest.raises(ValueError, match=r"fixed must have shape .* got \(16, 16\)"):
            model(image, image[0, 0])
        with pytest.raises(ValueError, match="moving and fixed must have the same shape"):
            model(image, torch.zeros(1, 1, 16, 18))
        with pytest.raises(TypeError, match="moving must be floating point"):
            model(image.int(), image)
        with pytest.raises(
            ValueError, match="moving must have 2 spatial axes and 1 channel, as the model was built for"
        ):
            model(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8))
        with pytest.raises(
            ValueError, match="moving must have 2 spatial axes and 1 channel, as the model was built for"
        ):
            model(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))

    def test_sizes(self):
        with pytest.raises(ValueError, match="context must be one of 'self', 'cross', got 'both'"):
            tiny(context="both")
        with pytest.raises(ValueError, match="widths and decoder_widths must have one entry per level, got 2 and 3"):
            tiny(widths=(4, 4))
        with pytest.raises(ValueError, match=r"moa_levels must be among 0 .. 2, got \(3,\)"):
            tiny(moa_levels=(3,))
        with pytest.raises(ValueError, match="stem_stride must be 1 or 2, got 4"):
            tiny(stem_stride=4)
        with pytest.raises(ValueError, match="dims must be 2 or 3, got 4"):
            tiny(dims=4)


def written_out(model, moving, fixed):
    """The three lines of the module's text, level by level, from the network's parts."""
    features, pyramid = torch.cat([moving, fixed]), []
    for level, blocks in enumerate(model.encoder.levels):
        features = blocks[1](blocks[0](features))
        if str(level) in model.attention:
            other = features.flip(0) if model.sizes.context == "cross" else None  # a batch of one
            features = model.attention[str(level)](features, other)[0]
        pyramid.append((features[:1], features[1:]))
    field, hidden, steps = None, None, []
    for level in (2, 1, 0):
        m, f = pyramid[level]
        above = []
        if field is not None:
            field = fields.upsample_field(field, f.shape[2:])
            m = fields.warp(m, field)
            above = [fields.upsample(hidden, f.shape[2:])]
        hidden = model.blocks[level](torch.cat([f, m, f - m, *above], 1))
        residual = model.mixtures[level](hidden)[0]
        field = residual if field is None else fields.compose(field, residual)
        step, grids = field, [pyramid[n][0].shape[2:] for n in range(level)]
        for grid in [*reversed(grids), *([fixed.shape[2:]] if model.sizes.stem_stride == 2 else [])]:
            step = fields.upsample_field(step, grid)
        steps.append(step)
    return steps


@pytest.mark.parametrize(("shape", "stem_stride"), [((21, 18), 1), ((21, 18), 2), ((13, 12, 9), 2)])
@pytest.mark.parametrize("context", ["self", "cross"])
@torch.no_grad()
def test_the_network_is_its_three_lines(shape, stem_stride, context, generator):
    model = tiny(len(shape), stem_stride=stem_stride, context=context)
    for mixture in model.mixtures:
        mixture.readout.normal_(0, 0.3)
    moving, fixed = torch.rand(2, 1, 1, *shape, generator=generator).unbind()
    result = model(moving, fixed)
    for step, expected in zip(result.steps, written_out(model, moving, fixed), strict=True):
        torch.testing.assert_close(step, expected, atol=1e-3, rtol=1e-4)
    assert (result.steps[0] - result.steps[-1]).abs().max() > 0.1
    torch.testing.assert_close(result.warped, fields.warp(moving, result.steps[-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_sizes_reach_the_layers(stem_stride):
    sizes = {"moa_levels": (0, 2), "heads": 5, "active_heads": 3, "head_dim": 2, "window": 3, "head_gate": "raw"}
    sizes |= {"kernel_sizes": (3, 5), "active_experts": 1, "expert_kind": "full", "gate": "soft", "routers": "joint"}
    model = tiny(image_channels=2, stem_stride=stem_stride, **sizes)
    assert set(model.attention) == {"0", "2"}
    for level, block in model.attention.items():
        moa = block.moa
        assert moa.query.shape == (5, TINY["widths"][int(level)], 2)
        assert (moa.window, moa.router.k, moa.router.gate) == (3, 3, "raw")
        assert moa.router.site == Site(f"encoder.{level}.moa", "encoder", stem_stride * 2 ** int(level))
    for level, mixture in enumerate(model.mixtures):
        assert type(mixture) is SpatialHeterogeneousMoE
        assert (mixture.experts.kernel_sizes, mixture.experts.kind) == ((3, 5), "full")
        assert (mixture.router.gate, mixture.router.k, mixture.router.routers) == ("soft", 2, ("all",))
        assert mixture.router.site == Site(f"decoder.{level}.shmoe", "decoder", stem_stride * 2**level)
        assert mixture.readout.shape == (2, 4)
    assert tiny(active_experts=3).mixtures[0].router.k == 3
    assert {type(mixture) for mixture in tiny(experts="owned").mixtures} == {OwnedExpertsMoE}
    assert model.encoder.levels[0][0][0].weight.shape[1] == 2


@pytest.mark.plain_errors
def test_levels_below_the_finest_are_refused():
    with pytest.raises(ValueError, match=r"moa_levels must be among 0 .. 2, got \(1, -4\)"):
        tiny(moa_levels=(1, -4))
    with pytest.raises(ValueError, match="experts must be one of 'shared', 'owned', got 'both'"):
        tiny(experts="both")


def test_a_field_at_every_voxel_is_predicted_by_one_narrow_level_more():
    every, second = SHMoARegSizes(stem_stride=1), SHMoARegSizes()
    assert every.widths[1:] == second.widths
    assert every.decoder_widths[1:] == second.decoder_widths
    assert (every.widths[0], every.decoder_widths[0]) == (8, 8)
    assert (second.moa_levels, every.moa_levels) == ((1, 2), (2, 3)), "the same strides"
    assert SHMoARegSizes(widths=(4, 4), decoder_widths=(4, 4), moa_levels=(-1,)).moa_levels == (1,)


@pytest.mark.plain_errors  # checks of types read a field at random
def test_steps_are_brought_to_the_image_when_they_are_read(generator, monkeypatch):
    brought = []
    bring = shmoareg.field_to_image
    monkeypatch.setattr(shmoareg, "field_to_image", lambda *a, **k: brought.append(k["level"]) or bring(*a, **k))
    result = tiny()(*(torch.rand(1, 1, 16, 12, generator=generator) for _ in range(2)))
    assert brought == [0], "the last field alone"
    first = result.steps[0]
    assert result.steps[0] is first
    assert brought == [0, 2], "once"
    assert len(result.steps) == len(list(result.steps)) == 3
    assert result.steps[-1] is result.displacement
    assert [step.shape for step in result.steps[:2]] == [result.displacement.shape] * 2
    with pytest.raises(IndexError):
        result.steps[3]

"""Two streams: interface, what equal and swapped images give, replacing a stream, the loss on the force."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from moereg import classical, fields, models
from moereg.data import phantoms
from moereg.filters import halve, spatial_gradient
from moereg.models.drivenmorph import DeformationStream, DrivenMorphSizes, IntensityDifference
from moereg.nn.attention import Windows
from moereg.similarity import mse
from moereg.training import Batch, TrainingConfig, fit, registration_loss

TINY = {"widths": (4, 6, 8), "compared": 3, "heads": 2, "head_dim": 4, "window": 4}


def tiny(dims=2, seed=0, **sizes):
    torch.manual_seed(seed)
    return models.build("drivenmorph", dims=dims, **(TINY | sizes))


def images(*shape, generator, batch=2):
    return [torch.rand(batch, 1, *shape, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("shape", [(32, 32), (17, 30), (5, 4), (1, 9), (16, 13, 11), (3, 2, 1)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_any_size_passes(shape, stem_stride, generator):
    model = tiny(len(shape), stem_stride=stem_stride)
    moving, fixed = images(*shape, generator=generator)
    registration = model(moving, fixed)
    assert registration.displacement.shape == (2, len(shape), *shape)
    assert [step.shape for step in registration.steps] == [registration.displacement.shape] * 6
    assert [step.level for step in registration.driven] == [2, 2, 1, 1, 0, 0]
    assert torch.equal(registration.steps[-1], registration.displacement)
    finest = [-(-size // stem_stride) for size in shape]
    assert registration.driven[-1].force.shape[2:] == torch.Size(finest)
    torch.testing.assert_close(registration.warped, fields.warp(moving, registration.displacement), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_equal_images_do_not_move_at_all(dims, generator):
    model = tiny(dims)
    image = torch.rand(1, 1, *(18, 17, 16)[:dims], generator=generator)
    other = torch.rand(1, 1, *(18, 17, 16)[:dims], generator=generator)
    registration = model(torch.cat([image, other]), torch.cat([image, image]))
    assert registration.displacement[0].abs().max() == 0
    assert torch.equal(registration.warped[0], image[0])
    assert registration.displacement[1].abs().max() > 0.1


def test_constant_images_do_not_move(generator):
    registration = tiny()(torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.7))
    assert torch.isfinite(registration.displacement).all()
    flat = tiny()(torch.full((1, 1, 16, 16), 0.7), torch.full((1, 1, 16, 16), 0.7))
    assert flat.displacement.abs().max() == 0


def test_swapping_the_images_turns_the_first_force_around(generator):
    model = tiny(3)
    moving, fixed = images(16, 15, 17, generator=generator)
    forward, backward = model(moving, fixed).driven[0], model(fixed, moving).driven[0]
    torch.testing.assert_close(backward.force, -forward.force, atol=1e-5, rtol=0)
    assert forward.force.abs().max() > 0.1


def test_rounds_are_composed_and_levels_follow_each_other(generator):
    driven = tiny(stem_stride=1)(*images(24, 20, generator=generator)).driven
    for step in driven:
        torch.testing.assert_close(step.displacement, fields.compose(step.before, step.update), atol=1e-5, rtol=0)
        assert step.update.norm(dim=1).max() <= 1 + 1e-5
    assert driven[0].before.abs().max() == 0
    for earlier, later in pairwise(driven):
        carried = earlier.displacement
        if later.level != earlier.level:
            carried = fields.upsample_field(carried, later.before.shape[2:])
        assert torch.equal(later.before, carried)


def test_every_parameter_is_used(generator):
    model = tiny(3)
    moving, fixed = images(16, 16, 16, generator=generator)
    (model(moving, fixed).warped - fixed).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_batch_items_do_not_mix_and_nothing_is_kept(generator):
    model = tiny()
    state = {name: set(vars(module)) for name, module in model.named_modules()}
    moving, fixed = images(16, 18, generator=generator, batch=3)
    together, alone = model(moving, fixed), model(moving[1:2], fixed[1:2])
    torch.testing.assert_close(together.displacement[1:2], alone.displacement, atol=1e-3, rtol=0)
    assert state == {name: set(vars(module)) for name, module in model.named_modules()}


def test_the_deformation_stream_can_be_driven_by_the_classical_force(generator):
    model = tiny(stem_stride=1)
    model.difference = IntensityDifference(model.sizes)
    for layer in model.deformation.layers:
        layer.epsilon = 0.0
    moving, fixed = images(24, 20, generator=generator)
    registration = model(moving, fixed)
    first, finest = registration.driven[0], registration.driven[-1]
    assert first.force.shape[2:] == (6, 5)
    warped = fields.warp(moving, finest.before)
    gradient = (spatial_gradient(fixed) + spatial_gradient(warped)) / 2
    expected = classical.demons_force(fixed - warped, gradient, max_step=model.sizes.max_step)
    torch.testing.assert_close(finest.force, expected, atol=1e-3, rtol=0)
    assert mse(registration.warped, fixed) < mse(moving, fixed)


def test_the_deformation_stream_can_be_replaced(generator):
    class Rough(DeformationStream):
        """No smoothing."""

        def forward(self, level, fixed, moving, before):
            step = super().forward(level, fixed, moving, before)
            return models.DrivenStep(level, before, step.force, step.force, fields.compose(before, step.force))

    model = tiny()
    model.deformation = Rough(model.sizes)
    driven = model(*images(16, 18, generator=generator)).driven
    assert all(torch.equal(step.force, step.update) for step in driven)


def test_attention_keeps_to_its_windows():
    """On the coarsest grid of 6 x 8 voxels in windows of 4: what is changed in one corner stays in that window."""
    block = tiny(window=4).difference.attention["2"]
    for norm in range(2):
        block.norms[norm] = torch.nn.Identity()  # which would mix the whole map
    maps = torch.rand(2, 1, 8, 6, 8, generator=torch.Generator().manual_seed(0))
    before = block(*maps)
    maps[:, ..., 0, 0] += 1
    for old, new in zip(before, block(*maps), strict=True):
        changed = (old != new).any(1)[0]
        assert changed[:3, :4].all()
        assert changed.sum() == 12


def test_fusion_is_cross_attention_then_attention_to_itself(generator):
    block = tiny(window=8).difference.attention["2"]
    first, second = torch.rand(2, 1, 8, 3, 4, generator=generator).unbind()
    a, b = block.cross(block.norms[0](first), block.norms[0](second))
    for found, crossed in zip(block(first, second), (a, b), strict=True):
        tokens = block.norms[1](crossed).flatten(2).mT
        torch.testing.assert_close(found, crossed + block.own(tokens).mT.view_as(crossed))


def test_intensities_on_a_pyramid(generator):
    image = torch.rand(1, 1, 13, 16, generator=generator)
    for stem_stride, first in ((1, image), (2, halve(image))):
        sizes = DrivenMorphSizes(dims=2, widths=(1, 1), attention_levels=(), stem_stride=stem_stride)
        pyramid = IntensityDifference(sizes).encode(image)
        assert torch.equal(pyramid[0], first)
        assert torch.equal(pyramid[1], halve(first))
        assert len(pyramid) == 2


def test_force_loss_rewards_a_force_that_aligns():
    model = tiny()
    model.difference = IntensityDifference(model.sizes)
    pair = phantoms.make("abdomen", (48, 48), 3)
    moving, fixed = pair.moving[None], pair.fixed[None]
    registration = model(moving, fixed)

    def loss(factor):
        driven = tuple(replace(step, force=factor * step.force) for step in registration.driven)
        return replace(registration, driven=driven).force_loss(moving, fixed, mse)

    assert loss(1.0) < loss(0.0) < loss(-1.0)
    assert model(fixed, fixed).force_loss(fixed, fixed, mse) < 1e-10


def test_force_loss_trains_the_difference_stream_only(generator):
    model = tiny(rounds=1, widths=(4,), attention_levels=())
    moving, fixed = images(16, 18, generator=generator)
    model(moving, fixed).force_loss(moving, fixed, mse).backward()
    assert all(p.grad.abs().max() > 0 for p in model.difference.parameters())
    assert all(p.grad is None for p in model.deformation.parameters())


def test_training_adds_the_force_loss(generator):
    moving, fixed = images(16, 18, generator=generator)
    registration = tiny()(moving, fixed)
    batch = Batch(moving, fixed, None, None)
    with_force, parts = registration_loss(registration, batch, TrainingConfig(similarity="mse", force=0.5))
    without, fewer = registration_loss(registration, batch, TrainingConfig(similarity="mse", force=0.0))
    assert "force" not in fewer
    torch.testing.assert_close(parts["force"], registration.force_loss(moving, fixed, mse))
    torch.testing.assert_close(with_force, without + 0.5 * parts["force"])


def test_it_learns():
    pairs = [phantoms.make("abdomen", (32, 32), seed) for seed in range(4)]
    model = tiny()
    history = fit(model, pairs, TrainingConfig(steps=30, learning_rate=3e-3), progress=False)
    assert sum(history.loss[-5:]) < sum(history.loss[:5]) - 0.1


def test_weights_come_back(tmp_path, generator):
    model = tiny().eval()
    models.save_weights(tmp_path / "w.safetensors", model)
    loaded = models.load_model(tmp_path / "w.safetensors")
    pair = images(16, 16, generator=generator)
    assert torch.equal(loaded(*pair).displacement, model(*pair).displacement)


@pytest.mark.plain_errors
class TestBadInput:
    @pytest.mark.parametrize(
        ("sizes", "sentence"),
        [
            ({"dims": 4}, "dims must be 2 or 3"),
            ({"stem_stride": 3}, "stem_stride must be 1 or 2"),
            ({"attention_levels": (3,)}, "attention_levels must be among 0 .. 2"),
            ({"rounds": 0}, "rounds must be a positive integer"),
            ({"compared": 0}, "compared must be a positive integer"),
            ({"max_step": 0.0}, "max_step must be a positive number"),
            ({"sigma": 4.0}, "sigma must lie between 0 and max_sigma"),
        ],
    )
    def test_sizes(self, sizes, sentence):
        with pytest.raises(ValueError, match=sentence):
            models.DrivenMorph(DrivenMorphSizes(**sizes))

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


def test_sizes_reach_the_layers():
    model = tiny(heads=3, head_dim=5, window=7, attention_levels=(0, 2), compared=4)
    stream = model.difference
    assert sorted(stream.attention) == ["0", "2"]
    for block in stream.attention.values():
        assert [norm.num_groups for norm in block.norms] == [1, 1]
        assert block.window == block.cross.window == 7
        for attention in (block.cross.attention, block.own):
            assert (attention.query.shape[0], attention.query.shape[2]) == (3, 5)
    assert [(layer.out_channels, layer.bias) for layer in stream.compare] == [(4, None)] * 3


def test_fusion_looks_at_no_padding_and_normalises_each_step_by_itself(generator):
    """A map of 5 x 6 in windows of 4: the plain computation window by window, without what pads them."""
    block = tiny(window=4).difference.attention["2"]
    with torch.no_grad():
        for number, norm in enumerate(block.norms):
            norm.weight.copy_(torch.rand(8, generator=generator) + number)
            norm.bias.copy_(torch.rand(8, generator=generator))
    first, second = torch.rand(2, 1, 8, 5, 6, generator=generator).unbind()
    a, b = block.cross(block.norms[0](first), block.norms[0](second))
    size = Windows.of(first, 4).size
    for found, crossed in zip(block(first, second), (a, b), strict=True):
        normed, expected = block.norms[1](crossed), crossed.clone()
        for top in range(0, 5, size[0]):
            for left in range(0, 6, size[1]):
                part = (..., slice(top, top + size[0]), slice(left, left + size[1]))
                tokens = normed[part].flatten(2).mT
                expected[part] += block.own(tokens).mT.view_as(normed[part])
        torch.testing.assert_close(found, expected)


def test_the_layers_of_the_deformation_have_the_sizes_asked_for():
    for layer in tiny(max_step=0.75, sigma=1.25, max_sigma=2.5).deformation.layers:
        assert (layer.max_step, layer.max_sigma) == (0.75, 2.5)
        assert layer.sigma.tolist() == pytest.approx([1.25, 1.25])

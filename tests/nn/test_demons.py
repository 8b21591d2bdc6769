"""The Demons force in feature space and the layer around it."""

import copy
import math

import pytest
import torch

from moereg import classical
from moereg.fields import compose, identity_grid, sample
from moereg.filters import gaussian_taps, smoothing_matrix, spatial_gradient
from moereg.nn.demons import DemonsStep, NeuralDemonsLayer, feature_demons_force

SHAPES = [(7, 8), (5, 6, 7)]


def features(shape, channels, generator, *, dtype=torch.float64, batch=2):
    return torch.randn(2, batch, channels, *shape, generator=generator, dtype=dtype).unbind(0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_step", [0.5, 2.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
def test_one_channel_is_the_esm_force(shape, max_step, dtype, tolerance, generator):
    fixed, moving = features(shape, 1, generator, dtype=dtype)
    gradient = (spatial_gradient(fixed) + spatial_gradient(moving)) / 2
    expected = classical.demons_force(fixed - moving, gradient, max_step=max_step)
    force = feature_demons_force(fixed, moving, max_step=max_step)
    torch.testing.assert_close(force, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_force_solves_the_system_of_every_voxel(shape, generator):
    fixed, moving = features(shape, 4, generator)
    jacobian = (spatial_gradient(fixed) + spatial_gradient(moving)).movedim((1, 2), (-2, -1)) / 2  # (B, *S, C, D)
    difference = (fixed - moving).movedim(1, -1)[..., None]  # (B, *S, C, 1)
    regular = difference.square().sum((-2, -1), keepdim=True) / (4 * 0.7**2) * torch.eye(len(shape), dtype=fixed.dtype)
    expected = torch.linalg.solve(jacobian.mT @ jacobian + regular, jacobian.mT @ difference)
    force = feature_demons_force(fixed, moving, max_step=0.7)
    torch.testing.assert_close(force, expected[..., 0].movedim(-1, 1), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("max_step", [0.25, 3.0])
def test_no_force_and_no_update_is_longer_than_the_bound(shape, channels, max_step, generator):
    longest = 0.0
    for exponent in range(-12, 9, 2):
        fixed, moving = features(shape, channels, generator, dtype=torch.float32, batch=4)
        moving = fixed + moving * 10.0 ** float(exponent)  # from nearly equal to hugely different
        force = feature_demons_force(fixed, moving, max_step=max_step)
        update = NeuralDemonsLayer(len(shape), max_step=max_step)(fixed, moving).update
        assert torch.isfinite(force).all()
        longest = max(longest, force.norm(dim=1).max().item())
        assert update.norm(dim=1).max() <= max_step * (1 + 1e-5)
    assert longest <= max_step * (1 + 1e-5)


def test_the_bound_is_reached():
    # A ramp of slope g, moved so that d = 2 L g: both terms of the denominator are equal.
    ramp = identity_grid((9, 9), dtype=torch.float64)[:1][None] * 0.3
    force = feature_demons_force(ramp, ramp - 2 * 0.5 * 0.3, max_step=0.5)
    torch.testing.assert_close(force[:, 0], torch.full_like(force[:, 0], 0.5))
    assert force[:, 1].abs().max() < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_swapping_the_images_turns_the_force_around(shape, generator):
    fixed, moving = features(shape, 3, generator)
    torch.testing.assert_close(feature_demons_force(moving, fixed), -feature_demons_force(fixed, moving))


def test_orthogonal_mixing_of_channels_changes_nothing(generator):
    fixed, moving = features((6, 7), 5, generator)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    mixed = [torch.einsum("ij,bjyx->biyx", rotation, each) for each in (fixed, moving)]
    torch.testing.assert_close(feature_demons_force(*mixed), feature_demons_force(fixed, moving))


def test_scaling_the_features_changes_nothing(generator):
    fixed, moving = features((6, 7), 3, generator, dtype=torch.float32)
    for scale in (1e-12, 1e12):
        scaled = feature_demons_force(fixed * scale, moving * scale)
        torch.testing.assert_close(scaled, feature_demons_force(fixed, moving))


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_force_is_differentiable(shape, channels, generator):
    fixed, moving = (each.requires_grad_() for each in features(shape, channels, generator, batch=1))
    assert torch.autograd.gradcheck(feature_demons_force, (fixed, moving))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])
def test_layer_is_differentiable_also_in_its_width(shape, generator):
    layer = NeuralDemonsLayer(len(shape), max_sigma=2.0).double()
    fixed, moving = (each.requires_grad_() for each in features(shape, 2, generator, batch=1))

    def run(fixed, moving, width):
        step = torch.func.functional_call(layer, {"width": width}, (fixed, moving))
        return step.force, step.update

    assert torch.autograd.gradcheck(run, (fixed, moving, layer.width))


@pytest.mark.parametrize("epsilon", [0.0, 1e-4])
@pytest.mark.parametrize("case", ["equal", "constant", "equal constant", "zero", "constant patch"])
def test_nothing_to_see_gives_no_force_and_finite_gradients(case, epsilon, generator):
    image = torch.randn(1, 3, 6, 7, 5, generator=generator)
    flat = torch.ones_like(image)
    patch = image.clone()
    patch[..., :4] = 0
    fixed, moving = {
        "equal": (image, image.clone()),
        "constant": (flat, 2 * flat),
        "equal constant": (flat, flat.clone()),
        "zero": (0 * flat, 0 * flat),
        "constant patch": (patch, patch.clone()),
    }[case]
    layer = NeuralDemonsLayer(3, epsilon=epsilon)
    fixed.requires_grad_(), moving.requires_grad_()
    step = layer(fixed, moving)
    assert step.force.abs().max() == 0
    assert step.update.abs().max() == 0
    (step.update * torch.randn(step.update.shape, generator=generator)).sum().backward()
    for gradient in (fixed.grad, moving.grad, layer.width.grad):
        assert torch.isfinite(gradient).all()


def test_epsilon_bounds_the_gradient_where_features_vanish(generator):
    def steepest(epsilon):
        fixed, moving = (1e-8 * each.float() for each in features((8, 8), 2, generator))
        moving.requires_grad_()
        feature_demons_force(fixed, moving, epsilon=epsilon).norm(dim=1).sum().backward()
        return moving.grad.abs().max()

    assert steepest(0.0) > 1e4
    assert steepest(1e-4) < 1


@pytest.mark.parametrize("width", [-100.0, -1.0, 0.5, 100.0])
def test_kernel_is_a_low_pass_whatever_was_learned(width):
    layer = NeuralDemonsLayer(2, max_sigma=2.5).double()
    torch.nn.init.constant_(layer.width, width)
    taps = layer.taps()
    assert taps.shape == (2, 21)
    assert taps.min() >= 0
    assert torch.equal(taps, taps.flip(1))
    torch.testing.assert_close(taps.sum(1), torch.ones(2, dtype=torch.float64))
    frequency = torch.linspace(0, math.pi, 100, dtype=torch.float64)
    response = torch.cos(frequency[:, None] * torch.arange(-10, 11)) @ taps[0]
    assert response.max() <= 1 + 1e-12
    assert response.diff().max() < 1e-4  # falls from wave to finer wave, up to the cut
    assert response.min() > -1e-4


def test_smoothing_keeps_a_constant_force():
    layer = NeuralDemonsLayer(3)
    force = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 4, 9, 6)
    torch.testing.assert_close(layer.smooth(force), force)


def test_width_can_be_learned(generator):
    noise = torch.randn(4, 2, 24, 24, generator=generator)
    teacher, layer = NeuralDemonsLayer(2), NeuralDemonsLayer(2, sigma=0.5)
    with torch.no_grad():
        teacher.width.copy_(torch.logit(torch.tensor([2.0, 1.0]) / 3))
        target = teacher.smooth(noise)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        (layer.smooth(noise) - target).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(layer.sigma.detach(), torch.tensor([2.0, 1.0]), atol=0.1, rtol=0)


def test_iterating_the_layer_registers_a_blob():
    grid = identity_grid((24, 24))
    moving, fixed = (
        torch.exp(-((grid - torch.tensor(centre).view(2, 1, 1)) ** 2).sum(0) / 18)[None, None]
        for centre in ((14.0, 11.0), (12.0, 12.0))
    )
    layer = NeuralDemonsLayer(2, epsilon=1e-6)
    field = torch.zeros(1, 2, 24, 24)
    with torch.no_grad():
        for _ in range(30):
            field = compose(field, layer(fixed, sample(moving, field)).update)
    assert (sample(moving, field) - fixed).square().mean() < 0.05 * (moving - fixed).square().mean()


def test_nothing_stays_in_the_module(generator):
    layer = NeuralDemonsLayer(2)
    before = set(vars(layer))
    fixed, moving = features((6, 7), 2, generator, dtype=torch.float32)
    first, second = layer(fixed, moving), layer(fixed, moving)
    assert isinstance(first, DemonsStep)
    assert set(vars(layer)) == before
    assert torch.equal(first.update, second.update)
    assert list(layer.state_dict()) == ["width"]
    assert torch.equal(copy.deepcopy(layer)(fixed, moving).update, first.update)


def test_single_precision_also_under_autocast(generator):
    layer = NeuralDemonsLayer(2)
    fixed, moving = features((6, 7), 2, generator, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer(fixed.bfloat16(), moving.bfloat16())
    assert inside.update.dtype == torch.float32
    torch.testing.assert_close(inside.update, layer(fixed.bfloat16().float(), moving.bfloat16().float()).update)


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("fixed", "moving", "sentence"),
    [
        (torch.zeros(1, 2, 5, 5), torch.zeros(1, 3, 5, 5), "moving and fixed must have the same shape"),
        (torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 6), "moving and fixed must have the same shape"),
        (torch.zeros(1, 2, 5, 5, 5), torch.zeros(1, 2, 5, 5, 5), "fixed must have 2 spatial axes"),
        (torch.zeros(2, 5, 5), torch.zeros(2, 5, 5), "fixed must have shape"),
        (torch.zeros(1, 2, 5, 5), torch.zeros(2, 5, 5), "moving must have shape"),
    ],
)
def test_bad_features_get_one_sentence(fixed, moving, sentence):
    with pytest.raises(ValueError, match=sentence):
        NeuralDemonsLayer(2)(fixed, moving)


def test_a_layer_within_a_network_does_not_look_for_numbers_that_are_not_finite(generator):
    """The network's own images were looked through; another look at every layer would cost a pass over memory."""
    fixed, moving = features((6, 7), 2, generator, dtype=torch.float32)
    moving[0, 0, 3, 3] = float("nan")
    assert not NeuralDemonsLayer(2)(fixed, moving).force.isfinite().all()
    assert not NeuralDemonsLayer(2)(moving, fixed).force.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_step": 0.0}, "max_step must be a positive number"),
        ({"sigma": 3.0, "max_sigma": 2.0}, "sigma must lie between 0 and max_sigma"),
        ({"max_sigma": -1.0}, "max_sigma must be a positive number"),
        ({"epsilon": -1.0}, "epsilon must not be negative"),
    ],
)
def test_bad_sizes_get_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        NeuralDemonsLayer(2, **arguments)


def test_a_layer_by_default():
    layer = NeuralDemonsLayer(3)
    assert (layer.max_step, layer.max_sigma, layer.epsilon) == (0.5, 3.0, 1e-4)
    torch.testing.assert_close(layer.sigma, torch.ones(3))
    assert layer.taps().shape == (3, 25)


def test_force_by_default_is_at_most_half_a_voxel(generator):
    fixed, moving = features((5, 6), 3, generator)
    written = feature_demons_force(fixed, moving, max_step=0.5, epsilon=0.0)
    assert torch.equal(feature_demons_force(fixed, moving), written)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 3)])
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_force_solves_its_linear_system(shape, epsilon, generator):
    """Against `torch.linalg.solve`, voxel by voxel."""
    fixed, moving = features(shape, 4, generator)
    difference = fixed - moving
    jacobian = (spatial_gradient(fixed) + spatial_gradient(moving)) / 2  # (B, C, D, *S)
    matrix = torch.einsum("bci...,bcj...->b...ij", jacobian, jacobian)
    floor = difference.square().sum(1) / (4 * 0.7**2) + epsilon
    matrix = matrix + floor[..., None, None] * torch.eye(len(shape), dtype=torch.float64)
    vector = torch.einsum("bci...,bc...->b...i", jacobian, difference)
    expected = torch.linalg.solve(matrix, vector).movedim(-1, 1)
    torch.testing.assert_close(feature_demons_force(fixed, moving, max_step=0.7, epsilon=epsilon), expected)


def test_update_is_the_force_smoothed_along_each_axis_with_its_own_width(generator):
    layer = NeuralDemonsLayer(2, max_step=0.8, max_sigma=2.0, epsilon=0.01).double()
    torch.nn.init.normal_(layer.width, generator=generator)
    fixed, moving = features((7, 6), 3, generator)
    step = layer(fixed, moving)
    force = feature_demons_force(fixed, moving, max_step=0.8, epsilon=0.01)
    torch.testing.assert_close(step.force, force)
    first, second = (
        smoothing_matrix(gaussian_taps(sigma, 8), size) for sigma, size in zip(layer.sigma, (7, 6), strict=True)
    )
    torch.testing.assert_close(step.update, torch.einsum("ij,kl,bdjl->bdik", first, second, force))
    single = NeuralDemonsLayer(2)
    assert single.smooth(force).dtype == torch.float64


@pytest.mark.parametrize("arguments", [{"sigma": 0.0}, {"sigma": 3.0}, {"epsilon": math.inf}, {"epsilon": math.nan}])
def test_sizes_at_the_edge_are_refused(arguments):
    with pytest.raises(ValueError, match="sigma must lie between|epsilon must not be negative"):
        NeuralDemonsLayer(2, **arguments)


def test_sizes_at_the_edge_that_pass():
    assert NeuralDemonsLayer(2, epsilon=0.0).epsilon == 0
    torch.testing.assert_close(NeuralDemonsLayer(2, sigma=2.99).sigma, torch.full((2,), 2.99))

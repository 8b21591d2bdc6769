"""Convolutions: torch's numbers and gradients, never by its slow path."""

import pytest
import torch
import torch.nn.functional as F

from moereg.models import MODELS, build
from moereg.nn.convolution import Convolution3d, convolve

SLOW = {"aten::slow_conv3d", "aten::slow_conv3d_forward"}


def operations(work):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    return {event.name for event in profile.events()}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("batch", "space"), [(1, (5, 6, 7)), (2, (5, 6, 7)), (1, (6, 7))])
def test_value_and_gradient_are_those_of_torch_in_float64(batch, space, stride, groups, generator):
    features = torch.randn(batch, 4, *space, generator=generator)
    weight = torch.randn(6, 4 // groups, *[3] * len(space), generator=generator)
    bias = torch.randn(6, generator=generator)
    plain = {2: F.conv2d, 3: F.conv3d}[len(space)]
    results = {}
    for dtype, function in ((torch.float32, convolve), (torch.float64, plain)):
        inputs = [tensor.to(dtype).requires_grad_() for tensor in (features, weight, bias)]
        result = function(*inputs, stride=stride, padding=1, groups=groups)
        results[dtype] = [result, *torch.autograd.grad(result.square().sum(), inputs)]
    for ours, theirs in zip(*results.values(), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_options_that_onednn_is_not_asked_for_are_torchs_own(generator):
    features = torch.randn(1, 2, 5, 5, 5, generator=generator)
    for options in ({"padding": "same"}, {"padding": 1, "padding_mode": "replicate"}, {"padding": 2, "dilation": 2}):
        ours, theirs = Convolution3d(2, 3, 3, **options), torch.nn.Conv3d(2, 3, 3, **options)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(features), theirs(features))


def test_the_slow_path_is_there_and_not_met():
    features, plain = torch.rand(1, 4, 6, 6, 6), torch.nn.Conv3d(4, 4, 3)
    assert operations(lambda: plain(features)) & SLOW  # else this module has nothing to do
    assert not operations(lambda: convolve(features, plain.weight, plain.bias)) & SLOW


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("voxelmorph", "segreg")])
def test_no_network_meets_it_at_batch_one(name):
    model, (moving, fixed) = build(name, dims=3), torch.rand(2, 1, 1, 16, 16, 16)
    with torch.no_grad():
        assert not operations(lambda: model(moving, fixed)) & SLOW


SMALL_GRIDS = [((2, 2, 2), 3), ((2, 5, 5), 3), ((4, 4, 4), 5), ((3, 3, 3), 7)]


def kernel_gradient(function, features, weight, generator, **options):
    result = function(features, weight, None, padding=weight.shape[2] // 2, **options)
    return result, torch.autograd.grad((result * torch.rand(result.shape, generator=generator)).sum(), weight)[0]


@pytest.mark.parametrize(("space", "extent"), SMALL_GRIDS)
@pytest.mark.parametrize("autocast", [True, False])
def test_bfloat16_gradients_of_small_grids_are_right(space, extent, autocast, generator):
    """Where oneDNN's are made of whatever lay in memory; a computation in float64 tells."""
    features = torch.rand(2, 16, *space, generator=generator)
    weight = torch.randn(8, 16, *[extent] * 3, generator=generator).requires_grad_()
    seed = generator.get_state()
    _, wanted = kernel_gradient(F.conv3d, features.double(), weight.double(), generator)
    generator.set_state(seed)
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            result, found = kernel_gradient(convolve, features, weight, generator)
    else:
        low = weight.detach().bfloat16().requires_grad_()
        result, found = kernel_gradient(convolve, features.bfloat16(), low, generator)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


def test_only_what_is_wrong_is_done_otherwise(monkeypatch):
    """float32, a larger grid, the plane, no gradient: torch's own, in the precision that was asked for."""
    asked = []
    for name in ("conv2d", "conv3d"):
        real = getattr(F, name)
        monkeypatch.setattr(
            F, name, lambda x, *a, f=real, **o: asked.append(torch.is_autocast_enabled("cpu")) or f(x, *a, **o)
        )
    kernel = torch.rand(2, 2, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        convolve(torch.rand(2, 2, 4, 2, 2), kernel, padding=1)
        convolve(torch.rand(2, 2, 2, 2), torch.rand(2, 2, 3, 3), padding=1)
        convolve(torch.rand(2, 2, 2, 4, 4), torch.rand(2, 2, 1, 1, 1))
        with torch.no_grad():
            convolve(torch.rand(2, 2, 2, 4, 4), kernel, padding=1)
        assert asked == [True] * 4
        convolve(torch.rand(2, 2, 3, 4, 4), kernel, padding=1)
    convolve(torch.rand(2, 2, 2, 4, 4), kernel, padding=1)
    assert asked[4:] == [False, False]

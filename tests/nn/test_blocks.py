"""Building blocks are their formulas, and strides put coarse voxel i on fine voxel 2 i."""

import pytest
import torch
import torch.nn.functional as F

from moereg.nn.blocks import ConvolutionBlock, MoABlock, PyramidEncoder, block_of_difference, fast_layout
from moereg.nn.moa import MixtureOfAttentionHeads


@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_block_is_its_formula(shape, stride, generator):
    torch.manual_seed(0)
    dims = len(shape)
    block = ConvolutionBlock(2, 3, dims=dims, **({} if stride == 1 else {"stride": stride}))
    features = torch.randn(2, 2, *shape, generator=generator)
    convolve = {2: F.conv2d, 3: F.conv3d}[dims]
    hidden = convolve(features, block[0].weight, block[0].bias, stride=stride, padding=1)
    flat = hidden.flatten(1)
    mean, variance = flat.mean(1), flat.var(1, correction=0)
    shaped = [each.view(-1, *[1] * (dims + 1)) for each in (mean, variance)]
    normal = (hidden - shaped[0]) / (shaped[1] + 1e-5).sqrt()
    expected = torch.where(normal > 0, normal, 0.2 * normal)
    torch.testing.assert_close(block(features), expected, atol=1e-5, rtol=1e-5)
    assert block(features).shape[2:] == tuple(-(-n // stride) for n in shape)


def test_fast_layout_changes_where_numbers_lie_and_nothing_else(generator):
    volume, image = torch.randn(2, 3, 4, 5, 6, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)
    assert torch.equal(fast_layout(volume), volume)
    assert fast_layout(volume).is_contiguous(memory_format=torch.channels_last_3d)
    assert not fast_layout(volume).is_contiguous()
    assert fast_layout(image) is image


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 2)])
def test_moa_block_is_its_formula(shape, cross, generator):
    """`x + MoA(norm x)`, then `x + MLP(norm x)`; a context is normalised as well."""
    torch.manual_seed(0)
    dims = len(shape)
    moa = MixtureOfAttentionHeads(4, heads=3, k=2, head_dim=2, window=4)
    block = MoABlock(4, dims=dims, moa=moa)
    features, context = 3 + 2 * torch.randn(2, 1, 4, *shape, generator=generator)
    found, routing = block(features, context if cross else None)
    norm = torch.nn.GroupNorm(1, 4)
    attended, expected_routing = moa(norm(features), norm(context) if cross else None)
    between = features + attended
    convolve = {2: F.conv2d, 3: F.conv3d}[dims]
    first, second = block.mlp[1], block.mlp[3]
    hidden = F.gelu(convolve(norm(between), first.weight, first.bias))
    assert hidden.shape[1] == 8
    torch.testing.assert_close(found, between + convolve(hidden, second.weight, second.bias))
    assert torch.equal(routing.gates, expected_routing.gates)


@pytest.mark.parametrize("shape", [(19, 16), (9, 8, 7)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_levels_of_the_encoder(shape, stem_stride, generator):
    torch.manual_seed(0)
    options = {} if stem_stride == 1 else {"stem_stride": 2}
    encoder = PyramidEncoder(2, (3, 5, 4), dims=len(shape), **options)
    image = torch.randn(1, 2, *shape, generator=generator)
    pyramid = encoder(image)
    assert [level.shape[1] for level in pyramid] == [3, 5, 4]
    strides = [stem_stride * 2**level for level in range(3)]
    assert [level.shape[2:] for level in pyramid] == [tuple(-(-n // s) for n in shape) for s in strides]
    features = image
    for level, expected in zip(encoder.levels, pyramid, strict=True):
        features = level[1](level[0](features))
        torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("shape", [(7, 6), (6, 5, 7)])
@pytest.mark.parametrize("above", [0, 4])
def test_a_difference_goes_into_the_kernels_of_what_it_is_made_of(shape, above, generator):
    """Value and every gradient are those of the clear form, which convolves the difference too."""
    torch.manual_seed(0)
    block = ConvolutionBlock(3 * 3 + above, 5, dims=len(shape)).double()
    maps = [torch.randn(2, n, *shape, generator=generator, dtype=torch.float64) for n in (3, 3, above) if n]
    fixed, moving, *rest = (each.requires_grad_() for each in maps)
    clear = block(torch.cat([fixed, moving, fixed - moving, *rest], dim=1))
    fast = block_of_difference(block, fixed, moving, *rest)
    torch.testing.assert_close(fast, clear)
    leaves = [fixed, moving, *rest, *block.parameters()]
    slopes = [torch.autograd.grad(result.square().sum(), leaves) for result in (fast, clear)]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_training_keeps_two_maps_of_a_block_and_not_the_one_between(generator):
    """What goes into the normalisation and what comes out of the activation; what lies between is written over."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    block, features = ConvolutionBlock(3, 4, dims=2), torch.rand(2, 3, 16, 16, generator=generator)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(features).square()  # keeps what it gets, as the next convolution does
    assert sum(size == 2 * 4 * 16 * 16 * 4 for size in kept.values()) == 2

"""Losses against definitions in float64, and what must not change them."""

import pytest
import torch

from moereg import similarity

SHAPES = [(1, 1, 21, 18), (2, 2, 12, 10, 11), (1, 1, 18, 5, 33)]  # some axes longer than a tile of the band matrix


def images(shape, generator, dtype=torch.float64):
    first = torch.rand(shape, generator=generator, dtype=dtype)
    second = 0.5 * first + 0.5 * torch.rand(shape, generator=generator, dtype=dtype)
    return first.requires_grad_(), second.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 9, 25])
def test_lncc_value_and_gradient_equal_the_definition(shape, window, generator):
    pair = images(shape, generator)
    fast, slow = similarity.lncc(*pair, window), similarity.lncc_reference(*pair, window)
    torch.testing.assert_close(fast, slow)
    for ours, theirs in zip(torch.autograd.grad(fast, pair), torch.autograd.grad(slow, pair), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_lncc_by_hand():
    """One window over a 1 x 3 image with window 3: the middle voxel sees all, the outer ones two each."""
    first = torch.tensor([[[[0.0, 1.0, 2.0]]]], dtype=torch.float64)
    second = torch.tensor([[[[0.0, 1.0, 0.0]]]], dtype=torch.float64)
    # outer voxels: variances 1/4, covariance +-1/4 -> correlation^2 = 1; middle: covariance 0
    value = similarity.lncc(first, second, 3, epsilon=0.0)
    torch.testing.assert_close(value, torch.tensor(-2 / 3, dtype=torch.float64))


def test_lncc_float32_against_float64(generator):
    pair = images((1, 1, 24, 24, 24), generator)
    value = similarity.lncc(*pair)
    gradient = torch.autograd.grad(value, pair[0])[0]
    single = [image.detach().float().requires_grad_() for image in pair]
    value32 = similarity.lncc(*single)
    gradient32 = torch.autograd.grad(value32, single[0])[0]
    torch.testing.assert_close(value32.double(), value, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient32.double(), gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("offset", [100.0, -30.0])
def test_lncc_is_unchanged_by_an_offset(offset, generator):
    first, second = (image.detach().float() for image in images((1, 1, 16, 16, 16), generator))
    torch.testing.assert_close(
        similarity.lncc(first + offset, second), similarity.lncc(first, second), rtol=0, atol=1e-4
    )


def test_lncc_is_unchanged_by_inversion_and_nearly_by_scale(generator):
    first, second = (image.detach() for image in images((1, 1, 16, 16), generator))
    torch.testing.assert_close(similarity.lncc(1 - first, second), similarity.lncc(first, second))
    torch.testing.assert_close(
        similarity.lncc(3 * first, second, epsilon=1e-12), similarity.lncc(first, second, epsilon=1e-12)
    )


@pytest.mark.parametrize("border", ["count", "zeros"])
@pytest.mark.parametrize("kind", ["equal", "noise", "constant", "huge", "tiny", "step"])
def test_lncc_lies_between_minus_one_and_zero(kind, border, generator):
    noise = torch.rand(1, 1, 15, 14, 13, generator=generator)
    other = torch.rand(1, 1, 15, 14, 13, generator=generator)
    step = (noise > 0.5).float()
    first, second = {
        "equal": (noise, noise),
        "noise": (noise, other),
        "constant": (noise, torch.full_like(noise, 0.3)),
        "huge": (1e6 * noise, 1e6 * noise + 1e5 * other),
        "tiny": (1e-6 * noise, 1e-6 * noise),
        "step": (1000 * step, 1000 * step + 7),
    }[kind]
    value = float(similarity.lncc(first, second, border=border))
    assert -1 <= value <= 0
    if kind in ("equal", "huge", "step"):
        assert value < -0.9


@pytest.mark.parametrize("constant", [0.0, 0.7, 1000.0])
def test_a_constant_image_gives_zero_gradient(constant):
    first = torch.full((1, 1, 12, 12, 12), constant, requires_grad=True)
    second = torch.full((1, 1, 12, 12, 12), 0.2)
    for loss in (similarity.lncc(first, second), similarity.mse(first, first.detach().clone())):
        gradient = torch.autograd.grad(loss, first)[0]
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_mse_by_hand():
    first = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    torch.testing.assert_close(similarity.mse(first, torch.zeros_like(first)), torch.tensor(14 / 4))


@pytest.mark.plain_errors
@pytest.mark.parametrize("loss", [similarity.mse, similarity.lncc])
class TestBadInput:
    def test_sentences(self, loss):
        image = torch.zeros(1, 1, 8, 8)
        with pytest.raises(ValueError, match="warped and fixed must have the same shape, got .* and .*"):
            loss(image, torch.zeros(1, 1, 8, 9))
        with pytest.raises(ValueError, match="fixed must hold finite values only"):
            loss(image, image + float("nan"))
        with pytest.raises(TypeError, match="warped must be floating point .* got torch.int64"):
            loss(image.long(), image)
        with pytest.raises(ValueError, match="warped must have shape .* got \\(8, 8\\)"):
            loss(image[0, 0], image)


@pytest.mark.plain_errors
def test_window_must_have_a_middle():
    image = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="window must be odd, so that it has a middle voxel, got 4"):
        similarity.lncc(image, image, 4)
    with pytest.raises(ValueError, match="border must be one of 'count', 'zeros', got 'reflect'"):
        similarity.lncc(image, image, border="reflect")

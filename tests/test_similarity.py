"""Losses against definitions in float64, and what must not change them."""

import pytest
import torch
from torch.nn import functional

from moereg import similarity

SHAPES = [(1, 1, 21, 18), (2, 2, 12, 10, 11), (1, 1, 18, 5, 33)]  # some axes longer than a tile of the band matrix


def images(shape, generator, dtype=torch.float64):
    first = torch.rand(shape, generator=generator, dtype=dtype)
    second = 0.5 * first + 0.5 * torch.rand(shape, generator=generator, dtype=dtype)
    return first.requires_grad_(), second.requires_grad_()


def definition(warped, fixed, window, *, epsilon=1e-5, border="count"):
    """`lncc` written out with one sum over windows per moment, differentiated by autograd."""

    def total(image):
        for axis in range(2, image.ndim):
            padding = [0, 0] * (image.ndim - 1 - axis) + [window // 2] * 2
            image = functional.pad(image, padding).unfold(axis, window, 1).sum(-1)
        return image

    count = total(torch.ones_like(warped)) if border == "count" else window ** (warped.ndim - 2)

    def mean(image):
        return total(image) / count

    covariance = mean(warped * fixed) - mean(warped) * mean(fixed)
    variances = [(mean(image**2) - mean(image) ** 2).clamp_min(0) for image in (warped, fixed)]
    return -(covariance**2 / (variances[0] * variances[1] + epsilon)).mean()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("window", "border"), [(3, "count"), (9, "count"), (9, "zeros"), (25, "count")])
def test_lncc_value_and_gradient_equal_the_definition(shape, window, border, generator):
    pair = images(shape, generator)
    fast, slow = similarity.lncc(*pair, window, border=border), definition(*pair, window, border=border)
    torch.testing.assert_close(fast, slow)
    for ours, theirs in zip(torch.autograd.grad(fast, pair), torch.autograd.grad(slow, pair), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_lncc_by_default_sees_nine_voxels_and_ignores_regions_flatter_than_its_floor(generator):
    first, second = (image.detach() for image in images((1, 1, 12, 13), generator))
    torch.testing.assert_close(similarity.lncc(first, second), definition(first, second, 9, epsilon=1e-5))
    # variances of 1e-5 make the floor of 1e-5 count for 100,000 times their product
    faint = similarity.lncc(0.01 * first, 0.01 * second)
    torch.testing.assert_close(faint, definition(0.01 * first, 0.01 * second, 9, epsilon=1e-5))
    assert faint > 0.01 * similarity.lncc(first, second)


def test_lncc_gives_a_gradient_to_the_image_that_asks_for_it(generator):
    first, second = images((1, 1, 9, 10), generator)
    both = torch.autograd.grad(similarity.lncc(first, second, 3), (first, second))
    alone = [
        torch.autograd.grad(similarity.lncc(first, second.detach(), 3), first)[0],
        torch.autograd.grad(similarity.lncc(first.detach(), second, 3), second)[0],
    ]
    torch.testing.assert_close(both, tuple(alone))


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


@pytest.mark.parametrize("shape", [(2, 3, 8, 7), (2, 3, 6, 5, 7)])
def test_lncc_does_not_ask_how_images_are_stored(shape, generator):
    pair = images(shape, generator)
    last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    stored = [image.detach().contiguous(memory_format=last).requires_grad_() for image in pair]
    results = [(value := similarity.lncc(*given, 3), *torch.autograd.grad(value, given)) for given in (pair, stored)]
    for plain, other in zip(*results, strict=True):
        torch.testing.assert_close(plain, other)


def test_rounding_makes_no_correlation_larger_than_one(generator):
    """Faint noise far from the mean: moments of half the image are differences of nearly equal numbers."""
    bright = torch.zeros(1, 1, 16, 16, 16)
    bright[..., 8:] = 100
    for scale in (1e-3, 1e-2, 1e-1):
        first, second = (bright + scale * torch.rand(bright.shape, generator=generator) for _ in range(2))
        value = float(similarity.lncc(first, second, 3, epsilon=1e-20))
        assert -1 <= value < 0


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


def test_an_item_of_a_batch_does_not_lose_digits_to_another(generator):
    """Each image is taken about its own mean: one with an offset of 10^5 leaves its neighbour as it is."""
    one, other = torch.rand(2, 1, 1, 16, 16, generator=generator)
    alone = similarity.lncc(one, other, 5)
    both = similarity.lncc(torch.cat([one, one + 1e5]), torch.cat([other, one + 1e5]), 5)
    near = similarity.lncc((one + 1e5) - 1e5, (one + 1e5) - 1e5, 5)
    assert float(both) == pytest.approx(float(alone + near) / 2, abs=2e-3)


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
    for wrong in (2.5, 0):
        with pytest.raises(ValueError, match=f"^window must be a positive integer, got {wrong}"):
            similarity.lncc(image, image, wrong)
    with pytest.raises(ValueError, match="border must be one of 'count', 'zeros', got 'reflect'"):
        similarity.lncc(image, image, border="reflect")


# ---- mutual information ----


def histogram_by_hand(first, second, bins=32, limits=None):
    """One voxel and one bin after the other, float64: `mutual_information` as a list would have it."""

    def spline(x):
        x = abs(x)
        return (4 - 6 * x**2 + 3 * x**3) / 6 if x < 1 else (2 - x) ** 3 / 6 if x < 2 else 0.0

    def places(values):
        low, high = limits or (min(values), max(values))
        return [2 + (bins - 5) * min(max((value - low) / (high - low), 0), 1) for value in values]

    joint = torch.zeros(bins, bins, dtype=torch.float64)
    voxels = first.flatten().tolist(), second.flatten().tolist()
    for one, other in zip(*map(places, voxels), strict=True):
        for a in range(bins):
            joint[a, round(other)] += spline(a - one) / first.numel()
    outer = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    filled = joint > 0
    return -(joint[filled] * (joint[filled] / outer[filled]).log()).sum()


@pytest.mark.parametrize("shape", [(1, 1, 7, 6), (1, 1, 5, 4, 6)])
@pytest.mark.parametrize(("bins", "limits"), [(32, None), (9, (0.1, 0.7))])
def test_mutual_information_by_hand(shape, bins, limits, generator):
    first, second = (image.detach() for image in images(shape, generator))
    value = similarity.mutual_information(first, second, bins, limits=limits)
    torch.testing.assert_close(value, histogram_by_hand(first, second, bins, limits))


def test_mutual_information_by_default_has_32_bins_and_the_mean_of_items_and_channels(generator):
    first, second = (image.detach() for image in images((2, 2, 6, 7), generator))
    single = [
        histogram_by_hand(one, other) for one, other in zip(first.flatten(0, 1), second.flatten(0, 1), strict=True)
    ]
    torch.testing.assert_close(similarity.mutual_information(first, second), torch.stack(single).mean())


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 2, 3, 4, 3)])
def test_mutual_information_has_the_gradient_of_its_value(shape, generator):
    first, second = images(shape, generator)
    second = second.detach()
    assert torch.autograd.gradcheck(
        lambda image: similarity.mutual_information(image, second, 16, limits=(0.05, 0.9)), first
    )


def test_mutual_information_moves_no_fixed_image_and_keeps_the_extremes_where_they_are(generator):
    first, second = images((1, 1, 9, 8), generator)
    loss = similarity.mutual_information(first, second)
    gradient, none = torch.autograd.grad(loss, (first, second), allow_unused=True)
    assert none is None
    told = similarity.mutual_information(first, second, limits=None)
    scaled = similarity.mutual_information(3 * first - 7, second)
    torch.testing.assert_close(told, scaled)  # whatever gain and offset
    # The range is that of the image, held fixed: the same as when it is given, while both images have it.
    low, high = float(first.min()), float(first.max())
    second = low + (second.detach() - second.min()) / (second.max() - second.min()) * (high - low)
    given = similarity.mutual_information(first, second, limits=(low, high))
    inner = (first > low) & (first < high)
    (same,) = torch.autograd.grad(given, first)
    torch.testing.assert_close(gradient[inner], same[inner])


def test_mutual_information_asks_for_no_relation_of_brightness(generator):
    first, _ = (image.detach() for image in images((1, 1, 40, 40), generator))
    value = similarity.mutual_information(first, (first - 0.5).square())
    other = similarity.mutual_information(first, torch.rand(first.shape, generator=generator, dtype=first.dtype))
    assert value < 2 * other < 0
    assert similarity.mutual_information(first, torch.full_like(first, 0.3)) == 0


def test_mutual_information_of_float32_and_of_a_constant(generator):
    pair = images((1, 1, 12, 12, 12), generator)
    value = similarity.mutual_information(*pair)
    single = [image.detach().float().requires_grad_() for image in pair]
    torch.testing.assert_close(similarity.mutual_information(*single).double(), value, rtol=1e-4, atol=1e-5)
    constant = torch.full((1, 1, 6, 6), 0.4, requires_grad=True)
    (gradient,) = torch.autograd.grad(similarity.mutual_information(constant, torch.rand(1, 1, 6, 6)), constant)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.plain_errors
def test_mutual_information_refuses_what_means_nothing():
    image = torch.rand(1, 1, 6, 6)
    for options, sentence in (
        ({"bins": 7}, "bins must be at least 8, got 7"),
        ({"limits": (1.0, 1.0)}, "limits must be two finite numbers"),
        ({"limits": (0.0, float("inf"))}, "limits must be two finite numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            similarity.mutual_information(image, image, **options)

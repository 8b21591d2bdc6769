"""The same numbers as MONAI's Warp, LNCC and displacement integration, value and gradient."""

import pytest
import torch

from moereg import fields, similarity

pytest.importorskip("monai", reason="MONAI is not installed")


@pytest.mark.parametrize("shape", [(12, 15), (10, 9, 8)])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_warp(shape, padding, generator):
    from monai.networks.blocks import Warp

    dims = len(shape)
    image = torch.rand(2, 2, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    displacement = (torch.rand(2, dims, *shape, generator=generator, dtype=torch.float64) * 6 - 3).requires_grad_()
    weight = torch.rand(2, 2, *shape, generator=generator, dtype=torch.float64)
    ours = fields.warp(image, displacement, padding=padding)
    theirs = Warp(mode="bilinear", padding_mode=padding)(image, displacement)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    gradients = [torch.autograd.grad((y * weight).sum(), [image, displacement]) for y in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("window", [5, 9])
def test_lncc_with_zero_padding(window, generator):
    """MONAI sums where we average, so its epsilon is ours times window^(2 D); with both negligible the values agree."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    first = torch.rand(1, 1, 14, 13, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    second = 0.5 * first.detach() + 0.5 * torch.rand(1, 1, 14, 13, 12, generator=generator, dtype=torch.float64)
    ours = similarity.lncc(first, second, window, epsilon=1e-18, border="zeros")
    theirs = LocalNormalizedCrossCorrelationLoss(spatial_dims=3, kernel_size=window, smooth_nr=0, smooth_dr=1e-12)(
        first, second
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(y, first)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-9)


def test_exponential(generator):
    from monai.networks.blocks import DVF2DDF

    velocity = torch.rand(1, 3, 9, 8, 10, generator=generator, dtype=torch.float64) * 2 - 1
    theirs = DVF2DDF(num_steps=7, mode="bilinear", padding_mode="border")(velocity)
    torch.testing.assert_close(fields.exponentiate(velocity, 7), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 1, 15, 13), (1, 1, 9, 10, 8)])
def test_mutual_information(shape, generator):
    """MONAI, as ITK, spreads an image over `bins - 4` bins and lets the brightest of them fall onto the one below."""
    from monai.losses import GlobalMutualInformationLoss

    bins = 20
    first = torch.rand(shape, generator=generator, dtype=torch.float64)
    second = (0.6 * first + 0.4 * torch.rand(shape, generator=generator, dtype=torch.float64)) ** 2
    # MONAI takes the extremes over the whole batch: give every item the same ones.
    for image in (first, second):
        image.flatten(1)[:, 0], image.flatten(1)[:, 1] = 0.0, 1.0
    first.requires_grad_()
    theirs = GlobalMutualInformationLoss("b-spline", num_bins=bins, smooth_nr=1e-12, smooth_dr=1e-12)(first, second)
    ours = similarity.mutual_information(first, second, bins, limits=(0.0, (bins - 5) / (bins - 4)))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    inner = (first > 0) & (first < 1)  # theirs moves the extremes along
    gradients = [torch.autograd.grad(value, first)[0][inner] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-9)

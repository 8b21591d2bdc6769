"""One node of the graph is the clear form: value, both gradients, in pieces and whole."""

import pytest
import torch

from moereg.pulling import plain, pull


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)])
@pytest.mark.parametrize(("mode", "padding"), [("bilinear", "border"), ("bilinear", "zeros"), ("nearest", "border")])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_pull_is_the_clear_form(shape, mode, padding, batch, threads, generator):
    dims = len(shape)
    source = tuple(size + 2 for size in shape)  # the image's grid may be another one
    image = torch.randn(batch, 2, *source, generator=generator, dtype=torch.float64, requires_grad=True)
    field = (2 * torch.randn(batch, dims, *shape, generator=generator, dtype=torch.float64)).requires_grad_()
    results = [pull(image, field, mode, padding), plain(image, field, mode, padding)]
    torch.testing.assert_close(*results)
    weight = torch.randn(results[0].shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(*(torch.autograd.grad(r, [image, field], weight) for r in results), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5)])
def test_a_field_that_follows_another_is_added_with_its_gradient(shape, threads, generator):
    first, second = (
        torch.randn(1, len(shape), *shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "uv"
    )
    results = [pull(first, second, "bilinear", "border", add=True), second + plain(first, second, "bilinear", "border")]
    torch.testing.assert_close(*results)
    weight = torch.randn(results[0].shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(*(torch.autograd.grad(r, [first, second], weight) for r in results), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_the_gradient_that_is_wanted_is_computed(wanted, generator):
    given = [torch.randn(1, channels, 5, 4, generator=generator) for channels in (1, 2)]
    given[wanted].requires_grad_()
    (slope,) = torch.autograd.grad(pull(*given, "bilinear", "border").sum(), [given[wanted]])
    both = [each.detach().clone().requires_grad_() for each in given]
    expected = torch.autograd.grad(plain(*both, "bilinear", "border").sum(), both)[wanted]
    torch.testing.assert_close(slope, expected)


def test_precision_of_the_image_is_kept_and_positions_are_not_rounded():
    image = torch.arange(400.0).expand(1, 1, 2, 400).bfloat16()
    field = torch.full((1, 2, 2, 400), 0.0).bfloat16()
    assert torch.equal(pull(image, field, "bilinear", "border"), image)

"""A pair in both directions is encoded once: the same field, the same gradients, half of the encoder's work."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from moereg.models import build
from moereg.models.siamese import both_directions, encode_both, exchanged

SIAMESE = ("shmoareg", "drivenmorph", "rman")
CROSS = {"context": "cross"}


def pairs(count: int = 2, size: int = 24, dims: int = 2) -> tuple[Tensor, Tensor]:
    """Both directions of some pairs, in float64."""
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.rand(count, 1, *[size] * dims, generator=generator, dtype=torch.float64) for _ in range(2))
    return torch.cat([first, second]), torch.cat([second, first])


def drawn(name: str, **options) -> nn.Module:
    """A network in float64 whose last layers move something."""
    torch.manual_seed(0)
    model = build(name, dims=2, **options).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def field_and_gradients(model: nn.Module, moving: Tensor, fixed: Tensor) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    found = model(moving, fixed)
    terms = sum((routing.balance_loss() for routing in found.routing.values()), torch.zeros(()).double())
    ((found.warped - fixed).square().mean() + terms).backward()
    return found.displacement.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in SIAMESE), ("shmoareg", CROSS)])
def test_value_and_gradients_are_those_of_encoding_everything(name, options, monkeypatch):
    """With the balance loss, whose mean over twice as many tokens is the same."""
    model, (moving, fixed) = drawn(name, **options), pairs()
    once, gradients = field_and_gradients(model, moving, fixed)
    for module in ("siamese", "rman"):
        monkeypatch.setattr(f"moereg.models.{module}.both_directions", lambda moving, fixed: False)
    twice, expected = field_and_gradients(model, moving, fixed)
    assert float(once.abs().max()) > 1e-3
    torch.testing.assert_close(once, twice)
    assert len(gradients) == len(expected) > 0
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other)


def images_encoded(model: nn.Module, moving: Tensor, fixed: Tensor) -> int:
    """How many images the first convolution sees."""
    seen = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    model(moving, fixed)
    handle.remove()
    return sum(seen)


@pytest.mark.parametrize("name", SIAMESE)
def test_each_image_is_encoded_once_in_a_training_alone(name):
    options = {"recursions": 1} if name == "rman" else {}
    model, (moving, fixed) = drawn(name, **options), pairs()
    assert images_encoded(model, moving, fixed) == 4
    assert images_encoded(model, moving, fixed.flip(0)) == 8, "not the same pairs"
    assert images_encoded(model.eval(), moving, fixed) == 8


def test_what_both_directions_are():
    moving, fixed = pairs()
    assert both_directions(moving, fixed)
    assert both_directions(moving[:1].repeat(2, 1, 1, 1), moving[:1].repeat(2, 1, 1, 1)), "an image and itself"
    assert not both_directions(moving[:3], fixed[:3])
    assert not both_directions(moving, fixed.flip(0))
    nearly = fixed.clone()
    nearly[0, 0, 0, 0] += 1e-6
    assert not both_directions(moving, nearly)
    nearly = fixed.clone()
    nearly[-1, 0, 0, 0] += 1e-6
    assert not both_directions(moving, nearly)
    assert not both_directions(moving.clone().requires_grad_(), fixed), "the gradient would go to one of the two alone"
    assert not both_directions(moving, fixed.clone().requires_grad_())


def test_features_go_to_the_image_they_are_of():
    moving, fixed = pairs(count=3)
    both: Callable = lambda images: ([images, 2 * images], len(images))  # noqa: E731
    first, second, count = encode_both(both, moving, fixed, training=True)
    assert count == 6
    assert torch.equal(first[0], moving)
    assert torch.equal(second[1], 2 * fixed)
    first, second, count = encode_both(both, moving, fixed, training=False)
    assert count == 12
    assert torch.equal(first[1], 2 * moving)
    assert torch.equal(second[0], fixed)
    assert torch.equal(exchanged(exchanged(moving)), moving)

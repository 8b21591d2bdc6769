"""Every check: what it lets pass, and the whole sentence for what it does not."""

import math
import re

import pytest
import torch

from moereg import checks

pytestmark = pytest.mark.plain_errors


def sentence(text):
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (2, 1, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_of_any_float_pass(shape, dtype):
    checks.check_image("image", torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        ([1.0], TypeError, "fixed must be a torch tensor (batch, channel, *space), got list."),
        (
            torch.zeros(1, 4, 4),
            ValueError,
            "fixed must have shape (batch, channel, *space) with 2 or 3 spatial axes, got (1, 4, 4).",
        ),
        (
            torch.zeros(1, 1, 1, 1, 1, 4),
            ValueError,
            "fixed must have shape (batch, channel, *space) with 2 or 3 spatial axes, got (1, 1, 1, 1, 1, 4).",
        ),
        (
            torch.zeros(1, 1, 4, 4, dtype=torch.int16),
            TypeError,
            "fixed must be floating point (convert it with .float()), got torch.int16.",
        ),
        (torch.zeros(1, 1, 4, 0), ValueError, "fixed must have no empty axis, got shape (1, 1, 4, 0)."),
        (torch.full((1, 1, 2, 2), math.nan), ValueError, "fixed must hold finite values only, got NaN or infinity."),
        (torch.full((1, 1, 2, 2), -math.inf), ValueError, "fixed must hold finite values only, got NaN or infinity."),
    ],
)
def test_images_that_are_refused(image, error, text):
    with pytest.raises(error, match=sentence(text)):
        checks.check_image("fixed", image)


def test_one_bad_value_is_enough_and_opposite_infinities_do_not_hide():
    for bad in ([math.nan], [math.inf], [math.inf, -math.inf]):
        image = torch.zeros(1, 1, 4, 4)
        image.view(-1)[: len(bad)] = torch.tensor(bad)
        with pytest.raises(ValueError, match="finite values only"):
            checks.check_image("image", image)
        checks.check_image("image", image, finite=False)
        with pytest.raises(ValueError, match="finite values only"):
            checks.check_field("field", image.expand(1, 2, 4, 4))
        checks.check_field("field", image.expand(1, 2, 4, 4), finite=False)


def test_a_sum_that_overflows_is_no_infinity():
    checks.check_image("image", torch.full((1, 1, 4, 4), 3e38))
    checks.check_image("image", torch.full((1, 1, 40, 40), 6e4, dtype=torch.float16))  # summed in single precision


@pytest.mark.parametrize(("shape", "dims"), [((1, 3, 4, 4), 2), ((1, 2, 4, 4, 4), 3), ((1, 1, 4, 4), 2)])
def test_a_field_has_one_channel_per_axis(shape, dims):
    text = f"u must have one channel per spatial axis, expected shape (batch, {dims}, *space), got {shape}."
    with pytest.raises(ValueError, match=sentence(text)):
        checks.check_field("u", torch.zeros(shape))
    checks.check_field("u", torch.zeros(shape[0], dims, *shape[2:]))
    with pytest.raises(TypeError, match=sentence("u must be a torch tensor (batch, dims, *space), got NoneType.")):
        checks.check_field("u", None)


def test_same_space():
    image, more = torch.zeros(2, 1, 4, 5), torch.zeros(2, 3, 4, 5)
    checks.check_same_space("a", image, "b", more)
    checks.check_same_space("a", image, "b", image, channels=True)
    with pytest.raises(
        ValueError, match=sentence("a and b must have the same shape, got (2, 1, 4, 5) and (2, 3, 4, 5).")
    ):
        checks.check_same_space("a", image, "b", more, channels=True)
    for other in (torch.zeros(1, 1, 4, 5), torch.zeros(2, 1, 4, 6), torch.zeros(2, 1, 4, 5, 1)):
        text = f"a and b must have the same batch size and spatial shape, got (2, 1, 4, 5) and {tuple(other.shape)}."
        with pytest.raises(ValueError, match=sentence(text)):
            checks.check_same_space("a", image, "b", other)


def test_a_model_takes_its_own_axes_and_channels():
    checks.check_fits_model("moving", torch.zeros(1, 3, 4, 4), 2, 3)
    checks.check_fits_model("moving", torch.zeros(1, 1, 4, 4, 4), 3, 1)
    for image, dims, channels, plural in (
        (torch.zeros(1, 1, 4, 4), 3, 1, ""),
        (torch.zeros(1, 1, 4, 4), 2, 2, "s"),
        (torch.zeros(1, 2, 4, 4), 2, 1, ""),
    ):
        text = (
            f"moving must have {dims} spatial axes and {channels} channel{plural}, as the model was built for, "
            f"got shape {tuple(image.shape)}."
        )
        with pytest.raises(ValueError, match=sentence(text)):
            checks.check_fits_model("moving", image, dims, channels)


GOOD = torch.zeros(2, 1, 4, 5)


@pytest.mark.parametrize(
    ("moving", "fixed", "error", "text"),
    [
        ("scan", GOOD, TypeError, "moving must be a torch tensor"),
        (GOOD, "scan", TypeError, "fixed must be a torch tensor"),
        (GOOD[0, 0], GOOD, ValueError, r"moving must have shape .* got \(4, 5\)"),
        (GOOD, GOOD.int(), TypeError, "fixed must be floating point"),
        (GOOD * torch.nan, GOOD, ValueError, "moving must hold finite"),
        (GOOD, GOOD * torch.nan, ValueError, "fixed must hold finite"),
        (GOOD, GOOD[:1], ValueError, r"^moving and fixed must have the same shape, got \(2, 1, 4, 5\) and \(1, 1, 4"),
        (GOOD, GOOD.expand(2, 2, 4, 5), ValueError, "moving and fixed must have the same shape"),
        (
            GOOD.expand(2, 2, 4, 5),
            GOOD.expand(2, 2, 4, 5),
            ValueError,
            "moving must have 2 spatial axes and 1 channel,",
        ),
        (GOOD[..., None], GOOD[..., None], ValueError, "moving must have 2 spatial axes and 1 channel,"),
    ],
)
def test_a_pair_that_a_model_refuses(moving, fixed, error, text):
    checks.check_pair(GOOD, GOOD, dims=2, channels=1)
    with pytest.raises(error, match=text):
        checks.check_pair(moving, fixed, dims=2, channels=1)


@pytest.mark.parametrize("value", [1, 1e-300, 2.5, 10**6])
def test_positive_numbers(value):
    checks.check_positive("sigma", value)


@pytest.mark.parametrize("value", [0, -1, 0.0, math.inf, math.nan, "3", True, None])
def test_numbers_that_are_not_positive(value):
    with pytest.raises(ValueError, match=sentence(f"sigma must be a positive number, got {value!r}.")):
        checks.check_positive("sigma", value)


def test_positive_integers():
    checks.check_positive("k", 1, integer=True)
    checks.check_positive("k", 3.0, integer=True)
    for value in (0, 1.5, -2, math.inf):
        with pytest.raises(ValueError, match=sentence(f"k must be a positive integer, got {value!r}.")):
            checks.check_positive("k", value, integer=True)


def test_choice():
    checks.check_choice("mode", "b", ("a", "b"))
    with pytest.raises(ValueError, match=sentence("mode must be one of 'a', 'b', got 'c'.")):
        checks.check_choice("mode", "c", ("a", "b"))


def test_values_are_not_looked_at_while_compiling(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    checks.check_image("image", torch.full((1, 1, 2, 2), math.nan))

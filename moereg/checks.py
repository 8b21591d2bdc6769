"""One clear sentence for every bad input: the argument's name, what was expected, what came.

The functions are called once, where a public function or a model is entered; the arithmetic below them is unchecked.
Inside a `torch.compile`d graph the value check is skipped, because it would break the graph.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def check_image(name: str, image: Tensor, *, finite: bool = True) -> None:
    """Require a floating-point `(B, C, *S)` tensor with two or three spatial axes and no NaN or infinity.

    Raises:
        TypeError: not a tensor, or not floating point.
        ValueError: wrong rank, an empty axis, or a value that is not finite.
    """
    _check_map(name, image, "(batch, channel, *space)", finite=finite)


def check_field(name: str, field: Tensor, *, finite: bool = True) -> None:
    """Require a floating-point displacement `(B, D, *S)` with `D = len(S)`, two or three, and finite values.

    Raises:
        TypeError: not a tensor, or not floating point.
        ValueError: wrong rank, channels that differ in number from the spatial axes, values not finite.
    """
    _check_map(name, field, "(batch, dims, *space)", finite=finite)
    dims = field.ndim - 2
    if field.shape[1] != dims:
        raise ValueError(
            f"{name} must have one channel per spatial axis, expected shape (batch, {dims}, *space), "
            f"got {tuple(field.shape)}."
        )


def check_same_space(name: str, tensor: Tensor, other_name: str, other: Tensor, *, channels: bool = False) -> None:
    """Require equal batch size and spatial shape of two maps, and equal channels if `channels`.

    Raises:
        ValueError: the shapes differ.
    """
    first, second = tuple(tensor.shape), tuple(other.shape)
    same = first == second if channels else (first[0], first[2:]) == (second[0], second[2:])
    if not same:
        what = "the same shape" if channels else "the same batch size and spatial shape"
        raise ValueError(f"{name} and {other_name} must have {what}, got {first} and {second}.")


def check_fits_model(name: str, image: Tensor, dims: int, channels: int) -> None:
    """Require the number of spatial axes and channels that a model was built for.

    Raises:
        ValueError: otherwise.
    """
    if image.ndim - 2 != dims or image.shape[1] != channels:
        plural = "" if channels == 1 else "s"
        raise ValueError(
            f"{name} must have {dims} spatial axes and {channels} channel{plural}, as the model was built for, "
            f"got shape {tuple(image.shape)}."
        )


def check_pair(
    moving: Tensor, fixed: Tensor, *, dims: int, channels: int, weights: Iterable[Tensor] | None = None
) -> None:
    """Require two images that a model of `dims` spatial axes and `channels` channels can register to each other.

    Every model calls this first.

    Args:
        weights: the model's parameters; the images must be of their precision, and lie where they lie.

    Raises:
        TypeError, ValueError: not tensors, wrong rank, integers, NaN, unequal shapes, other axes, channels, precision
            or device.
    """
    check_image("moving", moving)
    check_image("fixed", fixed)
    check_same_space("moving", moving, "fixed", fixed, channels=True)
    check_fits_model("moving", moving, dims, channels)
    own = next(iter(weights or ()), None)
    if own is not None:
        check_like("moving", moving, own)
        check_like("fixed", fixed, own)


def check_like(name: str, image: Tensor, weights: Tensor, *, whose: str = "model") -> None:
    """Require an image of the weights' precision (autocast takes any) that lies where they lie.

    Raises:
        TypeError, ValueError: another precision; another device.
    """
    if image.device != weights.device:
        raise ValueError(f"{name} must lie on {weights.device} as the {whose} does, got {image.device}.")
    if image.dtype != weights.dtype and not torch.is_autocast_enabled(image.device.type):
        raise TypeError(f"{name} must be {weights.dtype} like the {whose}, got {image.dtype}; convert one of them.")


def check_channels(name: str, features: Tensor, channels: int, *, axis: int = 1, weights: Tensor) -> None:
    """Require as many channels as a layer was built for, and the precision and device of its weights.

    Raises:
        TypeError, ValueError: otherwise.
    """
    if not isinstance(features, Tensor):
        raise TypeError(f"{name} must be a torch tensor with {channels} channels, got {type(features).__name__}.")
    if features.ndim <= axis % features.ndim or features.shape[axis] != channels:
        raise ValueError(
            f"{name} must have {channels} channels, as the layer was built for, got shape {tuple(features.shape)}."
        )
    check_like(name, features, weights, whose="layer")


def check_positive(name: str, value: float, *, integer: bool = False) -> None:
    """Require a finite number above zero, a whole one if `integer`.

    Raises:
        ValueError: otherwise.
    """
    kind = "a positive integer" if integer else "a positive number"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf") or (integer and int(value) != value):
        raise ValueError(f"{name} must be {kind}, got {value!r}.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Require one of a few names.

    Raises:
        ValueError: otherwise.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(repr(choice) for choice in choices)}, got {value!r}.")


def _check_map(name: str, tensor: Tensor, expected: str, *, finite: bool) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch tensor {expected}, got {type(tensor).__name__}.")
    if tensor.ndim not in (4, 5):
        raise ValueError(f"{name} must have shape {expected} with 2 or 3 spatial axes, got {tuple(tensor.shape)}.")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point (convert it with .float()), got {tensor.dtype}.")
    if tensor.numel() == 0:
        raise ValueError(f"{name} must have no empty axis, got shape {tuple(tensor.shape)}.")
    if finite and not torch.compiler.is_compiling() and not _all_finite(tensor):
        raise ValueError(f"{name} must hold finite values only, got NaN or infinity.")


def _all_finite(tensor: Tensor) -> bool:
    # NaN and infinity survive a sum, so one pass without a temporary settles the common case; only a sum that
    # overflowed by itself needs the element-wise look.
    tensor = tensor.detach()
    return bool(torch.isfinite(tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32)))) or bool(
        torch.isfinite(tensor).all()
    )

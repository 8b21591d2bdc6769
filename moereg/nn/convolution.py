"""Convolutions for two and three dimensions that never meet torch's slow path, nor a wrong one.

On a CPU torch hands 3-D convolutions to oneDNN, with two exceptions: a batch of one whose input is small (C D H of at
most 20480), and kernels of one voxel on a single thread. There its own `slow_conv3d` computes the same numbers in
several times the time. One pair registered by itself is such a batch. `convolve` calls oneDNN itself then; this is the
one place of the library that does. Gradients are torch's own in either case.

In bfloat16 on a CPU, oneDNN's gradient of a 3-D kernel is made of uninitialised memory where the first axis is shorter
than the kernel (torch 2.13): the coarsest level of a small volume. There the convolution is done in float32.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def convolution(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution class for 2-D or 3-D."""
    return {2: nn.Conv2d, 3: Convolution3d}[dims]


class Convolution3d(nn.Conv3d):
    """`nn.Conv3d` by `convolve`: the same parameters, the same numbers."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros" or isinstance(self.padding, str) or any(d != 1 for d in self.dilation):
            return super()._conv_forward(input, weight, bias)
        return convolve(input, weight, bias, stride=self.stride, padding=self.padding, groups=self.groups)


def convolve(
    features: Float[Tensor, "batch channel *space"],
    weight: Float[Tensor, "out in *kernel"],
    bias: Float[Tensor, " out"] | None = None,
    *,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int = 0,
    groups: int = 1,
) -> Float[Tensor, "batch out *result"]:
    """`F.conv2d` or `F.conv3d`, whichever the features need."""
    dims = features.ndim - 2
    if dims == 3 and _slow_in_torch(features):
        stride, padding = ([step] * dims if isinstance(step, int) else list(step) for step in (stride, padding))
        return torch.mkldnn_convolution(features, weight, bias, padding, stride, [1] * dims, groups)
    plain = {2: F.conv2d, 3: F.conv3d}[dims]
    if dims == 3 and _wrong_in_torch(features, weight):
        with torch.autocast("cpu", enabled=False):
            bias = None if bias is None else bias.float()
            result = plain(features.float(), weight.float(), bias, stride=stride, padding=padding, groups=groups)
        return result.bfloat16()
    return plain(features, weight, bias, stride=stride, padding=padding, groups=groups)


def _slow_in_torch(features: Tensor) -> bool:
    """Whether torch may choose `slow_conv3d` where oneDNN could do it."""
    return (
        (len(features) == 1 or not torch.is_grad_enabled())
        and features.device.type == "cpu"
        and features.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")  # which knows F.conv3d, and would not lower the precision here
        and not torch.compiler.is_compiling()  # the compiler has convolutions of its own
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def _wrong_in_torch(features: Tensor, weight: Tensor) -> bool:
    """Whether the gradient with respect to the kernel would be none: see the module's text."""
    under_autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return (
        features.device.type == "cpu"
        and torch.is_grad_enabled()
        and (under_autocast or features.dtype == torch.bfloat16)
        and features.shape[2] <= weight.shape[2]
        and weight.shape[2] > 1
    )

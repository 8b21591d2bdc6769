"""Building blocks of encoders and decoders: convolution block, pyramid encoder."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moereg.nn.convolution import convolution, convolve
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import Routing


class ConvolutionBlock(nn.Sequential):
    """3^D convolution, normalisation, leaky ReLU (slope 0.2). Stride 2 puts coarse voxel `i` on fine voxel `2 i`.

    The normalisation is over channels and space together (group norm with one group): it does not depend on the batch
    and is defined down to a map of a single voxel, so images of any size pass. The activation works in place: its
    gradient can be had from its result, so that a training keeps one map less of each block.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dims: int, stride: int = 1):
        super().__init__(
            convolution(dims)(in_channels, out_channels, 3, stride=stride, padding=1),
            nn.GroupNorm(1, out_channels),
            nn.LeakyReLU(0.2, inplace=True),
        )


def fast_layout(features: Float[Tensor, "batch c *space"]) -> Float[Tensor, "batch c *space"]:
    """The same numbers; a volume on a CPU is stored channels last, which torch's 3-D convolutions prefer.

    Convolutions, normalisations and activations keep the layout of what they get. A training step of SHMoAReg at 48^3
    takes 0.86 of the time; in two dimensions there is nothing to gain.
    """
    if features.ndim == 4 or features.device.type != "cpu":
        return features
    return features.contiguous(memory_format=torch.channels_last_3d)


def block_of_difference(
    block: ConvolutionBlock,
    fixed: Float[Tensor, "batch c *space"],
    moving: Float[Tensor, "batch c *space"],
    above: Float[Tensor, "batch above *space"] | None = None,
) -> Float[Tensor, "batch out *space"]:
    """`block(torch.cat([fixed, moving, fixed - moving, above], dim=1))` without the difference.

    A convolution is linear, so the kernels of the difference may as well go to the two maps it is made of:

        W_f * f + W_m * m + W_d * (f - m) = (W_f + W_d) * f + (W_m - W_d) * m

    A third fewer channels of the pair to convolve, to store and to send gradients through; equal in value and gradient.
    """
    conv = cast(nn.Conv3d, block[0])  # or of two dimensions
    channels = fixed.shape[1]
    of_fixed, of_moving, of_difference, of_above = conv.weight.split(
        [channels] * 3 + [conv.in_channels - 3 * channels], dim=1
    )
    weight = torch.cat([of_fixed + of_difference, of_moving - of_difference, of_above], dim=1)
    maps = [fast_layout(part) for part in (fixed, moving, above) if part is not None]
    result = convolve(torch.cat(maps, dim=1), weight, conv.bias, padding=[1] * (fixed.ndim - 2))
    for layer in list(block)[1:]:
        result = layer(result)
    return result


class MoABlock(nn.Module):
    """Transformer block on a feature map: `x + MoA(norm x)`, then `x + MLP(norm x)`."""

    def __init__(self, channels: int, *, dims: int, moa: MixtureOfAttentionHeads):
        super().__init__()
        conv = convolution(dims)
        self.norm = nn.GroupNorm(1, channels)
        self.moa = moa
        self.mlp = nn.Sequential(
            nn.GroupNorm(1, channels), conv(channels, 2 * channels, 1), nn.GELU(), conv(2 * channels, channels, 1)
        )

    def forward(
        self, features: Float[Tensor, "batch c *space"], context: Float[Tensor, "batch c *space"] | None = None
    ) -> tuple[Float[Tensor, "batch c *space"], Routing]:
        """Features enriched by attention, and which heads did it."""
        attended, routing = self.moa(self.norm(features), None if context is None else self.norm(context))
        features = features + attended
        return features + self.mlp(features), routing


class PyramidEncoder(nn.Module):
    """Image -> features at several resolutions, finest first; level `l` has stride `stem_stride * 2^l`."""

    def __init__(self, in_channels: int, widths: Sequence[int], *, dims: int, stem_stride: int = 1):
        super().__init__()
        inputs = [in_channels, *widths[:-1]]
        strides = [stem_stride] + [2] * (len(widths) - 1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                ConvolutionBlock(before, width, dims=dims, stride=stride), ConvolutionBlock(width, width, dims=dims)
            )
            for before, width, stride in zip(inputs, widths, strides, strict=True)
        )

    def forward(self, image: Float[Tensor, "batch channel *space"]) -> list[Tensor]:
        """`(B, C, *S) -> [(B, width_l, *S_l)]`"""
        features, pyramid = image, []
        for level in self.levels:
            features = level(features)
            pyramid.append(features)
        return pyramid

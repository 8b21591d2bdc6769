"""SHMoAReg: mixture of attention heads in the encoder, spatially heterogeneous mixture of experts in the decoder.

Paper: Zheng, Feng, Li, Staring, Qiao, "SHMoAReg", arXiv 2509.20073 (2025).

| fixed by the paper                                        | chosen here                                             |
|-----------------------------------------------------------|---------------------------------------------------------|
| encoder-decoder, MoA in the encoder, SHMoE in the decoder | siamese pyramid, coarse-to-fine residual fields         |
| MoA picks a combination of heads per token                | windows, N = 8 heads, k = 2, at the coarser levels      |
| SHMoE per voxel and direction, at several resolutions     | one router per direction, experts shared by directions  |
| experts of varying kernel size                            | 1, 3, 5, 7 as a nested chain of 3^D convolutions, k = 2 |
|                                                           | composition of the levels' fields, all losses           |

The network in three lines, for level l from coarse to fine:

    h_l = block(fixed_l, warp(moving_l, up(u)), fixed_l - warp(...), up(h))        decoder features
    r_l = SHMoE(h_l)                                                               residual field
    u   = compose(up(u), r_l)
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_choice, check_pair
from moereg.fields import field_to_image, follow, sample, upsample, upsample_field
from moereg.models.registration import Registration, Steps
from moereg.models.siamese import encode_both, exchanged
from moereg.nn.blocks import ConvolutionBlock, MoABlock, PyramidEncoder, block_of_difference, fast_layout
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import Routing, Site
from moereg.nn.shmoe import OwnedExpertsMoE, SpatialHeterogeneousMoE

# Stride of the stem -> channels of encoder and decoder, finest level first. A field at every voxel is predicted by one
# narrow level more: eight times as many voxels as the next, but a quarter of its products at each.
WIDTHS = {2: ((16, 32, 48), (16, 24, 32)), 1: ((8, 16, 32, 48), (8, 16, 24, 32))}


@dataclass(frozen=True)
class SHMoARegSizes:
    """Every size of the network. The defaults train in minutes on a CPU."""

    dims: int = 3  # spatial axes, 2 or 3
    image_channels: int = 1
    stem_stride: int = 2  # resolution of the finest predicted field: 2 = every second voxel, 1 = every voxel
    widths: tuple[int, ...] = ()  # encoder channels, finest level first, each halves the resolution; () = WIDTHS
    decoder_widths: tuple[int, ...] = ()  # channels of the features that are routed, finest level first; () = WIDTHS
    moa_levels: tuple[int, ...] = (-2, -1)  # levels with a mixture of attention heads; -1 is the coarsest
    heads: int = 8  # N attention heads
    active_heads: int = 2  # k of them per token
    head_dim: int = 16
    window: int = 6  # most tokens along an axis of an attention window
    context: str = "self"  # keys and values from the "self" image, or from the other one, "cross" (ours)
    kernel_sizes: tuple[int, ...] = (1, 3, 5, 7)  # experts of the decoder
    active_experts: int = 2  # k of them per voxel and direction
    expert_kind: str = "nested"  # "full", "nested", "separable"
    gate: str = "stopped"  # gates of the decoder, a row of the table in moereg.nn.routing
    head_gate: str = "stopped"  # gates of the encoder; "uniform" is multi-head attention with shared keys and values
    routers: str = "directions"  # in the decoder: one per direction, or one "joint" router for all
    experts: str = "shared"  # by the directions, or "owned" by each (for comparison)

    def __post_init__(self):
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, got {self.dims}.")
        if self.stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {self.stem_stride}.")
        widths, decoder_widths = WIDTHS[self.stem_stride]
        levels = len(self.widths or widths)
        object.__setattr__(self, "widths", self.widths or widths)
        object.__setattr__(self, "decoder_widths", self.decoder_widths or decoder_widths)
        counted = tuple(level + levels if -levels <= level < 0 else level for level in self.moa_levels)
        object.__setattr__(self, "moa_levels", counted)
        if len(self.decoder_widths) != levels:
            raise ValueError(
                f"widths and decoder_widths must have one entry per level, got {levels} and {len(self.decoder_widths)}."
            )
        if any(not 0 <= level < levels for level in self.moa_levels):
            raise ValueError(f"moa_levels must be among 0 .. {levels - 1}, got {self.moa_levels}.")
        check_choice("context", self.context, ("self", "cross"))
        check_choice("experts", self.experts, ("shared", "owned"))


class SHMoAReg(nn.Module):
    """`model(moving, fixed) -> Registration`, images `(B, C, *S)` of any size, values about [0, 1].

    Routing of all layers is returned under "encoder.L.moa" and "decoder.L.shmoe" (L counts from the finest level).
    The batch of an encoder routing is twice the model's: moving images first, then fixed ones. In a training whose
    batch holds pairs in both directions each image is encoded once, and it is the model's (`moereg.models.siamese`).
    """

    name = "shmoareg"

    def __init__(self, sizes: SHMoARegSizes | None = None):
        super().__init__()
        self.sizes = sizes = sizes or SHMoARegSizes()
        dims = sizes.dims
        self.encoder = PyramidEncoder(sizes.image_channels, sizes.widths, dims=dims, stem_stride=sizes.stem_stride)
        self.attention = nn.ModuleDict(
            {str(level): MoABlock(sizes.widths[level], dims=dims, moa=self._moa(level)) for level in sizes.moa_levels}
        )
        coarser = [*sizes.decoder_widths[1:], 0]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                ConvolutionBlock(3 * width + above, hidden, dims=dims), ConvolutionBlock(hidden, hidden, dims=dims)
            )
            for width, hidden, above in zip(sizes.widths, sizes.decoder_widths, coarser, strict=True)
        )
        mixture = {"shared": SpatialHeterogeneousMoE, "owned": OwnedExpertsMoE}[sizes.experts]
        self.mixtures = nn.ModuleList(
            mixture(
                hidden,
                dims=dims,
                kernel_sizes=sizes.kernel_sizes,
                k=sizes.active_experts,
                kind=sizes.expert_kind,
                gate=sizes.gate,
                routers=sizes.routers,
                site=Site(f"decoder.{level}.shmoe", "decoder", sizes.stem_stride * 2**level),
            )
            for level, hidden in enumerate(sizes.decoder_widths)
        )

    def forward(
        self, moving: Float[Tensor, "batch channel *space"], fixed: Float[Tensor, "batch channel *space"]
    ) -> Registration:
        """Register moving to fixed. Raises one sentence for NaN, wrong rank, integers, unequal shapes."""
        check_pair(moving, fixed, dims=self.sizes.dims, channels=self.sizes.image_channels, weights=self.parameters())
        moving_levels, fixed_levels, routing = encode_both(self.encode, moving, fixed, training=self.training)

        grids = [features.shape[2:] for features in fixed_levels]
        before, steps = None, []
        for level in reversed(range(len(grids))):
            displacement, hidden, routed = self.decode(level, moving_levels[level], fixed_levels[level], before)
            before = displacement, hidden
            routing[routed.name] = routed
            bring = partial(field_to_image, level=level, grids=grids, image=fixed.shape[2:])
            steps.append(partial(bring, displacement, stem_stride=self.sizes.stem_stride))
        displacement = steps.pop()()
        return Registration(displacement, sample(moving, displacement), Steps.of(steps, displacement), routing)

    def encode(self, images: Float[Tensor, "batch channel *space"]) -> tuple[list[Tensor], dict[str, Routing]]:
        """Features of all images, finest level first; a pair's two images lie half a batch apart."""
        features, pyramid, routing = images, [], {}
        for level, convolve in enumerate(self.encoder.levels):
            for block in convolve.children():
                features = block(fast_layout(features))
            if str(level) in self.attention:
                context = exchanged(features) if self.sizes.context == "cross" else None
                features, routed = self.attention[str(level)](features, context)
                routing[routed.name] = routed
            pyramid.append(features)
        return pyramid, routing

    def decode(
        self, level: int, moving: Tensor, fixed: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Routing]:
        """One level: field and features of the coarser one, or None -> field on this grid, features, routing."""
        above, so_far = None, None
        if before is not None:
            so_far = upsample_field(before[0], fixed.shape[2:])
            moving = sample(moving, so_far)
            above = upsample(before[1], fixed.shape[2:])
        # h_l = block(fixed_l, warp(moving_l, up(u)), fixed_l - warp(...), up(h))
        first, second = cast(tuple[ConvolutionBlock, ConvolutionBlock], self.blocks[level])
        hidden = second(block_of_difference(first, fixed, moving, above))
        # u = compose(up(u), r_l),   r_l = SHMoE(h_l)
        residual, routing = self.mixtures[level](hidden)
        displacement = residual if so_far is None else follow(so_far, residual)
        return displacement, hidden, routing

    def _moa(self, level: int) -> MixtureOfAttentionHeads:
        s = self.sizes
        return MixtureOfAttentionHeads(
            s.widths[level],
            heads=s.heads,
            k=s.active_heads,
            head_dim=s.head_dim,
            window=s.window,
            gate=s.head_gate,
            site=Site(f"encoder.{level}.moa", "encoder", s.stem_stride * 2**level),
        )

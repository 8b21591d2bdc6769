"""RMAn: one network, applied again and again; the two images look at each other while it works.

Paper: Zheng, Wang, Huang, Lim, Vincent, Papiez, "Recursive deformable image registration network with mutual
attention" (RMAn), arXiv 2206.01863 (2022).

| fixed by the paper                                   | chosen here                                                  |
|------------------------------------------------------|--------------------------------------------------------------|
| one weight-shared network, recursions k = 1 .. K     | the *original* moving image is warped anew for each one      |
| Siamese encoder, four pairs of Res-down blocks       | widths; pooling that keeps coarse voxel i on fine voxel 2 i  |
| a Res-up block                                       | one per branch, 1/16 -> 1/8; then a joint decoder to 1/2     |
| two mutual-attention modules                         | before and after Res-up; windowed, with places; `nn.attention`|
| from released code of the authors: the Res block,    | dilation 2; the input is brought to the block's width by a   |
| the composition of fields                            | 1^D convolution before it is added                           |

With phi_0 = 0, for k = 1 .. K:

    psi_k = network(warp(moving, phi_{k-1}), fixed)
    phi_k[x] = psi_k[x] + phi_{k-1}[x + psi_k[x]]                                       compose(phi_{k-1}, psi_k)

Memory. Attention works on 1/8 and 1/16 of the resolution in windows of at most `window` tokens along an axis, so each
of the N / 8^D tokens holds at most `heads window^D` scores: linear in the number of voxels N. Attention between all
tokens would hold `heads (N / 8^D)^2`. K recursions keep K times the activations while training; without gradients, the
fields and the inputs of the attention modules, on 1/8 and 1/16 of the resolution, are all that is kept of each.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_choice, check_pair, check_positive
from moereg.fields import follow, identity_grid, sample, upsample, upsample_field
from moereg.models.registration import Registration
from moereg.models.siamese import both_directions, exchanged
from moereg.nn.attention import MutualAttention, Windows, attention_at
from moereg.nn.blocks import fast_layout
from moereg.nn.convolution import convolution

ATTENTION = ("mutual", "self", "none")
STRIDES = (16, 8)  # voxels from token to token in the two attention modules, in the order in which they act


@dataclass(frozen=True)
class RMAnSizes:
    """Every size of the network. The defaults train in minutes on a CPU."""

    dims: int = 3  # spatial axes, 2 or 3
    image_channels: int = 1
    recursions: int = 2  # K while training, and afterwards unless `model(..., recursions=K)` says otherwise
    widths: tuple[int, int, int, int] = (8, 16, 16, 32)  # of the four Res-down blocks, from the image down
    dilation: int = 2  # of the third convolution of a Res block
    attention: str = "mutual"  # "self": each image looks at itself, same parameters; "none": left out
    heads: int = 4
    head_dim: int = 16
    window: int = 8  # most tokens along an axis of an attention window

    def __post_init__(self):
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, got {self.dims}.")
        if len(self.widths) != 4:
            raise ValueError(f"widths must have four entries, one per Res-down block, got {self.widths}.")
        check_choice("attention", self.attention, ATTENTION)
        for name in ("recursions", "dilation", "heads", "head_dim", "window"):
            check_positive(name, getattr(self, name), integer=True)


class InstanceNorm(nn.GroupNorm):
    """Each channel of each image by itself. On a map of one voxel, which torch's own refuses, it gives the bias."""

    def __init__(self, channels: int):
        super().__init__(channels, channels)

    def forward(self, features: Float[Tensor, "batch c *space"]) -> Float[Tensor, "batch c *space"]:
        """`(x - mean) / sqrt(var + eps) * weight + bias`, mean and variance over space."""
        return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


class ResBlock(nn.Module):
    """conv-IN-LReLU(0.2), conv-IN-LReLU, dilated conv-IN, plus the input, LReLU. All kernels 3^D."""

    def __init__(self, in_channels: int, channels: int, *, dims: int, dilation: int):
        super().__init__()
        conv = convolution(dims)
        layers = []
        for before, reach in ((in_channels, 1), (channels, 1), (channels, dilation)):
            # No bias: the normalisation would take it away.
            layers += [
                conv(before, channels, 3, padding=reach, dilation=reach, bias=False),
                InstanceNorm(channels),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity() if in_channels == channels else conv(in_channels, channels, 1)

    def forward(self, features: Float[Tensor, "batch c *space"]) -> Float[Tensor, "batch d *space"]:
        """Same grid, `channels` channels."""
        return F.leaky_relu(self.body(features) + self.shortcut(features), 0.2)


def average_pooled(features: Float[Tensor, "batch c *space"]) -> Float[Tensor, "batch c *half"]:
    """Average over 3^D voxels around every second one: coarse voxel `i` sits on fine voxel `2 i`, n becomes ceil(n/2).

    The usual 2^D average would shift every level by half a voxel against `fields.upsample`. The border is repeated.
    """
    pool = F.avg_pool3d if features.ndim == 5 else F.avg_pool2d
    padded = F.pad(features, (1, 1) * (features.ndim - 2), mode="replicate")
    # On a CPU torch averages no volumes of 16 bits.
    return pool(padded.to(torch.promote_types(features.dtype, torch.float32)), 3, stride=2).to(features.dtype)


class OwnAttention(MutualAttention):
    """The control: as many parameters, but each image looks at itself."""

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps `(B, C, *S)`, each enriched by itself."""
        both = torch.cat([first, second])
        windows = Windows.of(both, self.window)
        tokens = windows.split(both)
        both = both + windows.join(self.attention(tokens, valid=windows.valid(both.device)))
        first, second = both.chunk(2)
        return first, second


class LookingBlock(nn.Module):
    """Normalise both maps, add to every token where it is, let the maps look at each other.

    Attention alone brings back *what* the other image holds at a match, not where. With a linear map of the token's
    coordinates in the values, what comes back says where the match lies, and with it how far away that is.
    """

    def __init__(self, channels: int, sizes: RMAnSizes):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.place = convolution(sizes.dims)(sizes.dims, channels, 1, bias=False)
        kind = MutualAttention if sizes.attention == "mutual" else OwnAttention
        self.look = kind(channels, heads=sizes.heads, head_dim=sizes.head_dim, window=sizes.window)

    def forward(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, "Look"]:
        """Two maps `(B, C, *S)`, each enriched, and the record of who looked where."""
        grid = identity_grid(fixed.shape[2:], dtype=fixed.dtype, device=fixed.device)
        middle = grid.flatten(1).mean(1).view(-1, *[1] * (fixed.ndim - 2))
        place = self.place((grid - middle)[None] / self.look.window)
        fixed, moving = self.norm(fixed) + place, self.norm(moving) + place
        return *self.look(fixed, moving), Look(self.look, fixed.detach(), moving.detach())


@dataclass(frozen=True)
class Look:
    """What one attention module saw. The weights are large, so they are computed for one token when asked for."""

    layer: MutualAttention
    fixed: Float[Tensor, "batch c *grid"]
    moving: Float[Tensor, "batch c *grid"]

    @torch.no_grad()
    def weights(self, token: tuple[int, ...], *, item: int = 0, image: str = "fixed") -> Float[Tensor, "heads *grid"]:
        """Attention of one token of `image` to every token of the map it looks at; zero outside its window.

        Raises:
            ValueError: `image` is neither "fixed" nor "moving", or the token lies outside the grid.
        """
        check_choice("image", image, ("fixed", "moving"))
        grid = tuple(self.fixed.shape[2:])
        if len(token) != len(grid) or not all(0 <= t < n for t, n in zip(token, grid, strict=True)):
            raise ValueError(f"token must lie on the grid {grid}, got {tuple(token)}.")
        own, other = (self.fixed, self.moving) if image == "fixed" else (self.moving, self.fixed)
        context = own if isinstance(self.layer, OwnAttention) else other
        attention, one = self.layer.attention, slice(item, item + 1)
        return attention_at(
            own[one], context[one], token, window=self.layer.window, query=attention.query, key=attention.key
        )


@dataclass(frozen=True)
class RecursiveRegistration(Registration):
    """`steps[k - 1]` is the field after recursion k. `looks[k - 1]` holds the two attention modules, coarse first."""

    strides: ClassVar = STRIDES  # voxels from token to token in the two modules

    looks: tuple[tuple[Look, ...], ...] = ()

    def attention_of(
        self, voxel: tuple[int, ...], *, recursion: int = 1, module: int = 1, item: int = 0, image: str = "fixed"
    ) -> Float[Tensor, "heads *grid"]:
        """Where the token at a voxel of `image` looks in the other image, on the grid of the module's tokens.

        Token i sits on voxel `STRIDES[module] * i`. In recursion k the moving image is the one *warped by the field of
        recursion k - 1*: what is seen at y there stands at `y + phi_{k-1}(y)` in the original.

        Args:
            voxel: of the image that looks.
            recursion: 1 .. K.
            module: 0 is the coarser one, 1 the finer one.

        Raises:
            ValueError: no such recursion, module or voxel; a network without attention.
        """
        if not self.looks or not self.looks[0]:
            raise ValueError("attention must be 'mutual' or 'self' in the sizes of the network, got 'none'.")
        if not 1 <= recursion <= len(self.looks):
            raise ValueError(f"recursion must be from 1 to {len(self.looks)}, got {recursion}.")
        if module not in (0, 1):
            raise ValueError(f"module must be 0 (coarse) or 1 (fine), got {module}.")
        shape = tuple(self.displacement.shape[2:])
        if len(voxel) != len(shape) or not all(0 <= v < n for v, n in zip(voxel, shape, strict=True)):
            raise ValueError(f"voxel must lie inside the image of shape {shape}, got {tuple(voxel)}.")
        look, stride = self.looks[recursion - 1][module], STRIDES[module]
        grid = look.fixed.shape[2:]
        token = tuple(min(round(v / stride), n - 1) for v, n in zip(voxel, grid, strict=True))
        return look.weights(token, item=item, image=image)


class RMAn(nn.Module):
    """`model(moving, fixed, recursions=K) -> RecursiveRegistration`, images `(B, C, *S)` of any size, about [0, 1].

    K is free at every call; the parameters do not depend on it.
    """

    name = "rman"

    def __init__(self, sizes: RMAnSizes | None = None):
        super().__init__()
        self.sizes = sizes = sizes or RMAnSizes()
        options = {"dims": sizes.dims, "dilation": sizes.dilation}
        first, second, third, fourth = sizes.widths
        inputs = (sizes.image_channels, first, second, third)
        self.down = nn.ModuleList(ResBlock(a, b, **options) for a, b in zip(inputs, sizes.widths, strict=True))
        self.up = ResBlock(fourth + third, third, **options)
        looking = () if sizes.attention == "none" else (fourth, third)
        self.looking = nn.ModuleList(LookingBlock(width, sizes) for width in looking)
        self.joint = nn.ModuleList(
            [
                ResBlock(3 * third, third, **options),  # 1/8: both branches and their difference
                ResBlock(third + 2 * second, second, **options),  # 1/4
                ResBlock(second + 2 * first, second, **options),  # 1/2
            ]
        )
        self.flow = convolution(sizes.dims)(second, sizes.dims, 3, padding=1)
        nn.init.normal_(self.flow.weight, std=1e-3)  # an untrained network hardly moves anything
        nn.init.zeros_(cast(Tensor, self.flow.bias))  # a convolution has one unless told otherwise

    def forward(
        self,
        moving: Float[Tensor, "batch channel *space"],
        fixed: Float[Tensor, "batch channel *space"],
        *,
        recursions: int | None = None,
    ) -> RecursiveRegistration:
        """Register moving to fixed in `recursions` passes, by default as many as in training.

        Raises:
            ValueError, TypeError: one sentence for NaN, wrong rank, integers, unequal shapes, fewer than one recursion.
        """
        check_pair(moving, fixed, dims=self.sizes.dims, channels=self.sizes.image_channels, weights=self.parameters())
        recursions = self.sizes.recursions if recursions is None else recursions
        check_positive("recursions", recursions, integer=True)

        fixed_maps = self.encode(fixed)  # the same in every recursion
        # One image at a time and not both at once (`encode_both`): half the memory at full resolution.
        once = self.training and both_directions(moving, fixed)
        moving_maps = [exchanged(level) for level in fixed_maps] if once else self.encode(moving)
        steps, looks = [], []
        for _ in range(recursions):
            # psi_k = network(warp(moving, phi_{k-1}), fixed),   phi_k = compose(phi_{k-1}, psi_k)
            moving_maps = self.encode(sample(moving, steps[-1])) if steps else moving_maps
            residual, seen = self.residual(moving_maps, fixed_maps, fixed.shape[2:])
            steps.append(follow(steps[-1], residual) if steps else residual)
            looks.append(seen)
        return RecursiveRegistration(steps[-1], sample(moving, steps[-1]), tuple(steps), looks=tuple(looks))

    def encode(self, image: Float[Tensor, "batch channel *space"]) -> list[Tensor]:
        """One branch: features at 1/2, 1/4, 1/8 and 1/16 of the resolution."""
        features, maps = fast_layout(image), []
        for block in self.down:
            features = average_pooled(block(features))
            maps.append(features)
        return maps

    def residual(
        self, moving: list[Tensor], fixed: list[Tensor], shape: torch.Size
    ) -> tuple[Float[Tensor, "batch dims *space"], tuple[Look, ...]]:
        """The network itself: features of both branches -> psi on the image's grid, and who looked where."""
        looks = []
        f, m = fixed[3], moving[3]
        if self.looking:
            f, m, seen = self.looking[0](f, m)
            looks.append(seen)
        f, m = self._up(f, fixed[2]), self._up(m, moving[2])
        if self.looking:
            f, m, seen = self.looking[1](f, m)
            looks.append(seen)

        hidden = self.joint[0](torch.cat([f, m, f - m], 1))
        for block, level in ((self.joint[1], 1), (self.joint[2], 0)):
            larger = upsample(hidden, fixed[level].shape[2:])
            hidden = block(torch.cat([larger, fixed[level], moving[level]], 1))
        return upsample_field(self.flow(hidden), shape), tuple(looks)

    def _up(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Res-up: the coarse map on the finer grid beside the encoder's map there, through one block."""
        return self.up(torch.cat([upsample(coarse, fine.shape[2:]), fine], 1))

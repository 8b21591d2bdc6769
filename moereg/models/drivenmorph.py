"""DrivenMorph: one stream asks where the images differ, another one turns that into motion.

Paper: Li, Zhang, Deng, "DrivenMorph", arXiv 2606.30183 (IEEE JBHI 2026).

| fixed by the paper                                       | chosen here                                             |
|----------------------------------------------------------|---------------------------------------------------------|
| difference modelling apart from deformation              | two modules, either can be replaced                     |
| a force from local differences in a latent feature space | the Demons force of C learned channels (nn.demons)      |
| a neural Demons layer: force in, smooth displacement out | learned Gaussian, composition, two rounds per level     |
| told by others: cross- and self-attention fuse           | windowed, at the coarser levels, the same weights for   |
| discrepancy and coherence                                | both images                                             |
| told by others: deep supervision constrains the force    | each force by itself must align the images of its level |

For level l from coarse to fine, and each round:

    f, m = difference(fixed_l, warp(moving_l, u))       maps to be compared
    force = (sum_c J_c J_c^T + lambda I)^-1 sum_c J_c d_c, with d = f - m, J = (grad f + grad m) / 2
    update = Gaussian * force                            at most L voxels of the level
    u = compose(u, update)

Both images pass the same weights, so swapping them turns every force around at its level, and equal images give exactly
zero: there is no bias that could invent motion.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_pair, check_positive
from moereg.fields import field_to_image, follow, sample, upsample_field
from moereg.filters import halve
from moereg.models.registration import Registration, Similarity, Steps
from moereg.models.siamese import encode_both
from moereg.nn.attention import MultiHeadAttention, MutualAttention, Windows
from moereg.nn.blocks import PyramidEncoder
from moereg.nn.convolution import convolution
from moereg.nn.demons import NeuralDemonsLayer


@dataclass(frozen=True)
class DrivenMorphSizes:
    """Every size of the network. The defaults train in minutes on a CPU."""

    dims: int = 3  # spatial axes, 2 or 3
    image_channels: int = 1
    stem_stride: int = 2  # resolution of the finest predicted field: 2 = every second voxel, 1 = every voxel
    widths: tuple[int, ...] = (16, 32, 48)  # encoder channels, finest level first; each level halves the resolution
    compared: int = 8  # C channels in which the images are compared, at every level
    attention_levels: tuple[int, ...] = (1, 2)  # levels with cross- and self-attention
    heads: int = 4
    head_dim: int = 16
    window: int = 6  # most tokens along an axis of an attention window
    rounds: int = 2  # forces and updates per level
    max_step: float = 1.0  # L, bound of an update in voxels of its level
    sigma: float = 2.0  # smoothing of updates at the start, voxels of the level
    max_sigma: float = 3.0  # most that can be learned

    def __post_init__(self):
        levels = len(self.widths)
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, got {self.dims}.")
        if self.stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {self.stem_stride}.")
        check_positive("rounds", self.rounds, integer=True)
        check_positive("compared", self.compared, integer=True)
        if any(not 0 <= level < levels for level in self.attention_levels):
            raise ValueError(f"attention_levels must be among 0 .. {levels - 1}, got {self.attention_levels}.")


@dataclass(frozen=True)
class DrivenStep:
    """One round on one level, on that level's grid and in its voxels."""

    level: int  # 0 is the finest
    before: Float[Tensor, "batch dims *space"]  # field that the moving features were warped by
    force: Float[Tensor, "batch dims *space"]
    update: Float[Tensor, "batch dims *space"]
    displacement: Float[Tensor, "batch dims *space"]  # compose(before, update)


@dataclass(frozen=True)
class DrivenRegistration(Registration):
    """A `Registration` with what drove it, coarse to fine, one entry per round."""

    driven: tuple[DrivenStep, ...] = ()

    def loss_terms(
        self, moving: Tensor, fixed: Tensor, similarity: Similarity, *, skip: Collection[str] = ()
    ) -> dict[str, Float[Tensor, ""]]:
        """As every registration, and "force": the deep supervision of forces."""
        terms = super().loss_terms(moving, fixed, similarity, skip=skip)
        return terms if "force" in skip else terms | {"force": self.force_loss(moving, fixed, similarity)}

    def force_loss(
        self,
        moving: Float[Tensor, "batch channel *space"],
        fixed: Float[Tensor, "batch channel *space"],
        similarity: Similarity,
    ) -> Float[Tensor, ""]:
        """Deep supervision: how far each force, unsmoothed, fails to align the images of its level; mean over rounds.

        `similarity(warped, fixed)` is a loss, the images are those of `model(moving, fixed)`.
        """
        images = {moving.shape[2:]: (moving, fixed)}
        coarsest = self.driven[0].force.shape[2:]
        while coarsest not in images:
            moving, fixed = halve(moving), halve(fixed)
            images[moving.shape[2:]] = (moving, fixed)
        losses = []
        for step in self.driven:
            moving, fixed = images[step.force.shape[2:]]
            pulled = follow(step.before, step.force)  # compose(before, force)
            losses.append(similarity(sample(moving, pulled), fixed))
        return torch.stack(losses).mean()


class DifferenceStream(nn.Module):
    """Where do the images differ? Features of both, enriched by attention, as C maps to be compared.

    Cross-attention shows each image the other one at the same place, self-attention spreads what was found over the
    window. Both keep the input (residual connections), and treat the two images alike.
    """

    def __init__(self, sizes: DrivenMorphSizes):
        super().__init__()
        self.encoder = PyramidEncoder(
            sizes.image_channels, sizes.widths, dims=sizes.dims, stem_stride=sizes.stem_stride
        )
        self.attention = nn.ModuleDict(
            {str(level): FusionBlock(sizes.widths[level], sizes) for level in sizes.attention_levels}
        )
        # Without bias: a constant would cancel in differences and gradients.
        conv = convolution(sizes.dims)
        self.compare = nn.ModuleList(conv(width, sizes.compared, 1, bias=False) for width in sizes.widths)

    def encode(self, image: Float[Tensor, "batch channel *space"]) -> list[Tensor]:
        """Features at every level, finest first."""
        return self.encoder(image)

    def forward(
        self, level: int, fixed: Float[Tensor, "batch w *space"], moving: Float[Tensor, "batch w *space"]
    ) -> tuple[Float[Tensor, "batch c *space"], Float[Tensor, "batch c *space"]]:
        """Features of fixed and warped moving -> maps whose difference drives."""
        if str(level) in self.attention:
            fixed, moving = self.attention[str(level)](fixed, moving)
        return self.compare[level](fixed), self.compare[level](moving)


class FusionBlock(nn.Module):
    """Cross-attention between two maps, then self-attention within each; both residual, the same weights for both."""

    def __init__(self, channels: int, sizes: DrivenMorphSizes):
        super().__init__()
        self.window = sizes.window
        self.norms = nn.ModuleList(nn.GroupNorm(1, channels) for _ in range(2))
        self.cross = MutualAttention(channels, heads=sizes.heads, head_dim=sizes.head_dim, window=sizes.window)
        self.own = MultiHeadAttention(channels, heads=sizes.heads, head_dim=sizes.head_dim)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps `(B, C, *S)`, each enriched."""
        first, second = self.cross(self.norms[0](first), self.norms[0](second))
        both = torch.cat([first, second])
        windows = Windows.of(both, self.window)
        tokens = windows.split(self.norms[1](both))
        both = both + windows.join(self.own(tokens, valid=windows.valid(both.device)))
        first, second = both.chunk(2)
        return first, second


class IntensityDifference(nn.Module):
    """The classical answer to where the images differ: their intensities, on a Gaussian pyramid. Nothing is learned.

    Put in place of `DifferenceStream`, it drives the same deformation stream with the classical (ESM) Demons force.
    """

    def __init__(self, sizes: DrivenMorphSizes):
        super().__init__()
        self.halvings = [sizes.stem_stride == 2, *[True] * (len(sizes.widths) - 1)]

    def encode(self, image: Float[Tensor, "batch channel *space"]) -> list[Tensor]:
        """The image at every level, finest first."""
        pyramid = []
        for half in self.halvings:
            image = halve(image) if half else image
            pyramid.append(image)
        return pyramid

    def forward(self, level: int, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The images themselves."""
        return fixed, moving


class DeformationStream(nn.Module):
    """From maps to be compared to motion: one neural Demons layer per level, and composition."""

    def __init__(self, sizes: DrivenMorphSizes):
        super().__init__()
        self.layers = nn.ModuleList(
            NeuralDemonsLayer(sizes.dims, max_step=sizes.max_step, sigma=sizes.sigma, max_sigma=sizes.max_sigma)
            for _ in sizes.widths
        )

    def forward(self, level: int, fixed: Tensor, moving: Tensor, before: Tensor) -> DrivenStep:
        """Force and update where warped `moving` maps differ from `fixed` ones, and the field that follows `before`."""
        step = self.layers[level](fixed, moving)
        # u = compose(before, update)
        displacement = follow(before, step.update)
        return DrivenStep(level, before, step.force, step.update, displacement)


class DrivenMorph(nn.Module):
    """`model(moving, fixed) -> DrivenRegistration`, images `(B, C, *S)` of any size, values about [0, 1].

    `model.difference` and `model.deformation` are the two streams; assign another module to replace one.
    """

    name = "drivenmorph"

    def __init__(self, sizes: DrivenMorphSizes | None = None):
        super().__init__()
        self.sizes = sizes = sizes or DrivenMorphSizes()
        self.difference = DifferenceStream(sizes)
        self.deformation = DeformationStream(sizes)

    def forward(
        self, moving: Float[Tensor, "batch channel *space"], fixed: Float[Tensor, "batch channel *space"]
    ) -> DrivenRegistration:
        """Register moving to fixed. Raises one sentence for NaN, wrong rank, integers, unequal shapes."""
        check_pair(moving, fixed, dims=self.sizes.dims, channels=self.sizes.image_channels, weights=self.parameters())
        moving_levels, fixed_levels, _ = encode_both(
            lambda images: (self.difference.encode(images), None), moving, fixed, training=self.training
        )
        grids = [features.shape[2:] for features in fixed_levels]

        driven, field = [], moving.new_zeros(moving.shape[0], self.sizes.dims, *grids[-1])
        for level in reversed(range(len(grids))):
            moving_features, fixed_features = moving_levels[level], fixed_levels[level]
            if driven:
                field = upsample_field(field, grids[level])
            for _ in range(self.sizes.rounds):
                # f, m = difference(fixed_l, warp(moving_l, u)), then force, update and composition
                warped = self._pull(moving_features, field)
                driven.append(self.deformation(level, *self.difference(level, fixed_features, warped), field))
                field = driven[-1].displacement
        options = {"grids": grids, "image": fixed.shape[2:], "stem_stride": self.sizes.stem_stride}
        steps = [partial(field_to_image, step.displacement, level=step.level, **options) for step in driven]
        displacement = steps.pop()()
        warped, steps = self._pull(moving, displacement), Steps.of(steps, displacement)
        return DrivenRegistration(displacement, warped, steps, driven=tuple(driven))

    @staticmethod
    def _pull(features: Tensor, field: Tensor) -> Tensor:
        """`sample`, but without its rounding where an item has not moved: equal images then give exactly zero."""
        moved = field.flatten(1).any(1).view(-1, *[1] * (field.ndim - 1))
        return torch.where(moved, sample(features, field), features)

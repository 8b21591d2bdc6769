"""SegReg: a segmentation splits the pair into regions, one shared backbone registers each, the fields are merged.

Paper: Chen et al., "SegReg", arXiv 2509.15784 (2025).

| fixed by the paper                                     | chosen here                                               |
|--------------------------------------------------------|-----------------------------------------------------------|
| a segmentation of both images gives the regions        | MONAI's UNet, or labels that are given; the background is |
|                                                        | a region                                                  |
| the *same* backbone registers every region             | any model of the library; regions masked, not cropped,    |
|                                                        | and registered as one batch                               |
| partial fields are integrated into one                 | by the fixed image's regions, hard or soft                |
| regularisation adapts to the anatomy                   | each partial field is smooth in its own region; nothing   |
|                                                        | is asked of the seam                                      |

With region r of both images as masks M_r, F_r, and everything outside of a region set to one value:

    phi_r = backbone(moving where M_r, fixed where F_r)
    phi = sum_r W_r phi_r        W_r = F_r (hard), or Gaussian * F_r (soft); both add up to one

The loss of a training is the backbone's own, summed over regions instead of taken once (`regional_loss`). With a single
region, model and loss are those of the backbone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moereg.checks import check_pair
from moereg.fields import sample
from moereg.filters import smooth, smoothing_matrices
from moereg.models.masks import diffusion_within, dilated, group_labels, masked, region_masks
from moereg.models.registration import Registration, Similarity
from moereg.models.segmentation import Segmenter

RIM = 2  # voxels around its region in which a partial field is kept smooth as well


@dataclass(frozen=True)
class SegRegSizes:
    """What the model is made of."""

    dims: int = 3  # spatial axes, 2 or 3
    image_channels: int = 1
    backbone: str = "shmoareg"  # a name that `build` knows, or "own" for a module from elsewhere
    backbone_sizes: dict = field(default_factory=dict)  # keywords of that model
    groups: tuple[tuple[int, ...], ...] = ()  # labels of each region, all others are background; () = one per label
    softness: float = 0.0  # sigma in voxels of the weights at the seams, 0 = hard
    outside: float = -0.5  # intensity around a region; not within [0, 1], so that its outline is seen
    segmenter_labels: tuple[int, ...] = ()  # that its own segmenter tells apart; () = it has none, labels must be given
    segmenter_widths: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self):
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, got {self.dims}.")
        if not 0 <= self.softness < math.inf:
            raise ValueError(f"softness must be zero or more voxels, got {self.softness!r}.")
        together = [label for group in self.groups for label in group]
        if any(not group for group in self.groups) or len(together) != len(set(together)):
            raise ValueError(f"groups must each hold labels, each label in one group, got {self.groups}.")


@dataclass(frozen=True, kw_only=True)
class SegmentedRegistration(Registration):
    """A `Registration` with its parts. R regions that occur in either image of the batch, in ascending order.

    The batch of `routing` is that of the backbone: one item per region and pair where `present`, regions first. What
    else a backbone returns, such as the forces of DrivenMorph, is not passed on, nor is it trained on.
    """

    regions: tuple[int, ...]  # label of each region, or with groups its place in them from 1 on, 0 = background
    partial: Float[Tensor, "region batch dims *space"]  # zero where the region is missing
    present: Bool[Tensor, "region batch"]  # in both images
    moving_regions: Int[Tensor, "batch 1 *space"]
    fixed_regions: Int[Tensor, "batch 1 *space"]
    outside: float = 0.0
    rim: int = RIM

    def image_terms(self, moving: Tensor, fixed: Tensor, similarity: Similarity) -> dict[str, Float[Tensor, ""]]:
        """ "similarity" and "smoothness", each summed over regions."""
        alike, rough = self.regional_loss(moving, fixed, similarity)
        return {"similarity": alike, "smoothness": rough}

    def regional_loss(
        self,
        moving: Float[Tensor, "batch channel *space"],
        fixed: Float[Tensor, "batch channel *space"],
        similarity: Similarity,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Similarity and smoothness, each added over regions and averaged over pairs.

        Similarity compares every region by itself, outlines included: `similarity(warp(moving_r, phi_r), fixed_r)`.
        Smoothness is `diffusion(phi_r)` inside of region r and its rim. One region: the two usual terms.
        """
        batch = moving.shape[0]
        inputs = [
            masked(image, regions, self.regions, self.present, self.outside)
            for image, regions in ((moving, self.moving_regions), (fixed, self.fixed_regions))
        ]
        if not self.present.any():
            return self.displacement.sum() * 0, self.displacement.sum() * 0
        phi = self.partial[self.present]
        share = len(phi) / batch
        own = region_masks(self.fixed_regions, self.regions)[self.present].to(phi.dtype)
        return (
            share * similarity(sample(inputs[0], phi), inputs[1]),
            share * diffusion_within(phi, dilated(own, self.rim)),
        )


class SegReg(nn.Module):
    """`model(moving, fixed, moving_labels=..., fixed_labels=...) -> SegmentedRegistration`.

    Images `(B, C, *S)` of any size that the backbone takes, label maps `(B, 1, *S)` of whole numbers. Without label
    maps its segmenter makes them; ground truth goes in by handing it over.

    What happens to regions that are not as they should be:

    * In one image only: its partial field is zero, so that part of the fixed image does not move.
    * In no image: nothing is computed for it, and it is not among `regions`.
    * Labels above zero in no group: they belong to the background.

    Memory and time grow with the number of regions: R regions are a batch of R B for the backbone.

    Args:
        sizes: of everything; defaults if not given.
        backbone: any module with `model(moving, fixed) -> Registration`, instead of the one that `sizes` names.
        segmenter: instead of the one that `sizes` names.
        build: makes the backbone that `sizes` names, `build(name, **its_sizes)`. `moereg.models.build("segreg", ...)`
            hands over its own.

    Raises:
        ValueError: neither a backbone nor `build`.
    """

    name = "segreg"

    def __init__(
        self,
        sizes: SegRegSizes | None = None,
        *,
        backbone: nn.Module | None = None,
        segmenter: Segmenter | None = None,
        build: Callable[..., nn.Module] | None = None,
    ):
        super().__init__()
        sizes = sizes or SegRegSizes()
        if backbone is None:
            if build is None:
                raise ValueError(
                    'backbone must be given, or the model made by models.build("segreg", ...), got neither.'
                )
            options = sizes.backbone_sizes | {"dims": sizes.dims, "image_channels": sizes.image_channels}
            backbone = build(sizes.backbone, **options)
        else:
            name = getattr(backbone, "name", "own")
            inner = {} if name == "own" else dict(vars(backbone.sizes))
            sizes = replace(sizes, backbone=name, backbone_sizes=inner)
        if segmenter is not None:
            sizes = replace(sizes, segmenter_labels=segmenter.labels, segmenter_widths=segmenter.widths)
        elif sizes.segmenter_labels:
            segmenter = Segmenter(
                sizes.segmenter_labels,
                dims=sizes.dims,
                image_channels=sizes.image_channels,
                widths=sizes.segmenter_widths,
            )
        self.sizes, self.backbone, self.segmenter = sizes, backbone, segmenter

    @property
    def needs_labels(self) -> bool:
        """Whether `fit` and `evaluate` have to hand over the pair's labels: there is no segmenter."""
        return self.segmenter is None

    def forward(
        self,
        moving: Float[Tensor, "batch channel *space"],
        fixed: Float[Tensor, "batch channel *space"],
        *,
        moving_labels: Int[Tensor, "batch 1 *space"] | None = None,
        fixed_labels: Int[Tensor, "batch 1 *space"] | None = None,
    ) -> SegmentedRegistration:
        """Register moving to fixed, region by region.

        Raises:
            ValueError, TypeError: one sentence for what other models refuse, label maps of another shape or kind, one
                label map without the other, and none at all where there is no segmenter.
        """
        check_pair(moving, fixed, dims=self.sizes.dims, channels=self.sizes.image_channels, weights=self.parameters())
        moving_labels, fixed_labels = self._labels(moving, fixed, moving_labels, fixed_labels)
        moving_regions, fixed_regions = (group_labels(lab, self.sizes.groups) for lab in (moving_labels, fixed_labels))

        regions = tuple(torch.cat([moving_regions, fixed_regions]).unique().tolist())
        membership = region_masks(fixed_regions, regions)  # (R, B, 1, *S)
        present = membership.flatten(2).any(2) & region_masks(moving_regions, regions).flatten(2).any(2)
        weights = self._weights(membership, fixed.dtype)

        found = None
        if present.any():
            found = self.backbone(
                masked(moving, moving_regions, regions, present, self.sizes.outside),
                masked(fixed, fixed_regions, regions, present, self.sizes.outside),
            )
        nothing = moving.new_zeros(len(regions), *moving.shape[:1], self.sizes.dims, *moving.shape[2:])
        partial = _scatter(nothing, present, found.displacement) if found else nothing
        # phi = sum_r W_r phi_r
        displacement = (weights * partial).sum(0)
        steps = tuple((weights * _scatter(nothing, present, step)).sum(0) for step in found.steps) if found else ()
        return SegmentedRegistration(
            displacement,
            sample(moving, displacement),
            steps or (displacement,),
            found.routing if found else {},
            regions=regions,
            partial=partial,
            present=present,
            moving_regions=moving_regions,
            fixed_regions=fixed_regions,
            outside=self.sizes.outside,
            rim=RIM + math.ceil(2 * self.sizes.softness),
        )

    def _labels(
        self, moving: Tensor, fixed: Tensor, moving_labels: Tensor | None, fixed_labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if moving_labels is None and fixed_labels is None and self.segmenter is not None:
            return self.segmenter.segment(moving), self.segmenter.segment(fixed)
        if moving_labels is None or fixed_labels is None:
            given = {"moving_labels": moving_labels, "fixed_labels": fixed_labels}
            missing = [name for name, labels in given.items() if labels is None]
            why = "" if len(missing) == 1 else " to a model without a segmenter"
            raise ValueError(
                f"moving_labels and fixed_labels must both be given{why}, got no {' and no '.join(missing)}."
            )
        for name, labels in (("moving_labels", moving_labels), ("fixed_labels", fixed_labels)):
            if labels.is_floating_point() or labels.is_complex():
                raise TypeError(f"{name} must hold whole numbers, got {labels.dtype}.")
            if labels.shape != (moving.shape[0], 1, *moving.shape[2:]):
                raise ValueError(
                    f"{name} must have shape {(moving.shape[0], 1, *moving.shape[2:])} like the images, "
                    f"got {tuple(labels.shape)}."
                )
        return moving_labels, fixed_labels

    def _weights(self, membership: Tensor, dtype: torch.dtype) -> Float[Tensor, "region batch 1 *space"]:
        weights = membership.to(dtype)
        if self.sizes.softness == 0:
            return weights
        flat = weights.flatten(0, 1)
        matrices = smoothing_matrices((self.sizes.softness,) * self.sizes.dims, flat)
        return smooth(flat, matrices).view_as(weights)


def _scatter(nothing: Tensor, present: Tensor, found: Tensor) -> Float[Tensor, "region batch dims *space"]:
    return nothing.to(found.dtype).index_put(present.nonzero(as_tuple=True), found)

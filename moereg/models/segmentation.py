"""Segmentation for SegReg: a UNet of MONAI that learns labels from labelled pairs. Nothing of it is written here.

It is trained by `moereg.training.fit_segmenter`.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moereg.checks import check_fits_model, check_image

# SHMoAReg for SegReg: every region passes it, and SegReg with twelve regions costs thirteen registrations.
SMALL_BACKBONE = {"widths": (8, 16, 24), "decoder_widths": (8, 12, 16), "heads": 4}


class Segmenter(nn.Module):
    """`monai.networks.nets.UNet` for images of any size: image -> logits of the labels, `segment` -> label map.

    Args:
        labels: the values it tells apart, ascending, with 0 (background).
        dims: spatial axes, 2 or 3.
        image_channels: of the images.
        widths: channels per level, from the image down; each level halves the resolution.

    Raises:
        ValueError: labels that are not ascending from 0 on, or fewer than two.
    """

    def __init__(
        self, labels: Sequence[int], *, dims: int, image_channels: int = 1, widths: Sequence[int] = (8, 16, 32)
    ):
        super().__init__()
        from monai.networks.nets.unet import UNet

        self.labels, self.dims, self.image_channels = tuple(labels), dims, image_channels
        self.widths = tuple(widths)
        if len(self.labels) < 2 or self.labels[0] != 0 or list(self.labels) != sorted(set(self.labels)):
            raise ValueError(f"labels must ascend from 0 and be two or more, got {self.labels}.")
        levels = len(self.widths) - 1
        self.network = UNet(
            spatial_dims=dims,
            in_channels=image_channels,
            out_channels=len(self.labels),
            channels=self.widths,
            strides=(2,) * levels,
            num_res_units=1,
        )
        self.divisor = 2**levels

    def forward(self, image: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch label *space"]:
        """Logits. The image is padded with its border values to what the network can halve, and cut back."""
        check_image("image", image)
        check_fits_model("image", image, self.dims, self.image_channels)
        space = image.shape[2:]
        # Twice the divisor at least: MONAI's instance normalisation needs more than one voxel.
        wanted = [max(2 * self.divisor, n + -n % self.divisor) for n in space]
        padding = [amount for n, m in zip(reversed(space), reversed(wanted), strict=True) for amount in (0, m - n)]
        padded = F.pad(image, padding, mode="replicate") if any(padding) else image
        return self.network(padded)[(..., *(slice(0, n) for n in space))]

    @torch.no_grad()
    def segment(self, image: Float[Tensor, "batch channel *space"]) -> Int[Tensor, "batch 1 *space"]:
        """The most likely label of every voxel."""
        return torch.tensor(self.labels, device=image.device)[self(image).argmax(1, keepdim=True)]


def classes(labels: Int[Tensor, "batch 1 *space"], known: Sequence[int]) -> Int[Tensor, "batch 1 *space"]:
    """Place of every label in `known`; 0, the background, for those that are not there."""
    values = torch.tensor(known, device=labels.device)
    place = torch.bucketize(labels, values).clamp_max(len(values) - 1)
    return torch.where(values[place] == labels, place, 0)


@runtime_checkable
class LabelledPair(Protocol):
    """What a model's sizes can follow from: a `moereg.data.Pair`, of which models know no more than this."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def moving_labels(self) -> Tensor | None: ...

    @property
    def fixed_labels(self) -> Tensor | None: ...


@runtime_checkable
class LabelledPairs(Protocol):
    """A set of them, `moereg.data.Pairs` for instance."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> LabelledPair: ...


def segmented_sizes(pairs: LabelledPairs, *, look_at: int = 20) -> dict:
    """Sizes of a SegReg that makes its own segmentation: a small SHMoAReg, and the labels of the first pairs.

    Raises:
        ValueError: a pair without labels.
    """
    found = {0}
    for pair in (pairs[i] for i in range(min(look_at, len(pairs)))):
        if pair.moving_labels is None or pair.fixed_labels is None:
            raise ValueError(f"pairs must all have labels to learn from, got {pair.name or 'a pair'} without.")
        found |= {*pair.moving_labels.unique().tolist(), *pair.fixed_labels.unique().tolist()}
    return {"segmenter_labels": tuple(sorted(found)), "backbone_sizes": SMALL_BACKBONE}

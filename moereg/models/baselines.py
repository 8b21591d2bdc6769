"""Yardsticks from other libraries behind this library's interface."""

import warnings
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_pair
from moereg.fields import sample
from moereg.models.registration import Registration


@dataclass(frozen=True)
class VoxelMorphSizes:
    """Sizes of MONAI's VoxelMorph; widths are its defaults."""

    dims: int = 3
    image_channels: int = 1
    half_resolution: bool = False  # predict the field at half resolution, as VoxelMorph's released models do
    integration_steps: int = 7  # squarings of the velocity, 0 = predict the displacement itself
    widths: tuple[int, ...] = (16, 32, 32, 32, 32, 32)  # from the outside in: level 0 down, level 0 up, level 1 down, …
    final_widths: tuple[int, ...] = (16, 16)


class VoxelMorph(nn.Module):
    """`monai.networks.nets.VoxelMorph` behind `model(moving, fixed) -> Registration`.

    Sources: Balakrishnan et al. 2019, Dalca et al. 2018.

    MONAI's displacement is in voxels, channel d along axis d, and pulls, as here. Its U-Net needs axes that divide by
    8; images are padded with their border values at the end of each axis and the field is cut back.
    """

    name = "voxelmorph"
    divisor = 8  # what MONAI's U-Net needs of every axis

    def __init__(self, sizes: VoxelMorphSizes | None = None):
        super().__init__()
        from monai.networks.nets.voxelmorph import VoxelMorph as MonaiVoxelMorph
        from monai.networks.nets.voxelmorph import VoxelMorphUNet

        self.sizes = sizes = sizes or VoxelMorphSizes()
        unet = VoxelMorphUNet(
            spatial_dims=sizes.dims,
            in_channels=2 * sizes.image_channels,
            unet_out_channels=32,
            channels=sizes.widths,
            final_conv_channels=sizes.final_widths,
        )
        with warnings.catch_warnings():
            # MONAI says that it uses torch's own grid_sample; that is what we want.
            warnings.filterwarnings("ignore", message=".*native grid_sample")
            self.network = MonaiVoxelMorph(
                backbone=unet,
                integration_steps=sizes.integration_steps,
                half_res=sizes.half_resolution,
                spatial_dims=sizes.dims,
            )

    def forward(
        self, moving: Float[Tensor, "batch channel *space"], fixed: Float[Tensor, "batch channel *space"]
    ) -> Registration:
        """Register moving to fixed."""
        check_pair(moving, fixed, dims=self.sizes.dims, channels=self.sizes.image_channels, weights=self.parameters())
        space = moving.shape[2:]
        padding = [amount for size in reversed(space) for amount in (0, -size % self.divisor)]
        padded = [F.pad(image, padding, mode="replicate") if any(padding) else image for image in (moving, fixed)]
        displacement = self.network(*padded)[1][(..., *(slice(0, size) for size in space))]
        return Registration(displacement, sample(moving, displacement), (displacement,))

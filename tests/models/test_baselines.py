"""VoxelMorph of MONAI behind this library's interface: what it is given, what is made of its answer, its sizes."""

import pytest
import torch

from moereg import fields, models
from moereg.models.baselines import VoxelMorphSizes

pytest.importorskip("monai", reason="MONAI is not installed")

TINY = {"widths": (4, 4, 4, 4, 4, 4), "final_widths": (3,)}


def tiny(dims=2, **sizes):
    torch.manual_seed(0)
    return models.build("voxelmorph", dims=dims, **(TINY | sizes))


class Remembers(torch.nn.Module):
    """In place of MONAI's network: keeps what it was given, answers with the place of every voxel."""

    def forward(self, moving, fixed):
        self.given = moving, fixed
        field = fields.identity_grid(moving.shape[2:])[None].repeat(len(moving), 1, *[1] * (moving.ndim - 2))
        return None, 0.1 * field


@pytest.mark.parametrize("shape", [(13, 16), (8, 9), (9, 8, 15)])
def test_images_are_padded_with_their_border_and_the_field_is_cut_back(shape, generator):
    model = tiny(len(shape))
    model.network = Remembers()
    moving, fixed = torch.rand(2, 2, 1, *shape, generator=generator).unbind()
    result = model(moving, fixed)
    for given, image in zip(model.network.given, (moving, fixed), strict=True):
        assert given.shape[2:] == tuple(-(-n // 8) * 8 for n in shape)
        assert torch.equal(given[(..., *(slice(0, n) for n in shape))], image)
        for axis, n in enumerate(shape, start=2):
            last = given.narrow(axis, n - 1, 1)
            assert torch.equal(
                given.narrow(axis, n - 1, given.shape[axis] - n + 1),
                last.expand_as(given.narrow(axis, n - 1, given.shape[axis] - n + 1)),
            )
    expected = 0.1 * fields.identity_grid(shape)[None].repeat(2, 1, *[1] * len(shape))
    assert torch.equal(result.displacement, expected)
    torch.testing.assert_close(result.warped, fields.warp(moving, expected))
    assert result.steps == (result.displacement,)
    assert result.routing == {}


@pytest.mark.filterwarnings("ignore:.*native grid_sample")
@pytest.mark.parametrize("half_resolution", [False, True])
@pytest.mark.parametrize("integration_steps", [0, 5])
def test_it_is_monais_network_with_these_sizes(half_resolution, integration_steps, generator):
    from monai.networks.nets import VoxelMorph as Monai
    from monai.networks.nets import VoxelMorphUNet

    model = tiny(3, half_resolution=half_resolution, integration_steps=integration_steps, image_channels=2)
    unet = VoxelMorphUNet(
        spatial_dims=3, in_channels=4, unet_out_channels=32, channels=TINY["widths"], final_conv_channels=(3,)
    )
    theirs = Monai(backbone=unet, integration_steps=integration_steps, half_res=half_resolution, spatial_dims=3)
    theirs.load_state_dict(model.network.state_dict())
    moving, fixed = torch.rand(2, 1, 2, 16, 8, 8, generator=generator).unbind()
    with torch.no_grad():
        displacement = theirs(moving, fixed)[1]  # MONAI warps with zeros outside, we with the border
        result = model(moving, fixed)
    torch.testing.assert_close(result.displacement, displacement)
    torch.testing.assert_close(result.warped, fields.warp(moving, displacement), atol=1e-5, rtol=0)
    assert displacement.abs().max() > 0


def test_it_says_nothing(recwarn):
    tiny()
    assert not [warning for warning in recwarn if "grid_sample" in str(warning.message)]


def test_sizes_by_default():
    assert models.VoxelMorph().sizes == VoxelMorphSizes()
    assert models.VoxelMorph(VoxelMorphSizes(dims=2)).sizes.dims == 2


@pytest.mark.plain_errors
def test_a_pair_it_was_not_built_for():
    with pytest.raises(ValueError, match="moving must have 2 spatial axes and 1 channel"):
        tiny()(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8))

"""The segmenter of SegReg: MONAI's UNet on images of any size, and its labels."""

import pytest
import torch

from moereg.data import Pair
from moereg.models import build_for
from moereg.models.segmentation import SMALL_BACKBONE, Segmenter, classes, segmented_sizes

pytest.importorskip("monai", reason="MONAI is not installed")


@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_monais_unet(dims, generator):
    from monai.networks.nets import UNet

    segmenter = Segmenter((0, 3, 8), dims=dims, image_channels=2, widths=(4, 6, 8)).eval()
    theirs = UNet(dims, 2, 3, channels=(4, 6, 8), strides=(2, 2), num_res_units=1).eval()
    theirs.load_state_dict(segmenter.network.state_dict())
    image = torch.rand(1, 2, *(16, 8, 12)[:dims], generator=generator)
    assert torch.equal(segmenter(image), theirs(image))
    assert segmenter.divisor == 4


class Remembers(torch.nn.Module):
    def forward(self, image):
        self.given = image
        return image.expand(-1, 2, *image.shape[2:])


@pytest.mark.parametrize(
    ("shape", "padded"), [((16, 16), (16, 16)), ((9, 17), (12, 20)), ((1, 8), (8, 8)), ((5, 7, 9), (8, 8, 12))]
)
def test_images_are_padded_with_their_border(shape, padded, generator):
    segmenter = Segmenter((0, 1), dims=len(shape), widths=(2, 2, 2))
    segmenter.network = Remembers()
    image = torch.rand(2, 1, *shape, generator=generator)
    logits = segmenter(image)
    given = segmenter.network.given
    assert given.shape == (2, 1, *padded)
    assert torch.equal(logits, image.expand(2, 2, *shape))
    reached = torch.meshgrid(
        *(torch.arange(m).clamp_max(n - 1) for n, m in zip(shape, padded, strict=True)), indexing="ij"
    )
    assert torch.equal(given, image[(..., *reached)])


def test_by_default_three_levels_and_one_channel():
    segmenter = Segmenter([0, 4], dims=2)
    assert segmenter.widths == (8, 16, 32)
    assert segmenter.labels == (0, 4)
    assert segmenter.image_channels == 1
    assert segmenter.divisor == 4


def test_the_label_of_a_voxel_is_that_of_the_largest_logit():
    segmenter = Segmenter((0, 3, 8), dims=2, widths=(2, 2))
    logits = torch.tensor([[[[5.0, 1.0, 0.0]], [[1.0, 2.0, 0.0]], [[0.0, 0.0, 1.0]]]])
    segmenter.forward = lambda image: logits
    assert segmenter.segment(torch.zeros(1, 1, 1, 3)).tolist() == [[[[0, 3, 8]]]]


def test_classes_are_places_and_unknown_labels_the_background():
    labels = torch.tensor([[[[-1, 0, 2, 3, 5, 8, 9]]]])
    assert classes(labels, (0, 3, 8)).flatten().tolist() == [0, 0, 0, 1, 0, 2, 0]


@pytest.mark.plain_errors
@pytest.mark.parametrize(
    ("image", "error"), [(torch.zeros(1, 2, 8, 8), ValueError), (torch.zeros(1, 1, 8, 8).long(), TypeError)]
)
def test_images_of_another_kind(image, error):
    with pytest.raises(error, match="image must"):
        Segmenter((0, 1), dims=2, widths=(2, 2))(image)


@pytest.mark.parametrize("labels", [(0,), (), (1, 2), (0, 2, 1), (0, 1, 1)])
def test_labels_ascend_from_the_background(labels):
    with pytest.raises(ValueError, match="labels must ascend from 0 and be two or more, got"):
        Segmenter(labels, dims=2, widths=(2, 2))


def pair(shape, *labels):
    """Images of zeros; label maps that hold these values."""
    maps = [torch.tensor(own).repeat(64)[: torch.Size(shape).numel()].view(1, *shape) for own in labels]
    return Pair(torch.zeros(1, *shape), torch.zeros(1, *shape), *maps, name="own")


def test_a_segreg_for_pairs_tells_their_labels_apart():
    pairs = [pair((8, 8), (0, 2), (0, 7)), pair((8, 8), (3, 3), (9, 0))]
    model = build_for("segreg", pairs)
    assert model.sizes.segmenter_labels == (0, 2, 3, 7, 9)
    assert model.sizes.backbone_sizes == SMALL_BACKBONE
    assert model.backbone.sizes.widths == SMALL_BACKBONE["widths"]
    assert model.backbone.sizes.dims == model.segmenter.dims == 2
    own = build_for("segreg", pairs, segmenter_labels=(0, 2), backbone_sizes={})
    assert own.sizes.segmenter_labels == (0, 2)
    assert own.backbone.sizes.widths == (16, 32, 48)


def test_labels_are_looked_for_in_the_first_pairs():
    pairs = [pair((8, 8), (0, 1), (0, 1)) for _ in range(20)] + [pair((8, 8), (0, 5), (0, 5))]
    assert segmented_sizes(pairs)["segmenter_labels"] == (0, 1)
    assert segmented_sizes(pairs, look_at=21)["segmenter_labels"] == (0, 1, 5)
    assert segmented_sizes(pairs[19:], look_at=1)["segmenter_labels"] == (0, 1)
    assert segmented_sizes([pair((8, 8), (4, 4), (4, 4))])["segmenter_labels"] == (0, 4)


@pytest.mark.parametrize("labels", [(), ((0, 1),)])
def test_pairs_without_labels_teach_no_segmentation(labels):
    with pytest.raises(ValueError, match="pairs must all have labels to learn from, got own without"):
        segmented_sizes([pair((8, 8), *labels)])


@pytest.mark.parametrize(("widths", "divisor"), [((4, 8), 2), ((4, 4, 4), 4), ((4, 4, 4, 4), 8)])
def test_axes_divide_by_two_for_every_level(widths, divisor, generator):
    segmenter = Segmenter((0, 1), dims=2, widths=widths)
    assert segmenter.divisor == divisor
    assert segmenter(torch.rand(1, 1, 21, 18, generator=generator)).shape == (1, 2, 21, 18)

"""Models by name: sizes of every one, what follows from the pairs, what a header says, and who does not fit."""

import json
from dataclasses import asdict

import pytest
import torch

from moereg import models
from moereg.data import Pair
from moereg.models import registry
from moereg.models.segmentation import SMALL_BACKBONE, segmented_sizes

# The published sizes. A change here changes what a reader trains by default: say so in the changelog.
SIZES = {
    "shmoareg": {
        "dims": 3, "image_channels": 1, "stem_stride": 2, "widths": (16, 32, 48), "decoder_widths": (16, 24, 32),
        "moa_levels": (1, 2), "heads": 8, "active_heads": 2, "head_dim": 16, "window": 6, "context": "self",
        "kernel_sizes": (1, 3, 5, 7), "active_experts": 2, "expert_kind": "nested", "gate": "stopped",
        "head_gate": "stopped", "routers": "directions", "experts": "shared",
    },
    "drivenmorph": {
        "dims": 3, "image_channels": 1, "stem_stride": 2, "widths": (16, 32, 48), "compared": 8,
        "attention_levels": (1, 2), "heads": 4, "head_dim": 16, "window": 6, "rounds": 2, "max_step": 1.0,
        "sigma": 1.0, "max_sigma": 3.0,
    },
    "rman": {
        "dims": 3, "image_channels": 1, "recursions": 2, "widths": (8, 16, 16, 32), "dilation": 2,
        "attention": "mutual", "heads": 4, "head_dim": 16, "window": 8,
    },
    "segreg": {
        "dims": 3, "image_channels": 1, "backbone": "shmoareg", "backbone_sizes": {}, "groups": (), "softness": 0.0,
        "outside": -0.5, "segmenter_labels": (), "segmenter_widths": (8, 16, 32),
    },
    "voxelmorph": {
        "dims": 3, "image_channels": 1, "half_resolution": False, "integration_steps": 7,
        "widths": (16, 32, 32, 32, 32, 32), "final_widths": (16, 16),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_of_a_model_built_by_name_alone(name):
    model = models.build(name)
    assert model.name == name
    assert asdict(model.sizes) == SIZES[name]
    assert registry.describe(model) == {"model": name, "sizes": json.dumps(SIZES[name])}


def test_these_are_all():
    assert set(registry.MODELS) >= set(SIZES)


def test_sizes_from_a_header_have_tuples_again():
    header = json.loads(json.dumps({"widths": [4, 5, 6, 7], "dims": 2}))
    assert models.build("rman", **header).sizes.widths == (4, 5, 6, 7)
    inner = {"widths": [4, 6], "decoder_widths": [4, 4], "moa_levels": [1]}
    sizes = models.build("segreg", dims=2, backbone_sizes=inner, groups=[[1, 2], [3]]).sizes
    assert sizes.groups == ((1, 2), (3,))
    assert sizes.backbone_sizes == {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,)}


def pair(shape, *labels):
    """Images of zeros; label maps that hold these values."""
    maps = [torch.tensor(own).repeat(64)[: torch.Size(shape).numel()].view(1, *shape) for own in labels]
    return Pair(torch.zeros(1, *shape), torch.zeros(1, *shape), *maps, name="own")


def test_a_model_for_pairs_has_their_axes():
    small = {"widths": (4, 5, 6, 7)}
    assert registry.build_for("rman", [pair((8, 9))], **small).sizes.dims == 2
    assert registry.build_for("rman", [pair((4, 5, 6))], **small).sizes.dims == 3
    assert registry.build_for("rman", [pair((8, 9))], recursions=5, **small).sizes.recursions == 5


def test_a_segreg_for_pairs_tells_their_labels_apart():
    pairs = [pair((8, 8), (0, 2), (0, 7)), pair((8, 8), (3, 3), (9, 0))]
    model = registry.build_for("segreg", pairs)
    assert model.sizes.segmenter_labels == (0, 2, 3, 7, 9)
    assert model.sizes.backbone_sizes == SMALL_BACKBONE
    assert model.backbone.sizes.widths == SMALL_BACKBONE["widths"]
    assert model.backbone.sizes.dims == model.segmenter.dims == 2
    own = registry.build_for("segreg", pairs, segmenter_labels=(0, 2), backbone_sizes={})
    assert own.sizes.segmenter_labels == (0, 2)
    assert own.backbone.sizes.widths == SIZES["shmoareg"]["widths"]


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


def test_a_model_from_elsewhere_has_no_description():
    class Foreign(torch.nn.Module):
        name = "foreign"

    for model in (Foreign(), torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=f"model must be one of shmoareg, .*, got {type(model).__name__}"):
            registry.describe(model)


def test_unknown_names_and_sizes():
    with pytest.raises(ValueError, match="name must be one of 'shmoareg', .* got 'vit'"):
        registry.build_for("vit", [pair((8, 8))])
    with pytest.raises(ValueError, match="sizes of 'rman' must be among attention, .*, widths, window, got 'depth'"):
        models.build("rman", depth=3)

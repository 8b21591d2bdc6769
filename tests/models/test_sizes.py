"""The published sizes of every model."""

import json
from dataclasses import asdict

import pytest

from moereg import models
from moereg.models.registry import describe

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
        "sigma": 2.0, "max_sigma": 3.0,
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
    assert describe(model) == {"model": name, "sizes": json.dumps(SIZES[name])}

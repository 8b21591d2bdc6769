"""Models by name, weights on disk."""

import json

import pytest
import torch
from safetensors.torch import save_file

from moereg import models
from moereg.models.storage import read_tensors

TINY = {"dims": 2, "widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2}


def test_weights_come_back_with_their_model(tmp_path, generator):
    model = models.build("shmoareg", **TINY).eval()
    models.save_weights(tmp_path / "new" / "w.safetensors", model)
    loaded = models.load_model(tmp_path / "new" / "w.safetensors")
    assert loaded.sizes == model.sizes
    images = [torch.rand(1, 1, 16, 16, generator=generator) for _ in range(2)]
    assert torch.equal(loaded(*images).displacement, model(*images).displacement)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["w.safetensors"]


def test_voxelmorph_behind_the_same_interface(generator):
    model = models.build("voxelmorph", dims=2)
    moving, fixed = (torch.rand(2, 1, 19, 34, generator=generator) for _ in range(2))
    registration = model(moving, fixed)
    assert registration.displacement.shape == (2, 2, 19, 34)
    assert registration.routing == {}


@pytest.mark.plain_errors
class TestBadInput:
    def test_build(self):
        with pytest.raises(ValueError, match="name must be one of 'shmoareg', .* got 'vit'"):
            models.build("vit")
        with pytest.raises(ValueError, match="sizes of 'shmoareg' must be among .* got 'depth'"):
            models.build("shmoareg", depth=3)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="weights file .* does not exist"):
            models.load_model(tmp_path / "none.safetensors")

    def test_truncated_file(self, tmp_path):
        path = tmp_path / "w.safetensors"
        models.save_weights(path, models.build("shmoareg", **TINY))
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match="must be a whole safetensors file"):
            models.load_model(path)

    def test_foreign_and_mismatched_weights(self, tmp_path):
        save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
        with pytest.raises(ValueError, match="must hold weights written by moereg, got a header with nothing"):
            models.load_model(tmp_path / "foreign.safetensors")
        path = tmp_path / "w.safetensors"
        models.save_weights(path, models.build("shmoareg", **TINY))
        tensors, header = read_tensors(path)
        header["sizes"] = json.dumps(json.loads(header["sizes"]) | {"heads": 3})
        save_file(tensors, path, metadata=header)
        with pytest.raises(ValueError, match="must hold the weights of 'shmoareg', .* is missing, extra or misshapen"):
            models.load_model(path)

"""Models by name, weights on disk."""

import json

import pytest
import torch
from safetensors.torch import save_file

from moereg import models
from moereg.models.registry import describe
from moereg.models.storage import read_tensors, write_tensors

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


class TestFiles:
    def test_a_loaded_model_is_in_evaluation_mode_and_of_the_same_numbers(self, tmp_path):
        model = models.build("shmoareg", **TINY)
        models.save_weights(str(tmp_path / "w.safetensors"), model)
        assert model.training
        loaded = models.load_model(str(tmp_path / "w.safetensors"))
        assert not loaded.training
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))

    def test_the_header_names_the_model_and_its_sizes(self, tmp_path):
        model = models.build("rman", dims=2, widths=(4, 5, 6, 7))
        models.save_weights(tmp_path / "w.safetensors", model)
        tensors, header = read_tensors(tmp_path / "w.safetensors")
        assert set(header) == {"model", "sizes"}
        assert header["model"] == "rman"
        assert json.loads(header["sizes"])["widths"] == [4, 5, 6, 7]
        assert tensors.keys() == model.state_dict().keys()

    def test_a_checkpoint_is_no_weights_file(self, tmp_path):
        model = models.build("shmoareg", **TINY)
        header = {**describe(model), "step": "3"}
        write_tensors(tmp_path / "c.safetensors", model.state_dict(), header)
        sentence = r"must hold weights written by moereg, got a header with \['model', 'sizes', 'step'\]"
        with pytest.raises(ValueError, match=sentence):
            models.load_model(tmp_path / "c.safetensors")

    @pytest.mark.parametrize("change", ["missing", "extra", "misshapen"])
    def test_the_first_tensor_that_is_wrong_is_named(self, change, tmp_path):
        model = models.build("shmoareg", **TINY)
        tensors = dict(model.state_dict())
        name = "mixtures.1.readout"
        if change == "missing":
            del tensors[name]
        elif change == "extra":
            name = "another"
            tensors[name] = torch.zeros(1)
        else:
            tensors[name] = torch.zeros(3, 3)
        write_tensors(tmp_path / "w.safetensors", tensors, describe(model))
        with pytest.raises(ValueError, match=f"'shmoareg', '{name}' is missing, extra or misshapen"):
            models.load_model(tmp_path / "w.safetensors")

    def test_a_file_without_a_header_and_one_that_is_none(self, tmp_path):
        save_file({"a": torch.ones(2)}, tmp_path / "bare.safetensors")
        tensors, header = read_tensors(tmp_path / "bare.safetensors")
        assert header == {}
        assert tensors["a"].tolist() == [1, 1]
        with pytest.raises(FileNotFoundError, match="weights file .*folder does not exist"):
            read_tensors(tmp_path / "folder")

"""Models by name, weights on disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from moereg import files, models
from moereg.models import storage
from moereg.models.storage import read_tensors
from tests.oracle_models import Shift, ShiftSizes, enter

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


def test_a_file_says_in_plain_text_what_it_holds(tmp_path, monkeypatch):
    """Old files keep loading as long as this stays: a header of name and sizes, tensors by the model's own names."""
    enter(monkeypatch, Shift)
    model = Shift(ShiftSizes(dims=2, voxels=(1.0, 2.0)))
    with torch.no_grad():
        model.offset += torch.tensor([0.25, -0.5])
    models.save_weights(str(tmp_path / "w.safetensors"), model)
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"model": "shift", "sizes": '{"dims": 2, "image_channels": 1, "voxels": [1.0, 2.0]}'}
        assert sorted(file.keys()) == ["drawn", "offset"]
        assert file.get_tensor("offset").tolist() == [0.25, -0.5]
    loaded = models.load_model(str(tmp_path / "w.safetensors"))
    assert (type(loaded), loaded.sizes, loaded.training) == (Shift, model.sizes, False)
    assert torch.equal(loaded.offset, model.offset)


def test_half_of_the_bits_and_whole_numbers_as_they_are(tmp_path, monkeypatch):
    class Counting(Shift):
        name = "counting"

        def __init__(self, sizes=None):
            super().__init__(sizes)
            self.register_buffer("count", torch.tensor(2**20 + 1))

    enter(monkeypatch, Counting)
    model = Counting(ShiftSizes(dims=2))
    with torch.no_grad():
        model.offset += torch.tensor([0.5, 1 / 3])
    models.save_weights(tmp_path / "w.safetensors", model, half=True)
    stored, _ = read_tensors(tmp_path / "w.safetensors")
    assert stored["offset"].dtype == torch.float16
    loaded = models.load_model(tmp_path / "w.safetensors")
    assert loaded.offset.dtype == torch.float32
    assert loaded.offset.tolist() == [0.5, float(torch.tensor(1 / 3).half())]
    assert int(loaded.count) == 2**20 + 1


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A checkout with two networks, the library installed elsewhere, and the working folder inside of it."""
    enter(monkeypatch, Shift)
    folder = tmp_path / "clone" / "data" / "weights"
    for name, voxels in (("liver", (1.0, 0.0)), ("lung", (2.0, 0.0))):
        models.save_weights(folder / f"{name}.safetensors", Shift(ShiftSizes(dims=2, voxels=voxels)))
    (tmp_path / "clone" / "notebooks").mkdir()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "moereg" / "files.py"))
    monkeypatch.chdir(tmp_path / "clone" / "notebooks")
    return folder


def test_networks_of_the_repository_are_known_by_name(clone, monkeypatch, tmp_path):
    assert models.load_model("lung").sizes.voxels == (2.0, 0.0)
    assert models.find_weights("liver") == clone / "liver.safetensors"
    Path("liver").mkdir()  # a folder of data by that name is no file of weights
    assert models.find_weights("liver") == clone / "liver.safetensors"
    Path("liver").rmdir()
    # A file of that name goes first; whatever looks like a path is one.
    models.save_weights("liver", Shift(ShiftSizes(dims=2, voxels=(3.0, 0.0))))
    assert models.load_model("liver").sizes.voxels == (3.0, 0.0)
    for path in ("liver.safetensors", "./lung", "data/lung"):
        with pytest.raises(FileNotFoundError, match="weights file .* does not exist"):
            models.load_model(path)


@pytest.mark.plain_errors
def test_a_name_that_no_network_has_is_answered_with_those_there_are(clone, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights must be a file or one of liver, lung in .*, got 'spleen'"):
        models.load_model("spleen")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="weights must be a file or one of no names in data/weights, got 'liver'"
    ):
        models.load_model("liver")


def test_parameters_of_any_layout_are_written(tmp_path, monkeypatch):
    class Turned(Shift):
        name = "turned"

        def __init__(self, sizes=None):
            super().__init__(sizes)
            self.matrix = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)  # not contiguous

    enter(monkeypatch, Turned)
    models.save_weights(tmp_path / "w.safetensors", Turned())
    tensors, _ = read_tensors(tmp_path / "w.safetensors")
    assert tensors["matrix"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_failed_write_leaves_the_old_weights(tmp_path, monkeypatch):
    enter(monkeypatch, Shift)
    models.save_weights(tmp_path / "w.safetensors", Shift())
    before = (tmp_path / "w.safetensors").read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        models.save_weights(tmp_path / "w.safetensors", Shift())
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


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

    @pytest.mark.parametrize(
        ("header", "tensors", "sentence"),
        [
            ({"model": "vit", "sizes": "{}"}, {}, r"written by moereg, got a header with \['model', 'sizes'\]\."),
            ({"sizes": "{}"}, {}, r"written by moereg, got a header with \['sizes'\]\."),
            ({"step": "3"}, {}, r"written by moereg, got a header with \['model', 'sizes', 'step'\]\."),
            ({}, {"offset": None}, "the weights of 'shift', 'offset' is missing, extra or misshapen."),
            ({}, {"more": torch.zeros(1)}, "the weights of 'shift', 'more' is missing, extra or misshapen."),
            ({}, {"offset": torch.zeros(4)}, "the weights of 'shift', 'offset' is missing, extra or misshapen."),
            (
                {},
                {"offset": None, "drawn": torch.zeros(2), "another": torch.zeros(1)},
                "the weights of 'shift', 'another' is missing, extra or misshapen.",
            ),
        ],
    )
    def test_what_is_wrong_with_a_file_is_named(self, header, tensors, sentence, tmp_path, monkeypatch):
        enter(monkeypatch, Shift)
        right = {"model": "shift", "sizes": json.dumps({"dims": 3})}
        changed = {"offset": torch.zeros(3), "drawn": torch.zeros(1)} | tensors
        header = header if "sizes" in header else right | header
        save_file({n: t for n, t in changed.items() if t is not None}, tmp_path / "w.safetensors", metadata=header)
        with pytest.raises(ValueError, match=f"w.safetensors must hold .*{sentence}"):
            models.load_model(tmp_path / "w.safetensors")

    def test_a_text_is_no_weights_file(self, tmp_path):
        (tmp_path / "w.safetensors").write_text("not even close, but long enough to have a header")
        with pytest.raises(ValueError, match="w.safetensors must be a whole safetensors file, reading it failed: "):
            models.load_model(tmp_path / "w.safetensors")
        with pytest.raises(FileNotFoundError, match=f"weights file {tmp_path} is no file."):
            models.load_model(tmp_path)

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


def test_a_file_without_a_header_and_one_that_is_none(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "bare.safetensors")
    tensors, header = read_tensors(tmp_path / "bare.safetensors")
    assert header == {}
    assert tensors["a"].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match="weights file .*folder does not exist"):
        read_tensors(tmp_path / "folder")

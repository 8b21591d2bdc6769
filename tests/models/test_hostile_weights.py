"""Weights files that promise more than they hold, and models that could be saved but never loaded again."""

import json
import resource

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moereg import models
from moereg.models.drivenmorph import IntensityDifference
from moereg.models.segreg import SegReg
from moereg.models.storage import save_weights
from tests.oracle_models import Shift, enter

TINY = {"dims": 2, "widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
MANY = "they ask for more numbers than there are"
BROAD = TINY | {"widths": (4,), "decoder_widths": (4,), "moa_levels": (), "kernel_sizes": [4095], "expert_kind": "full"}
BROAD |= {"active_experts": 1, "dims": 3}
pytestmark = pytest.mark.plain_errors


@pytest.fixture
def claim(tmp_path):
    """`claim(model, sizes)` -> a file of one number whose header has these sizes."""

    def write(model: str, sizes) -> str:
        text = sizes if isinstance(sizes, str) else json.dumps(sizes)
        save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"model": model, "sizes": text})
        return str(tmp_path / "w.safetensors")

    return write


@pytest.fixture
def little_memory():
    """Two gigabytes more than there are: what asks for more fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("model", "sizes", "why"),
    [
        ("shmoareg", {"widths": [100_000, 1000, 100]}, "widths must lie between 0 and 4096, got 100000"),
        ("shmoareg", {"heads": 10**9}, "heads must lie between 0 and 4096, got 1000000000"),
        ("shmoareg", {"widths": [-1, 2, 3]}, "widths must lie between 0 and 4096, got -1"),
        ("shmoareg", {"widths": [4] * 5000}, "widths must have 4096 entries at most, got 5000"),
        ("shmoareg", {"widths": [4096] * 3, "decoder_widths": [4096] * 3}, MANY),  # 10^10 numbers, none of them made
        ("shmoareg", {"kernel_sizes": [1, 4095]}, MANY),
        ("shmoareg", BROAD, MANY),  # few parameters, and 10^12 numbers
        ("shmoareg", {"widths": "abc"}, "no model can be made of them"),
        ("shmoareg", {"window": 1e999}, "window must be finite, got inf"),
        ("shmoareg", {"bogus": 1}, "sizes of 'shmoareg' must be among"),
        ("shmoareg", [1, 2], r"they must have names, got '\[1, 2\]'"),
        ("shmoareg", "{", "they must be a short text in JSON, got '{'"),
        ("shmoareg", "[" * 99_999, "they must be a short text in JSON"),
        ("shmoareg", "1" * 200_000, "they must be a short text in JSON"),
        ("segreg", {"backbone_sizes": {"heads": 10**9}}, "backbone_sizes.heads must lie between 0 and 4096"),
        ("segreg", {"backbone": "own"}, "name must be one of 'shmoareg'"),
        ("segreg", {"segmenter_labels": [0, 14175], "backbone_sizes": TINY, "dims": 2}, MANY),  # a value may be large
    ],
)
def test_a_header_is_bounded_before_anything_is_made_of_it(model, sizes, why, claim, little_memory):
    start = f"w.safetensors must hold sizes that '{model}' can have; {why}"
    with pytest.raises(ValueError, match=start if why else f"w.safetensors must hold the weights of '{model}'"):
        models.load_model(claim(model, sizes))


def test_a_header_without_sizes_and_numbers_that_are_none(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"model": "shmoareg"})
    with pytest.raises(ValueError, match=r"written by moereg, got a header with \['model'\]"):
        models.load_model(tmp_path / "w.safetensors")
    enter(monkeypatch, Shift)
    for value, text in ((float("nan"), "NaN or infinity in 'offset'"), (float("inf"), "NaN or infinity")):
        tensors = {"offset": torch.tensor([0.0, value, 0.0]), "drawn": torch.zeros(1)}
        save_file(tensors, tmp_path / "w.safetensors", metadata={"model": "shift", "sizes": "{}"})
        with pytest.raises(ValueError, match=f"w.safetensors must hold finite numbers only, got {text}"):
            models.load_model(tmp_path / "w.safetensors")
    tensors = {"offset": torch.zeros(3, dtype=torch.int64), "drawn": torch.zeros(1)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"model": "shift", "sizes": "{}"})
    with pytest.raises(ValueError, match="must hold the weights of 'shift', 'offset' is missing, extra or misshapen"):
        models.load_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["shmoareg", "drivenmorph", "rman", "segreg"])
def test_a_model_asks_for_no_more_than_it_holds_and_saving_draws_no_number(name, tmp_path):
    model = models.build(name, dims=2)
    state = torch.get_rng_state()
    save_weights(tmp_path / "w.safetensors", model)
    assert torch.equal(torch.get_rng_state(), state)
    found = models.load_model(tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(tensor, found[key]) for key, tensor in model.state_dict().items())


class Own(nn.Module):
    name = "own"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def exchanged():
    model = models.build("drivenmorph", dims=2)
    model.difference = IntensityDifference(model.sizes)
    return model


def too_large():
    model = models.build("shmoareg", **TINY)
    nn.init.constant_(next(model.parameters()), 1e5)
    return model


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (lambda: SegReg(backbone=Own()), {}, "to be loaded again; name must be one of 'shmoareg', .* got 'own'"),
        (exchanged, {}, "to be loaded again, but with 'difference.attention.*' it is another 'drivenmorph'"),
        (too_large, {"half": True}, "model must hold finite numbers only, got NaN or infinity in 'encoder"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(make, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        save_weights(tmp_path / "w.safetensors", make(), **options)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_ship_still_load():
    for name in ("hippocampus", "abdomen", "abdomen-flat"):
        assert models.load_model(name).name == "shmoareg"

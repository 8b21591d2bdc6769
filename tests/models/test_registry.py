"""The table of models: by name, with sizes that are checked, and sizes that follow from the pairs."""

import json
from dataclasses import dataclass, fields

import pytest
from torch import nn

from moereg.models import drivenmorph, rman, segreg, shmoareg
from moereg.models.registry import MODELS, Entry, build, build_for, describe
from tests.oracle_models import Shift, ShiftSizes, box_pair

pytestmark = pytest.mark.plain_errors


@dataclass(frozen=True)
class ToySizes:
    dims: int = 3
    voxels: tuple[float, ...] = (0.0,)
    inner: dict | None = None
    nested: tuple[tuple[int, ...], ...] = ()


class Toy(nn.Module):
    name = "toy"

    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes


@pytest.fixture
def toy(monkeypatch):
    """A row whose sizes depend on the pairs."""
    monkeypatch.setitem(
        MODELS, "toy", Entry(ToySizes, Toy, lambda pairs: {"voxels": tuple(map(float, pairs[0].shape))})
    )


def test_every_row_makes_a_model_of_its_own_name_and_sizes():
    assert list(MODELS) == ["shmoareg", "drivenmorph", "rman", "segreg", "voxelmorph"]
    classes = [shmoareg.SHMoAReg, drivenmorph.DrivenMorph, rman.RMAn, segreg.SegReg]
    for (name, entry), kind in zip(MODELS.items(), classes, strict=False):
        assert kind.name == name
        small = {"dims": 2} | ({"segmenter_labels": (0, 1)} if name == "segreg" else {})
        model = build(name, **small)
        assert type(model) is kind
        assert type(model.sizes) is entry.sizes
        assert model.sizes.dims == 2
        assert json.loads(describe(model)["sizes"])["dims"] == 2
        assert describe(model)["model"] == name


def test_segreg_is_handed_the_table_for_its_backbone(monkeypatch):
    monkeypatch.setitem(MODELS, "shift", Entry(ShiftSizes, Shift))
    model = build("segreg", dims=2, backbone="shift", backbone_sizes={}, segmenter_labels=(0, 1))
    assert isinstance(model.backbone, Shift)


def test_keywords_are_fields_of_the_sizes(toy):
    model = build("toy", dims=2, voxels=(1.5,))
    assert model.sizes == ToySizes(2, (1.5,))
    assert build("toy").sizes == ToySizes()
    with pytest.raises(ValueError, match="sizes of 'toy' must be among dims, inner, nested, voxels, got 'depth'."):
        build("toy", dims=2, depth=1)
    with pytest.raises(ValueError, match="name must be one of 'shmoareg', .*'toy', got 'vit'"):
        build("vit")


def test_lists_of_a_files_header_become_tuples_however_deep(toy):
    sizes = build("toy", voxels=[1.0, 2.0], inner={"widths": [4, 8], "deep": {"k": [1]}}, nested=[[1, 2], [3]]).sizes
    assert sizes.voxels == (1.0, 2.0)
    assert sizes.inner == {"widths": (4, 8), "deep": {"k": (1,)}}
    assert sizes.nested == ((1, 2), (3,))


def test_axes_and_more_follow_from_the_pairs_and_what_is_given_wins(toy):
    pairs = [box_pair((9, 8), (2, 2), (3, 3), (1, 1))]
    assert build_for("toy", pairs).sizes == ToySizes(2, (9.0, 8.0))
    assert build_for("toy", pairs, voxels=(5.0,)).sizes == ToySizes(2, (5.0,))
    assert build_for("toy", pairs, dims=3).sizes.dims == 3
    solid = [box_pair((9, 8, 7), (2, 2, 2), (3, 3, 3), (1, 1, 1))]
    assert build_for("toy", solid).sizes == ToySizes(3, (9.0, 8.0, 7.0))
    with pytest.raises(ValueError, match="name must be one of .* got 'vit'"):
        build_for("vit", pairs)


def test_only_segreg_takes_more_than_the_axes_from_the_pairs():
    pairs = [box_pair((9, 8), (2, 2), (3, 3), (1, 1))]
    follows = {name: entry.sizes_for(pairs) for name, entry in MODELS.items()}
    assert follows.pop("segreg")["segmenter_labels"] == (0, 1)
    assert set(map(str, follows.values())) == {"{}"}
    assert "dims" in {field.name for field in fields(MODELS["rman"].sizes)}


def test_a_description_is_of_strings_that_build_the_model_again(toy):
    model = build("toy", dims=2, voxels=(1.0, 2.0), inner={"widths": (3,)})
    said = describe(model)
    assert said == {
        "model": "toy",
        "sizes": '{"dims": 2, "voxels": [1.0, 2.0], "inner": {"widths": [3]}, "nested": []}',
    }
    assert build(said["model"], **json.loads(said["sizes"])).sizes == model.sizes


@pytest.mark.parametrize("stranger", [nn.Linear(1, 1), Toy(ToySizes())])
def test_a_model_that_is_not_in_the_table_is_not_described(stranger):
    sentence = f"model must be one of shmoareg, .*voxelmorph, got {type(stranger).__name__}."
    with pytest.raises(ValueError, match=sentence):
        describe(stranger)

"""The widgets without a front end: traits, validation, running the network again."""

import pytest
import torch
import traitlets

from moereg.models.registration import Registration
from moereg.viz.explorer import Explorer, RouterSteps
from moereg.viz.packing import unpack


@pytest.fixture
def explorer(model3, pair3):
    return Explorer(model3, pair3, knockouts=False)


def as_text(payload: dict) -> dict:
    import base64

    return payload | {"data": base64.b64encode(payload["data"]).decode()}


def test_it_opens_at_the_finest_decoder_layer(explorer, payload3):
    assert explorer.layer == "decoder.0.shmoe"
    assert explorer.direction == "z"
    assert explorer.voxel == tuple(payload3["start"])
    assert isinstance(explorer.payload["data"], bytes)


def test_another_layer_brings_its_own_directions_and_experts(explorer):
    explorer.direction, explorer.expert = "y", "5³"
    explorer.layer = "decoder.1.shmoe"
    assert (explorer.direction, explorer.expert) == ("y", "5³")
    explorer.layer = "encoder.1.moa"
    assert (explorer.direction, explorer.expert) == ("fixed", "head 0")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("voxel", (1, 2), "voxel must be 3 whole numbers"),
        ("voxel", (1, 2, 999), "voxel must be 3 whole numbers inside"),
        ("layer", "decoder.9", "layer must be one of"),
        ("without", {"decoder.0.shmoe": ["9³"]}, "without must be one of"),
        ("without", {"decoder.0.shmoe": ["1³", "3³", "5³", "7³"]}, "must leave at least one"),
        ("k", {"decoder.0.shmoe": 9}, "k of decoder.0.shmoe must be a whole number from 1 to 4"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(explorer, name, value, words):
    with pytest.raises(traitlets.TraitError, match=words):
        setattr(explorer, name, value)


def test_leaving_an_expert_out_runs_the_network_again(explorer, model3, pair3, result3):
    before = explorer.payload["metrics"]
    explorer.without = {"decoder.0.shmoe": ["3³"]}
    payload = as_text(explorer.payload)
    layer = payload["layers"][0]
    assert layer["left_out"] == [1]
    assert 1 not in unpack(payload, layer["indices"])
    assert payload["trained"] == before
    assert payload["metrics"] != before
    explorer.without = {}
    assert explorer.payload["metrics"] == before
    with torch.no_grad():
        again = model3(pair3.moving[None], pair3.fixed[None])
    assert torch.equal(again.displacement, result3.displacement)


def test_k_and_temperature_run_the_network_again(explorer):
    explorer.k = {"decoder.0.shmoe": 1}
    assert explorer.payload["layers"][0]["k"] == 1
    explorer.k = {}
    explorer.temperature = 4.0
    flat = explorer.payload["layers"][0]["entropy"]
    explorer.temperature = 1.0
    assert sum(flat) > sum(explorer.payload["layers"][0]["entropy"])


def test_places_without_widgets_get_a_picture_and_its_text(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"].startswith("iVBOR")
    assert metadata["image/png"]["alt"].startswith("Fixed, moving and warped slice")


def test_it_answers_the_view(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(type(explorer), "send", lambda self, content, **_: sent.append(content))
    explorer._answer(explorer, {"hello": True}, [])
    assert sent == [{"alive": True}]


def test_router_steps_follow_their_traits(model3, pair3):
    steps = RouterSteps(model3, pair3, layer="decoder.0.shmoe", voxel=(6, 9, 5))
    first = steps.payload
    steps.voxel = (2, 2, 2)
    assert steps.payload["title"] != first["title"]
    steps.layer = "encoder.1.moa"
    assert steps.payload["experts"][0] == "head 0"


def test_a_model_without_routing(pair3, result3):
    class Plain(torch.nn.Linear):
        def forward(self, moving, fixed):
            return Registration(result3.displacement, result3.warped)

    explorer = Explorer(Plain(1, 1), pair3)
    assert (explorer.layer, explorer.direction, explorer.expert) == ("", "", "")
    with pytest.raises(traitlets.TraitError, match="layer must be one of"):
        explorer.layer = "decoder.0.shmoe"


def test_two_dimensions(model2, pair2):
    explorer = Explorer(model2, pair2, knockouts=False)
    assert explorer.plane == ""
    assert explorer.direction == "y"

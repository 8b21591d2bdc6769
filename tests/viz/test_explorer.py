"""The widgets without a front end: traits, validation, running the network again."""

import pytest
import torch
import traitlets

from moereg.models.registration import Registration
from moereg.viz.explorer import Explorer, RouterSteps
from moereg.viz.packing import unpack
from moereg.viz.payload import explorer_payload
from moereg.viz.steps import router_steps


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


@pytest.mark.parametrize("dims", [2, 3])
def test_opened_at_attention_the_picture_shows_its_heads(dims, request):
    pair, model = request.getfixturevalue(f"pair{dims}"), request.getfixturevalue(f"model{dims}")
    voxel = (5, 6, 7)[-dims:]
    asked = Explorer(model, pair, knockouts=False, layer="encoder.1.moa", voxel=voxel)
    data, metadata = asked._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    text = metadata["image/png"]["alt"]
    assert f"token at {voxel}" in text
    assert "every head of encoder.1.moa" in text
    decoder = Explorer(model, pair, knockouts=False, layer="decoder.0.shmoe", voxel=voxel)
    assert "Fixed, moving and warped" in decoder._repr_mimebundle_()[1]["image/png"]["alt"]


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


# ------------------------------------------------------------------------------------------------ what the view shares


def shared(widget) -> set[str]:
    """Traits of ours that travel to the view; those of anywidget itself do in any case."""
    own = {name for cls in (Explorer, RouterSteps) if isinstance(widget, cls) for name in vars(cls)} | {
        "view",
        "payload",
    }
    return {name for name in widget.traits(sync=True) if name in own and not name.startswith("_")}


def test_everything_that_is_looked_at_is_shared_with_the_view(explorer, model3, pair3):
    assert shared(explorer) == {
        "view", "payload", "voxel", "plane", "layer", "direction", "expert", "image", "show", "field", "k", "without",
        "temperature",
    }  # fmt: skip
    steps = RouterSteps(model3, pair3, layer="decoder.0.shmoe", voxel=(6, 9, 5))
    assert shared(steps) == {"view", "payload", "step"}
    assert (explorer.view, steps.view, steps.step) == ("explorer", "steps", 0)


def test_it_opens_as_asked_and_else_as_the_payload_says(model3, pair3, payload3, explorer):
    names = ("plane", "expert", "image", "show", "field", "k", "without", "temperature")
    plane = "zyx"[payload3["plane"]]
    assert [getattr(explorer, name) for name in names] == [plane, "1³", "warped", "first", "result", {}, {}, 1.0]
    history = {"run": {"step": [1], "loss": [2.0]}}
    asked = Explorer(
        model3, pair3, knockouts=False, voxel=(1, 2, 3), plane="x", expert="7³", image="fixed", show="gate",
        title="mine", history=history, detail="full",
    )  # fmt: skip
    assert (asked.voxel, asked.plane, asked.expert, asked.image, asked.show) == ((1, 2, 3), "x", "7³", "fixed", "gate")
    assert (asked.payload["title"], asked.payload["history"]) == ("mine", history)
    assert "poster" not in asked.payload
    assert asked.payload["knockouts"] == []


def test_detail_and_knockouts_reach_the_payload(model2, pair2, monkeypatch):
    from moereg.viz import explorer as module

    asked = []
    monkeypatch.setattr(
        module, "explorer_payload", lambda *args, **options: asked.append(options) or explorer_payload(*args, **options)
    )
    view = Explorer(model2, pair2, detail="full", title="t")
    expected = {"snapshots": (), "history": None, "title": "t", "detail": "full"}
    assert asked == [expected | {"knockouts": True, "opened": None}]
    assert len(view.payload["knockouts"]) == 12
    view.temperature = 2.0
    assert asked[1] == expected | {"knockouts": False, "poster": False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voxel", (0, 0, 0)), ("voxel", (12, 15, 13)), ("k", {"decoder.0.shmoe": 4}), ("k", {"encoder.1.moa": 1}),
        ("without", {"decoder.0.shmoe": ["1³", "3³", "5³"]}), ("without", {"encoder.1.moa": []}),
        ("temperature", 0.01),
    ],
)  # fmt: skip
def test_the_last_good_values_are_taken(explorer, name, value):
    setattr(explorer, name, value)
    assert getattr(explorer, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voxel", (13, 0, 0)), ("voxel", (0, 16, 0)), ("voxel", (0, 0, -1)), ("voxel", (0.5, 1, 1)),
        ("k", {"decoder.0.shmoe": 0}), ("k", {"decoder.0.shmoe": 5}), ("k", {"decoder.0.shmoe": 1.0}),
        ("k", {"decoder.9": 1}), ("without", {"decoder.9": []}), ("temperature", 0.001), ("image", "other"),
        ("show", "load"), ("layer", ""),
    ],
)  # fmt: skip
def test_the_first_bad_values_are_refused(explorer, name, value):
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == before


def test_experts_that_are_left_out_are_those_that_were_named(explorer, model3, pair3):
    """Two experts of one layer and one of another: the field is that of the network without them."""
    from moereg.nn.observe import find_routers, rerouted

    explorer.without = {"decoder.0.shmoe": ["7³", "1³"], "encoder.1.moa": ["head 2"], "decoder.1.shmoe": []}
    without = {"decoder.0.shmoe": (0, 3), "encoder.1.moa": (2,)}
    with torch.no_grad(), rerouted(find_routers(model3), without=without):
        expected = model3(pair3.moving[None], pair3.fixed[None]).displacement[0]
    payload = as_text(explorer.payload)
    assert abs(unpack(payload, payload["displacement"]) - expected.numpy()).max() <= 0.005 + 1e-6
    assert [layer["left_out"] for layer in payload["layers"]] == [[0, 3], [], [2]]
    explorer.without = {"decoder.1.shmoe": []}  # nothing is left out: as trained
    assert "trained" not in explorer.payload


def test_a_run_that_fails_is_told_to_the_view_and_raised(explorer, monkeypatch):
    from moereg.viz import explorer as module

    def fail(*_, **__):
        raise MemoryError("no room")

    sent = []
    monkeypatch.setattr(type(explorer), "send", lambda self, content, **_: sent.append(content))
    monkeypatch.setattr(module, "explorer_payload", fail)
    before = explorer.payload
    with pytest.raises(MemoryError, match="no room"):
        explorer.temperature = 2.0
    assert sent == [{"failed": True}]
    assert explorer.payload is before


def test_only_a_greeting_is_answered(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(type(explorer), "send", lambda self, content, **_: sent.append(content))
    explorer._answer(explorer, {"bye": True}, [])
    assert sent == []


def test_the_walk_is_the_one_that_was_asked_for(model3, pair3):
    where = {"layer": "encoder.1.moa", "voxel": (6, 9, 5), "direction": 0, "image": "moving"}
    steps = RouterSteps(model3, pair3, **where)
    assert steps.payload == router_steps(model3, pair3, **where)
    steps.image = "fixed"
    assert steps.payload == router_steps(model3, pair3, **(where | {"image": "fixed"}))
    assert "token of the fixed image" in steps.payload["title"]
    other = RouterSteps(model3, pair3, layer="decoder.0.shmoe", voxel=(6, 9, 5))
    other.direction = "x"
    assert other.payload == router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=(6, 9, 5), direction=2)

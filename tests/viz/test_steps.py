"""Every step quotes a line that is really there, and its numbers are the layer's."""

import inspect
from pathlib import Path

import pytest
import torch

from moereg.nn import moa, routing, shmoe
from moereg.nn.observe import Observation, observe
from moereg.viz import steps_layers, steps_routing
from moereg.viz.decision import Decision, joined, signed
from moereg.viz.palette import expert_colours
from moereg.viz.quoting import marks
from moereg.viz.steps import layer_voxel, router_steps
from tests.viz.conftest import small_model

ROOT = Path(routing.__file__).parents[2]
VOXEL = (6, 9, 5)


# What the line of each step must do, whatever its variables are called.
MEANING = {
    "Features": "self.router(",
    "Logits": "self.weight",
    "Top": ".topk(k",
    "Softmax": ".softmax(2).gather(",
    "Zeros elsewhere": ".scatter(",
    "Proposals": "self.proposals(features)",
    "Gate × proposal": "self.gates.to(self.proposals.dtype) * self.proposals",
    "Sum": "contributions.sum(",
    "Keys, values": "torch.cat([self.key, self.value]",
    "Attention": "scaled_dot_product_attention(",
    "Sum over heads": "self.output",
}
RULES = {
    "raw": ".softmax(2).gather(",
    "renormalised": ".sum(2, keepdim=True)",
    "stopped": ".sum(2, keepdim=True).detach()",
    "topk_softmax": "scores.softmax(2)",
    "soft": ".softmax(2).gather(",
    "uniform": "1 / logits.shape[2]",
}

LAYERS = [("decoder.0.shmoe", "sparse"), ("encoder.1.moa", "sparse"), ("encoder.1.moa", "dense")]


@pytest.mark.parametrize("gate", routing.GATES)
@pytest.mark.parametrize(("layer", "compute"), LAYERS)
def test_quotes_are_lines_of_the_source(gate, layer, compute, pair2):
    model = small_model(2)
    for block in model.attention.values():
        block.moa.compute = compute
    for router in (module for module in model.modules() if isinstance(module, routing.Router)):
        router.gate, router.k = gate, len(router.experts) if gate in ("soft", "uniform") else 2
    walk = router_steps(model, pair2, layer=layer, voxel=(6, 9))
    for step in walk["steps"]:
        quoted = step["quote"]
        assert quoted["code"], f"no line of {quoted['function']} is marked for the step {step['title']!r}"
        lines = (ROOT / quoted["file"]).read_text().splitlines()[quoted["line"] - 1 :]
        for shown, line in zip(quoted["code"].splitlines(), lines, strict=False):
            assert line.strip().startswith(shown.strip())
        title = "Top" if step["title"].startswith("Top ") else step["title"]
        assert (RULES[gate] if title == "Gates" else MEANING[title]) in quoted["code"]
        assert "step:" not in quoted["code"]
        assert step["sentence"].endswith(".")


def test_every_mark_of_the_source_is_quoted():
    """And none is written twice: marks are looked up within one function."""
    quoting = inspect.getsource(steps_layers) + inspect.getsource(steps_routing)
    for module in (routing, shmoe, moa):
        found = marks(inspect.getsource(module))
        assert found
        for name in found:
            assert f'"{name}"' in quoting


@pytest.mark.parametrize("layer", ["decoder.0.shmoe", "encoder.1.moa"])
def test_lost_marks_cost_the_quote_and_nothing_else(layer, model2, pair2, monkeypatch):
    whole = router_steps(model2, pair2, layer=layer, voxel=(6, 9))
    monkeypatch.setattr("moereg.viz.quoting.marks", lambda source: {})
    walk = router_steps(model2, pair2, layer=layer, voxel=(6, 9))
    for step, before in zip(walk["steps"], whole["steps"], strict=True):
        assert step["quote"]["code"] == ""
        assert step["quote"]["function"] == before["quote"]["function"]
        assert step["quote"]["file"] == before["quote"]["file"]
        assert {k: v for k, v in step.items() if k != "quote"} == {k: v for k, v in before.items() if k != "quote"}


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_numbers_are_those_of_the_layer(direction, model3, pair3, result3):
    walk = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction=direction)
    record, place = result3.routing["decoder.0.shmoe"], layer_voxel(VOXEL, 2, (7, 8, 7))
    at = (0, direction, slice(None), *place)
    values = {step["title"]: step["bars"]["values"] for step in walk["steps"] if "bars" in step}
    assert values["Logits"] == pytest.approx(record.logits[at].tolist(), abs=1e-4)
    assert values["Softmax"] == pytest.approx(record.probabilities[at].tolist(), abs=1e-4)
    assert values["Gates"] == pytest.approx(record.gates[at].tolist(), abs=1e-4)
    assert values["Sum"] == pytest.approx(record.contributions[at].tolist(), abs=1e-4)
    total = float(record.contributions[at].sum())
    assert f"{total:+.2f}".replace("-", "−") in walk["steps"][-1]["sentence"]


def test_the_walk_of_a_token_ends_at_the_layers_output(model3, pair3):
    seen = {}
    layer = model3.attention["1"].moa
    hook = layer.register_forward_hook(lambda _, __, output: seen.update(output=output[0]))
    walk = router_steps(model3, pair3, layer="encoder.1.moa", voxel=VOXEL, image="moving")
    hook.remove()
    place = layer_voxel(VOXEL, 4, seen["output"].shape[2:])
    assert walk["steps"][-1]["strip"] == pytest.approx(seen["output"][(0, slice(None), *place)].tolist(), abs=1e-4)


def test_a_direction_has_a_name(model3, pair3):
    one = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction="x")
    two = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction=2)
    assert one == two
    assert "direction x" in one["title"]


def test_the_soft_top_k_never_claims_a_softmax_over_all(pair3):
    walk = router_steps(small_model(3, gate="topk_softmax"), pair3, layer="decoder.0.shmoe", voxel=VOXEL)
    assert "Softmax" not in [step["title"] for step in walk["steps"]]


def test_an_unknown_layer_is_refused(model3, pair3):
    with pytest.raises(ValueError, match="layer must be one of"):
        router_steps(model3, pair3, layer="decoder.7", voxel=VOXEL)


def test_the_model_is_left_as_it_was(model3, pair3, result3):
    with torch.no_grad():
        router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL)
        assert not any(m._forward_hooks for m in model3.modules())
        again = model3(pair3.moving[None], pair3.fixed[None])
    assert torch.equal(again.displacement, result3.displacement)


# ----------------------------------------------------------------------------------------------- the walk, word by word


def decision(**changes) -> Decision:
    """Four experts at one voxel of a 2-D layer: logits 0, 2, 1, -1, of which the two largest are chosen."""
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0]).view(1, 1, 4, 1, 1)
    indices = torch.tensor([1, 2]).view(1, 1, 2, 1, 1)
    gates = torch.tensor([0.0, 0.75, 0.25, 0.0]).view(1, 1, 4, 1, 1)
    proposals = torch.tensor([0.5, 2.0, -4.0, 1.0]).view(1, 1, 4, 1, 1).expand(1, 2, 4, 1, 1)
    record = routing.Routing(logits, gates, indices, ("1²", "3²", "5²", "7²"), ("all",), proposals=proposals)
    layer = shmoe.SpatialHeterogeneousMoE(2, dims=2, **changes)
    features = torch.tensor([0.125, -0.5]).view(1, 2, 1, 1)
    return Decision(Observation(layer, (features,), torch.full((1, 2, 1, 1), 0.5), record), 0, 0, (0, 0))


def test_the_steps_of_a_router_word_by_word():
    """Probabilities: e^2 and e^1 of e^0 + e^2 + e^1 + e^-1 = 11.475; 0.64 and 0.24, together 0.88."""
    module = shmoe.SpatialHeterogeneousMoE(2, dims=2)
    steps = steps_routing.routing_steps(decision(), module)
    assert [step["title"] for step in steps] == ["Features", "Logits", "Top 2", "Softmax", "Gates", "Zeros elsewhere"]
    assert [step["sentence"] for step in steps] == [
        "The router sees this voxel's 2 features, at (0, 0) of the layer's grid, and nothing else.",
        "One linear map turns them into 4 logits, one per expert; the largest is +2.00, of 3².",
        "Only the 2 largest logits stay: 3² and 5². The other 2 drop out.",
        "The softmax turns all logits into probabilities that add up to one; those of the chosen are 0.64 and 0.24.",
        "The chosen probabilities are divided by their sum, 0.88: the gates add up to one. The sum carries no "
        "gradient, so that every logit still learns. Gates: 3² 0.75 and 5² 0.25.",
        "The gates are put back in the experts' order, with zero for those that were not chosen.",
    ]
    assert steps[0]["strip"] == steps[1]["strip"] == [0.125, -0.5]
    assert steps[1]["bars"] == {"values": [0, 2, 1, -1], "low": -2, "high": 2, "digits": 2, "faint": []}
    assert steps[2]["bars"] == {"values": [0, 2, 1, -1], "low": -2, "high": 2, "digits": 2, "faint": [0, 3]}
    assert steps[3]["bars"]["values"] == pytest.approx([0.0871, 0.6439, 0.2369, 0.0321], abs=1e-4)
    assert {key: steps[3]["bars"][key] for key in ("low", "high", "faint")} == {"low": 0, "high": 1, "faint": [0, 3]}
    gates = {"values": [0, 0.75, 0.25, 0], "low": 0, "high": 1, "digits": 2}
    assert [step["bars"] for step in steps[4:]] == [gates | {"faint": [0, 3]}, gates | {"faint": []}]


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("raw", "This layer keeps the probabilities as they are: the gates add up to 1.00, not to one."),
        ("soft", "This layer is soft: every expert is used, with its probability as the gate."),
        ("uniform", "This layer does not route: every expert gets the same gate, whatever its logit."),
        ("renormalised", "The chosen probabilities are divided by their sum, 0.88: the gates add up to one."),
        ("topk_softmax", "The softmax is taken again, over the chosen logits alone: the gates add up to one."),
    ],
)
def test_every_rule_has_its_words(gate, words):
    steps = steps_routing.routing_steps(decision(gate=gate), shmoe.SpatialHeterogeneousMoE(2, dims=2))
    (rule,) = [step for step in steps if step["title"] == "Gates"]
    assert rule["sentence"] == f"{words} Gates: 3² 0.75 and 5² 0.25."
    assert ("Softmax" in [step["title"] for step in steps]) is (gate not in ("topk_softmax", "uniform"))


def test_the_steps_of_the_convolutions_word_by_word():
    """0.75 of 2 and 0.25 of -4: shares 1.5 and -1, together 0.5."""
    steps = steps_layers.shmoe_steps(decision(), shmoe.SpatialHeterogeneousMoE(2, dims=2))
    assert [step["sentence"] for step in steps] == [
        "Every expert, a convolution of extent 1², 3², 5², 7², reads its own surroundings and proposes a step; "
        "3² proposes +2.00 and 5² proposes −4.00 voxels.",
        "Each proposal counts as much as its gate: the shares are what every expert moves here.",
        "The shares add up to this layer's step along its direction: 0.75 × +2.00 + 0.25 × −4.00 = +0.50 voxels of the "
        "level.",
    ]
    assert [step["title"] for step in steps] == ["Proposals", "Gate × proposal", "Sum"]
    scale = {"low": -4, "high": 4, "digits": 3}
    shares = {"values": [0, 1.5, -1, 0], "faint": []} | scale
    assert [step["bars"] for step in steps] == [{"values": [0.5, 2, -4, 1], "faint": [0, 3]} | scale, shares, shares]
    assert steps[2]["total"] == "Step: +0.500 voxels"


def test_the_walk_is_told_apart_from_an_explorer(model3, pair3):
    walk = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction="y")
    assert walk["view"] == "steps"
    assert walk["title"] == "decoder.0.shmoe, direction y, voxel (6, 9, 5)"
    assert walk["experts"] == ["1³", "3³", "5³", "7³"]
    assert walk["colours"] == expert_colours(walk["experts"])
    token = router_steps(model3, pair3, layer="encoder.1.moa", voxel=VOXEL, image="moving")
    assert token["title"] == "encoder.1.moa, token of the moving image, voxel (6, 9, 5)"


@pytest.mark.parametrize("context", ["self", "cross"])
def test_the_steps_of_a_token_say_where_it_looks(context, pair3):
    model = small_model(3, context=context)
    with torch.no_grad(), observe(model) as seen:
        model(pair3.moving[None], pair3.fixed[None])
    found = seen["encoder.1.moa"]
    walk = router_steps(model, pair3, layer="encoder.1.moa", voxel=VOXEL)
    keys, attention, total = walk["steps"][-3:]
    assert [step["title"] for step in (keys, attention, total)] == ["Keys, values", "Attention", "Sum over heads"]
    place = layer_voxel(VOXEL, 4, found.output.shape[2:])
    at = (1, 0, slice(None), *place)  # the fixed image is second in the batch
    gates, chosen = found.routing.gates[at], found.routing.indices[at].tolist()
    other = found.inputs[1][1:] if context == "cross" else None
    peaks = found.layer.attention_from(found.inputs[0][1:], place, other).flatten(1).max(1).values
    names = [f"head {head}" for head in chosen]
    assert f"of {'the other image' if context == 'cross' else 'its own image'}. Keys and values" in keys["sentence"]
    shares = " and ".join(f"{name} {peaks[head]:.1%}" for name, head in zip(names, chosen, strict=True))
    assert attention["sentence"].endswith(f"the most it gives to one token: {shares}.")
    assert total["sentence"].startswith(
        f"What {' and '.join(names)} gathered is weighted by the gates, projected back to 8"
    )
    assert keys["bars"]["values"] == total["bars"]["values"] == pytest.approx(gates.tolist(), abs=1e-4)
    expected = [float(peaks[head]) if head in chosen else 0.0 for head in range(4)]
    assert attention["bars"]["values"] == pytest.approx(expected, abs=1e-4)
    assert attention["bars"]["high"] == pytest.approx(max(expected))
    assert attention["bars"]["faint"] == [head for head in range(4) if head not in chosen]
    assert total["strip"] == pytest.approx(found.output[(1, slice(None), *place)].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("voxel", "stride", "place"), [((0, 0), 2, (0, 0)), ((1, 2), 2, (1, 1)), ((5, 6), 4, (1, 2)), ((9, 99), 4, (2, 2))]
)
def test_the_closest_voxel_of_a_level(voxel, stride, place):
    """Voxel i of the level sits on voxel stride * i; halves go up, and beyond the last there is none."""
    assert layer_voxel(voxel, stride, (3, 3)) == place


def test_words_are_joined_as_one_speaks():
    assert [joined(list(words)) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert (signed(-0.5), signed(0.25, 3)) == ("−0.50", "+0.250")

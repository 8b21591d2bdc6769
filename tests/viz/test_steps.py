"""Every step quotes a line that is really there, and its numbers are the layer's."""

import inspect
from pathlib import Path

import pytest
import torch

from moereg.nn import moa, routing, shmoe
from moereg.viz import steps_layers, steps_routing
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

"""Every step quotes a line that is really there, and its numbers are the layer's."""

import inspect
from pathlib import Path

import pytest
import torch

from moereg.nn import moa, routing, shmoe
from moereg.viz.steps import layer_voxel, quote, router_steps
from tests.viz.conftest import small_model

ROOT = Path(routing.__file__).parents[2]
VOXEL = (6, 9, 5)


@pytest.mark.parametrize("gate", routing.GATES)
@pytest.mark.parametrize("layer", ["decoder.0.shmoe", "encoder.1.moa"])
def test_quotes_are_lines_of_the_source(gate, layer, pair3):
    walk = router_steps(small_model(3, gate=gate), pair3, layer=layer, voxel=VOXEL)
    for step in walk["steps"]:
        quoted = step["quote"]
        lines = (ROOT / quoted["file"]).read_text().splitlines()[quoted["line"] - 1 :]
        shown = quoted["code"].splitlines()
        assert [line.strip() for line in lines[: len(shown)]] == [line.strip() for line in shown]
        assert step["sentence"].endswith(".")


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_numbers_are_those_of_the_layer(direction, model3, pair3, result3):
    walk = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction=direction)
    record, place = result3.routing["decoder.0.shmoe"], layer_voxel(VOXEL, pair3.shape, (7, 8, 7))
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
    place = layer_voxel(VOXEL, pair3.shape, seen["output"].shape[2:])
    assert walk["steps"][-1]["strip"] == pytest.approx(seen["output"][(0, slice(None), *place)].tolist(), abs=1e-4)


def test_a_direction_has_a_name(model3, pair3):
    one = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction="x")
    two = router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL, direction=2)
    assert one == two
    assert "direction x" in one["title"]


def test_the_soft_top_k_never_claims_a_softmax_over_all(pair3):
    walk = router_steps(small_model(3, gate="topk_softmax"), pair3, layer="decoder.0.shmoe", voxel=VOXEL)
    assert "Softmax" not in [step["title"] for step in walk["steps"]]


def test_a_statement_over_several_lines_is_quoted_whole():
    def example(features):
        summed = sum(
            features,
            start=1,
        )
        return summed

    assert quote(example, "summed = sum(")["code"] == "summed = sum(\n    features,\n    start=1,\n)"


def test_a_line_that_is_gone_is_not_quoted():
    with pytest.raises(LookupError, match="the source has changed"):
        quote(routing.choose, "a line that is not there")
    assert quote(routing.choose, "scores, indices")["function"] == "choose"
    assert "forward" in inspect.getsource(shmoe.SpatialHeterogeneousMoE.forward)
    assert quote(moa.MixtureOfAttentionHeads.forward, "windows.join(mixed)")["file"] == "moereg/nn/moa.py"


def test_an_unknown_layer_is_refused(model3, pair3):
    with pytest.raises(ValueError, match="layer must be one of"):
        router_steps(model3, pair3, layer="decoder.7", voxel=VOXEL)


def test_the_model_is_left_as_it_was(model3, pair3, result3):
    with torch.no_grad():
        router_steps(model3, pair3, layer="decoder.0.shmoe", voxel=VOXEL)
        assert not any(m._forward_hooks for m in model3.modules())
        again = model3(pair3.moving[None], pair3.fixed[None])
    assert torch.equal(again.displacement, result3.displacement)

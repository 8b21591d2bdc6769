"""What is packed is what the network returned, within the precision that is promised."""

import base64
import json

import numpy as np
import pytest
import torch

from moereg.data import phantoms
from moereg.models import build
from moereg.models.registration import Registration
from moereg.viz import layers
from moereg.viz import payload as module
from moereg.viz.packing import Packer, unpack
from moereg.viz.payload import explorer_payload, pack_result
from moereg.viz.snapshots import Snapshots
from tests.viz.conftest import small_model


@pytest.mark.parametrize(("scale", "precision", "bits"), [(1.0, 0.05, 8), (3.0, 0.001, 16), (1e6, 1e-3, 16)])
def test_packed_values_return_within_half_the_precision(scale, precision, bits, generator):
    values = torch.randn(3, 7, 9, generator=generator).numpy() * scale
    pack = Packer()
    pack.add(np.arange(10), precision=1)  # something before it
    entry = pack.add(values, precision=precision)
    assert entry["bits"] == bits
    back = unpack({"data": pack.close()}, entry)
    assert np.abs(back - values).max() <= entry["precision"] / 2 * (1 + 1e-9)


def test_whole_numbers_are_exact():
    values = np.array([[0, 12, 3], [255, 0, 1]])
    pack = Packer()
    entry = pack.add(values, precision=1)
    assert np.array_equal(unpack({"data": pack.close()}, entry), values)


def test_a_constant_map_is_packed():
    pack = Packer()
    entry = pack.add(np.full((4, 5), 2.5), precision=0.01)
    assert np.allclose(unpack({"data": pack.close()}, entry), 2.5)


def test_a_byte_a_value_where_that_is_enough_and_no_time_of_day(monkeypatch):
    import gzip

    for top, size in ((255, 400), (256, 800)):
        pack = Packer()
        pack.add(np.linspace(0, top, 400).round(), precision=1)
        assert pack.add(np.zeros(3), precision=1)["offset"] == size
    monkeypatch.setattr(gzip.time, "time", lambda: 1e9)
    assert base64.b64decode(pack.close())[4:8] == bytes(4)  # gzip's field for the time


def test_the_axes_along_which_values_change_least_are_chosen():
    """A ramp along both axes, and noise, which differences only make worse."""
    rows, columns = np.mgrid[0:40, 0:60]
    noise = np.random.default_rng(0).integers(0, 60, (40, 60))
    pack = Packer()
    for values, axes in ((7 * rows + 3 * columns, 2), (noise, 0)):
        assert pack.add(values.astype(float), precision=1)["axes"] == axes


def test_json_takes_it_and_bytes_are_the_same_each_time(model3, pair3, payload3):
    json.dumps(payload3, allow_nan=False)
    assert explorer_payload(model3, pair3, poster=False)["data"] == payload3["data"]


def test_displacement_and_images(payload3, pair3, result3):
    displacement = unpack(payload3, payload3["displacement"])
    assert np.abs(displacement - result3.displacement[0].numpy()).max() <= layers.VOXELS / 2 + 1e-6
    window = payload3["images"]["window"]
    fixed = unpack(payload3, payload3["images"]["fixed"])
    expected = pair3.fixed[0].clamp(window["low"], window["high"]).numpy()
    assert np.abs(fixed - expected).max() <= (window["high"] - window["low"]) / 255 / 2 + 1e-6
    assert np.array_equal(unpack(payload3, payload3["labels"]["moving"]), pair3.moving_labels[0].numpy())


def test_routing_of_a_decoder_layer(payload3, result3):
    layer = next(layer for layer in payload3["layers"] if layer["name"] == "decoder.0.shmoe")
    routing = result3.routing["decoder.0.shmoe"]
    assert layer["tracks"] == ["z", "y", "x"]
    assert layer["kernels"] == [1, 3, 5, 7]
    assert layer["stride"] == [2, 2, 2]
    assert np.array_equal(unpack(payload3, layer["indices"]), routing.indices[0].numpy())
    gates = routing.gates.gather(2, routing.indices)[0].numpy()
    assert np.abs(unpack(payload3, layer["gates"]) - gates).max() <= layers.SHARE
    assert np.abs(unpack(payload3, layer["logits"]) - routing.logits[0].numpy()).max() <= layers.NATS
    assert np.abs(unpack(payload3, layer["proposals"]) - routing.proposals[0].numpy()).max() <= layers.VOXELS
    assert np.allclose(layer["load"], routing.load().numpy(), atol=1e-4)


def test_shares_of_the_experts_add_up_to_the_layers_step(payload3, result3):
    layer = payload3["layers"][0]
    gates, indices = (unpack(payload3, layer[name]) for name in ("gates", "indices"))
    proposals = unpack(payload3, layer["proposals"])
    chosen = np.take_along_axis(proposals, indices.astype(int), axis=1)
    residual = result3.routing[layer["name"]].contributions[0].sum(1).numpy()
    most = np.abs(proposals).max()
    assert np.abs((gates * chosen).sum(1) - residual).max() <= 2 * (layers.VOXELS + most * layers.SHARE)


def test_an_encoder_layer_has_one_map_per_image(payload3, result3):
    layer = next(layer for layer in payload3["layers"] if layer["name"] == "encoder.1.moa")
    routing = result3.routing["encoder.1.moa"]
    assert layer["tracks"] == ["fixed", "moving"]  # the batch has the moving image first
    assert np.array_equal(unpack(payload3, layer["indices"])[0], routing.indices[1, 0].numpy())
    assert np.array_equal(unpack(payload3, layer["indices"])[1], routing.indices[0, 0].numpy())
    assert np.allclose(np.sum(layer["load"], 1), 1, atol=1e-3)


@pytest.mark.parametrize("context", ["self", "cross"])
def test_attention_can_be_computed_from_queries_and_keys(context, pair3):
    model = small_model(3, context=context)
    payload = explorer_payload(model, pair3, knockouts=False, poster=False)
    layer = next(layer for layer in payload["layers"] if layer["name"] == "encoder.1.moa")
    attention = layer["attention"]
    assert attention["cross"] == (context == "cross")
    queries, keys = unpack(payload, attention["queries"]), unpack(payload, attention["keys"])
    # The reference: the layer's own account of one token, from the features that it saw.
    seen = {}
    moa = model.attention["1"].moa
    hook = moa.register_forward_hook(lambda _, inputs, __: seen.update(inputs=inputs))
    with torch.no_grad():
        routing = model(pair3.moving[None], pair3.fixed[None]).routing["encoder.1.moa"]
    hook.remove()
    features, others = (*seen["inputs"], None)[:2]
    voxel, image = (1, 2, 0), 1  # the fixed image is second in the batch, first in the payload
    reference = moa.attention_from(features[image:], voxel, None if others is None else others[image:])
    low = [v // w * w for v, w in zip(voxel, attention["window"], strict=True)]
    box = tuple(slice(a, a + w) for a, w in zip(low, attention["window"], strict=True))
    scores = np.tensordot(queries[(0, 0, slice(None), *voxel)], keys[(0, slice(None), *box)], 1) / np.sqrt(
        keys.shape[1]
    )
    weights = np.exp(scores - scores.max())
    head = int(routing.indices[(image, 0, 0, *voxel)])
    assert np.abs(weights / weights.sum() - reference[head][box].numpy()).max() < 0.01


def test_a_knockout_is_the_network_without_that_expert(model3, pair3, payload3, result3):
    from moereg.nn.observe import find_routers, rerouted

    entry = payload3["knockouts"][2]
    routers = find_routers(model3)
    with torch.no_grad(), rerouted(routers, without={entry["layer"]: (entry["expert"],)}):
        field = model3(pair3.moving[None], pair3.fixed[None]).displacement
    change = (field - result3.displacement)[0].numpy()
    every = entry["field"]["every"]
    kept = change[:, ::every, ::every, ::every]
    assert np.abs(unpack(payload3, entry["field"]["values"]) - kept).max() <= module.COARSE / 2 + 1e-6
    assert entry["change"] == pytest.approx(float(np.linalg.norm(change, axis=0).mean()), rel=1e-4)
    assert len(payload3["knockouts"]) == 2 * 4 + 4


def test_large_maps_are_stored_at_every_nth_voxel(pair3, result3, monkeypatch):
    monkeypatch.setitem(module.DETAILS, "page", module.Detail(routing=100, knockout=100, snapshot=100))
    payload = pack_result(pair3, result3, poster=False)
    layer = payload["layers"][0]
    every = layer["every"]
    assert every > 1
    first = result3.routing[layer["name"]].indices[0][..., ::every, ::every, ::every].numpy()
    assert np.array_equal(unpack(payload, layer["indices"]), first)


def test_two_dimensions(model2, pair2):
    payload = explorer_payload(model2, pair2)
    assert payload["axes"] == ["y", "x"]
    assert payload["layers"][0]["tracks"] == ["y", "x"]
    assert payload["layers"][0]["experts"] == ["1²", "3²", "5²", "7²"]


def test_a_pair_without_labels_and_a_model_without_routing(pair3, result3):
    bare = type(pair3)(pair3.moving, pair3.fixed)
    payload = pack_result(bare, Registration(result3.displacement, result3.warped))
    assert payload["labels"] is None
    assert payload["layers"] == []
    assert set(payload["metrics"]) == {"folds"}


def test_the_model_is_left_in_its_mode(model3, pair3):
    model3.train()
    explorer_payload(model3, pair3, knockouts=False, poster=False)
    assert model3.training
    model3.eval()


def test_snapshots_keep_the_steps_asked_for(model3, pair3):
    snapshots = Snapshots(pair3, [1, 3])
    for step in range(1, 5):
        snapshots(step, model3)
    assert [step for step, _ in snapshots.kept] == [1, 3]
    payload = explorer_payload(model3, pair3, knockouts=False, snapshots=snapshots.kept, poster=False)
    entry = payload["snapshots"][1]
    first = snapshots.kept[1][1].routing["decoder.0.shmoe"].first()[0].numpy()
    assert np.array_equal(unpack(payload, entry["layers"]["decoder.0.shmoe"]["first"]), first)
    assert np.abs(unpack(payload, entry["field"]["values"])).max() <= module.COARSE  # same weights, same field
    assert entry["metrics"] == payload["metrics"]


def test_snapshots_are_close_together_at_first(pair3):
    steps = sorted(Snapshots.spread(pair3, 300, 8).steps)
    assert steps[-1] == 300
    assert steps[1] - steps[0] < steps[-1] - steps[-2]


def test_start_is_a_labelled_voxel_that_moves(payload3, pair3, result3):
    start = tuple(payload3["start"])
    assert pair3.fixed_labels[(0, *start)] > 0
    assert result3.displacement[(0, slice(None), *start)].norm() > 0


def test_a_model_that_needs_labels_gets_those_of_the_pair():
    """SegReg without a segmenter, in the explorer and in a training that is watched."""
    small = {"widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    model, pair = build("segreg", dims=2, backbone_sizes=small), phantoms.make("abdomen", (16, 16), 0)
    shown = explorer_payload(model, pair, poster=False)
    assert len(shown["knockouts"]) > 0
    watch = Snapshots(pair, {1})
    watch(1, model)
    assert [step for step, _ in watch.kept] == [1]

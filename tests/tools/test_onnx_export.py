"""The network of the live page as ONNX: in step with its weights, small enough, the same numbers and routes."""

import json

import numpy as np
import pytest
import torch

from moereg.data import datasets
from moereg.models import load_model
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from tools import onnx_export as tool  # noqa: E402, needs onnx

CARD = json.loads((tool.FOLDER / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return load_model(tool.NETWORK)


def test_graphs_were_made_from_the_weights_that_ship(model):
    assert CARD["weights_sha256"] == tool.source_hash(), "run python -m tools.onnx_export"
    assert (tool.FOLDER / tool.WEIGHTS).read_bytes() == tool.pack(model)[0]
    assert CARD["outputs"] == tool.outputs(model)
    assert tuple(CARD["sizes"]) == tool.SIZES


@pytest.mark.parametrize("size", tool.SIZES)
def test_a_graph_and_the_weights_are_at_most_a_megabyte(size):
    parts = (tool.FOLDER / f"graph-{size}.onnx", tool.FOLDER / tool.WEIGHTS)
    assert sum(path.stat().st_size for path in parts) <= 1_000_000


@pytest.mark.parametrize("size", tool.SIZES)
def test_values_and_routes_are_those_of_pytorch(model, size):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(tool.FOLDER / f"graph-{size}.onnx"), options)
    equal, worst = [], 0.0
    for pair in datasets.load("abdomen", "test", shape=(size, size), count=2):
        with torch.no_grad():
            expected = model(pair.moving[None], pair.fixed[None])
        feeds = {"moving": pair.moving[None].numpy(), "fixed": pair.fixed[None].numpy()}
        found = dict(zip(CARD["outputs"], session.run(None, feeds), strict=True))
        for name, routing in expected.routing.items():
            equal.append((found[f"{name}/routes"] == routing.indices.numpy()).ravel())
            if routing.proposals is not None:
                shares = found[f"{name}/shares"].sum(2)
                assert shares == pytest.approx(routing.contributions.sum(2).numpy(), abs=1e-3)
        worst = max(worst, float(np.abs(found["displacement"] - expected.displacement.numpy()).max()))
    assert np.concatenate(equal).mean() >= 0.999
    assert worst < 1e-3


def test_weights_that_16_bits_do_not_hold_are_refused():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="must be numbers of 16 bits"):
        tool.pack(SHMoAReg(SHMoARegSizes(dims=2)))


def test_a_graph_reads_its_weights_from_the_shared_file():
    weight = torch.tensor([1.5, -2.0])
    module = torch.nn.Module()
    module.register_parameter("scale", torch.nn.Parameter(weight))
    block, places = tool.pack(module)
    helper, kinds = onnx.helper, onnx.TensorProto
    values = [helper.make_tensor_value_info(name, kinds.FLOAT, [2]) for name in ("x", "y")]
    constants = [
        onnx.numpy_helper.from_array(weight.numpy(), "model.scale"),
        onnx.numpy_helper.from_array(np.ones(2, np.float32), "one"),
    ]
    nodes = [helper.make_node("Mul", ["x", "model.scale"], ["m"]), helper.make_node("Add", ["m", "one"], ["y"])]
    graph = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], constants))
    tool.share_weights(graph, places)
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    place = {entry.key: entry.value for entry in stored["model.scale.half"].external_data}
    assert place == {"location": "weights.bin", "offset": "0", "length": "4"}
    assert np.frombuffer(block, np.float16, 2).tolist() == [1.5, -2.0]
    assert graph.graph.node[0].op_type == "Cast"
    assert stored["one"].data_location == kinds.DEFAULT

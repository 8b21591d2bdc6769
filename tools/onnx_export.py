"""The network of the live page as ONNX: one file of weights, and one graph for every size of image.

    python -m tools.onnx_export        book/live/weights.bin, graph-64.onnx, graph-96.onnx, graph-128.onnx, card.json

A graph has fixed sizes inside, because attention is cut into windows; what all graphs share, the weights, lies beside
them once, in the 16 bits in which `data/weights` holds it, so that nothing is rounded. `outputs` are what the page
draws: the displacement, and of every routed layer gates `(B, R, N, *S)`, routes (indices of the chosen experts,
largest gate first) and, in the decoder, what each expert added, in voxels. `card.json` says what it was made from.
"""

import hashlib
import json
import sys
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from moereg.models import load_model
from moereg.models.storage import find_weights

FOLDER = Path(__file__).resolve().parent.parent / "book" / "live"
NETWORK = "abdomen-flat"
SIZES = (64, 96, 128)
WEIGHTS = "weights.bin"
OPSET = 20


class Plain(nn.Module):
    """A routed network whose result is a tuple of tensors, in the order of `outputs`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        for block in model.attention.values():
            block.moa.compute = "dense"  # the same numbers without sorting tokens, which ONNX has no operator for

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, ...]:
        """Displacement, then the parts of every routing."""
        result = self.model(moving, fixed)
        parts = [result.displacement]
        for _, routing in sorted(result.routing.items()):
            parts += [routing.gates, routing.indices.to(torch.int32)]
            parts += [] if routing.proposals is None else [routing.contributions]
        return tuple(parts)


def outputs(model: nn.Module, size: int = 64) -> list[str]:
    """Names of what `Plain` gives: "displacement", "decoder.0.shmoe/gates", "decoder.0.shmoe/routes", ..."""
    blank = torch.zeros(1, 1, size, size)
    with torch.no_grad():
        routing = model(blank, blank).routing
    names = ["displacement"]
    for layer, routed in sorted(routing.items()):
        names += [f"{layer}/gates", f"{layer}/routes"]
        names += [] if routed.proposals is None else [f"{layer}/shares"]
    return names


def graph(model: nn.Module, size: int) -> onnx.ModelProto:
    """The network for square images of this size, weights inside, without notes of where each node came from."""
    pair = (torch.rand(1, 1, size, size), torch.rand(1, 1, size, size))
    names = outputs(model)
    program = torch.onnx.export(
        Plain(model).eval(),
        pair,
        dynamo=True,
        opset_version=OPSET,
        input_names=["moving", "fixed"],
        output_names=names,
        verbose=False,
    )
    assert program is not None
    found = program.model_proto
    for part in (*found.graph.node, *found.graph.value_info, *found.graph.input, *found.graph.output, found.graph):
        part.doc_string = ""
        del part.metadata_props[:]
    del found.graph.value_info[:], found.metadata_props[:]
    return found


def share_weights(found: onnx.ModelProto, places: dict[str, tuple[int, int]]) -> None:
    """Let the graph read its weights from `WEIGHTS`, as 16 bits that a node casts to 32, at `places`."""
    kept, casts = [], []
    for tensor in found.graph.initializer:
        offset, length = places.get(tensor.name.removeprefix("model."), (0, 0))
        if not length:
            kept.append(tensor)
            continue
        short = TensorProto(name=f"{tensor.name}.half", data_type=TensorProto.FLOAT16, dims=tensor.dims)
        short.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
            short.external_data.add(key=key, value=value)
        kept.append(short)
        casts.append(helper.make_node("Cast", [short.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(found.graph.node)
    del found.graph.initializer[:], found.graph.node[:]
    found.graph.initializer.extend(kept)
    found.graph.node.extend([*casts, *nodes])


def pack(model: nn.Module) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """All weights as one block of 16-bit numbers, and where each stands: name -> (offset, length) in bytes."""
    block, places = b"", {}
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.half().contiguous()
        if not torch.equal(values.float(), tensor):
            raise ValueError(
                f"{name} must be numbers of 16 bits, as data/weights stores them, or the page would differ."
            )
        content = values.numpy().tobytes()
        places[name] = (len(block), len(content))
        block += content + bytes(-len(content) % 16)
    return block, places


def source_hash() -> str:
    """SHA-256 of the weights that the graphs were made from."""
    return hashlib.sha256(find_weights(NETWORK).read_bytes()).hexdigest()


def main() -> int:
    model = load_model(NETWORK)
    block, places = pack(model)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / WEIGHTS).write_bytes(block)
    for size in SIZES:
        found = graph(model, size)
        share_weights(found, places)
        (FOLDER / f"graph-{size}.onnx").write_bytes(found.SerializeToString())
        print(f"{size}: {len(found.SerializeToString())} bytes of graph, {len(block)} of weights")
    card = {
        "network": NETWORK,
        "weights_sha256": source_hash(),
        "sizes": list(SIZES),
        "outputs": outputs(model),
        "made_with": {"torch": torch.__version__, "onnx": onnx.__version__, "opset": OPSET},
    }
    (FOLDER / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

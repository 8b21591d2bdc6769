"""Everything the explorer shows of one registered pair, packed for a web page.

A payload is a plain dict that `json.dumps` takes. Numbers are small and readable; maps are entries such as

    {"offset": 0, "shape": [3, 48, 48, 48], "bits": 16, "axes": 3, "zero": -7.5, "precision": 0.01}

that point into one block of bytes (`payload["data"]`, gzip in base64). A map is stored as whole numbers,

    code = round((value - zero) / precision)        8 or 16 bits, whichever holds the range

then as differences along the last `axes` axes, one after the other, low bytes before high bytes: smooth maps, as these
are, shrink to a fraction. How many axes is tried out for each map, noise is best left alone.
The value read back is within half a `precision` of the true one. `js/src/data/maps.mjs` undoes this.
"""

import base64
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.evaluation import dice, endpoint_error
from moereg.fields import warp_labels
from moereg.models.registration import Registration
from moereg.nn.attention import Windows
from moereg.nn.intervene import LEFT_OUT, find_routers, rerouted
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import Routing
from moereg.nn.shmoe import DIRECTIONS
from moereg.regularity import fold_fraction
from moereg.viz.palette import expert_colours
from moereg.viz.snapshots import on_device

VOXELS = 1 / 100  # precision of displacements
COARSE = 1 / 40  # of the differences that knock-outs and training steps make
NATS = 1 / 40  # of logits
SHARE = 1 / 250  # of gates
FEATURE = 1 / 16  # of queries and keys
LEVEL = 6  # of gzip; 9 saves one percent and takes seconds


class Packer:
    """Collects maps into one block of bytes."""

    def __init__(self):
        self._chunks, self._size = [], 0

    def add(self, values: Tensor | np.ndarray, *, precision: float) -> dict:
        """Append one map and return its entry."""
        values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
        zero, top = float(values.min()), float(values.max())
        precision = max(precision, (top - zero) / 65535)
        codes = np.rint((values - zero) / precision).astype(np.uint16)
        bits = 8 if codes.max() < 256 else 16
        chunks = [_differences(codes, bits, axes) for axes in range(min(3, codes.ndim) + 1)]
        axes = min(range(len(chunks)), key=lambda n: len(zlib.compress(chunks[n], 1)))
        chunk = chunks[axes]
        entry = {
            "offset": self._size,
            "shape": list(values.shape),
            "bits": bits,
            "axes": axes,
            "zero": zero,
            "precision": precision,
        }
        self._chunks.append(chunk)
        self._size += len(chunk)
        return entry

    def close(self) -> str:
        """The block, gzip in base64."""
        return base64.b64encode(gzip.compress(b"".join(self._chunks), LEVEL, mtime=0)).decode()


def _differences(codes: np.ndarray, bits: int, axes: int) -> bytes:
    for axis in range(1, axes + 1):
        codes = np.diff(codes, axis=-axis, prepend=np.uint16(0)).astype(np.uint16)
    low = (codes & 255).astype(np.uint8).tobytes()
    return low if bits == 8 else low + (codes >> 8).astype(np.uint8).tobytes()


def unpack(payload: dict, entry: dict) -> np.ndarray:
    """Read one map back, as the page does. For tests and for Python readers of a payload."""
    block = gzip.decompress(base64.b64decode(payload["data"]))
    size = int(np.prod(entry["shape"]))
    raw = np.frombuffer(block, np.uint8, size * entry["bits"] // 8, entry["offset"]).astype(np.uint16)
    codes = (raw[:size] + (raw[size:] << 8 if entry["bits"] == 16 else 0)).reshape(entry["shape"])
    for axis in range(1, entry["axes"] + 1):
        codes = np.cumsum(codes, axis=-axis, dtype=np.uint16)
    if entry["bits"] == 8:
        codes &= 255
    return entry["zero"] + codes * entry["precision"]


@dataclass(frozen=True)
class Detail:
    """How much of large maps is stored: the most voxels of each kind, sampled at every n-th voxel to get there."""

    routing: int
    knockout: int
    snapshot: int


DETAILS = {"page": Detail(24**3, 16**3, 16**3), "full": Detail(1 << 60, 32**3, 24**3)}


@torch.no_grad()
def explorer_payload(
    model: nn.Module,
    pair: Pair,
    *,
    knockouts: bool = True,
    snapshots: Sequence[tuple[int, Registration]] = (),
    history: dict[str, dict[str, Sequence[float]]] | None = None,
    title: str | None = None,
    detail: str = "page",
    poster: bool = True,
) -> dict:
    """Run `model` on `pair` and pack what the explorer shows.

    Args:
        model: `model(moving, fixed) -> Registration`. It is put into evaluation mode and left as it was found.
        knockouts: also run it once without each expert of each routed layer, and keep what that changes.
        snapshots: `(step, registration)` of the *same pair* during training, for the training slider. Tensors may be
            on any device; only coarse copies are kept.
        history: curves beside the training slider: run name -> {"step": [...], "loss": [...], "dice": [...], ...}.
        title: shown above the explorer; default the pair's name.
        detail: "page" keeps a 48³ pair under two megabytes, "full" stores every voxel of every routed layer.
        poster: also draw the picture that stands in where JavaScript is off.
    """
    was_training = model.training
    model.eval()
    try:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        pair = pair.to(device)
        moving, fixed = pair.moving[None], pair.fixed[None]
        attention_inputs: dict[int, tuple] = {}
        with _watch_attention(model, attention_inputs):
            result = model(moving, fixed)
        variants = _knockouts(model, moving, fixed, result) if knockouts else []
        return pack_result(
            pair,
            result,
            attention={
                name: attention_inputs[id(r.logits)]
                for name, r in result.routing.items()
                if id(r.logits) in attention_inputs
            },
            knockouts=variants,
            snapshots=snapshots,
            history=history,
            title=title,
            detail=detail,
            poster=poster,
        )
    finally:
        model.train(was_training)


def pack_result(
    pair: Pair,
    result: Registration,
    *,
    attention: dict[str, tuple[MixtureOfAttentionHeads, Tensor, Tensor | None]] | None = None,
    knockouts: Sequence[tuple[str, int, Registration]] = (),
    snapshots: Sequence[tuple[int, Registration]] = (),
    history: dict | None = None,
    title: str | None = None,
    detail: str = "page",
    poster: bool = True,
) -> dict:
    """Pack a registration that is already there. `explorer_payload` calls this; so does whoever has no model.

    Args:
        attention: layer name -> (module, features, context) as the layer saw them.
        knockouts: (layer name, index of the expert left out, result without it).
    """
    level, pack = DETAILS[detail], Packer()
    dims, shape = len(pair.shape), pair.shape
    payload = {
        "version": 1,
        "title": title or pair.name or "Registered pair",
        "shape": list(shape),
        "axes": list(DIRECTIONS[dims]),
        "spacing": list(pair.spacing or [1.0] * dims),
        "start": _start(pair, result.displacement[0]),
        "plane": _plane(result.displacement[0]),
        "images": _images(pack, pair),
        "labels": _labels(pack, pair),
        "label_names": {str(value): name for value, name in pair.label_names.items()},
        "displacement": pack.add(result.displacement[0], precision=VOXELS),
        "metrics": metrics(pair, result.displacement),
        "layers": [
            _layer(pack, name, routing, shape, (attention or {}).get(name), level.routing)
            for name, routing in _ordered(result.routing)
        ],
        "steps": [_coarse_field(pack, field - result.displacement, level.knockout) for field in result.steps[:-1]],
        "knockouts": [
            {
                "layer": name,
                "expert": expert,
                "field": _coarse_field(pack, without.displacement - result.displacement, level.knockout),
                "change": _mean_length(without.displacement - result.displacement),
                "metrics": metrics(pair, without.displacement),
            }
            for name, expert, without in knockouts
        ],
        "snapshots": [_snapshot(pack, step, kept, result, pair, level) for step, kept in snapshots],
        "history": history or {},
        "poster": _poster(pair, result) if poster else None,
    }
    payload["data"] = pack.close()
    return payload


def metrics(pair: Pair, displacement: Tensor) -> dict[str, float]:
    """Share of folds of a field, and mean Dice and endpoint error where labels or truth are known."""
    values = {"folds": float(fold_fraction(displacement)[0])}
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        scores = dice(warp_labels(pair.moving_labels[None], displacement)[0], pair.fixed_labels)
        if scores:
            values["dice"] = sum(scores.values()) / len(scores)
    if pair.displacement is not None:
        values["endpoint_error"] = endpoint_error(displacement[0], pair.displacement, pair.region)
    return {name: value for name, value in values.items() if np.isfinite(value)}


# ------------------------------------------------------------------------------------------------- parts of a payload


def _images(pack: Packer, pair: Pair) -> dict[str, dict]:
    both = torch.stack([pair.moving[0], pair.fixed[0]]).float()
    low, high = (float(v) for v in np.quantile(both.cpu().numpy(), [0.001, 0.999]))
    span = max(high - low, 1e-6)
    window = {"low": low, "high": low + span}
    return {
        "moving": pack.add(pair.moving[0].clamp(low, high), precision=span / 255),
        "fixed": pack.add(pair.fixed[0].clamp(low, high), precision=span / 255),
        "window": window,
    }


def _labels(pack: Packer, pair: Pair) -> dict[str, dict] | None:
    if pair.moving_labels is None or pair.fixed_labels is None:
        return None
    return {
        "moving": pack.add(pair.moving_labels[0], precision=1),
        "fixed": pack.add(pair.fixed_labels[0], precision=1),
    }


def _ordered(routing: dict[str, Routing]) -> list[tuple[str, Routing]]:
    # Decoder first, finest level first: the map a reader sees at once is the one with the most detail.
    return sorted(routing.items(), key=lambda item: (not item[0].startswith("decoder"), item[0]))


def _layer(pack: Packer, name: str, routing: Routing, shape: tuple[int, ...], attention, most: int) -> dict:
    grid = routing.gates.shape[3:]
    every = _every(grid, most)
    keep = (..., *(slice(None, None, every) for _ in grid))
    tracks, order = _tracks(routing)
    gates = routing.gates.gather(2, routing.indices)
    left_out = (routing.logits <= LEFT_OUT).flatten(3).all(3).all(0).all(0)
    logits = routing.logits.masked_fill(
        routing.logits <= LEFT_OUT, float(routing.logits[routing.logits > LEFT_OUT].min())
    )
    entry = {
        "name": name,
        "kind": name.rsplit(".", 1)[-1],
        "experts": list(routing.experts),
        "colours": expert_colours(routing.experts),
        "kernels": [_kernel(expert) for expert in routing.experts],
        "tracks": tracks,
        "k": routing.indices.shape[2],
        "grid": list(grid),
        "stride": [_stride(whole, part) for whole, part in zip(shape, grid, strict=True)],
        "every": every,
        "left_out": left_out.nonzero().flatten().tolist(),
        "logits": pack.add(_flat(logits, order)[keep], precision=NATS),
        "indices": pack.add(_flat(routing.indices, order)[keep], precision=1),
        "gates": pack.add(_flat(gates, order)[keep], precision=SHARE),
        "load": _per_track(routing, order, "load"),
        "importance": _per_track(routing, order, "importance"),
        "entropy": [float(v) for v in _flat(routing.entropy(), order).flatten(1).mean(1)],
    }
    if routing.proposals is not None:
        entry["proposals"] = pack.add(routing.proposals[0][keep], precision=VOXELS)
    if attention is not None:
        entry["attention"] = _attention(pack, routing, *attention)
    return entry


def _tracks(routing: Routing) -> tuple[list[str], list[tuple[int, int]]]:
    """Names of a layer's maps, and (batch item, router) of each.

    An encoder that sees both images has a batch of two, moving first; its maps are told apart by the image.
    """
    if routing.gates.shape[0] == 1:
        return list(routing.routers), [(0, r) for r in range(len(routing.routers))]
    several = len(routing.routers) > 1
    names = [f"{image} {router}" if several else image for image in ("fixed", "moving") for router in routing.routers]
    return names, [(item, r) for item in (1, 0) for r in range(len(routing.routers))]


def _flat(values: Tensor, order: list[tuple[int, int]]) -> Tensor:
    """`(B, R, ...) -> (track, ...)`"""
    return torch.stack([values[item, router] for item, router in order])


def _per_track(routing: Routing, order: list[tuple[int, int]], what: str) -> list[list[float]]:
    rows = []
    for item, router in order:
        one = slice(item, item + 1), slice(router, router + 1)
        part = Routing(routing.logits[one], routing.gates[one], routing.indices[one], routing.experts, ("",))
        rows.append([round(float(v), 4) for v in getattr(part, what)()[0]])
    return rows


def _attention(pack: Packer, routing: Routing, moa: MixtureOfAttentionHeads, features: Tensor, context) -> dict:
    """Queries of the chosen heads and keys of every token: the page computes `softmax(q k / sqrt(d))` from them."""
    source = features if context is None else context
    windows = Windows.of(features, moa.window)
    queries = torch.einsum("bc...,ncd->bnd...", features, moa.query)  # (B, N, d, *S)
    chosen = routing.indices[:, 0].unsqueeze(2).expand(-1, -1, queries.shape[2], *queries.shape[3:])
    keys = torch.einsum("bc...,cd->bd...", source, moa.key)
    order = [1, 0] if len(features) == 2 else [0]
    return {
        "window": list(windows.size),
        "cross": context is not None,
        "queries": pack.add(queries.gather(1, chosen)[order], precision=FEATURE),  # (image, k, d, *grid)
        "keys": pack.add(keys[order], precision=FEATURE),  # (image, d, *grid)
    }


def _snapshot(pack: Packer, step: int, kept: Registration, result: Registration, pair: Pair, level: Detail) -> dict:
    layers = {}
    for name, routing in kept.routing.items():
        routing = on_device(routing, result.displacement.device)
        order = _tracks(routing)[1]
        grid = routing.gates.shape[3:]
        every = _every(grid, level.snapshot)
        keep = (..., *(slice(None, None, every) for _ in grid))
        layers[name] = {
            "every": every,
            "first": pack.add(_flat(routing.first(), order)[keep], precision=1),
            "load": _per_track(routing, order, "load"),
        }
    field = kept.displacement.to(result.displacement.device)
    return {
        "step": int(step),
        "layers": layers,
        "field": _coarse_field(pack, field - result.displacement, level.snapshot),
        "metrics": metrics(pair, field),
    }


def _poster(pair: Pair, result: Registration) -> dict[str, str]:
    """The picture that stands in where JavaScript is off, and what it shows in words."""
    from moereg.viz.figures import overview  # matplotlib is slow to import

    figure, text = overview(pair, result)
    return {"src": figure_source(figure), "alt": text}


def figure_source(figure) -> str:
    """A matplotlib figure as the `src` of an image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _start(pair: Pair, displacement: Tensor) -> list[int]:
    """A voxel worth looking at first: labelled if anything is, away from the border, moved further than any other."""
    length = displacement.norm(dim=0)
    inner = torch.zeros_like(length)
    inner[tuple(slice(n // 5, n - n // 5) for n in length.shape)] = 1
    if pair.fixed_labels is not None and bool((inner * (pair.fixed_labels[0] > 0)).any()):
        inner = inner * (pair.fixed_labels[0] > 0)
    return [int(i) for i in np.unravel_index(int((length * inner + inner * 1e-6).argmax()), tuple(length.shape))]


def _plane(displacement: Tensor) -> int:
    """The axis to cut across so that the slice shows most of the motion: the one along which least moves."""
    return int(displacement.flatten(1).square().mean(1).argmin()) if len(displacement) == 3 else 0


def _coarse_field(pack: Packer, field: Tensor, most: int) -> dict:
    """A smooth field at every n-th voxel, values still in voxels of the image."""
    every = _every(field.shape[2:], most)
    keep = (0, slice(None), *(slice(None, None, every) for _ in field.shape[2:]))
    return {"every": every, "values": pack.add(field[keep], precision=COARSE)}


def _knockouts(model: nn.Module, moving: Tensor, fixed: Tensor, result: Registration) -> list[tuple]:
    routers = find_routers(model, moving, fixed)
    variants = []
    for name, routing in _ordered(result.routing):
        if name not in routers or len(routing.experts) < 2:
            continue
        for expert in range(len(routing.experts)):
            with rerouted(routers, without={name: (expert,)}):
                variants.append((name, expert, model(moving, fixed)))
    return variants


class _watch_attention:
    """While open, remember what every mixture of attention heads saw, by the logits of its routing."""

    def __init__(self, model: nn.Module, seen: dict[int, tuple]):
        self.modules = [m for m in model.modules() if isinstance(m, MixtureOfAttentionHeads)]
        self.seen = seen

    def __enter__(self):
        def remember(module, inputs, output):
            features, context = (*inputs, None)[:2]
            self.seen[id(output[1].logits)] = (module, features, context)

        self.hooks = [module.register_forward_hook(remember) for module in self.modules]

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def _kernel(expert: str) -> int | None:
    found = re.fullmatch(r"(\d+)[²³]", expert)
    return int(found[1]) if found else None


def _stride(whole: int, part: int) -> int:
    """The power of two that leads from an axis of the image to an axis of a level by repeated halving."""
    stride = 1
    while -(-whole // stride) > part:
        stride *= 2
    return stride


def _every(grid: Sequence[int], most: int) -> int:
    every = 1
    while np.prod([-(-n // every) for n in grid]) > most:
        every += 1
    return every


def _mean_length(field: Tensor) -> float:
    return float(field.norm(dim=1).mean())

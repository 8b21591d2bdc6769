"""One routed layer in a payload: its maps, its shares, and what the page needs to draw attention."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from moereg.nn.attention import Windows
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import LEFT_OUT, Observation
from moereg.nn.routing import Routing
from moereg.viz.packing import Packer
from moereg.viz.palette import expert_colours

VOXELS = 1 / 100  # precision of displacements
NATS = 1 / 40  # of logits
SHARE = 1 / 250  # of gates
FEATURE = 1 / 16  # of queries and keys


def ordered(routing: dict[str, Routing]) -> list[tuple[str, Routing]]:
    """Layers in the order in which they are shown.

    Decoder first, finest level first: the map a reader sees at once is the one with the most detail.
    """
    return sorted(routing.items(), key=lambda item: (item[1].role != "decoder", item[1].stride, item[0]))


def layer_entry(pack: Packer, name: str, routing: Routing, observation: Observation | None, *, most: int) -> dict:
    """Everything that is shown of one layer; of large grids every n-th voxel, `most` in all."""
    grid = routing.gates.shape[3:]
    every = thinning(grid, most)
    keep = (..., *(slice(None, None, every) for _ in grid))
    tracks, order = tracks_of(routing)
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
        "stride": [routing.stride] * len(grid),
        "every": every,
        "left_out": left_out.nonzero().flatten().tolist(),
        "logits": pack.add(stacked(logits, order)[keep], precision=NATS),
        "indices": pack.add(stacked(routing.indices, order)[keep], precision=1),
        "gates": pack.add(stacked(gates, order)[keep], precision=SHARE),
        "load": per_track(routing, order, "load"),
        "importance": per_track(routing, order, "importance"),
        "entropy": [float(v) for v in stacked(routing.entropy(), order).flatten(1).mean(1)],
    }
    if routing.proposals is not None:
        entry["proposals"] = pack.add(routing.proposals[0][keep], precision=VOXELS)
    if observation is not None and isinstance(observation.layer, MixtureOfAttentionHeads):
        entry["attention"] = _attention(pack, routing, observation)
    return entry


def tracks_of(routing: Routing) -> tuple[list[str], list[tuple[int, int]]]:
    """Names of a layer's maps, and (batch item, router) of each.

    An encoder that sees both images has a batch of two, moving first; its maps are told apart by the image.
    """
    if routing.gates.shape[0] == 1:
        return list(routing.routers), [(0, r) for r in range(len(routing.routers))]
    several = len(routing.routers) > 1
    names = [f"{image} {router}" if several else image for image in ("fixed", "moving") for router in routing.routers]
    return names, [(item, r) for item in (1, 0) for r in range(len(routing.routers))]


def stacked(values: Tensor, order: list[tuple[int, int]]) -> Tensor:
    """Maps of the tracks one after the other: `(B, R, ...) -> (track, ...)`"""
    return torch.stack([values[item, router] for item, router in order])


def per_track(routing: Routing, order: list[tuple[int, int]], what: str) -> list[list[float]]:
    """A share per expert and track: "load" or "importance"."""
    rows = []
    for item, router in order:
        one = slice(item, item + 1), slice(router, router + 1)
        part = replace(
            routing, logits=routing.logits[one], gates=routing.gates[one], indices=routing.indices[one], proposals=None
        )
        rows.append([round(float(v), 4) for v in getattr(part, what)()[0]])
    return rows


def _attention(pack: Packer, routing: Routing, observation: Observation) -> dict:
    """Queries of the chosen heads and keys of every token: the page computes `softmax(q k / sqrt(d))` from them."""
    moa = cast(MixtureOfAttentionHeads, observation.layer)
    features, context = observation.features, observation.context
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


def _kernel(expert: str) -> int | None:
    found = re.fullmatch(r"(\d+)[²³]", expert)
    return int(found[1]) if found else None


def thinning(grid: Sequence[int], most: int) -> int:
    """The n for which every n-th voxel along each axis gives at most `most` voxels."""
    every = 1
    while np.prod([-(-n // every) for n in grid]) > most:
        every += 1
    return every

"""Everything the explorer shows of one registered pair, packed for a web page.

A payload is a plain dict that `json.dumps` takes. Numbers are small and readable; maps are entries that point into one
block of bytes, `payload["data"]` (see `moereg.viz.packing`).
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.fields import warp_labels
from moereg.metrics import dice, endpoint_error
from moereg.models.registration import Registration, labels_for
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import Observation, find_routers, observe, rerouted
from moereg.nn.shmoe import DIRECTIONS
from moereg.regularity import fold_fraction
from moereg.viz.layers import VOXELS, layer_entry, ordered, per_track, stacked, thinning, tracks_of
from moereg.viz.packing import Packer
from moereg.viz.snapshots import on_device

COARSE = 1 / 40  # precision of the differences that knock-outs and training steps make


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
    opened: tuple[str, tuple[int, ...]] | None = None,
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
        opened: layer and voxel that the view opens at. Where heads attend there, the picture shows those.
    """
    was_training = model.training
    model.eval()
    try:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        pair = pair.to(device)
        moving, fixed = pair.moving[None], pair.fixed[None]
        known = (None if labels is None else labels[None] for labels in (pair.moving_labels, pair.fixed_labels))
        labels = labels_for(model, *known)
        with observe(model) as seen:
            result = model(moving, fixed, **labels)
        variants = _knockouts(partial(model, **labels), find_routers(model), moving, fixed, result) if knockouts else []
        asked = seen.get(opened[0]) if opened and poster else None
        heads = asked is not None and isinstance(asked.layer, MixtureOfAttentionHeads)
        packed = pack_result(
            pair,
            result,
            observed=seen,
            knockouts=variants,
            snapshots=snapshots,
            history=history,
            title=title,
            detail=detail,
            poster=poster and not heads,
        )
        if asked is not None and opened is not None and heads:
            packed["poster"] = _poster_of_heads(pair, asked, opened[1])
        return packed
    finally:
        model.train(was_training)


def pack_result(
    pair: Pair,
    result: Registration,
    *,
    observed: dict[str, Observation] | None = None,
    knockouts: Sequence[tuple[str, int, Registration]] = (),
    snapshots: Sequence[tuple[int, Registration]] = (),
    history: dict | None = None,
    title: str | None = None,
    detail: str = "page",
    poster: bool = True,
) -> dict:
    """Pack a registration that is already there. `explorer_payload` calls this; so does whoever has no model.

    Args:
        observed: layer name -> what it saw (see `moereg.nn.observe`); without it attention is not shown.
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
            layer_entry(pack, name, routing, (observed or {}).get(name), most=level.routing)
            for name, routing in ordered(result.routing)
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


def _snapshot(pack: Packer, step: int, kept: Registration, result: Registration, pair: Pair, level: Detail) -> dict:
    layers = {}
    for name, routing in kept.routing.items():
        routing = on_device(routing, result.displacement.device)
        order = tracks_of(routing)[1]
        grid = routing.gates.shape[3:]
        every = thinning(grid, level.snapshot)
        keep = (..., *(slice(None, None, every) for _ in grid))
        layers[name] = {
            "every": every,
            "first": pack.add(stacked(routing.first(), order)[keep], precision=1),
            "load": per_track(routing, order, "load"),
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


def _poster_of_heads(pair: Pair, seen: Observation, voxel: tuple[int, ...]) -> dict[str, str]:
    """The same for a view that opens at a layer of attention heads."""
    from moereg.viz.figures import heads_at

    figure, text = heads_at(pair, seen, voxel)
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
    every = thinning(field.shape[2:], most)
    keep = (0, slice(None), *(slice(None, None, every) for _ in field.shape[2:]))
    return {"every": every, "values": pack.add(field[keep], precision=COARSE)}


def _knockouts(
    register: Callable[..., Registration], routers: dict, moving: Tensor, fixed: Tensor, result: Registration
) -> list[tuple]:
    variants = []
    for name, routing in ordered(result.routing):
        if name not in routers or len(routing.experts) < 2:
            continue
        for expert in range(len(routing.experts)):
            with rerouted(routers, without={name: (expert,)}):
                variants.append((name, expert, register(moving, fixed)))
    return variants


def _mean_length(field: Tensor) -> float:
    return float(field.norm(dim=1).mean())

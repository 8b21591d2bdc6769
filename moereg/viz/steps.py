"""One decision, step by step: what the explorer's `RouterSteps` view walks through.

`router_steps` takes one voxel of one routed layer and follows it from its features to what the layer adds there. Each
step has a title, a sentence with this voxel's numbers, values to draw, and the line of the library that does it, quoted
from the source by `quote`; a line that has changed beyond recognition raises instead of being quoted wrongly.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import moereg
from moereg.data.pairs import Pair
from moereg.nn.attention import Windows
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import Observation, observe
from moereg.nn.routing import Router, Routing, choose
from moereg.nn.shmoe import SpatialHeterogeneousMoE
from moereg.viz.palette import expert_colours

ROOT = Path(moereg.__file__).parent.parent


def quote(function: Callable, fragment: str) -> dict[str, str | int]:
    """The one statement of a function's source that contains `fragment`, whole, and where it stands.

    Where several contain it, the one that is the fragment and no more is meant.

    Raises:
        LookupError: no statement, or more than one, fits.
    """
    function = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    simple = (ast.Assign, ast.AugAssign, ast.Return, ast.Expr)
    statements = [node for node in ast.walk(tree) if isinstance(node, simple)]
    code = {
        node.lineno: textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno])).strip() for node in statements
    }
    found = [number for number, text in code.items() if fragment in text]
    if len(found) > 1:
        found = [number for number in found if code[number] == fragment]
    if len(found) != 1:
        raise LookupError(f"{fragment!r} must stand in one line of {function.__qualname__}, the source has changed.")
    return {
        "code": code[found[0]],
        "function": function.__qualname__,
        "file": Path(inspect.getsourcefile(function)).relative_to(ROOT).as_posix(),
        "line": first + found[0] - 1,
    }


@torch.no_grad()
def router_steps(
    model: nn.Module, pair: Pair, *, layer: str, voxel: tuple[int, ...], direction: int | str = 0, image: str = "fixed"
) -> dict:
    """Follow one voxel through the layer `layer` of `model`.

    Args:
        layer: a key of `Registration.routing`.
        voxel: in voxels of the image; the closest voxel of the layer is taken.
        direction: which router of the layer, by name or number.
        image: for an encoder layer, which of the two images' tokens.

    Returns:
        What `createSteps` of the page draws: title, experts, colours, and the steps.
    """
    device = next(model.parameters()).device
    moving, fixed = pair.moving[None].to(device), pair.fixed[None].to(device)
    seen = _call_of(model, moving, fixed, layer)
    module, inputs, output, routing = seen.layer, seen.inputs, seen.output, seen.routing
    item = 0 if len(inputs[0]) == 1 else ("moving", "fixed").index(image)
    router = routing.routers.index(direction) if isinstance(direction, str) else direction
    place = layer_voxel(voxel, routing.stride, routing.gates.shape[3:])
    follow = _Follow(module.router, inputs, output, routing, item, router, place)
    own = _shmoe_steps if isinstance(module, SpatialHeterogeneousMoE) else _moa_steps
    what = f"direction {routing.routers[router]}" if len(routing.routers) > 1 else f"token of the {image} image"
    return {
        "view": "steps",
        "title": f"{layer}, {what}, voxel {_coordinates(voxel)}",
        "experts": list(routing.experts),
        "colours": expert_colours(routing.experts),
        "steps": [*_routing_steps(follow, module), *own(follow, module)],
    }


def layer_voxel(voxel: tuple[int, ...], stride: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Voxel of the image -> closest voxel of a level; voxel `i` of the level sits on voxel `i * stride`."""
    return tuple(min(int(v / stride + 0.5), size - 1) for v, size in zip(voxel, grid, strict=True))


class _Follow:
    """One voxel's part of everything a layer saw and decided."""

    def __init__(self, router: Router, inputs: tuple, output: Tensor, routing: Routing, item: int, r: int, place):
        self.router, self.routing, self.inputs, self.output = router, routing, inputs, output
        self.item, self.r, self.place = item, r, place
        at = (slice(None), *place)
        self.features = inputs[0][item][at]
        self.logits = routing.logits[item, r][at]
        self.gates = routing.gates[item, r][at]
        self.chosen = routing.indices[item, r][at].tolist()
        self.dropped = [e for e in range(len(routing.experts)) if e not in self.chosen]
        self.names = [routing.experts[e] for e in self.chosen]


def _call_of(model: nn.Module, moving: Tensor, fixed: Tensor, layer: str) -> Observation:
    """What the routed layer of that name saw and did."""
    training = model.training
    try:
        with observe(model) as seen:
            model.eval()(moving, fixed)
    finally:
        model.train(training)
    if layer not in seen:
        raise ValueError(f"layer must be one of {sorted(seen)}, got {layer!r}.")
    return seen[layer]


# -------------------------------------------------------------------------------------------------------------- router

GATE_RULES = {
    "raw": (
        "kept = logits.softmax(2).gather(2, indices)",
        "This layer keeps the probabilities as they are: the gates add up to {sum}, not to one.",
    ),
    "soft": (
        "kept = logits.softmax(2).gather(2, indices)",
        "This layer is soft: every expert is used, with its probability as the gate.",
    ),
    "uniform": (
        "kept = torch.full_like(scores, 1 / logits.shape[2])",
        "This layer does not route: every expert gets the same gate, whatever its logit.",
    ),
    "renormalised": (
        "kept = kept / kept.sum(2, keepdim=True)",
        "The chosen probabilities are divided by their sum, {kept}: the gates add up to one.",
    ),
    "stopped": (
        "kept = kept / kept.sum(2, keepdim=True).detach()",
        "The chosen probabilities are divided by their sum, {kept}: the gates add up to one. The sum carries no "
        "gradient, so that every logit still learns.",
    ),
    "topk_softmax": (
        "kept = scores.softmax(2)",
        "The softmax is taken again, over the chosen logits alone: the gates add up to one.",
    ),
}


def _routing_steps(f: _Follow, module: nn.Module) -> list[dict]:
    """Features -> logits -> top-k -> softmax -> gates; the same for every kind of layer."""
    experts, k = len(f.logits), len(f.chosen)
    probabilities = f.logits.softmax(0)
    kept = probabilities[f.chosen]
    fragment, words = GATE_RULES[f.router.gate]
    reach = max(1.0, float(f.logits.abs().max()))
    best = int(f.logits.argmax())
    gates = _and([f"{name} {f.gates[e]:.2f}" for name, e in zip(f.names, f.chosen, strict=True)])
    features = {
        "title": "Features",
        "sentence": f"The router sees this voxel's {len(f.features)} features, at {_coordinates(f.place)} of the "
        "layer's grid, and nothing else.",
        "quote": quote(type(module).forward, "routing = self.router(features)"),
        "strip": _numbers(f.features),
    }
    logits = {
        "title": "Logits",
        "sentence": f"One linear map turns them into {experts} logits, one per expert; the largest is "
        f"{_signed(f.logits[best])}, of {f.routing.experts[best]}.",
        "quote": quote(Router.forward, "logits = self._linear(self.weight, features)"),
        "bars": _bars(f.logits, -reach, reach),
        "strip": _numbers(f.features),
    }
    top = {
        "title": f"Top {k}",
        "sentence": f"All {experts} experts stay."
        if k == experts
        else f"Only the {k} largest logits stay: {_and(f.names)}. The other {experts - k} drop out.",
        "quote": quote(choose, "scores, indices = logits.topk(k, dim=2)"),
        "bars": _bars(f.logits, -reach, reach, faint=f.dropped),
    }
    softmax = {
        "title": "Softmax",
        "sentence": "The softmax turns all logits into probabilities that add up to one; those of the chosen are "
        f"{_and([f'{p:.2f}' for p in kept.tolist()])}.",
        "quote": quote(choose, "kept = logits.softmax(2).gather(2, indices)"),
        "bars": _bars(probabilities, 0, 1, faint=f.dropped),
    }
    rule = {
        "title": "Gates",
        "sentence": words.format(kept=f"{kept.sum():.2f}", sum=f"{f.gates.sum():.2f}") + f" Gates: {gates}.",
        "quote": quote(choose, fragment),
        "bars": _bars(f.gates, 0, 1, faint=f.dropped),
    }
    zeros = {
        "title": "Zeros elsewhere",
        "sentence": "The gates are put back in the experts' order, with zero for those that were not chosen.",
        "quote": quote(choose, "torch.zeros_like(logits).scatter(2, indices, kept)"),
        "bars": _bars(f.gates, 0, 1),
    }
    # Two rules never take the softmax over all experts.
    middle = [] if f.router.gate in ("topk_softmax", "uniform") else [softmax]
    return [features, logits, top, *middle, rule, zeros]


# --------------------------------------------------------------------------------------------------------------- SHMoE


def _shmoe_steps(f: _Follow, module: SpatialHeterogeneousMoE) -> list[dict]:
    direction = f.r if len(f.routing.routers) == module.dims else 0
    at = (slice(None), *f.place)
    proposals = f.routing.proposals[f.item, direction][at]
    shares = f.routing.contributions[f.item, direction][at]
    total = float(f.output[f.item, direction][f.place])
    reach = max(0.1, float(proposals.abs().max()))
    sizes = ", ".join(f.routing.experts)
    proposed = _and([f"{name} proposes {_signed(proposals[e])}" for name, e in zip(f.names, f.chosen, strict=True)])
    parts = " + ".join(f"{f.gates[e]:.2f} × {_signed(proposals[e])}" for e in f.chosen)
    return [
        {
            "title": "Proposals",
            "sentence": f"Every expert, a convolution of extent {sizes}, reads its own surroundings and proposes a "
            f"step; {proposed} voxels.",
            "quote": quote(SpatialHeterogeneousMoE.forward, "routing.with_proposals(self.proposals(features)"),
            "bars": _bars(proposals, -reach, reach, faint=f.dropped, digits=3),
        },
        {
            "title": "Gate × proposal",
            "sentence": "Each proposal counts as much as its gate: the shares are what every expert moves here.",
            "quote": quote(Routing.contributions.fget, "return self.gates.to(self.proposals.dtype) * self.proposals"),
            "bars": _bars(shares, -reach, reach, digits=3),
        },
        {
            "title": "Sum",
            "sentence": f"The shares add up to this layer's step along its direction: {parts} = {_signed(total)} "
            "voxels of the level.",
            "quote": quote(SpatialHeterogeneousMoE.forward, "return routing.contributions.sum(2), routing"),
            "bars": _bars(shares, -reach, reach, digits=3),
            "total": f"Step: {_signed(total, 3)} voxels",
        },
    ]


# ----------------------------------------------------------------------------------------------------------------- MoA


def _moa_steps(f: _Follow, module: MixtureOfAttentionHeads) -> list[dict]:
    features, context = ((t[f.item : f.item + 1] if t is not None else None) for t in (*f.inputs, None)[:2])
    window = " × ".join(str(size) for size in Windows.of(features, module.window).size)
    peaks = module.attention_from(features, f.place, context).flatten(1).max(1).values
    most = _and([f"{name} {peaks[e]:.1%}" for name, e in zip(f.names, f.chosen, strict=True)])
    where = "its own image" if context is None else "the other image"
    mix = getattr(MixtureOfAttentionHeads, f"_{module.compute}")
    added = f.output[f.item][(slice(None), *f.place)]
    return [
        {
            "title": "Keys, values",
            "sentence": f"The token sees a window of {window} tokens of {where}. Keys and values are computed once for "
            "all heads; only the queries differ.",
            "quote": quote(MixtureOfAttentionHeads.forward, "source @ torch.cat([self.key, self.value], 1)"),
            "bars": _bars(f.gates, 0, 1),
        },
        {
            "title": "Attention",
            "sentence": "Each chosen head spreads one unit of attention over the window; the most it gives to one "
            f"token: {most}.",
            "quote": quote(mix, "attended = F.scaled_dot_product_attention("),
            "bars": _bars(peaks * (f.gates > 0), 0, float(peaks[f.chosen].max()), faint=f.dropped, digits=3),
        },
        {
            "title": "Sum over heads",
            "sentence": f"What {_and(f.names)} gathered is weighted by the gates, projected back to {len(added)} "
            "features and summed: the layer's output for this token.",
            "quote": quote(mix, "self.output"),
            "bars": _bars(f.gates, 0, 1),
            "strip": _numbers(added),
        },
    ]


# --------------------------------------------------------------------------------------------------------------- words


def _bars(values: Tensor, low: float, high: float, *, faint: list[int] | None = None, digits: int = 2) -> dict:
    return {"values": _numbers(values), "low": low, "high": high, "digits": digits, "faint": faint or []}


def _numbers(values: Tensor) -> list[float]:
    return [round(float(v), 5) for v in values]


def _signed(value: Tensor | float, digits: int = 2) -> str:
    return f"{float(value):+.{digits}f}".replace("-", "−")


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _coordinates(place: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(int(v)) for v in place) + ")"

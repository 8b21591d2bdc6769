"""The steps behind a router: what the chosen convolutions propose, what the chosen attention heads gather."""

from collections.abc import Callable
from typing import cast

from torch import Tensor

from moereg.nn.attention import Windows
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import Routing
from moereg.nn.shmoe import SpatialHeterogeneousMoE
from moereg.viz.decision import Decision, bars, joined, numbers, signed
from moereg.viz.quoting import quote


def shmoe_steps(f: Decision, module: SpatialHeterogeneousMoE) -> list[dict]:
    """Proposals -> gate times proposal -> the layer's step along the router's direction."""
    direction = f.r if len(f.routing.routers) == module.dims else 0
    at = (slice(None), *f.place)
    proposals = cast(Tensor, f.routing.proposals)[f.item, direction][at]
    shares = f.routing.contributions[f.item, direction][at]
    total = float(f.output[f.item, direction][f.place])
    reach = max(0.1, float(proposals.abs().max()))
    sizes = ", ".join(f.routing.experts)
    proposed = joined([f"{name} proposes {signed(proposals[e])}" for name, e in zip(f.names, f.chosen, strict=True)])
    parts = " + ".join(f"{f.gates[e]:.2f} × {signed(proposals[e])}" for e in f.chosen)
    return [
        {
            "title": "Proposals",
            "sentence": f"Every expert, a convolution of extent {sizes}, reads its own surroundings and proposes a "
            f"step; {proposed} voxels.",
            "quote": quote(SpatialHeterogeneousMoE.forward, "proposals"),
            "bars": bars(proposals, -reach, reach, faint=f.dropped, digits=3),
        },
        {
            "title": "Gate × proposal",
            "sentence": "Each proposal counts as much as its gate: the shares are what every expert moves here.",
            "quote": quote(cast(Callable, Routing.contributions.fget), "shares"),
            "bars": bars(shares, -reach, reach, digits=3),
        },
        {
            "title": "Sum",
            "sentence": f"The shares add up to this layer's step along its direction: {parts} = {signed(total)} "
            "voxels of the level.",
            "quote": quote(SpatialHeterogeneousMoE.forward, "sum"),
            "bars": bars(shares, -reach, reach, digits=3),
            "total": f"Step: {signed(total, 3)} voxels",
        },
    ]


def moa_steps(f: Decision, module: MixtureOfAttentionHeads) -> list[dict]:
    """Keys and values -> attention of the chosen heads -> their weighted sum."""
    item = slice(f.item, f.item + 1)
    features, context = f.seen.features[item], None if f.seen.context is None else f.seen.context[item]
    window = " × ".join(str(size) for size in Windows.of(features, module.window).size)
    peaks = module.attention_from(features, f.place, context).flatten(1).max(1).values
    most = joined([f"{name} {peaks[e]:.1%}" for name, e in zip(f.names, f.chosen, strict=True)])
    where = "its own image" if context is None else "the other image"
    mix = getattr(MixtureOfAttentionHeads, f"_{module.compute}", MixtureOfAttentionHeads.forward)
    added = f.output[f.item][(slice(None), *f.place)]
    return [
        {
            "title": "Keys, values",
            "sentence": f"The token sees a window of {window} tokens of {where}. Keys and values are computed once for "
            "all heads; only the queries differ.",
            "quote": quote(MixtureOfAttentionHeads.forward, "keys, values"),
            "bars": bars(f.gates, 0, 1),
        },
        {
            "title": "Attention",
            "sentence": "Each chosen head spreads one unit of attention over the window; the most it gives to one "
            f"token: {most}.",
            "quote": quote(mix, "attention"),
            "bars": bars(peaks * (f.gates > 0), 0, float(peaks[f.chosen].max()), faint=f.dropped, digits=3),
        },
        {
            "title": "Sum over heads",
            "sentence": f"What {joined(f.names)} gathered is weighted by the gates, projected back to {len(added)} "
            "features and summed: the layer's output for this token.",
            "quote": quote(mix, "sum over heads"),
            "bars": bars(f.gates, 0, 1),
            "strip": numbers(added),
        },
    ]

"""The steps of a router: features -> logits -> top-k -> softmax -> gates, the same for every kind of layer."""

from torch import nn

from moereg.nn.routing import Router, choose
from moereg.viz.decision import Decision, bars, coordinates, joined, numbers, signed
from moereg.viz.quoting import quote

# Rule of the gates -> the mark of its line in `choose`, and what it does in words.
GATE_RULES = {
    "raw": (
        "softmax",
        "This layer keeps the probabilities as they are: the gates add up to {sum}, not to one.",
    ),
    "soft": (
        "softmax",
        "This layer is soft: every expert is used, with its probability as the gate.",
    ),
    "uniform": (
        "uniform gates",
        "This layer does not route: every expert gets the same gate, whatever its logit.",
    ),
    "renormalised": (
        "renormalised gates",
        "The chosen probabilities are divided by their sum, {kept}: the gates add up to one.",
    ),
    "stopped": (
        "stopped gates",
        "The chosen probabilities are divided by their sum, {kept}: the gates add up to one. The sum carries no "
        "gradient, so that every logit still learns.",
    ),
    "topk_softmax": (
        "softmax of the chosen",
        "The softmax is taken again, over the chosen logits alone: the gates add up to one.",
    ),
}


def routing_steps(f: Decision, module: nn.Module) -> list[dict]:
    """Features -> logits -> top-k -> softmax -> gates; the same for every kind of layer."""
    experts, k = len(f.logits), len(f.chosen)
    probabilities = f.logits.softmax(0)
    kept = probabilities[f.chosen]
    mark, words = GATE_RULES[f.router.gate]
    reach = max(1.0, float(f.logits.abs().max()))
    best = int(f.logits.argmax())
    gates = joined([f"{name} {f.gates[e]:.2f}" for name, e in zip(f.names, f.chosen, strict=True)])
    features = {
        "title": "Features",
        "sentence": f"The router sees this voxel's {len(f.features)} features, at {coordinates(f.place)} of the "
        "layer's grid, and nothing else.",
        "quote": quote(type(module).forward, "features"),
        "strip": numbers(f.features),
    }
    logits = {
        "title": "Logits",
        "sentence": f"One linear map turns them into {experts} logits, one per expert; the largest is "
        f"{signed(f.logits[best])}, of {f.routing.experts[best]}.",
        "quote": quote(Router.forward, "logits"),
        "bars": bars(f.logits, -reach, reach),
        "strip": numbers(f.features),
    }
    top = {
        "title": f"Top {k}",
        "sentence": f"All {experts} experts stay."
        if k == experts
        else f"Only the {k} largest logits stay: {joined(f.names)}. The other {experts - k} drop out.",
        "quote": quote(choose, "top-k"),
        "bars": bars(f.logits, -reach, reach, faint=f.dropped),
    }
    softmax = {
        "title": "Softmax",
        "sentence": "The softmax turns all logits into probabilities that add up to one; those of the chosen are "
        f"{joined([f'{p:.2f}' for p in kept.tolist()])}.",
        "quote": quote(choose, "softmax"),
        "bars": bars(probabilities, 0, 1, faint=f.dropped),
    }
    rule = {
        "title": "Gates",
        "sentence": words.format(kept=f"{kept.sum():.2f}", sum=f"{f.gates.sum():.2f}") + f" Gates: {gates}.",
        "quote": quote(choose, mark),
        "bars": bars(f.gates, 0, 1, faint=f.dropped),
    }
    zeros = {
        "title": "Zeros elsewhere",
        "sentence": "The gates are put back in the experts' order, with zero for those that were not chosen.",
        "quote": quote(choose, "zeros elsewhere"),
        "bars": bars(f.gates, 0, 1),
    }
    # Two rules never take the softmax over all experts.
    middle = [] if f.router.gate in ("topk_softmax", "uniform") else [softmax]
    return [features, logits, top, *middle, rule, zeros]

"""Is the specialisation of experts real? Questions that can come out either way, asked of a trained model.

Routing statistics alone overstate specialisation: a map that follows the anatomy may belong to an expert that nobody
would miss. So each question here comes with its controls (other subjects, oracles, other gates, other networks),
returns plain rows, and says its finding in sentences that are computed from the rows.

    for finding in audit(model, pairs):
        print(finding.sentence)
        viz.draw(finding)
"""

import copy
import json

import torch
from torch import Tensor, nn

from moereg.data.pairs import Pairs
from moereg.experiments.doubt import entropy_against_error
from moereg.experiments.finding import Finding
from moereg.experiments.knockouts import knock_out
from moereg.experiments.organs import usage_by_organ
from moereg.experiments.running import registrations
from moereg.models import build
from moereg.models.registry import describe
from moereg.nn.observe import find_routers
from moereg.nn.routing import Routing

IDLE = 0.02  # share of assignments below which an expert is called idle


def audit(
    model: nn.Module,
    pairs: Pairs,
    *,
    controls: dict[str, nn.Module] | None = None,
    single: bool = False,
    rest: bool = False,
    seed: int = 0,
) -> list[Finding]:
    """Every question that one trained model can answer: load, usage by organ, knock-outs, entropy against error.

    Args:
        model: `model(moving, fixed) -> Registration` with routing.
        pairs: labelled, never trained on. Questions that need the true displacement are left out where it is unknown.
        controls: networks of which the same is asked where that means something, see `control_networks`.
        single: ask of every expert of every layer and direction by itself whether it is missed; takes minutes.
        rest: see `usage_by_organ`.
        seed: of what is random in the controls.
    """
    findings = [
        expert_load(model, pairs),
        usage_by_organ(model, pairs, controls=controls, rest=rest),
        knock_out(model, pairs, seed=seed, single=single),
    ]
    if all(pair.displacement is not None for pair in pairs):
        findings.append(entropy_against_error(model, pairs, controls=controls, seed=seed))
    return findings


def control_networks(model: nn.Module, *, seed: int = 0) -> dict[str, nn.Module]:
    """What a network of a row of the registry is compared with: "untrained", and itself with "random-router" weights.

    The random routers have the trained ones' spread, so that their gates are as far apart.
    """
    torch.manual_seed(seed)
    described = describe(model)
    untrained = build(described["model"], **json.loads(described["sizes"]))
    random = copy.deepcopy(model)
    for router in find_routers(random).values():
        with torch.no_grad():
            router.weight.copy_(torch.randn_like(router.weight) * router.weight.std())
    return {"untrained": untrained.eval(), "random-router": random.eval()}


def expert_load(model: nn.Module, pairs: Pairs) -> Finding:
    """How are assignments shared out, per layer and router?"""
    totals: dict[str, Tensor] = {}
    names: dict[str, Routing] = {}
    for _, result in registrations(model, pairs):
        for layer, routing in result.routing.items():
            totals[layer] = totals.get(layer, 0) + routing.load() / len(pairs)
            names[layer] = routing
    rows = [
        {"layer": layer, "router": router, "expert": expert, "load": float(totals[layer][r, e])}
        for layer, routing in names.items()
        for r, router in enumerate(routing.routers)
        for e, expert in enumerate(routing.experts)
    ]
    idle = [row for row in rows if row["load"] < IDLE]
    sentence = (
        f"{len(idle)} of {len(rows)} experts (counted per router) get less than {IDLE:.0%} of the assignments"
        + (f", all of them in {', '.join(sorted({row['layer'] for row in idle}))}." if idle else ": none is idle.")
    )
    return Finding("How is the load shared?", rows, sentence)

"""Is the specialisation of experts real? Questions that can come out either way, asked of a trained model.

Routing statistics alone overstate specialisation: a map that follows the anatomy may belong to an expert that nobody
would miss. So each question here comes with its control (shuffled labels, other gates, another seed), returns plain
rows, and says its finding in one sentence that is computed from the rows.

    for finding in audit(model, pairs):
        print(finding.sentence)
        finding.figure()
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.evaluation.controls import Change, changed, random_gates, uniform_gates, with_gates, without_expert
from moereg.evaluation.metrics import evaluate
from moereg.evaluation.statistics import (
    agreement_table,
    gate_table,
    labels_on_grid,
    matched,
    mutual_information,
    spearman,
)
from moereg.nn.intervene import find_routers
from moereg.nn.routing import Routing


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    question: str
    rows: list[dict]  # plain numbers and strings, one dictionary per row
    sentence: str  # computed from the rows

    def figure(self):
        """The rows as a matplotlib figure."""
        # Figures live above evaluation, so they are looked up when one is wanted.
        from moereg.viz.experiments import draw

        return draw(self)


def audit(model: nn.Module, pairs: Sequence[Pair], *, seed: int = 0) -> list[Finding]:
    """Every question that one trained model can answer: load, usage by organ, knock-outs, entropy against error.

    Args:
        model: `model(moving, fixed) -> Registration` with routing.
        pairs: labelled, never trained on. Questions that need the true displacement are left out where it is unknown.
        seed: of the random controls.
    """
    findings = [load(model, pairs), usage_by_organ(model, pairs, seed=seed), knock_out(model, pairs, seed=seed)]
    if all(pair.displacement is not None for pair in pairs):
        findings.append(entropy_against_error(model, pairs))
    return findings


def load(model: nn.Module, pairs: Sequence[Pair]) -> Finding:
    """How are assignments shared out, per layer and router?"""
    totals: dict[str, Tensor] = {}
    names: dict[str, Routing] = {}
    for _, routings in _run(model, pairs):
        for layer, routing in routings.items():
            totals[layer] = totals.get(layer, 0) + routing.load() / len(pairs)
            names[layer] = routing
    rows = [
        {"layer": layer, "router": router, "expert": expert, "load": float(totals[layer][r, e])}
        for layer, routing in names.items()
        for r, router in enumerate(routing.routers)
        for e, expert in enumerate(routing.experts)
    ]
    idle = [row for row in rows if row["load"] < 0.02]
    sentence = f"{len(idle)} of {len(rows)} experts (counted per router) get less than 2 % of the assignments" + (
        f", all of them in {', '.join(sorted({row['layer'] for row in idle}))}." if idle else ": none is idle."
    )
    return Finding("How is the load shared?", rows, sentence)


def usage_by_organ(model: nn.Module, pairs: Sequence[Pair], *, seed: int = 0) -> Finding:
    """Which experts work in which organ, and how much does the organ tell about the expert?

    Mutual information `I(expert; organ)` in bits, gates as weights, over the voxels of a layer inside labelled organs.
    Two controls: organ labels shuffled among those voxels, and the labels of *another* pair, which keep the smooth
    shapes of anatomy but lie elsewhere. Only what exceeds the second is knowledge of this pair's anatomy.
    """
    generator = torch.Generator().manual_seed(seed)
    names = pairs[0].label_names
    count = max([*names, *(int(pair.fixed_labels.max()) for pair in pairs)]) + 1
    tables: dict[tuple, Tensor] = {}
    for number, (pair, routings) in enumerate(_run(model, pairs)):
        other = pairs[(number + 1) % len(pairs)]
        for layer, routing in routings.items():
            if not layer.startswith("decoder"):
                continue
            grid = routing.gates.shape[3:]
            own = labels_on_grid(pair.fixed_labels, grid)
            inside = own > 0
            shuffled = own.clone()
            values = own[inside]
            shuffled[inside] = values[torch.randperm(len(values), generator=generator)]
            for r in range(len(routing.routers)):
                for kind, labels in (
                    ("own", own),
                    ("shuffled", shuffled),
                    ("other", labels_on_grid(other.fixed_labels, grid)),
                ):
                    table = gate_table(routing.gates[0, r], labels, inside, count)
                    key = (layer, r, kind)
                    tables[key] = tables.get(key, 0) + table
    rows = []
    routing_of = routings
    for (layer, r, kind), table in tables.items():
        if kind != "own":
            continue
        routing = routing_of[layer]
        information = {k: mutual_information(tables[layer, r, k]) for k in ("own", "shuffled", "other")}
        usage = table / table.sum(0, keepdim=True).clamp_min(1e-12)
        rows.append(
            {
                "layer": layer,
                "router": routing.routers[r],
                **{f"bits_{name}": value for name, value in information.items()},
                "usage": {
                    names.get(label, str(label)): dict(zip(routing.experts, usage[:, label].tolist(), strict=True))
                    for label in range(1, count)
                    if table[:, label].sum() > 0
                },
            }
        )
    ahead = [row for row in rows if row["bits_own"] > 1.5 * row["bits_other"] and row["bits_own"] > 0.01]
    best = max(rows, key=lambda row: row["bits_own"])
    sentence = (
        f"In {len(ahead)} of {len(rows)} decoder routers the organ tells more about the expert than another subject's "
        f"labels at the same places do (by half or more, and over 0.01 bit). The most is {best['bits_own']:.3f} bit in "
        f"{best['layer']}, direction {best['router']} (other subject {best['bits_other']:.3f}, shuffled "
        f"{best['bits_shuffled']:.4f}; an organ has at most {np.log2(len(best['usage'])):.1f} bit to tell)."
    )
    return Finding("Do experts know the organs?", rows, sentence)


def knock_out(model: nn.Module, pairs: Sequence[Pair], *, seed: int = 0) -> Finding:
    """What does it cost to take away one expert, or one direction's router, of all decoder layers at once?

    An expert is disabled: the routers choose among the others. A direction's router is replaced by uniform gates over
    all experts, or by random ones (top-k of random logits).
    """
    routers = find_routers(model, pairs[0].moving[None], pairs[0].fixed[None])
    layers = [name for name in routers if name.startswith("decoder")]
    first = routers[layers[0]]
    generator = torch.Generator().manual_seed(seed)
    changes: dict[tuple[str, str], Change] = {}
    for e, expert in enumerate(first.experts):
        if len(first.experts) > 1:
            changes["expert", expert] = without_expert(e, first.gate)
    for r, router in enumerate(first.routers):
        changes["uniform gates", router] = with_gates(r, uniform_gates)
        changes["random gates", router] = with_gates(r, random_gates(first.gate, generator))
    scores = {("complete", ""): _measure(model, pairs, {})}
    scores |= {
        key: _measure(model, pairs, {routers[layer]: change for layer in layers}) for key, change in changes.items()
    }
    whole = scores["complete", ""]
    rows = [
        {
            "change": change,
            "what": what,
            "dice": score["dice"],
            "epe": score["epe"],
            "dice_change": _minus(score["dice"], whole["dice"]),
            "epe_change": _minus(score["epe"], whole["epe"]),
        }
        for (change, what), score in scores.items()
    ]
    return Finding("Who is missed?", rows, _knock_out_sentence(rows))


def entropy_against_error(model: nn.Module, pairs: Sequence[Pair]) -> Finding:
    """Is a router less sure where the field is wrong? Spearman's rank correlation of entropy and endpoint error.

    Both at every body voxel of a decoder layer's grid, per pair and router; the mean over pairs and its spread.
    """
    correlations: dict[tuple[str, str], list[float]] = {}
    for pair, routings, displacement in _run(model, pairs, field=True):
        error = (displacement[0] - pair.displacement).square().sum(0).sqrt()
        region = torch.ones_like(error, dtype=torch.bool) if pair.region is None else pair.region[0]
        for layer, routing in routings.items():
            if not layer.startswith("decoder"):
                continue
            grid = routing.gates.shape[3:]
            mode = "trilinear" if len(grid) == 3 else "bilinear"
            coarse = F.interpolate(error[None, None], size=grid, mode=mode, align_corners=True)[0, 0]
            inside = labels_on_grid(region[None].long(), grid) > 0
            for r, router in enumerate(routing.routers):
                value = spearman(routing.entropy()[0, r][inside], coarse[inside])
                correlations.setdefault((layer, router), []).append(value)
    rows = [
        {"layer": layer, "router": router, "spearman": float(np.mean(values)), "sd_over_pairs": float(np.std(values))}
        for (layer, router), values in correlations.items()
    ]
    strongest = max(rows, key=lambda row: abs(row["spearman"]))
    clear = [row for row in rows if abs(row["spearman"]) > max(0.1, 2 * row["sd_over_pairs"] / len(pairs) ** 0.5)]
    kind = "rises" if strongest["spearman"] > 0 else "falls"
    sentence = (
        f"Entropy and error go together (|rank correlation| over 0.1 and over two standard errors) in {len(clear)} of "
        f"{len(rows)} decoder routers; the strongest is {strongest['spearman']:+.2f} in {strongest['layer']}, "
        f"direction {strongest['router']}, where entropy {kind} with the error."
    )
    return Finding("Does doubt mark error?", rows, sentence)


def seed_stability(models: Sequence[nn.Module], pairs: Sequence[Pair]) -> Finding:
    """Do networks trained from different seeds route alike, after their experts have been matched?

    For each pair of models and each decoder router: share of voxels with the same first expert, after the best
    one-to-one matching of experts (Hungarian method), and the share that independent maps with the same loads would
    reach under *their* best matching.
    """
    runs = [[routings for _, routings in _run(model, pairs)] for model in models]
    rows = []
    for a in range(len(models)):
        for b in range(a + 1, len(models)):
            for layer in (name for name in runs[a][0] if name.startswith("decoder")):
                routing = runs[a][0][layer]
                for r, router in enumerate(routing.routers):
                    joint = sum(
                        agreement_table(first[layer].first()[0, r], second[layer].first()[0, r], len(routing.experts))
                        for first, second in zip(runs[a], runs[b], strict=True)
                    )
                    joint = joint / joint.sum()
                    chance = torch.outer(joint.sum(1), joint.sum(0))
                    rows.append(
                        {
                            "models": f"{a} and {b}",
                            "layer": layer,
                            "router": router,
                            "agreement": matched(joint),
                            "by_name": float(joint.trace()),
                            "chance": matched(chance),
                        }
                    )
    mean, chance, named = (float(np.mean([row[key] for row in rows])) for key in ("agreement", "chance", "by_name"))
    above = (mean - chance) / (1 - chance)
    word = "hardly above" if above < 0.1 else "somewhat above" if above < 0.4 else "well above"
    sentence = (
        f"Two seeds give the same first expert at {mean:.0%} of voxels after matching ({named:.0%} by kernel size "
        f"alone), {word} the {chance:.0%} of independent maps with the same loads."
    )
    return Finding("Do seeds agree?", rows, sentence)


def _run(model: nn.Module, pairs: Sequence[Pair], *, field: bool = False):
    """(pair, routing of every layer[, displacement]) of each pair; of the encoder's batch, all items."""
    model.eval()
    for pair in pairs:
        with torch.no_grad():
            result = model(pair.moving[None], pair.fixed[None])
        yield (pair, result.routing, result.displacement) if field else (pair, result.routing)


def _measure(model: nn.Module, pairs: Sequence[Pair], changes: dict[nn.Module, Change]) -> dict:
    with changed(changes):
        return evaluate({"m": model.eval()}, pairs, surfaces=False)["m"]


def _minus(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


def _knock_out_sentence(rows: list[dict]) -> str:
    measure, word, sign = (
        ("epe_change", "endpoint error", 1) if rows[0]["epe"] is not None else ("dice_change", "Dice", -1)
    )
    experts = [row for row in rows if row["change"] == "expert"]
    random = [row for row in rows if row["change"] == "random gates"]
    uniform = [row for row in rows if row["change"] == "uniform gates"]
    parts = []
    if experts:
        worst = max(experts, key=lambda row: sign * row[measure])
        least = min(experts, key=lambda row: sign * row[measure])
        parts.append(
            f"Without expert {worst['what']} the {word} changes by {worst[measure]:+.3f}, without {least['what']} by "
            f"{least[measure]:+.3f}"
        )
    for name, group in (("random", random), ("uniform", uniform)):
        worst = max(group, key=lambda row: sign * row[measure])
        parts.append(f"{name} gates cost most in direction {worst['what']} ({worst[measure]:+.3f})")
    return "; ".join(parts) + "."

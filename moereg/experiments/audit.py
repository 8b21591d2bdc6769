"""Is the specialisation of experts real? Questions that can come out either way, asked of a trained model.

Routing statistics alone overstate specialisation: a map that follows the anatomy may belong to an expert that nobody
would miss. So each question here comes with its control (shuffled labels, other gates, another seed), returns plain
rows, and says its finding in one sentence that is computed from the rows.

    for finding in audit(model, pairs):
        print(finding.sentence)
        viz.draw(finding)
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.experiments.finding import Finding
from moereg.experiments.knockouts import knock_out
from moereg.experiments.statistics import gate_table, labels_on_grid, mutual_information
from moereg.metrics import UNDECIDED, paired_effect
from moereg.models import Registration
from moereg.nn.routing import Routing

IDLE = 0.02  # share of assignments below which an expert is called idle
KINDS = ("own", "shuffled", "other")  # whose labels: the pair's, the same shuffled, another subject's


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
    for _, result in run(model, pairs):
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


def usage_by_organ(model: nn.Module, pairs: Sequence[Pair], *, seed: int = 0) -> Finding:
    """Which experts work in which organ, and how much does the organ tell about the expert?

    Mutual information `I(expert; organ)` in bits, gates as weights, over the voxels of a layer inside labelled organs.
    Two controls: organ labels shuffled among those voxels, and the labels of *another* pair, which keep the smooth
    shapes of anatomy but lie elsewhere. Only what exceeds the second is knowledge of this pair's anatomy; how sure that
    is, is judged over pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    names = pairs[0].label_names
    count = max([*names, *(int(pair.fixed_labels.max()) for pair in pairs)]) + 1
    tables: dict[tuple[str, str], dict[str, list[Tensor]]] = {}
    experts: dict[str, tuple[str, ...]] = {}
    for number, (pair, result) in enumerate(run(model, pairs)):
        other = pairs[(number + 1) % len(pairs)]
        for routing in decoders(result):
            experts[routing.name] = routing.experts
            own = labels_on_grid(pair.fixed_labels, routing.stride)
            inside = own > 0
            shuffled = own.clone()
            values = own[inside]
            shuffled[inside] = values[torch.randperm(len(values), generator=generator)]
            labels = dict(zip(KINDS, (own, shuffled, labels_on_grid(other.fixed_labels, routing.stride)), strict=True))
            for r, router in enumerate(routing.routers):
                found = tables.setdefault((routing.name, router), {kind: [] for kind in KINDS})
                for kind in KINDS:
                    found[kind].append(gate_table(routing.gates[0, r], labels[kind], inside, count))
    rows = []
    for (layer, router), found in tables.items():
        total = sum(found["own"])
        usage = total / total.sum(0).clamp_min(1e-12)
        per_pair = {f"bits_{kind}": [mutual_information(table) for table in found[kind]] for kind in KINDS}
        rows.append(
            {"layer": layer, "router": router}
            | {f"bits_{kind}": mutual_information(sum(found[kind])) for kind in KINDS}
            | {
                "usage": {
                    names.get(label, str(label)): dict(zip(experts[layer], usage[:, label].tolist(), strict=True))
                    for label in range(1, count)
                    if total[:, label].sum() > 0
                },
                "per_pair": per_pair,
            }
        )
    return Finding("Do experts know the organs?", rows, organ_sentence(rows))


def organ_sentence(rows: Sequence[dict]) -> str:
    """Own labels against another subject's, router by router, by the one rule over pairs."""
    found = []
    for row in rows:
        effect = paired_effect(row["per_pair"]["bits_own"], row["per_pair"]["bits_other"])
        found.append(effect.direction)
    best = max(rows, key=lambda row: row["bits_own"])
    return (
        f"In {found.count('higher')} of {len(rows)} decoder routers the organ tells more about the expert than another "
        f"subject's labels at the same places do, in {found.count('lower')} less, in {found.count(UNDECIDED)} the two "
        f"are {UNDECIDED}. The most is {best['bits_own']:.3f} bit in {best['layer']}, direction {best['router']} "
        f"(other subject {best['bits_other']:.3f}, shuffled {best['bits_shuffled']:.4f}; an organ has at most "
        f"{np.log2(len(best['usage'])):.1f} bit to tell)."
    )


def entropy_against_error(model: nn.Module, pairs: Sequence[Pair]) -> Finding:
    """Is a router less sure where the field is wrong? Spearman's rank correlation of entropy and endpoint error.

    Both at every body voxel of a decoder layer's grid, per pair and router; the mean over pairs with its interval.
    """
    correlations: dict[tuple[str, str], list[float]] = {}
    for pair, result in run(model, pairs):
        error = (result.displacement[0] - pair.displacement).square().sum(0).sqrt()
        region = torch.ones_like(error, dtype=torch.bool) if pair.region is None else pair.region[0]
        for routing in decoders(result):
            grid = routing.gates.shape[3:]
            mode = "trilinear" if len(grid) == 3 else "bilinear"
            coarse = F.interpolate(error[None, None], size=grid, mode=mode, align_corners=True)[0, 0]
            inside = labels_on_grid(region[None].long(), routing.stride) > 0
            for r, router in enumerate(routing.routers):
                value = rank_correlation(routing.entropy()[0, r][inside], coarse[inside])
                correlations.setdefault((routing.name, router), []).append(value)
    rows = [
        {
            "layer": layer,
            "router": router,
            "spearman": float(np.mean(values)),
            "sd_over_pairs": float(np.std(values)),
            "per_pair": {"spearman": values},
        }
        for (layer, router), values in correlations.items()
    ]
    return Finding("Does doubt mark error?", rows, entropy_sentence(rows))


def entropy_sentence(rows: Sequence[dict]) -> str:
    """In how many routers entropy and error go together, by the one rule over pairs."""
    effects = [paired_effect(values, [0.0] * len(values)) for values in (r["per_pair"]["spearman"] for r in rows)]
    directions = [effect.direction for effect in effects]
    strongest = max(range(len(rows)), key=lambda i: abs(effects[i].mean))
    row, effect = rows[strongest], effects[strongest]
    return (
        f"Entropy rises with the error in {directions.count('higher')} of {len(rows)} decoder routers, falls in "
        f"{directions.count('lower')}, and is {UNDECIDED} from no relation in {directions.count(UNDECIDED)}; the "
        f"strongest rank correlation is {effect.text(2)} in {row['layer']}, direction {row['router']}."
    )


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation; 0 where either is constant."""
    if first.max() == first.min() or second.max() == second.min():
        return 0.0
    return float(spearmanr(first.numpy(), second.numpy()).statistic)


def decoders(result: Registration) -> Iterator[Routing]:
    """Routings of the decoder's layers."""
    return (routing for routing in result.routing.values() if routing.role == "decoder")


def run(model: nn.Module, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Registration]]:
    """Register every pair, in evaluation mode."""
    model.eval()
    for pair in pairs:
        with torch.no_grad():
            result = model(pair.moving[None], pair.fixed[None])
        yield pair, result

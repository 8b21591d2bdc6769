"""Do networks trained from different seeds route alike, after their experts have been matched?"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.running import decoders, registrations
from moereg.experiments.statistics import agreement_table, best_match
from moereg.metrics import UNDECIDED, paired_effect


def seed_stability(models: Sequence[nn.Module], pairs: Pairs) -> Finding:
    """Share of voxels with the same first expert, for each pair of models and each decoder router.

    After the best one-to-one matching of experts (Hungarian method), beside the share that independent maps with the
    same loads would reach under *their* best matching.
    """
    runs = [
        [{routing.name: routing for routing in decoders(result)} for _, result in registrations(m, pairs)]
        for m in models
    ]
    rows = []
    for a, b in combinations(range(len(models)), 2):
        for layer, routing in runs[a][0].items():
            for r, router in enumerate(routing.routers):
                tables = [
                    agreement_table(first[layer].first()[0, r], second[layer].first()[0, r], len(routing.experts))
                    for first, second in zip(runs[a], runs[b], strict=True)
                ]
                joint = torch.stack(tables).sum(0)
                joint = joint / joint.sum()
                independent = joint.sum(1)[:, None] * joint.sum(0)
                rows.append(
                    {
                        "models": f"{a} and {b}",
                        "layer": layer,
                        "router": router,
                        "agreement": best_match(joint),
                        "by_name": float(joint.trace()),
                        "chance": best_match(independent),
                    }
                )
    return Finding("Do seeds agree?", rows, stability_sentence(rows))


def stability_sentence(rows: Sequence[dict]) -> str:
    """Agreement against chance by the one rule, one value per pair of models.

    Three networks make three pairs, each network in two of them: their values are not independent, and the interval is
    narrower than that of as many networks of their own would be.
    """
    models = dict.fromkeys(row["models"] for row in rows)
    agreement, chance, named = (
        [[np.mean([row[key] for row in rows if row["models"] == pair])] for pair in models]
        for key in ("agreement", "chance", "by_name")
    )
    effect = paired_effect(agreement, chance)
    word = {"higher": "more than", "lower": "less than", UNDECIDED: f"{UNDECIDED} from"}[effect.direction]
    return (
        f"Two seeds give the same first expert at {np.mean(agreement):.0%} of voxels after matching "
        f"({np.mean(named):.0%} by kernel size alone), {word} the {np.mean(chance):.0%} of independent maps with the "
        f"same loads (difference {effect.text(2)}, {len(models)} pairs of networks; they share networks, so "
        "the interval is too narrow)."
    )

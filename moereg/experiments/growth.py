"""How does specialisation grow with training?

A network is measured after 1/128, 1/64, ... 1/2 and all of its steps: how sure its routers are, what it loses without
its most missed expert and with random gates, and whether another seed has given the same voxels to the same experts.
"""

import copy
from collections.abc import Sequence

import numpy as np
from torch import nn

from moereg.data.pairs import Pairs
from moereg.experiments.ablation import indecision
from moereg.experiments.decisions import mean_agreement
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.knockouts import knock_out
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing, train_one
from moereg.metrics import evaluate


def growth(task: Task, protocol: Protocol, *, looks: int = 8, on_rows: OnRows = nothing) -> Finding:
    """Train one network per seed and look at it `looks` times, each time after twice as many steps.

    The pairs of the task must have a known motion: costs are in voxels of endpoint error.

    Returns:
        Rows of step and seed, with measures, "entropy" (of `log N`), "expert_cost" (endpoint error without the most
        missed expert, less that of the complete network), "gates_cost" (of random gates, mean over directions), and
        "same_expert" and "same_by_chance" of the seeds after this step.

    Raises:
        ValueError: one seed alone, which agrees with nobody.
    """
    if len(protocol.seeds) < 2:
        raise ValueError(f"protocol must have two seeds or more to be compared, got {protocol.seeds}.")
    moments = sorted({max(1, protocol.training.steps >> halvings) for halvings in range(looks)})
    seen: dict[int, list[nn.Module]] = {step: [] for step in moments}
    rows = []
    for seed in protocol.seeds:

        def look(step: int, model: nn.Module) -> None:
            if step in seen:
                seen[step].append(copy.deepcopy(model).cpu().eval())

        train_one(task, protocol, seed, on_step=look)
        for step, models in seen.items():
            rows.append({"step": step, "seed": seed} | specialisation(models[-1], task.test))
            on_rows(rows[-1:])
    agreed = {step: mean_agreement(models, task.test) for step, models in seen.items()}
    rows = [row | agreed[row["step"]] for row in rows]
    return Finding("How does specialisation grow?", rows, growth_sentence(rows))


def specialisation(model: nn.Module, pairs: Pairs) -> dict:
    """Measures of one network, how sure its routers are, and what it costs to take them or an expert away."""
    measured = kept(evaluate({"": model}, pairs, surfaces=False)[""])
    costs = {"expert": [], "random gates": []}
    for row in knock_out(model, pairs).rows:
        if row["change"] in costs:
            costs[row["change"]].append(row["epe_change"])
    return measured | {
        "entropy": indecision(model, pairs),
        "expert_cost": max(costs["expert"]),
        "gates_cost": float(np.mean(costs["random gates"])),
    }


def growth_sentence(rows: Sequence[dict]) -> str:
    """The last look against the first one."""
    first, last = rows[0]["step"], max(row["step"] for row in rows)
    said = []
    for key, title in (
        ("entropy", "the entropy of decoder routers, of log N"),
        ("expert_cost", "what the most missed expert is worth, voxels"),
        ("gates_cost", "what gates are worth against random ones, voxels"),
    ):
        values = [np.mean([row[key] for row in rows if row["step"] == step]) for step in (first, last)]
        effect = effect_between(rows, {"step": last}, {"step": first}, key)
        said.append(f"{title}: {values[0]:.2f} to {values[1]:.2f}, {effect.direction} ({effect.text(2)})")
    shares = [next(row for row in rows if row["step"] == step) for step in (first, last)]
    agreed = " to ".join(f"{row['same_expert']:.0%} (by chance {row['same_by_chance']:.0%})" for row in shares)
    said.append(f"voxels with the same first expert in two seeds: {agreed}")
    return f"From step {first} to step {last}, {'; '.join(said)}."

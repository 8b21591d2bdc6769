"""What makes routers decide, and what does it cost?

A router may leave everything open: all experts nearly as likely everywhere, so that the map of the first one colours
near-ties. Every variant is trained with the same seeds; of the same networks are measured

    entropy      mean H(p) / log N of the decoder's routers: 1 where they never prefer any expert, 0 where they are sure
    agreement    share of voxels that two seeds give to the same expert, after matching; by chance: of independent maps

and how well they register. A router that decides at random is sure and agrees with nobody.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from torch import nn

from moereg.experiments.ablation import DECISIONS, Variant, ablation
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing
from moereg.experiments.stability import seed_stability


def decisions(
    tasks: Sequence[Task],
    protocol: Protocol,
    *,
    variants: dict[str, Variant] | None = None,
    on_rows: OnRows = nothing,
) -> Finding:
    """Train every variant on every task with every seed, see how decided its routers are and whether seeds agree.

    Args:
        variants: by name; the first one is what the others are compared with. By default `DECISIONS`.
        on_rows: called with the rows of `ablation`, one network after another.

    Returns:
        Rows of task, setting and seed, with measures, "entropy", and "same_expert" and "same_by_chance" (means over
        layers, routers and pairs of seeds, the same for all seeds of a setting).

    Raises:
        ValueError: one seed alone, which agrees with nobody.
    """
    if len(protocol.seeds) < 2:
        raise ValueError(f"protocol must have two seeds or more to be compared, got {protocol.seeds}.")
    trained: dict[tuple[str, str], list[nn.Module]] = defaultdict(list)

    def keep(task: str, variant: str, seed: int, model: nn.Module) -> None:
        trained[task, variant].append(model)

    measured = ablation(tasks, protocol, variants=variants or DECISIONS, keep=keep, on_rows=on_rows)
    pairs_of = {task.name: task.test for task in tasks}
    agreed = {key: mean_agreement(models, pairs_of[key[0]]) for key, models in trained.items()}
    rows = [
        {"task": row["task"], "setting": row["variant"]}
        | {key: value for key, value in row.items() if key not in ("task", "variant")}
        | agreed[row["task"], row["variant"]]
        for row in measured.rows
    ]
    return Finding("What makes routers decide?", rows, decisions_sentence(rows))


def mean_agreement(models: Sequence[nn.Module], pairs) -> dict[str, float]:
    """Share of voxels that two of the networks give to the same expert, mean over everything that was compared."""
    rows = seed_stability(models, pairs).rows
    names = {"same_expert": "agreement", "same_by_chance": "chance"}
    return {name: float(np.mean([row[key] for row in rows])) for name, key in names.items()}


def decisions_sentence(rows: Sequence[dict]) -> str:
    """Every setting against the first one, task by task: entropy, agreement, Dice and endpoint error."""
    reference, *others = dict.fromkeys(row["setting"] for row in rows)
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        said = [f"{reference}: {_state(own, reference)}"]
        for setting in others:
            first, second = {"setting": setting}, {"setting": reference}
            effects = {key: effect_between(own, first, second, key) for key in ("entropy", "dice", "epe")}
            judged = ", ".join(
                f"{title} {effects[key].judged(key)} ({effects[key].text()})"
                for title, key in (("Dice", "dice"), ("endpoint error", "epe"))
            )
            said.append(
                f"{setting}: {_state(own, setting)}, entropy {effects['entropy'].direction} "
                f"({effects['entropy'].text()}), {judged}"
            )
        parts.append(f"On {task}, {'; '.join(said)}.")
    return " ".join(parts)


def _state(rows: Sequence[dict], setting: str) -> str:
    """How decided the routers of one setting are."""
    own = [row for row in rows if row["setting"] == setting]
    entropy = float(np.mean([row["entropy"] for row in own]))
    agreement, chance = own[0]["same_expert"], own[0]["same_by_chance"]
    return f"entropy {entropy:.2f} of log N, seeds agree at {agreement:.0%} of voxels ({chance:.0%} by chance)"

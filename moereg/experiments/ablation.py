"""What is each part of SHMoAReg worth? Every variant is trained on the same pairs with the same seeds.

Parameters are near equal where the table says so, and are returned with every row. The kinds of expert are compared in
the same way, with `KINDS` in place of `VARIANTS`.
"""

from collections.abc import Callable, Sequence

from torch import nn

from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.protocol import OnRows, Protocol, Task, count_parameters, nothing, train_one
from moereg.metrics import UNDECIDED, evaluate

# name -> sizes that differ from the default
VARIANTS: dict[str, dict] = {
    "per direction": {},
    "joint router": {"routers": "joint"},
    "owned experts": {"experts": "owned", "decoder_widths": (12, 20, 27)},  # narrower: near-equal parameters
    "soft gates": {"gate": "soft"},
    "uniform gates": {"gate": "uniform"},
    "plain head": {"kernel_sizes": (7,), "active_experts": 1},  # the nested chain without a choice
    "all heads": {"head_gate": "uniform"},  # multi-head attention with shared keys instead of MoA
}
KINDS: dict[str, dict] = {kind: {"expert_kind": kind} for kind in ("nested", "full", "separable")}


def ablation(
    tasks: Sequence[Task],
    protocol: Protocol,
    *,
    variants: dict[str, dict] | None = None,
    keep: Callable[[str, str, int, nn.Module], None] | None = None,
    on_rows: OnRows = nothing,
) -> Finding:
    """Train every variant on every task with every seed.

    Args:
        variants: name -> sizes that differ; the first one is what the others are compared with.
        keep: called with task, variant, seed and the trained network.
    """
    variants = variants or VARIANTS
    rows = []
    for task in tasks:
        for name, sizes in variants.items():
            for seed in protocol.seeds:
                model = train_one(task, protocol, seed, **sizes)
                measured = evaluate({name: model}, task.test, surfaces=False)[name]
                row = {"task": task.name, "variant": name, "seed": seed, "parameters": count_parameters(model)}
                rows.append(row | kept(measured))
                on_rows(rows[-1:])
                if keep is not None:
                    keep(task.name, name, seed, model)
    return Finding("What is each part worth?", rows, ablation_sentence(rows))


def ablation_sentence(rows: Sequence[dict]) -> str:
    """Every variant against the first one, task by task, in Dice."""
    reference, *others = dict.fromkeys(row["variant"] for row in rows)
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        found: dict[str, list[str]] = {"better": [], "worse": [], UNDECIDED: []}
        for variant in others:
            effect = effect_between(rows, {"task": task, "variant": variant}, {"task": task, "variant": reference})
            found[effect.judged("dice")].append(f"{variant} {effect.text()}")
        said = "; ".join(f"{word}: {', '.join(names) or 'none'}" for word, names in found.items())
        parts.append(f"On {task}, Dice against '{reference}', {said}")
    return ". ".join(parts) + "."

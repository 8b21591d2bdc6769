"""What is each part of SHMoAReg worth? Every variant is trained on the same pairs with the same seeds.

Parameters are near equal where the table says so, and are returned with every row. The kinds of expert are compared in
the same way, with `KINDS` in place of `VARIANTS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from moereg.classical import identity
from moereg.data.pairs import Pairs
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.protocol import OnRows, Protocol, Task, count_parameters, nothing, train_one
from moereg.experiments.running import decoders, registrations
from moereg.metrics import UNDECIDED, evaluate
from moereg.nn.demons import NeuralDemonsLayer
from moereg.nn.observe import find_routers

MEASURED = {"dice": "Dice", "epe": "endpoint error"}


def unchanged(model: nn.Module) -> nn.Module:
    """Nothing is made of the network before it is trained."""
    return model


def with_frozen_routers(model: nn.Module) -> nn.Module:
    """Routers keep the weights that they were drawn with; everything else learns to live with them."""
    for router in find_routers(model).values():
        for parameter in router.parameters():
            parameter.requires_grad_(False)
    return model


class Multiple(nn.Module):
    """A parameter as a multiple of what is learned: Adam, whose steps have one length, moves it that much more."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, learned: Tensor) -> Tensor:
        """The parameter."""
        return self.factor * learned

    def right_inverse(self, parameter: Tensor) -> Tensor:
        """What is learned."""
        return parameter / self.factor


def with_quick_widths(model: nn.Module) -> nn.Module:
    """Widths of DrivenMorph's smoothing start where they do and are learned ten times as fast as all else."""
    for layer in model.modules():
        if isinstance(layer, NeuralDemonsLayer):
            register_parametrization(layer, "width", Multiple(10.0))
    return model


@dataclass(frozen=True)
class Variant:
    """How a network differs from the first one of its table: in sizes, in training, in what is made of it before."""

    sizes: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    prepare: Callable[[nn.Module], nn.Module] = unchanged


# The parts: each taken out or put another way.
VARIANTS: dict[str, Variant] = {
    "per direction": Variant(),
    "joint router": Variant({"routers": "joint"}),
    "owned experts": Variant({"experts": "owned", "decoder_widths": (12, 20, 27)}),  # narrower: near-equal parameters
    "soft gates": Variant({"gate": "soft"}),
    "uniform gates": Variant({"gate": "uniform"}),
    "frozen routers": Variant(prepare=with_frozen_routers),
    "plain head": Variant({"kernel_sizes": (7,), "active_experts": 1}),  # the nested chain without a choice
    "all heads": Variant({"head_gate": "uniform"}),  # multi-head attention with shared keys instead of MoA
}
# What makes routers decide? A gate "raw" lets the router learn even where one expert alone is chosen.
DECISIONS: dict[str, Variant] = {
    "balance": Variant(),
    "nothing asked of routers": Variant(training={"balance": 0.0, "z": 0.0}),
    "information": Variant(training={"balance": 0.0, "information": 0.1}),
    "one expert": Variant({"active_experts": 1, "gate": "raw"}),
    "one expert, information": Variant({"active_experts": 1, "gate": "raw"}, {"balance": 0.0, "information": 0.1}),
    "frozen routers": Variant(prepare=with_frozen_routers),
}
# Does choosing pay, in a long training? Routers that learn and decide; that were drawn and stay; none; one for
# all directions, with the same experts and with twice as many.
ROUTING: dict[str, Variant] = {
    "per direction": Variant(),
    "frozen routers": Variant(prepare=with_frozen_routers),
    "uniform gates": Variant({"gate": "uniform"}),
    "plain head": Variant({"kernel_sizes": (7,), "active_experts": 1}),
    "joint router": Variant({"routers": "joint"}),
    "joint router, eight experts": Variant(
        {"routers": "joint", "kernel_sizes": (1, 3, 5, 7, 9, 11, 13, 15), "active_experts": 4}
    ),
}
# DrivenMorph part by part, from smoothing one voxel wide (`sigma=1`). The width is learned, and hardly moves from where
# it starts: so it starts elsewhere, or learns faster.
DRIVING: dict[str, Variant] = {
    "complete": Variant(),
    "no attention": Variant({"attention_levels": ()}),
    "no force loss": Variant(training={"force": 0.0}),
    "one round": Variant({"rounds": 1}),
    "three rounds": Variant({"rounds": 3}),
    "narrow start": Variant({"sigma": 0.5}),
    "wide start": Variant({"sigma": 2.0}),
    "quick widths": Variant(prepare=with_quick_widths),
    "wide start, quick widths": Variant({"sigma": 2.0}, prepare=with_quick_widths),
}
# What is attention in the encoder worth? Chosen heads, all, none; keys and values of the same or of the other image.
HEADS: dict[str, Variant] = {
    "two heads of eight": Variant(),
    "all heads": Variant({"head_gate": "uniform"}),
    "two heads, other image": Variant({"context": "cross"}),
    "all heads, other image": Variant({"context": "cross", "head_gate": "uniform"}),
    "no attention": Variant({"moa_levels": ()}),
}
KINDS: dict[str, Variant] = {kind: Variant({"expert_kind": kind}) for kind in ("nested", "full", "separable")}


def ablation(
    tasks: Sequence[Task],
    protocol: Protocol,
    *,
    variants: dict[str, Variant] | None = None,
    keep: Callable[[str, str, int, nn.Module], None] | None = None,
    more: Callable[[nn.Module, Pairs], dict] | None = None,
    on_rows: OnRows = nothing,
) -> Finding:
    """Train every variant on every task with every seed.

    Args:
        variants: by name; the first one is what the others are compared with.
        keep: called with task, variant, seed and the trained network.
        more: of a trained network and the task's test pairs, further columns of its row.

    Returns:
        Rows of task, variant and seed, with measures, parameters, how undecided decoder routers are ("entropy", as a
        share of `log N`; None without a choice), and whether the training "diverged": the network registers worse, in
        mean Dice, than doing nothing.
    """
    variants = variants or VARIANTS
    rows = []
    for task in tasks:
        nothing_done = evaluate({"": identity}, task.test, surfaces=False)[""]["dice"]
        for name, variant in variants.items():
            for seed in protocol.seeds:
                model = train_one(
                    task, protocol, seed, wrap=variant.prepare, training=variant.training, **variant.sizes
                )
                measured = evaluate({name: model}, task.test, surfaces=False)[name]
                row = {"task": task.name, "variant": name, "seed": seed, "parameters": count_parameters(model)}
                row |= kept(measured) | {"entropy": indecision(model, task.test)}
                row |= {"diverged": measured["dice"] < nothing_done}
                rows.append(row | ({} if more is None else more(model, task.test)))
                on_rows(rows[-1:])
                if keep is not None:
                    keep(task.name, name, seed, model)
    return Finding("What is each part worth?", rows, ablation_sentence(rows))


def indecision(model: nn.Module, pairs: Pairs) -> float | None:
    """Mean entropy of decoder routers over `log N`: 1 where they never prefer any expert, 0 where they are sure."""
    shares = [
        float(routing.entropy().mean()) / float(np.log(len(routing.experts)))
        for _, result in registrations(model, pairs)
        for routing in decoders(result)
        if len(routing.experts) > 1
    ]
    return sum(shares) / len(shares) if shares else None


def ablation_sentence(rows: Sequence[dict]) -> str:
    """Every variant against the first one, task by task, in Dice and, where the truth is known, in endpoint error.

    Trainings that diverged are named and take no part.
    """
    reference, *others = dict.fromkeys(row["variant"] for row in rows)
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        sound = [row for row in own if not row.get("diverged")]
        seeds = {name: {row["seed"] for row in sound if row["variant"] == name} for name in (reference, *others)}
        compared = [name for name in others if seeds[name] & seeds[reference]]
        for key, title in MEASURED.items():
            if all(row[key] is not None for row in own) and compared:
                parts.append(f"On {task}, {title} against '{reference}', {_judged(sound, compared, reference, key)}")
        if lost := [f"{row['variant']} (seed {row['seed']})" for row in own if row.get("diverged")]:
            parts.append(f"On {task}, worse than doing nothing and left out: {', '.join(lost)}")
    return ". ".join(parts) + "."


def _judged(rows: Sequence[dict], variants: Sequence[str], reference: str, key: str) -> str:
    """Which variants are better, worse or not told apart from the reference in one measure."""
    found: dict[str, list[str]] = {"better": [], "worse": [], UNDECIDED: []}
    for variant in variants:
        effect = effect_between(rows, {"variant": variant}, {"variant": reference}, key)
        found[effect.judged(key)].append(f"{variant} {effect.text()}")
    return "; ".join(f"{word}: {', '.join(names) or 'none'}" for word, names in found.items())

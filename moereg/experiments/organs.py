"""Do experts know the organs? Mutual information of expert and organ, with controls that must and must not be found.

Experts that divide the image by place share information with any anatomy, because organs lie in similar places in
everybody. What shows knowledge of *this* subject is how much more its own labels tell than those of other subjects:

    own_j   = I(expert; own labels)       other_j = I(expert; labels of subject j)
    d       = mean over j of (own_j - other_j), both over the voxels where both subjects have an organ

in bits, gates as weights, and `d` is judged over pairs by the one rule. A finite sample makes every estimate of `I` too
large; on the same voxels it does so for both alike, and the first order of it is taken off (Miller and Madow).

| control        | what it is                                                  | must be found?                       |
|----------------|-------------------------------------------------------------|--------------------------------------|
| other subjects | `other` above                                               | it is what `own` has to exceed       |
| oracle         | this router's gates, dealt out by organ                     | yes: else these pairs cannot show it |
| other networks | handed in: the same sizes untrained, or with random routers | what they show needs no training     |

What the oracle tells is the ceiling: no more can be carried by so many experts with gates of this size.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moereg.data.pairs import Pair, Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.running import registrations
from moereg.experiments.statistics import gate_table, information, labels_on_grid
from moereg.metrics import UNDECIDED, Effect, paired_effect

TRAINED = "trained"
ROLES = ("decoder", "encoder")


def usage_by_organ(
    model: nn.Module, pairs: Pairs, *, controls: dict[str, nn.Module] | None = None, rest: bool = False
) -> Finding:
    """Which experts work in which organ, and does a subject's own anatomy tell about the expert?

    Encoder layers are asked about the fixed image and its labels.

    Args:
        pairs: labelled, of different subjects, on one grid; two or more, an interval wants three.
        controls: other networks under their names, asked the same question.
        rest: what has no label counts as an organ of its own, "rest". For labels that mark a small part of the tissue,
            of which the question is less which part it is than whether it is one at all.

    Returns:
        Rows per network, layer and router: "own", "other" and "oracle" (means over pairs, bits), "usage" (share of each
        expert's gates in each organ), and under "per_pair" all four series of which the sentence speaks.

    Raises:
        ValueError: a single pair, which has no other subject; a pair without labels.
    """
    if len(pairs) < 2:
        raise ValueError(f"pairs must be of two subjects or more, got {len(pairs)}: there is nobody to compare with.")
    pairs = [with_rest(pair) for pair in pairs] if rest else pairs
    names = pairs[0].label_names
    fixed = [pair.require("fixed_labels") for pair in pairs]
    count = max([*names, *(int(labels.max()) for labels in fixed)]) + 1
    networks = {TRAINED: model} | (controls or {})
    rows = [row for name, network in networks.items() for row in _rows(name, network, pairs, count)]
    return Finding("Do experts know the organs?", rows, organ_sentence(rows))


def with_rest(pair: Pair) -> Pair:
    """The fixed image labelled everywhere: what had no label gets the first one, all others are one higher."""
    names = {1: "rest"} | {label + 1: name for label, name in pair.label_names.items()}
    return replace(pair, fixed_labels=pair.require("fixed_labels") + 1, label_names=names)


def _rows(network: str, model: nn.Module, pairs: Pairs, count: int) -> list[dict]:
    """All routers of one network."""
    found: dict[tuple[str, str], dict] = {}
    for number, (pair, result) in enumerate(registrations(model, pairs)):
        others = [other for index, other in enumerate(pairs) if index != number]
        for routing in result.routing.values():
            own, *theirs = (labels_on_grid(each.require("fixed_labels"), routing.stride) for each in (pair, *others))
            dealt = deal(_sizes(pairs, routing.stride, count), len(routing.experts))
            for r, router in enumerate(routing.routers):
                gates = routing.gates[-1, r]  # of an encoder's two images the second is the fixed one
                row = found.setdefault(
                    (routing.name, router),
                    {
                        "network": network, "layer": routing.name, "role": routing.role, "router": router,
                        "experts": routing.experts, "table": torch.zeros(len(routing.experts), count).double(),
                        "per_pair": {key: [] for key in ("own", "other", "oracle", "oracle_other")},
                    },
                )  # fmt: skip
                row["table"] += gate_table(gates, own, own > 0, count)
                told = {"own": gates, "oracle": dealt_out(gates, own, dealt)}
                for key, by in told.items():
                    mine, its = compare(by, own, theirs, count)
                    row["per_pair"][key].append(mine)
                    row["per_pair"]["other" if key == "own" else "oracle_other"].append(its)
    return [_summary(row, pairs[0]) for row in found.values()]


def compare(gates: Tensor, own: Tensor, others: Sequence[Tensor], count: int) -> tuple[float, float]:
    """Bits that own labels tell about the expert, and those of other subjects; means over the others."""
    mine, theirs = [], []
    for other in others:
        both = (own > 0) & (other > 0)
        mine.append(information(gate_table(gates, own, both, count), int(both.sum())))
        theirs.append(information(gate_table(gates, other, both, count), int(both.sum())))
    return sum(mine) / len(mine), sum(theirs) / len(theirs)


def deal(sizes: Int[Tensor, " label"], experts: int) -> list[int]:
    """An expert for every label, so that experts get as much alike as can be: the largest organ first."""
    work, dealt = [0] * experts, [0] * len(sizes)
    for label in sorted(range(1, len(sizes)), key=lambda label: -int(sizes[label])):
        dealt[label] = min(range(experts), key=lambda expert: work[expert])
        work[dealt[label]] += int(sizes[label])
    return dealt


def dealt_out(
    gates: Float[Tensor, "expert *grid"], labels: Int[Tensor, "*grid"], dealt: Sequence[int]
) -> Float[Tensor, "expert *grid"]:
    """The same gates at every voxel, the largest given to its organ's expert, the next to the expert after it."""
    ordered = gates.sort(dim=0, descending=True).values
    first = torch.tensor(dealt)[labels]
    place = (torch.arange(len(gates)).view(-1, *[1] * labels.ndim) - first) % len(gates)
    return ordered.gather(0, place)


def _sizes(pairs: Pairs, stride: int, count: int) -> Int[Tensor, " label"]:
    """Voxels of every label in all fixed images together."""
    grids = [labels_on_grid(pair.require("fixed_labels"), stride) for pair in pairs]
    return torch.stack([grid.flatten().bincount(minlength=count) for grid in grids]).sum(0)


def _summary(row: dict, pair: Pair) -> dict:
    """Means, and the table as shares by name."""
    table, experts = row.pop("table"), row.pop("experts")
    usage = table / table.sum(0, keepdim=True).clamp_min(1e-12)
    means = {key: sum(row["per_pair"][key]) / len(row["per_pair"][key]) for key in ("own", "other", "oracle")}
    shares = {
        pair.label_names.get(label, str(label)): dict(zip(experts, usage[:, label].tolist(), strict=True))
        for label in range(1, table.shape[1])
        if table[:, label].sum() > 0
    }
    return row | means | {"usage": shares}


def organ_sentence(rows: Sequence[dict]) -> str:
    """How many routers know the organs, in the network that was trained and in the controls; and what could hide."""
    parts = []
    for role in ROLES:
        own = [row for row in rows if row["role"] == role and row["network"] == TRAINED]
        if own:
            parts.append(_of_role(role, own, [row for row in rows if row["role"] == role]))
    return " ".join(parts)


def _of_role(role: str, own: Sequence[dict], rows: Sequence[dict]) -> str:
    effects = [_effect(row) for row in own]
    oracle = [_effect(row, "oracle", "oracle_other") for row in own]
    directions = [effect.direction for effect in effects]
    best = max(range(len(own)), key=lambda i: effects[i].mean)
    said = (
        f"In {directions.count('higher')} of {len(own)} {role} routers a subject's own organs tell more about the "
        f"expert than other subjects' organs at the same voxels, in {directions.count('lower')} less, in "
        f"{directions.count(UNDECIDED)} {UNDECIDED} (more by chance: {len(own) / 40:.1f}). The most is "
        f"{effects[best].text()} bit in {own[best]['layer']}, {own[best]['router']}; experts dealt out by organ would "
        f"tell {oracle[best].text()} there, and are found in "
        f"{sum(effect.direction == 'higher' for effect in oracle)} of {len(own)}."
    )
    undecided = [
        (effect.high, truth.mean)
        for effect, truth in zip(effects, oracle, strict=True)
        if effect.direction == UNDECIDED
    ]
    hidden = [high / most for high, most in undecided if most > 0]
    if hidden:
        said += f" Where nothing is told apart, at most {max(hidden):.0%} of what those would tell could hide."
    if len(hidden) < len(undecided):
        said += f" In {len(undecided) - len(hidden)} not even experts dealt out by organ would tell anything."
    for name in dict.fromkeys(row["network"] for row in rows if row["network"] != TRAINED):
        others = [_effect(row).direction for row in rows if row["network"] == name]
        said += f" The {name} network: {others.count('higher')} of {len(others)}."
    return said


def _effect(row: dict, first: str = "own", second: str = "other") -> Effect:
    return paired_effect(row["per_pair"][first], row["per_pair"][second])

"""Who is missed? One expert, or one direction's router, is taken away, and the registrations are measured again.

This measures *reliance*: what the trained network does with its experts. An expert that is missed here may still be
superfluous, because a network trained without it would have done as well; that is *need*, and takes another training
(see `ablation`).
"""

from collections.abc import Sequence

import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.experiments.controls import (
    random_gates,
    uniform_gates,
    with_gates,
    without_expert,
    without_expert_of,
)
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.metrics import UNDECIDED, Effect, evaluate
from moereg.nn.observe import Change, find_routers, intervene
from moereg.nn.routing import Router

KEYS = ("dice", "epe")
ALL = "all"  # layers, or routers of a layer
WORDS = {"epe": "endpoint error", "dice": "Dice"}


def knock_out(model: nn.Module, pairs: Pairs, *, seed: int = 0, single: bool = False) -> Finding:
    """What does it cost to take away one expert, or one direction's router?

    In all decoder layers at once an expert is disabled (the routers choose among the others), or a direction's router
    is replaced by uniform gates over all experts, or by random ones (top-k of random logits).

    Args:
        seed: of the random gates.
        single: ask too what each expert of each layer and direction, and each attention head, costs by itself.

    Returns:
        Rows by "change", "what", "layer" and "router" ("all" where all are changed at once), with measures and what the
        change changes of them.
    """
    routers = find_routers(model)
    complete = _measured(model, pairs)
    rows = [_row({"change": "complete", "what": "", "layer": ALL, "router": ALL}, complete, complete)]
    changes = _together([router for router in routers.values() if router.site.role == "decoder"], seed)
    for names, change in [*changes, *(_one_by_one(routers) if single else ())]:
        with intervene(change):
            rows.append(_row(names, _measured(model, pairs), complete))
    return Finding("Who is missed?", rows, knock_out_sentence(rows))


def _together(decoders: list[Router], seed: int) -> list[tuple[dict, dict[Router, Change]]]:
    """(Names, router -> change) of everything that is asked of all decoder layers at once."""
    first = decoders[0]
    generator = torch.Generator().manual_seed(seed)
    changes: dict[tuple[str, str, str], Change] = {}
    for e, expert in enumerate(first.experts):
        if len(first.experts) > 1:
            changes["expert", expert, ALL] = without_expert(e, first.gate)
    for r, router in enumerate(first.routers):
        changes["uniform gates", router, router] = with_gates(r, uniform_gates)
        changes["random gates", router, router] = with_gates(r, random_gates(first.gate, generator))
    return [
        ({"change": change, "what": what, "layer": ALL, "router": router}, dict.fromkeys(decoders, changed))
        for (change, what, router), changed in changes.items()
    ]


def _one_by_one(routers: dict[str, Router]) -> list[tuple[dict, dict[Router, Change]]]:
    """(Names, router -> change) of every expert of every layer and router by itself."""
    found = []
    for layer, router in routers.items():
        several = len(router.routers) > 1
        for r, name in enumerate(router.routers):
            for e, expert in enumerate(router.experts):
                change = without_expert_of(e, r, router.gate) if several else without_expert(e, router.gate)
                names = {"change": "expert", "what": expert, "layer": layer, "router": name}
                if len(router.experts) > 1:
                    found.append((names, {router: change}))
    return found


def knock_out_sentence(rows: Sequence[dict]) -> str:
    """The expert that is missed most and least, and the direction whose router is; by the one rule over pairs.

    Order by endpoint error where the truth is known, else by Dice; what is known of both is said.
    """
    keys = [key for key in ("epe", "dice") if rows[0][key] is not None]
    sign = {"epe": 1, "dice": -1}[keys[0]]

    def ordered(change: str, *, together: bool = True) -> list[dict]:
        """Rows of one kind, the costliest first."""
        own = [row for row in rows if row["change"] == change and (row["layer"] == ALL) == together]
        return sorted(own, key=lambda row: -sign * row[f"{keys[0]}_change"])

    def said(row: dict) -> str:
        effects = {key: _cost(rows, row, key) for key in keys}
        return ", ".join(f"{WORDS[key]} {effect.text()}, {effect.judged(key)}" for key, effect in effects.items())

    parts = []
    if experts := ordered("expert"):
        most, least = experts[0], experts[-1]
        parts.append(f"without expert {most['what']} ({said(most)}) and without {least['what']} ({said(least)})")
    for change in ("random gates", "uniform gates"):
        most = ordered(change)[0]
        parts.append(f"{change} in direction {most['what']} ({said(most)})")
    sentence = (
        f"What the network relies on, the most and least missed expert and the costliest gates: {'; '.join(parts)}."
    )
    if singles := ordered("expert", together=False):
        sentence += (
            f" {_of_singles(rows, singles, keys[0])} The most missed is {_place(singles[0])} ({said(singles[0])})."
        )
    return sentence


def _of_singles(rows: Sequence[dict], singles: Sequence[dict], key: str) -> str:
    """How many experts of one layer and router are missed by themselves."""
    judged = [_cost(rows, row, key).judged(key) for row in singles]
    return (
        f"Of {len(singles)} single experts, each of one layer and router, {judged.count('worse')} are missed in "
        f"{WORDS[key]}, {judged.count('better')} are better away and {judged.count(UNDECIDED)} {UNDECIDED}; by chance "
        f"{len(singles) / 40:.1f} would be missed."
    )


def _cost(rows: Sequence[dict], row: dict, key: str) -> Effect:
    """What one change does to a measure, against the complete network."""
    names = {name: row[name] for name in ("change", "what", "layer", "router")}
    return effect_between(rows, names, {"change": "complete"}, key)


def _place(row: dict) -> str:
    return f"{row['what']} in {row['layer']}, {row['router']}"


def _measured(model: nn.Module, pairs: Pairs) -> dict:
    return kept(evaluate({"m": model.eval()}, pairs, surfaces=False)["m"], KEYS)


def _row(names: dict, measured: dict, complete: dict) -> dict:
    differences = {f"{key}_change": None if measured[key] is None else measured[key] - complete[key] for key in KEYS}
    return names | measured | differences

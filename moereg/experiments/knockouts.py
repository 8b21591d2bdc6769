"""Who is missed? One expert, or one direction's router, is taken away, and the registrations are measured again."""

from collections.abc import Sequence

import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.experiments.controls import random_gates, uniform_gates, with_gates, without_expert
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.metrics import evaluate
from moereg.nn.observe import Change, find_routers, intervene

KEYS = ("dice", "epe")


def knock_out(model: nn.Module, pairs: Pairs, *, seed: int = 0) -> Finding:
    """What does it cost to take away one expert, or one direction's router, of all decoder layers at once?

    An expert is disabled: the routers choose among the others. A direction's router is replaced by uniform gates over
    all experts, or by random ones (top-k of random logits).
    """
    routers = [router for router in find_routers(model).values() if router.site.role == "decoder"]
    first = routers[0]
    generator = torch.Generator().manual_seed(seed)
    changes: dict[tuple[str, str], Change] = {}
    for e, expert in enumerate(first.experts):
        if len(first.experts) > 1:
            changes["expert", expert] = without_expert(e, first.gate)
    for r, router in enumerate(first.routers):
        changes["uniform gates", router] = with_gates(r, uniform_gates)
        changes["random gates", router] = with_gates(r, random_gates(first.gate, generator))

    complete = _measured(model, pairs)
    rows = [_row("complete", "", complete, complete)]
    for (change, what), changed in changes.items():
        with intervene(dict.fromkeys(routers, changed)):
            rows.append(_row(change, what, _measured(model, pairs), complete))
    return Finding("Who is missed?", rows, knock_out_sentence(rows))


def knock_out_sentence(rows: Sequence[dict]) -> str:
    """The expert that is missed most and least, and the direction whose router is; by the one rule over pairs.

    In endpoint error where the truth is known, else in Dice.
    """
    key, word, sign = ("epe", "endpoint error", 1) if rows[0]["epe"] is not None else ("dice", "Dice", -1)

    def ordered(change: str) -> list[dict]:
        """Rows of one kind, the costliest first."""
        own = [row for row in rows if row["change"] == change]
        return sorted(own, key=lambda row: -sign * row[f"{key}_change"])

    def said(row: dict) -> str:
        effect = effect_between(rows, {"change": row["change"], "what": row["what"]}, {"change": "complete"}, key)
        return f"{effect.text()}, {effect.judged(key)}"

    parts = []
    if experts := ordered("expert"):
        most, least = experts[0], experts[-1]
        parts.append(
            f"Without expert {most['what']} the {word} changes by {said(most)}; "
            f"without {least['what']} by {said(least)}"
        )
    for change in ("random gates", "uniform gates"):
        most = ordered(change)[0]
        parts.append(f"{change} cost most in direction {most['what']} ({said(most)})")
    return "; ".join(parts) + "."


def _measured(model: nn.Module, pairs: Pairs) -> dict:
    return kept(evaluate({"m": model.eval()}, pairs, surfaces=False)["m"], KEYS)


def _row(change: str, what: str, measured: dict, complete: dict) -> dict:
    differences = {f"{key}_change": None if measured[key] is None else measured[key] - complete[key] for key in KEYS}
    return {"change": change, "what": what} | measured | differences

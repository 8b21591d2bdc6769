"""Chapter 06, routers."""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.nn.routing import choose

RULES = ("raw", "renormalised", "stopped", "topk_softmax")


def collapse(answer: float) -> tuple[bool, str]:
    """All voxels choose expert 1 of 4, but by a hair: all probabilities are nearly 1/4. The balance loss?"""
    if math.isclose(answer, 1, abs_tol=1e-6):
        return True, (
            "4 (1 * 1/4) = 1, the value of perfect balance. The loss sees load and probability together; what it gives "
            "here is a gradient, away from the one that is used."
        )
    if math.isclose(answer, 4, abs_tol=1e-6):
        return False, "It would be 4 if the probability had collapsed as well. Here P is still uniform."
    if math.isclose(answer, 0.25, abs_tol=1e-6):
        return False, "Do not forget the factor N."
    return False, "N times the sum of f_i P_i, with f = (1, 0, 0, 0) and P = (1/4, 1/4, 1/4, 1/4)."


def gradient(answer: Collection[str]) -> tuple[bool, str]:
    """Rule stopped, k = 2 of 4: which of chosen experts, other experts, chosen rows, other rows get gradient?"""
    answer = set(answer)
    if answer == {"chosen experts", "chosen rows", "other rows"}:
        return True, (
            "An expert that did not run has no gradient. Rows of the router have it, all of them: p_i / stopgrad(sum) "
            "keeps the full softmax, and it holds every logit."
        )
    if "other experts" in answer:
        return False, "The gate of an expert that was not chosen is zero, and so is what comes back to its weights."
    if "other rows" not in answer:
        return False, (
            "The denominator of the softmax holds every logit, and under `stopped` it is still in the derivative."
        )
    return False, "Choose among 'chosen experts', 'other experts', 'chosen rows' and 'other rows' (of the router)."


def _maps() -> Inputs:
    """Logits of two routers, each rule with k = 1, 2 or 3 of four experts, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(21)
    return {
        f"rule {rule!r} with k = {k} in {len(shape)}-D": (torch.randn(2, 2, 4, *shape, generator=draw), k, rule)
        for shape, counts in (((3, 5), (2, 2, 2, 3)), ((2, 3, 4), (1, 3, 1, 2)))
        for rule, k in zip(RULES, counts, strict=True)
    }


def _gates(logits: Tensor, k: int, rule: str, *, axis: int = 2, always: str = "") -> Tensor:
    """Gates of four rules, with places for what goes wrong: the softmax's axis, one rule for all."""
    rule = always or rule
    chosen = logits.topk(k, dim=2).indices
    if rule == "topk_softmax":
        kept = logits.gather(2, chosen).softmax(axis)
    else:
        kept = logits.softmax(axis).gather(2, chosen)
        total = kept.sum(2, keepdim=True)
        kept = kept / {"raw": 1, "renormalised": total, "stopped": total.detach()}[rule]
    return torch.zeros_like(logits).scatter(2, chosen, kept)


def _without_stop(logits: Tensor, k: int, rule: str) -> Tensor:
    return _gates(logits, k, "renormalised" if rule == "stopped" else rule)


def _in_order_of_size(logits: Tensor, k: int, rule: str) -> Tensor:
    gates = choose(logits, k, rule)[0]
    return gates.gather(2, logits.topk(k, dim=2).indices)


def _zeros_in_the_softmax(logits: Tensor, k: int, rule: str) -> Tensor:
    if rule != "topk_softmax":
        return _gates(logits, k, rule)
    chosen = logits.topk(k, dim=2).indices
    kept = torch.zeros_like(logits).scatter(2, chosen, logits.gather(2, chosen))
    return kept.softmax(2)


gates = Task(
    right=lambda logits, k, rule: choose(logits, k, rule)[0],
    inputs=_maps,
    mistakes={
        "The softmax runs along another axis than the experts': they are axis 2 of (batch, router, expert, ...).": (
            lambda logits, k, rule: _gates(logits, k, rule, axis=1)
        ),
        "The gates are the probabilities under every rule: those of the chosen are not renormalised.": (
            lambda logits, k, rule: _gates(logits, k, rule, always="raw")
        ),
        "The values are right. Under 'stopped' no gradient may pass the sum of the chosen: `.detach()` it.": (
            _without_stop
        ),
        "These are the k gates in order of size. Put them back where their experts stand (`scatter`).": (
            _in_order_of_size
        ),
        "A zero in place of a logit is no absence: exp(0) is one. Take the softmax of the k chosen logits alone.": (
            _zeros_in_the_softmax
        ),
    },
    praise="Values and gradients of all four rules, in 2-D and 3-D: what a router of the library gives.",
    hint="Softmax over axis 2, `topk` for the choice, the rule on the k kept numbers, `scatter` into zeros.",
)


def _decisions() -> Inputs:
    """Logits of four experts, and the one or two chosen at each place, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(22)
    found = {}
    for shape, k in (((4, 5), 2), ((2, 3, 4), 1)):
        logits = torch.randn(2, 4, *shape, generator=draw) * torch.tensor([2.0, 1, 1, 1]).view(4, *[1] * len(shape))
        found[f"in {len(shape)}-D with k = {k}"] = (logits, logits.topk(k, dim=1).indices)
    return found


def _balance(logits: Tensor, chosen: Tensor) -> Tensor:
    return logits.shape[1] * (_load(logits, chosen) * _importance(logits)).sum()


def _load(logits: Tensor, chosen: Tensor) -> Tensor:
    return F.one_hot(chosen, logits.shape[1]).flatten(0, -2).to(logits.dtype).mean(0)


def _importance(logits: Tensor) -> Tensor:
    return logits.softmax(1).movedim(1, -1).flatten(0, -2).mean(0)


balance = Task(
    right=_balance,
    inputs=_decisions,
    mistakes={
        "The factor N is missing: an even load should give one, whatever the number of experts.": (
            lambda logits, chosen: _balance(logits, chosen) / logits.shape[1]
        ),
        "That is N sum P_i^2: it looks at probabilities alone. f_i counts choices.": (
            lambda logits, chosen: logits.shape[1] * _importance(logits).square().sum()
        ),
        "That counts the first choice of each voxel only; f_i is the share of all choices.": (
            lambda logits, chosen: _balance(logits, chosen[:, :1])
        ),
        "That is N sum f_i^2: a count has no gradient, so nothing would be learned from it. P_i carries it.": (
            lambda logits, chosen: logits.shape[1] * _load(logits, chosen).square().sum()
        ),
        "The softmax runs along another axis than the experts': they are axis 1 of (batch, expert, ...).": (
            lambda logits, chosen: (
                logits.shape[1]
                * (_load(logits, chosen) * logits.softmax(0).movedim(1, -1).flatten(0, -2).mean(0)).sum()
            )
        ),
    },
    praise="Load without gradient, mean probability with it: the library's balance loss.",
    hint="f: how often each expert stands in `chosen`, as a share. P: mean softmax over batch and voxels. N sum f P.",
)


def _voxels() -> Inputs:
    """Tokens, one matrix per expert, choices and gates."""
    draw = torch.Generator().manual_seed(23)
    found = {}
    for case, k, tokens, experts in (
        ("with k = 1", 1, 7, 3),
        ("with k = 2", 2, 9, 4),
        ("with an idle expert", 2, 6, 4),
    ):
        logits = torch.randn(tokens, experts, generator=draw)
        if "idle" in case:
            logits[:, 1] = -9
        scores, chosen = logits.topk(k, dim=1)
        weights = torch.randn(experts, 3, 2, generator=draw)
        found[case] = (torch.randn(tokens, 3, generator=draw), weights, chosen, scores.softmax(1))
    return found


def _dispatched(tokens: Tensor, weights: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    """Every (token, rank) through its own matrix, (T, k, D), before gates."""
    return torch.stack([torch.einsum("tc,tcd->td", tokens, weights[rank]) for rank in chosen.T], 1)


def _last_wins(tokens: Tensor, weights: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    answers = _dispatched(tokens, weights, chosen, gates) * gates[..., None]
    last = chosen.argmax(1)
    return answers[torch.arange(len(tokens)), last]


def _sorted_by_expert(tokens: Tensor, weights: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    """The answers as they lie after sorting, summed in groups of k."""
    answers = (_dispatched(tokens, weights, chosen, gates) * gates[..., None]).flatten(0, 1)
    order = chosen.flatten().argsort(stable=True)
    return answers[order].view(len(tokens), chosen.shape[1], -1).sum(1)


dispatch = Task(
    right=lambda tokens, weights, chosen, gates: (_dispatched(tokens, weights, chosen, gates) * gates[..., None]).sum(
        1
    ),
    inputs=_voxels,
    mistakes={
        "The gates are not used: each answer counts with its gate.": (lambda *given: _dispatched(*given).sum(1)),
        "An answer overwrites the one before. A token has k answers: add them up (`index_add`).": _last_wins,
        "The answers lie in the order of the experts. Put them back in the order of the tokens.": _sorted_by_expert,
        "Only the first choice of each token was sent. Go through all k columns of `chosen`.": (
            lambda tokens, weights, chosen, gates: (
                _dispatched(tokens, weights, chosen[:, :1], gates)[:, 0] * gates[:, :1]
            )
        ),
    },
    praise="Each token met its own experts, and its answers came back to its place, weighted.",
    hint="For expert i: `place, rank = (chosen == i).nonzero(as_tuple=True)`, multiply those tokens, add with gates.",
)

EXERCISES = {
    "routers-gates": gates,
    "routers-balance": balance,
    "routers-dispatch": dispatch,
    "routers-collapse": collapse,
    "routers-gradient": gradient,
}

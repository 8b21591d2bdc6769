"""Chapter 07, mixture of attention heads."""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.nn.attention import attend
from moereg.nn.routing import choose


def saved(answer: float, *, heads: int, k: int) -> tuple[bool, str]:
    """By what factor does choosing k of N heads reduce the query projections, and the attention itself?"""
    if math.isclose(answer, heads / k, abs_tol=1e-6):
        return (
            True,
            "Only chosen (token, head) pairs are projected and attend. Keys and values cost the same as before.",
        )
    if math.isclose(answer, k / heads, abs_tol=1e-6):
        return False, "That is the share that is left. By what factor is it less?"
    return False, "Count query vectors per token: one per head before, one per chosen head now."


def permute(answer: Collection[str]) -> tuple[bool, str]:
    """The router's rows are permuted. Which of query, key, value, output must be permuted alike to change nothing?"""
    answer = set(answer)
    if answer == {"query", "output"}:
        return True, "Head i is its query and its output projection. Keys and values belong to all heads."
    if answer & {"key", "value"}:
        return False, "There is one key and one value projection for all heads: nothing in them to permute."
    return False, "What does a head own?"


def _windows() -> Inputs:
    """Tokens of one window, matrices of N heads (keys and values shared), the k chosen and their gates."""
    draw = torch.Generator().manual_seed(41)
    found = {}
    for case, (t, c, heads, d, k) in {"k = 1 of 3": (5, 4, 3, 2, 1), "k = 2 of 4": (7, 6, 4, 3, 2)}.items():
        query, output = torch.randn(heads, c, d, generator=draw), torch.randn(heads, d, c, generator=draw)
        key, value = (torch.randn(c, d, generator=draw) for _ in range(2))
        scores, chosen = torch.randn(t, heads, generator=draw).topk(k, dim=1)
        found[case] = (torch.randn(t, c, generator=draw), query, key, value, output, chosen, scores.softmax(1))
    return found


def _parts(tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> Tensor:
    """What every head would give every token, (T, N, C)."""
    keys, values = tokens @ key, tokens @ value
    return torch.stack([attend(tokens @ q, keys, values)[0] @ o for q, o in zip(query, output, strict=True)], 1)


def _weighed(parts: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    all_gates = gates.new_zeros(parts.shape[:2]).scatter(1, chosen, gates)
    return (all_gates[..., None] * parts).sum(1)


def _mixture(*given: Tensor) -> Tensor:
    return _weighed(_parts(*given[:5]), *given[5:])


def _all_alike(*given: Tensor) -> Tensor:
    return _parts(*given[:5]).sum(1)


def _ungated(*given: Tensor) -> Tensor:
    return _weighed(_parts(*given[:5]), given[5], torch.ones_like(given[6]))


def _context_of_the_chosen(
    tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, chosen: Tensor, gates: Tensor
) -> Tensor:
    """Tokens of one head look at each other only."""
    total = torch.zeros_like(tokens)
    for i, (q, o) in enumerate(zip(query, output, strict=True)):
        rows, rank = (chosen == i).nonzero(as_tuple=True)
        own = tokens[rows]
        part = attend(own @ q, own @ key, own @ value)[0] @ o
        total = total.index_add(0, rows, gates[rows, rank, None] * part)
    return total


def _gates_on_values(
    tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, chosen: Tensor, gates: Tensor
) -> Tensor:
    """Gates of the token that is looked at, not of the one that asks."""
    all_gates = gates.new_zeros(len(tokens), len(query)).scatter(1, chosen, gates)
    keys, values = tokens @ key, tokens @ value
    return torch.stack(
        [
            attend(tokens @ q, keys, gate[:, None] * values)[0] @ o
            for q, o, gate in zip(query, output, all_gates.T, strict=True)
        ]
    ).sum(0)


def _without_scale(tokens: Tensor, query: Tensor, *rest: Tensor) -> Tensor:
    return _mixture(tokens, query * query.shape[-1] ** 0.5, *rest)


mixture = Task(
    right=_mixture,
    inputs=_windows,
    mistakes={
        "Every head counts in full: that is multi-head attention. Weigh each head's part with the token's gate.": (
            _all_alike
        ),
        "The chosen heads count in full. Weigh each part with its gate.": _ungated,
        "A head's tokens look at each other only. The chosen are the *queries*; keys and values are of all tokens.": (
            _context_of_the_chosen
        ),
        "The gates weigh the tokens that are looked at. They belong to the token that asks.": _gates_on_values,
        "The scores are not divided by the root of d.": _without_scale,
    },
    praise="Shared keys and values, one query and one output matrix per head, weighed by the gates of who asks.",
    hint="keys and values once; for each head attend with its queries, multiply with its output, times gates.",
)


def _logits() -> Inputs:
    """Logits of five heads, the head that is missing, and k, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(42)
    return {
        f"in {len(shape)}-D with k = {k}": (torch.randn(2, 1, 5, *shape, generator=draw) - 1, head, k)
        for shape, head, k in (((3, 4), 1, 2), ((2, 3, 3), 4, 1))
    }


def _without(logits: Tensor, head: int, k: int, *, instead: float = -1e4) -> Tensor:
    changed = logits.index_fill(2, torch.tensor([head]), instead)
    return choose(changed, k, "renormalised")[0]


def _gate_to_zero(logits: Tensor, head: int, k: int) -> Tensor:
    return choose(logits, k, "renormalised")[0].index_fill(2, torch.tensor([head]), 0.0)


def _shared_out(logits: Tensor, head: int, k: int) -> Tensor:
    """The head's gate is taken away and the rest made to add up to one, nobody takes its place."""
    gates = _gate_to_zero(logits, head, k)
    return gates / gates.sum(2, keepdim=True).clamp_min(1e-9)


def _head_gone(logits: Tensor, head: int, k: int) -> Tensor:
    left = [i for i in range(logits.shape[2]) if i != head]
    return choose(logits[:, :, left], k, "renormalised")[0]


knockout = Task(
    right=_without,
    inputs=_logits,
    mistakes={
        "The gate is set to zero after the choice: nobody takes the head's place, and the gates no longer add up to "
        "one. Leave it out before the choice.": _gate_to_zero,
        "A logit of zero may still be the largest. What is never to be chosen gets a very negative one.": (
            lambda logits, head, k: _without(logits, head, k, instead=0.0)
        ),
        "The gates add up to one, but nobody takes the head's place: tokens that had chosen it keep k - 1.": (
            _shared_out
        ),
        "The other heads' gates are right, but the head's own place is gone. Keep N gates, its own zero.": _head_gone,
    },
    praise="The others choose anew, as if the head had never been there.",
    hint="Change the head's logit so that it can never be chosen, then top-k, softmax, renormalise, scatter.",
)

EXERCISES = {
    "moa-mixture": mixture,
    "moa-knockout": knockout,
    "moa-saved": saved,
    "moa-permute": permute,
}

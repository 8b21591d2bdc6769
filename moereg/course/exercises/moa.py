"""Chapter 07, mixture of attention heads."""

import math
from collections.abc import Collection


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


def all_on(answer: float, *, heads: int) -> tuple[bool, str]:
    """k = N and equal gates. By what number must the multi-head output be multiplied to get MoA's?"""
    if math.isclose(answer, 1 / heads, abs_tol=1e-6):
        return True, "The gates are 1/N each: MoA averages its heads where multi-head attention adds them."
    if math.isclose(answer, 1, abs_tol=1e-6):
        return False, "Multi-head attention adds its heads with weight one. What are the weights of MoA here?"
    return False, "A softmax over N equal logits."


def permute(answer: Collection[str]) -> tuple[bool, str]:
    """The router's rows are permuted. Which of query, key, value, output must be permuted alike to change nothing?"""
    answer = set(answer)
    if answer == {"query", "output"}:
        return True, "Head i is its query and its output projection. Keys and values belong to all heads."
    if answer & {"key", "value"}:
        return False, "There is one key and one value projection for all heads: nothing in them to permute."
    return False, "What does a head own?"


EXERCISES = {
    "moa-saved": saved,
    "moa-all-on": all_on,
    "moa-permute": permute,
}

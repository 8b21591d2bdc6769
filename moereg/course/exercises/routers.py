"""Chapter 06, routers."""

import math
from collections.abc import Collection


def gate(answer: float) -> tuple[bool, str]:
    """Logits 2, 1, 0, -1 and k = 2, renormalised: the gate of the first expert?"""
    powers = [math.exp(x) for x in (2, 1, 0, -1)]
    renormalised, raw = powers[0] / sum(powers[:2]), powers[0] / sum(powers)
    if math.isclose(answer, renormalised, abs_tol=2e-3):
        return True, "e^2 / (e^2 + e): the two chosen share all of the weight; the same as a softmax over the chosen."
    if math.isclose(answer, raw, abs_tol=2e-3):
        return False, "That is the probability among all four, the gate of the rule `raw`. Divide by what the two have."
    return False, "Take the softmax, keep the two largest, divide them by their sum."


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
    """Which of raw, renormalised, stopped, topk_softmax give gradient to the logits of experts not chosen?"""
    answer = set(answer)
    if answer == {"raw", "stopped"}:
        return True, "In both, the denominator of the full softmax stays in the derivative, and it holds every logit."
    if "renormalised" in answer:
        return (
            False,
            "Renormalising cancels the full softmax's denominator: p_1 / (p_1 + p_2) depends on two logits only.",
        )
    if "topk_softmax" in answer:
        return False, "A softmax over the chosen logits has never seen the others."
    return False, "Write the gate as a fraction of exponentials, and see which logits are still in it."


EXERCISES = {
    "routers-gate": gate,
    "routers-collapse": collapse,
    "routers-gradient": gradient,
}

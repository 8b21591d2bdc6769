"""Chapter 05, attention heads."""

import math


def equal_keys(answer: float, *, tokens: int) -> tuple[bool, str]:
    """All keys are equal. What weight does each of the T tokens get?"""
    if math.isclose(answer, 1 / tokens, rel_tol=1e-3):
        return True, "Equal scores, equal weights: the output is the mean of the values, whatever the query asks."
    if math.isclose(answer, 1, abs_tol=1e-6):
        return False, "The weights of one query add up to one over all tokens."
    return False, "The scores are all the same number. What does a softmax make of equal numbers?"


def windows(answer: float, *, shape: tuple[int, ...], window: int) -> tuple[bool, str]:
    """By what factor do windows reduce the number of attention weights per head?"""
    tokens, inside = 1, 1
    for size in shape:
        tokens *= size
        inside *= window
    factor = tokens / inside
    if math.isclose(answer, factor, rel_tol=1e-6):
        return True, f"Each of {tokens} tokens has {inside} weights instead of {tokens}."
    if answer == shape[0] / window:
        return False, "That is the factor along one axis."
    if answer in (inside, window ** len(shape)):
        return False, "That is how many weights a token has left. How many did it have before?"
    return False, "Compare the weights of one token: all tokens of the map, against those of its window."


def shared_keys(answer: int, *, heads: int, channels: int, head_dim: int) -> tuple[bool, str]:
    """How many numbers does one shared key and value projection save?"""
    right = 2 * (heads - 1) * channels * head_dim
    if answer == right:
        return True, "All heads but one give up a key and a value matrix; each keeps its own query and output."
    if answer == right // 2:
        return False, "Keys are shared, and so are values: there are two such matrices per head."
    if answer == 2 * heads * channels * head_dim:
        return False, "One pair of matrices is still needed, the shared one."
    return False, "Count the entries of one key matrix (channels x head_dim), then the matrices that are not needed."


EXERCISES = {
    "attention-equal-keys": equal_keys,
    "attention-windows": windows,
    "attention-shared-keys": shared_keys,
}

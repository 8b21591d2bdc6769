"""Chapter 11, RMAn."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.fields import compose as composed

SHAPES = ((8, 11), (6, 7, 8))


def compose(answer: float) -> tuple[bool, str]:
    """phi_1 is 3 for x >= 10 and 0 before, psi_2 is 2 everywhere: phi_2 at x = 9?"""
    if math.isclose(answer, 5, abs_tol=1e-6):
        return True, "psi_2 looks at x = 11, and what stands there was already fetched from 3 further on: 2 + 3."
    if math.isclose(answer, 2, abs_tol=1e-6):
        return False, "You took phi_1 at x = 9. The second pass fetches from 9 + psi_2, and phi_1 is read *there*."
    if math.isclose(answer, 3, abs_tol=1e-6):
        return False, "That is phi_1 at the right place. The step psi_2 that leads there counts as well."
    return False, "phi_2[x] = psi_2[x] + phi_1[x + psi_2[x]]."


def memory(answer: int, *, shape: Sequence[int], window: int, stride: int) -> tuple[bool, str]:
    """How many attention scores does one head hold for an image, with windows?"""
    tokens, inside, everything, uncut = 1, 1, 1, 1
    for size in shape:
        along = -(-size // stride)
        windows = -(-along // window)
        edge = -(-along // windows)
        tokens, inside, everything, uncut = tokens * windows * edge, inside * edge, everything * along, uncut * window
    if answer == tokens * inside:
        return True, f"{tokens} tokens, and each looks at the {inside} of its window: {tokens * inside} scores."
    if answer == everything**2:
        return False, "That is every token against every token. A token sees its own window only."
    if answer == tokens * uncut:
        return False, f"Windows are cut as even as possible: of at most {window} tokens an axis, here {inside} in all."
    if answer == tokens:
        return False, "Those are the tokens. How many scores has each?"
    return False, "Tokens along an axis: the size over the stride. Then windows, then tokens in one. Multiply."


def recursions(answer: int, *, rows: Sequence[dict]) -> tuple[bool, str]:
    """With how many recursions would you run the network that was trained with one?"""
    means: dict[int, list[float]] = {}
    for row in rows:
        if (row["attention"], row["trained"]) == ("mutual", 1):
            means.setdefault(row["recursions"], []).append(row["dice"])
    dice = {k: sum(values) / len(values) for k, values in means.items()}
    best = max(dice, key=dice.__getitem__)
    listed = ", ".join(f"{k}: {value:.3f}" for k, value in sorted(dice.items()))
    if answer == best:
        return True, f"Dice by recursions is {listed}. It never saw an image that was nearly registered."
    if answer in dice:
        return False, f"Dice by recursions is {listed}."
    return False, f"One of {', '.join(map(str, sorted(dice)))}: look at the first column of the figure."


# ---- residuals composed ----


def _accumulated(residuals: Tensor) -> Tensor:
    """`phi_k = compose(phi_{k-1}, psi_k)` over all residuals."""
    phi = torch.zeros_like(residuals[0])
    for psi in residuals:
        phi = composed(phi, psi)
    return phi


def _outside_in(residuals: Tensor) -> Tensor:
    phi = torch.zeros_like(residuals[0])
    for psi in residuals:
        phi = composed(psi, phi)
    return phi


def _residuals() -> Inputs:
    """Three residuals of a few voxels, in waves, so that their order counts."""
    draw = torch.Generator().manual_seed(111)
    return {f"in {len(shape)}-D": (1.5 * torch.randn(3, 2, len(shape), *shape, generator=draw),) for shape in SHAPES}


accumulate = Task(
    right=_accumulated,
    inputs=_residuals,
    mistakes={
        "The residuals are added. What was found before has to be read where the new residual leads: x + psi_k.": (
            lambda r: r.sum(0)
        ),
        "The order: psi_k acts first, and phi_{k-1} is read at x + psi_k, not the other way round.": (_outside_in),
        "That is the last residual alone: what the passes before it have found is lost.": lambda r: r[-1] + 0 * r[0],
        "The newest residual is missing: phi_{k-1} is read at the right place, then psi_k has to be added.": (
            lambda r: _accumulated(r) - r[-1]
        ),
    },
    praise="One field, however many passes: the original image is warped once, and blurred once.",
    hint="phi_k[x] = psi_k[x] + phi_{k-1}[x + psi_k[x]], from phi_0 = 0; `fields.compose(phi, psi)` does one step.",
)


# ---- mutual attention ----

Maps = tuple[Tensor, Tensor]


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).mT


def _attended(own: Tensor, keys_of: Tensor, values_of: Tensor, q: Tensor, k: Tensor, v: Tensor, **how) -> Tensor:
    """What one map brings back, as tokens."""
    scores = _tokens(own) @ q @ (_tokens(keys_of) @ k).mT
    if how.get("scaled", True):
        scores = scores / q.shape[1] ** 0.5
    return scores.softmax(how.get("axis", -1)) @ (_tokens(values_of) @ v)


def _looked(own: Tensor, keys_of: Tensor, values_of: Tensor, weights: tuple[Tensor, ...], **how) -> Tensor:
    brought = _attended(own, keys_of, values_of, *weights, **how).mT.view_as(own)
    return brought + own if how.get("residual", True) else brought


def _mutual(f: Tensor, m: Tensor, *weights: Tensor, **how) -> Maps:
    return _looked(f, m, m, weights, **how), _looked(m, f, f, weights, **how)


def _one_after_the_other(f: Tensor, m: Tensor, *weights: Tensor) -> Maps:
    enriched = _looked(f, m, m, weights)
    return enriched, _looked(m, enriched, enriched, weights)


def _two_maps() -> Inputs:
    draw = torch.Generator().manual_seed(112)
    channels, width = 5, 3
    return {
        f"in {len(shape)}-D": (
            *torch.randn(2, 2, channels, *shape, generator=draw),
            *torch.randn(2, channels, width, generator=draw),
            torch.randn(channels, channels, generator=draw),
        )
        for shape in ((4, 5), (2, 3, 4))
    }


mutual = Task(
    right=_mutual,
    inputs=_two_maps,
    mistakes={
        "Each map looks at itself: that is self-attention. Keys and values come from the *other* map.": (
            lambda f, m, *w: (_looked(f, f, f, w), _looked(m, m, m, w))
        ),
        "The keys come from the other map, the values from the own one: what is found there is not brought back.": (
            lambda f, m, *w: (_looked(f, m, f, w), _looked(m, f, m, w))
        ),
        "The map itself is missing: attention is added to what was there.": (
            lambda f, m, *w: _mutual(f, m, *w, residual=False)
        ),
        "The scores are not divided by the root of the width d.": lambda f, m, *w: _mutual(f, m, *w, scaled=False),
        "The softmax runs over those that ask. The weights of one token over all that it looks at add up to one.": (
            lambda f, m, *w: _mutual(f, m, *w, axis=-2)
        ),
        "The moving map looks at a fixed map that has changed. Both look at what came in.": _one_after_the_other,
    },
    praise="The same weights for both: exchange the images, and the two results are exchanged.",
    hint="Tokens are the voxels, `flatten(2).mT`; softmax(Q K^T / sqrt(d)) V with Q of one map, K and V of the other.",
)

EXERCISES = {
    "rman-accumulate": accumulate,
    "rman-mutual": mutual,
    "rman-compose": compose,
    "rman-memory": memory,
    "rman-recursions": recursions,
}

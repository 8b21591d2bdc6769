"""What an experiment answers: rows of plain numbers, and a sentence that is computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moereg.metrics import Effect, paired_effect

MEASURES = ("dice", "epe", "fold_fraction")


@dataclass(frozen=True)
class Finding:
    """The answer to one question. `moereg.viz.draw(finding)` is its figure."""

    question: str
    rows: list[dict]  # plain numbers and strings, one dictionary per row
    sentence: str  # computed from the rows


def kept(measured: dict, keys: Sequence[str] = MEASURES) -> dict:
    """Of one method's entry in `evaluate`: means, and under "per_pair" the values they are means of."""
    per_pair = {key: [pair[_OF_PAIR.get(key, key)] for pair in measured["pairs"]] for key in keys if key in _PAIRED}
    return {key: measured[key] for key in keys} | {"per_pair": per_pair}


_OF_PAIR = {"dice": "dice_mean"}  # under "dice" a pair holds one number per label
_PAIRED = ("dice", "epe", "fold_fraction", "sd_log_jacobian")


def effect_between(rows: Sequence[dict], first: dict, second: dict, key: str = "dice") -> Effect:
    """`first - second` over rows, by the one rule (`moereg.metrics.comparison`).

    Args:
        rows: with "seed" (None for a method that is not trained), `key`, and "per_pair" where single pairs are known.
        first, second: what their rows hold: {"task": "breathing", "variant": "joint router"}. Settings that are not
            named are averaged, seed by seed.
        key: the measure.

    Raises:
        ValueError: no rows of one of them, or no seed in common.
    """
    one, other = (_by_seed(rows, choice, key) for choice in (first, second))
    # What is not trained is the same for every seed of the other.
    if set(one) == {None}:
        one = dict.fromkeys(other, one[None])
    if set(other) == {None}:
        other = dict.fromkeys(one, other[None])
    seeds = [seed for seed in one if seed in other]
    if not seeds:
        raise ValueError(f"{first} and {second} must have a seed in common, got {list(one)} and {list(other)}.")
    values = [[source[seed] for seed in seeds] for source in (one, other)]
    if len({len(pairs) for side in values for pairs in side}) > 1:  # single pairs are not known of all of them
        values = [[[np.mean(pairs)] for pairs in side] for side in values]
    return paired_effect(*values)


def _by_seed(rows: Sequence[dict], choice: dict, key: str) -> dict:
    """Seed -> one value per pair, or the mean alone where single pairs were not kept."""
    found: dict = {}
    for row in rows:
        if all(row.get(name) == value for name, value in choice.items()):
            values = row.get("per_pair", {}).get(key) or [row[key]]
            found.setdefault(row.get("seed"), []).append(np.array(values, dtype=float))
    if not found:
        raise ValueError(f"rows must hold some with {choice}, got none.")
    return {seed: np.mean(values, axis=0) for seed, values in found.items()}

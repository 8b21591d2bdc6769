"""Is one better than the other? The one rule, for every experiment, report and chapter.

Two methods are measured on the *same* pairs of images, and where they are trained, with the same seeds: the difference
`d[s, p]` of seed s and pair p is what is looked at, never two separate spreads. Its mean comes with the interval that
holds the true one in 95 of 100 such studies, from Student's t. Three seeds have two degrees of freedom, so their
interval reaches 4.3 standard errors to either side, not 2.

    one seed:     mean +- t(P - 1) sd_p(d) / sqrt(P)               says nothing about other seeds
    one value per seed:   mean +- t(S - 1) sd_s(d) / sqrt(S)       says nothing about other pairs
    both:         mean +- t(df) sqrt(V),  V = (MS_s + MS_p - MS_e) / (S P)

with the mean squares of the two-way layout without repetition, seeds and pairs both drawn at random (Cornfield and
Tukey 1956), and Satterthwaite's degrees of freedom. The words are the same everywhere: "higher" or "lower" if the
interval leaves out zero, else "not told apart", which is no proof of equality: the interval says how large a difference
could still hide. There is no smallest difference below which nothing counts; whether an effect matters is the reader's
to judge from its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
UNDECIDED = "not told apart"
# Measure of `evaluate` -> whether more of it is better.
MORE_IS_BETTER = {
    "dice": True,
    "hd95": False,
    "asd": False,
    "epe": False,
    "fold_fraction": False,
    "sd_log_jacobian": False,
    "seconds_per_pair": False,
}

MEANS = {"dice": "dice_mean"}  # measure of `evaluate` -> its name in a single pair, where that is another


@dataclass(frozen=True)
class Effect:
    """A mean paired difference `first - second` and its interval."""

    mean: float
    low: float
    high: float
    seeds: int
    pairs: int  # 1 where only one value per seed is known

    @property
    def direction(self) -> str:
        """ "higher", "lower" or "not told apart"."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else UNDECIDED

    def judged(self, measure: str) -> str:
        """ "better", "worse" or "not told apart", for a measure of `moereg.metrics.evaluate`."""
        if self.direction == UNDECIDED:
            return UNDECIDED
        return "better" if (self.direction == "higher") == MORE_IS_BETTER[measure] else "worse"

    def text(self, digits: int = 3) -> str:
        """ "+0.012 [+0.003, +0.021]"; a single value has no interval."""
        if self.seeds * self.pairs == 1:
            return f"{self.mean:+.{digits}f}, a single value"
        return f"{self.mean:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


def paired_effect(first: Sequence, second: Sequence) -> Effect:
    """Mean of `first - second` with its interval.

    Args:
        first, second: values `(seed, pair)` of the two methods; `(pair,)` where there is one seed. Pairs for which
            either holds None or NaN with any seed are left out.

    Raises:
        ValueError: unequal shapes, or no pair with values of both.
    """
    one, other = (np.atleast_2d(np.array(values, dtype=float)) for values in (first, second))
    if one.shape != other.shape:
        raise ValueError(f"first and second must have one value per seed and pair, got {one.shape} and {other.shape}.")
    differences = one - other
    differences = differences[:, np.isfinite(differences).all(0)]
    if differences.size == 0:
        raise ValueError("first and second must share at least one pair with values of both, got none.")
    seeds, pairs = differences.shape
    mean = float(differences.mean())
    variance, freedom = _variance_of_mean(differences)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * variance**0.5) if freedom > 0 else float("inf")
    return Effect(mean, mean - reach, mean + reach, seeds, pairs)


def method_effects(first: dict, second: dict, measures: Sequence[str] = ("dice", "epe")) -> dict[str, Effect]:
    """Two methods as `evaluate` returns them: `first - second` over the pairs, for every measure that both know."""
    known = [name for name in measures if first[name] is not None and second[name] is not None]
    return {
        name: paired_effect(*([pair[MEANS.get(name, name)] for pair in method["pairs"]] for method in (first, second)))
        for name in known
    }


def _variance_of_mean(differences: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of `(seed, pair)` and its degrees of freedom, zero where nothing can be said."""
    seeds, pairs = differences.shape
    if 1 in (seeds, pairs):
        count = seeds * pairs
        return (float(differences.var(ddof=1)) / count, count - 1) if count > 1 else (0.0, 0)
    by_seed, by_pair = differences.mean(1, keepdims=True), differences.mean(0)
    rest = differences - by_seed - by_pair + differences.mean()
    freedoms = np.array([seeds - 1, pairs - 1, (seeds - 1) * (pairs - 1)])
    # Mean squares: MS_s = P sum_s (d_s - d)^2 / (S - 1), MS_p = S sum_p (d_p - d)^2 / (P - 1), MS_e of what is left.
    squares = np.array([pairs * by_seed.var(ddof=1), seeds * by_pair.var(ddof=1), (rest**2).sum() / freedoms[2]])
    # V S P = MS_s + MS_p - MS_e
    whole = squares[0] + squares[1] - squares[2]
    larger = int(squares[1] > squares[0])
    if whole <= squares[larger]:  # one of the two varies less than chance: the other alone decides
        return float(squares[larger]) / (seeds * pairs), float(freedoms[larger])
    # df = (MS_s + MS_p - MS_e)^2 / sum MS^2 / df
    return float(whole) / (seeds * pairs), float(whole**2 / (squares**2 / freedoms).sum())

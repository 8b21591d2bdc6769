"""What is kept of a measurement, and differences between rows, paired by seed and pair."""

import numpy as np
import pytest
from scipy import stats

from moereg.experiments import effect_between
from moereg.experiments.finding import kept
from moereg.metrics import evaluate
from tests.oracles import Shifts, slab_pair

pytestmark = pytest.mark.plain_errors


def row(method, seed, dice, per_pair=None, **more):
    return (
        {"method": method, "seed": seed, "dice": dice} | more | ({"per_pair": {"dice": per_pair}} if per_pair else {})
    )


def test_kept_of_an_evaluation():
    """Everything moves by one voxel: right for the second pair, an eighth of the slab too far for the first."""
    measured = evaluate({"m": Shifts(1.0, 0.0)}, [slab_pair(), slab_pair(1)], surfaces=False)["m"]
    assert kept(measured) == {
        "dice": 15 / 16,
        "epe": 0.5,
        "fold_fraction": 0.0,
        "per_pair": {"dice": [7 / 8, 1.0], "epe": [1.0, 0.0], "fold_fraction": [0.0, 0.0]},
    }
    only = kept(measured, ("epe", "seconds_per_pair", "sd_log_jacobian"))
    assert list(only) == ["epe", "seconds_per_pair", "sd_log_jacobian", "per_pair"]
    assert only["per_pair"] == {"epe": [1.0, 0.0], "sd_log_jacobian": [0.0, 0.0]}  # times are not paired
    assert only["seconds_per_pair"] == measured["seconds_per_pair"] > 0


def test_differences_of_pairs_and_seeds():
    rows = [
        row("b", 0, 0.0, [0.0, 0.0, 0.0]),
        row("a", 1, 5.0, [3.0, 6.0, 6.0]),
        row("a", 0, 3.0, [1.0, 2.0, 6.0]),
        row("b", 1, 0.0, [0.0, 0.0, 0.0]),
    ]
    effect = effect_between(rows, {"method": "a"}, {"method": "b"})
    reach = stats.t.ppf(0.975, 144 / 70) * 2**0.5  # tests/metrics/test_comparison.py works it out
    assert (effect.mean, effect.seeds, effect.pairs) == (4.0, 2, 3)
    assert (effect.low, effect.high) == pytest.approx((4 - reach, 4 + reach))
    assert effect_between(rows, {"method": "b"}, {"method": "a"}).mean == -4.0


def test_seeds_meet_their_own_whatever_the_order():
    rows = [row("a", 1, 0.9), row("a", 0, 0.5), row("b", 0, 0.4), row("b", 1, 0.8), row("b", 7, 0.0)]
    effect = effect_between(rows, {"method": "a"}, {"method": "b"})
    assert effect.mean == pytest.approx(0.1)
    assert (effect.seeds, effect.pairs) == (2, 1)  # seed 7 has no partner
    assert effect.high - effect.low == pytest.approx(0, abs=1e-12)


def test_what_is_not_trained_meets_every_seed():
    rows = [row("still", None, 0.4), row("a", 0, 0.5), row("a", 1, 0.6)]
    above, below = ({"method": "a"}, {"method": "still"}), ({"method": "still"}, {"method": "a"})
    assert effect_between(rows, *above).mean == pytest.approx(0.15)
    assert effect_between(rows, *below).mean == pytest.approx(-0.15)
    assert effect_between(rows, *above).seeds == effect_between(rows, *below).seeds == 2
    both = effect_between([row("x", None, 0.4), row("still", None, 0.3)], {"method": "x"}, {"method": "still"})
    assert (both.mean, both.seeds) == (pytest.approx(0.1), 1)


def test_settings_that_are_not_named_are_averaged_seed_by_seed():
    rows = [
        row(name, seed, 0.0, [base + 0.1 * k, base + 0.3 * k], k=k)
        for name, base in (("a", 0.5), ("b", 0.3))
        for seed in (0, 1)
        for k in (0, 1)
    ]
    effect = effect_between(rows, {"method": "a"}, {"method": "b", "k": 0})
    # a: pairs 0.5 + 0.05 and 0.5 + 0.15; b: 0.3 and 0.3
    assert (effect.mean, effect.seeds, effect.pairs) == (pytest.approx(0.3), 2, 2)


def test_where_one_side_lacks_single_pairs_means_are_compared():
    rows = [row("a", 0, 9.0, [0.5, 0.7]), row("a", 1, 9.0, [0.6, 0.8]), row("b", 0, 0.4), row("b", 1, 0.4)]
    effect = effect_between(rows, {"method": "a"}, {"method": "b"})
    assert (effect.mean, effect.seeds, effect.pairs) == (pytest.approx(0.25), 2, 1)


def test_another_measure():
    rows = [row("a", 0, 0.5, epe=3.0), row("b", 0, 0.9, epe=1.0)]
    assert effect_between(rows, {"method": "a"}, {"method": "b"}, "epe").mean == 2.0
    unknown = [row("a", 0, 0.5, [0.5, 0.6]) | {"epe": None}, row("b", 0, 0.5) | {"epe": 1.0}]
    with pytest.raises(ValueError, match="values of both"):
        effect_between(unknown, {"method": "a"}, {"method": "b"}, "epe")


def test_rows_without_a_seed_are_one():
    rows = [{"what": "x", "dice": 0.5}, {"what": "y", "dice": 0.2}]
    assert effect_between(rows, {"what": "x"}, {"what": "y"}).mean == pytest.approx(0.3)


def test_bad_input():
    rows = [row("a", 0, 0.5), row("b", 1, 0.5)]
    with pytest.raises(ValueError, match=r"rows must hold some with \{'method': 'c'\}, got none"):
        effect_between(rows, {"method": "a"}, {"method": "c"})
    with pytest.raises(ValueError, match=r"must have a seed in common, got \[0\] and \[1\]"):
        effect_between(rows, {"method": "a"}, {"method": "b"})
    assert np.isinf(effect_between(rows, {"method": "a"}, {"method": "a"}).high)

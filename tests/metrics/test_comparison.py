"""The one rule for "better": against scipy's paired t test, a table worked by hand, and a simulation."""

import numpy as np
import pytest
from scipy import stats

from moereg.metrics import MORE_IS_BETTER, Effect, method_effects, paired_effect

pytestmark = pytest.mark.plain_errors
GENERATOR = np.random.default_rng(0)
FIRST, SECOND = GENERATOR.normal(0.7, 0.1, 6), GENERATOR.normal(0.65, 0.1, 6)


@pytest.mark.parametrize(
    ("first", "second", "seeds", "pairs"),
    [
        (FIRST, SECOND, 1, 6),  # one seed
        (FIRST[None], SECOND[None], 1, 6),
        (FIRST[:, None], SECOND[:, None], 6, 1),  # one value per seed
        (FIRST[:2], SECOND[:2], 1, 2),
    ],
)
def test_one_row_or_column_is_the_paired_t_test(first, second, seeds, pairs):
    effect = paired_effect(first, second)
    theirs = stats.ttest_rel(np.ravel(first), np.ravel(second)).confidence_interval(0.95)
    assert effect.mean == pytest.approx((np.ravel(first) - np.ravel(second)).mean())
    assert (effect.low, effect.high) == pytest.approx((theirs.low, theirs.high))
    assert (effect.seeds, effect.pairs) == (seeds, pairs)
    against_zero = paired_effect(first - second, np.zeros_like(first))
    theirs = stats.ttest_1samp(np.ravel(first - second), 0).confidence_interval(0.95)
    assert (against_zero.low, against_zero.high) == pytest.approx((theirs.low, theirs.high))


def test_three_seeds_reach_four_point_three_standard_errors():
    effect = paired_effect([[3.0], [4.0], [5.0]], [[0.0]] * 3)  # sd 1, standard error 1 / sqrt(3)
    assert effect.mean == 4.0
    assert (effect.high - effect.mean) * 3**0.5 == pytest.approx(4.303, abs=5e-4)
    assert (effect.mean - effect.low) * 3**0.5 == pytest.approx(4.303, abs=5e-4)


def test_two_seeds_and_three_pairs_by_hand():
    """Differences 1 2 6 / 3 6 6: mean 4, by seed 3 and 5, by pair 2, 4, 6.

    MS_seeds = 3 (1 + 1) / 1 = 6, MS_pairs = 2 (4 + 0 + 4) / 2 = 8; left over 1 - 3 - 2 + 4 = 0, -1, 1 and 0, 1, -1,
    so MS_rest = 4 / 2 = 2. V = (6 + 8 - 2) / 6 = 2, df = 12^2 / (36 / 1 + 64 / 2 + 4 / 2) = 144 / 70.
    """
    differences = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])
    base = np.array([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]])
    effect = paired_effect(base + differences, base)
    reach = stats.t.ppf(0.975, 144 / 70) * 2**0.5
    assert (effect.mean, effect.seeds, effect.pairs) == (4.0, 2, 3)
    assert (effect.low, effect.high) == pytest.approx((4 - reach, 4 + reach))
    assert paired_effect(base, base + differences).high == pytest.approx(reach - 4)


@pytest.mark.parametrize(
    ("differences", "variance", "freedom"),
    [
        # seeds 1, 3 alike in all pairs: MS_s = 3 * 2 / 1 = 6, others zero -> V = 6 / 6, one degree of freedom
        ([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]], 1.0, 1),
        # pairs 1, 2, 6 alike for both seeds: MS_p = 2 * 14 / 2 = 14, V = 14 / 6, two degrees of freedom
        ([[1.0, 2.0, 6.0], [1.0, 2.0, 6.0]], 14 / 6, 2),
        # means by seed are equal, MS_s = 0; by pair 1, 3, 5: MS_p = 8; rest +-1, 0, +-1: MS_e = 4 / 2 = 2
        ([[2.0, 3.0, 4.0], [0.0, 3.0, 6.0]], 8 / 6, 2),
        # by pair equal, MS_p = 0; by seed 2, 4: MS_s = 6; rest +-1, 0, -+1: MS_e = 4 / 2
        ([[3.0, 2.0, 1.0], [3.0, 4.0, 5.0]], 6 / 6, 1),
        # both vary less than the rest does: by pair equal, by seed 2.5 and 2, MS_s = 3 / 8; MS_e = 16 / 2
        ([[4.5, 0.5, 2.5], [0.0, 4.0, 2.0]], 3 / 8 / 6, 1),
    ],
)
def test_where_one_of_the_two_says_nothing_the_other_decides(differences, variance, freedom):
    effect = paired_effect(differences, np.zeros((2, 3)))
    reach = stats.t.ppf(0.975, freedom) * variance**0.5
    mean = np.mean(differences)
    assert (effect.low, effect.high) == pytest.approx((mean - reach, mean + reach))


@pytest.mark.parametrize(("of_seeds", "of_pairs", "rest"), [(1.0, 1.0, 0.5), (0.3, 1.0, 1.0), (1.0, 0.3, 0.3)])
def test_the_interval_holds_the_truth_in_95_of_100_studies(of_seeds, of_pairs, rest):
    """Seeds and pairs drawn at random, each with an effect of its own. Satterthwaite errs to the safe side."""
    random, truth, studies = np.random.default_rng(1), 0.7, 600
    held = 0
    for _ in range(studies):
        d = truth + of_seeds * random.normal(size=(4, 1)) + of_pairs * random.normal(size=(1, 8))
        effect = paired_effect(d + rest * random.normal(size=(4, 8)), np.zeros((4, 8)))
        held += effect.low <= truth <= effect.high
    assert 0.935 < held / studies < 0.985


def test_pairs_that_one_of_the_two_lacks_are_left_out():
    nan = float("nan")
    effect = paired_effect([[1.0, 9.0, 3.0, nan], [2.0, None, 4.0, 5.0]], [[0.0, 5.0, 1.0, 1.0], [1.0, 5.0, 3.0, 1.0]])
    assert effect == paired_effect([[1.0, 3.0], [2.0, 4.0]], [[0.0, 1.0], [1.0, 3.0]])
    assert (effect.seeds, effect.pairs, effect.mean) == (2, 2, 1.25)
    assert paired_effect([1.0, 2.0, 5.0], [0.0, 0.0, None]) == paired_effect([1.0, 2.0], [0.0, 0.0])


@pytest.mark.filterwarnings("error")
def test_a_single_value_decides_nothing():
    effect = paired_effect([0.9], [0.1])
    assert (effect.mean, effect.low, effect.high) == (pytest.approx(0.8), -np.inf, np.inf)
    assert (effect.seeds, effect.pairs) == (1, 1)
    assert effect.direction == effect.judged("dice") == effect.judged("hd95") == "not told apart"
    assert effect.text() == "+0.800, a single value"
    assert effect.text(1) == "+0.8, a single value"


def test_identical_values_are_not_told_apart():
    for values in ([0.5, 0.6, 0.7], [[0.5, 0.6], [0.7, 0.8]], [[0.5], [0.6]]):
        effect = paired_effect(values, values)
        assert (effect.mean, effect.low, effect.high) == (0, 0, 0)
        assert effect.direction == "not told apart"


def test_the_same_difference_everywhere_is_certain():
    assert paired_effect([1.5, 2.5], [1.0, 2.0]).direction == "higher"
    assert paired_effect([1.0, 2.0], [1.5, 2.5]).direction == "lower"


def test_there_is_no_smallest_difference():
    tiny = paired_effect([1e-9, 2e-9, 1.5e-9, 1.6e-9], [0, 0, 0, 0])
    assert tiny.direction == "higher"


@pytest.mark.parametrize(
    ("low", "high", "direction", "dice", "less_is_better"),
    [
        (0.1, 0.3, "higher", "better", "worse"),
        (-0.3, -0.1, "lower", "worse", "better"),
        (-0.1, 0.3, "not told apart", "not told apart", "not told apart"),
        (0.0, 0.3, "not told apart", "not told apart", "not told apart"),
        (-0.3, 0.0, "not told apart", "not told apart", "not told apart"),
    ],
)
def test_words(low, high, direction, dice, less_is_better):
    effect = Effect((low + high) / 2, low, high, 3, 1)
    assert effect.direction == direction
    assert effect.judged("dice") == dice
    for measure in ("hd95", "asd", "epe", "fold_fraction", "sd_log_jacobian", "seconds_per_pair"):
        assert effect.judged(measure) == less_is_better
    assert sorted(MORE_IS_BETTER) == sorted(
        ["dice", "hd95", "asd", "epe", "fold_fraction", "sd_log_jacobian", "seconds_per_pair"]
    )


def test_text():
    assert Effect(0.0123, -0.004, 0.0286, 3, 1).text() == "+0.012 [-0.004, +0.029]"
    assert Effect(1.0, 0.5, 1.5, 2, 2).text(1) == "+1.0 [+0.5, +1.5]"
    assert Effect(-1.5, -2.26, -0.74, 1, 2).text(1) == "-1.5 [-2.3, -0.7]"


def test_bad_input():
    with pytest.raises(ValueError, match=r"one value per seed and pair, got \(1, 3\) and \(1, 2\)\."):
        paired_effect([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2, 1\)"):
        paired_effect([1, 2], [[1], [2]])
    with pytest.raises(ValueError, match="must share at least one pair with values of both, got none"):
        paired_effect([1.0, None], [None, 1.0])
    with pytest.raises(ValueError, match="got none"):
        paired_effect([[1.0, 2.0], [None, None]], [[1.0, 2.0], [1.0, 2.0]])


def test_methods_are_compared_in_what_both_know():
    first = {"dice": 0.8, "epe": 1.0, "pairs": [{"dice_mean": 0.7, "epe": 1.5}, {"dice_mean": 0.9, "epe": 0.5}]}
    second = {"dice": 0.5, "epe": None, "pairs": [{"dice_mean": 0.3, "epe": None}, {"dice_mean": 0.7, "epe": None}]}
    assert method_effects(first, second) == {"dice": paired_effect([0.7, 0.9], [0.3, 0.7])}
    assert method_effects(second, first)["dice"].mean == pytest.approx(-0.3)
    assert method_effects(first, first, ("epe",)) == {"epe": paired_effect([1.5, 0.5], [1.5, 0.5])}

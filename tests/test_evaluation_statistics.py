"""Intervals and tests against published values, other libraries and simulated truth."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test
from scipy.stats import t as student

from benchmarks.coverage import compare_seconds, group_sizes, measured, rejected, rights, type_1
from cdsframe.evaluation.statistics import (
    holm,
    interval,
    interval_of,
    mcnemar,
    paired_difference,
    paired_differences,
    seeds_difference,
)
from cdsframe.evaluation.statistics.intervals import intra_cluster_correlation

TRIALS = 400


def test_mcnemar_is_the_exact_binomial() -> None:
    changes = [-1.0] * 2 + [1.0] * 10 + [0.0] * 5
    assert mcnemar(changes) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar([-change for change in changes]) == pytest.approx(mcnemar(changes))
    assert mcnemar([0.0, 0.0]) == 1


def test_holm_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_independent_proportions_have_clopper_and_pearsons_interval() -> None:
    # 4 of 20: [.0573, .4366] (Clopper & Pearson 1934, as in Newcombe 1998, Statistics in Medicine 17)
    found = interval([1.0] * 4 + [0.0] * 16, [""] * 20)
    assert (found.value, found.low, found.high) == (
        0.2,
        pytest.approx(0.0573, abs=1e-3),
        pytest.approx(0.4366, abs=1e-3),
    )


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("questions", [1, 2, 3, 50])
@pytest.mark.parametrize("grouped", [False, True])
def test_no_interval_has_zero_width(value: float, questions: int, grouped: bool) -> None:
    found = interval([value] * questions, ["a" if grouped else ""] * questions)
    assert found.low <= value <= found.high
    assert 0 <= found.low < found.high <= 1
    same = paired_difference([value] * questions, [value] * questions, ["a" if grouped else ""] * questions)
    assert (same.value, same.p) == (0, 1)
    assert -1 <= same.low < 0 < same.high <= 1


def test_all_right_is_bounded_by_the_number_of_questions() -> None:
    assert interval([1.0] * 60, [""] * 60).low == pytest.approx(0.025 ** (1 / 60))
    together = interval([1.0] * 60, [str(number // 6) for number in range(60)])
    assert together.low < interval([1.0] * 60, [""] * 60).low, "questions of a group tell less"


@pytest.mark.parametrize(("groups", "correlation"), list(product((10, 30, 81), (0.0, 0.3))))
def test_intervals_of_uneven_groups_cover_the_truth_as_often_as_they_say(groups: int, correlation: float) -> None:
    chooser = np.random.default_rng(groups)
    sizes = group_sizes("geometric", groups)
    names = np.repeat([str(number) for number in range(groups)], sizes).tolist()
    typical = float((sizes**2).sum() / sizes.sum())
    for share in (0.05, 0.5, 0.85):
        held, width = measured(rights(share, correlation, "beta", sizes, TRIALS, chooser), sizes, names, share)
        assert held >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS), share
        oracle = 2 * 1.96 * math.sqrt(share * (1 - share) / sizes.sum() * (1 + (typical - 1) * correlation))
        # With a rare outcome in few questions, no method here was narrower and held (docs/evaluate.md).
        assert width <= (1.5 if share == 0.05 else 1.3) * oracle, share


def test_the_intra_cluster_correlation_is_that_of_analysis_of_variance() -> None:
    # Four groups of three: mean squares by hand, between 4/9 and within 1/6.
    totals, sizes = np.array([3.0, 1.0, 0.0, 2.0]), np.full(4, 3.0)
    between, within = (3 * (0.25 + 1 / 36 + 0.25 + 1 / 36)) / 3, (2 / 3 + 2 / 3) / 8
    wanted = (between - within) / (between + 2 * within)
    assert intra_cluster_correlation(totals, sizes, 0.5, 6.0) == pytest.approx(wanted)
    assert intra_cluster_correlation(np.zeros(4), sizes, 0.0, 0.0) is None


def test_groups_widen_the_interval() -> None:
    scores = [float(number % 2) for number in range(40) for _ in range(5)]
    alone = interval(scores, [""] * 200)
    together = interval(scores, [str(number) for number in range(40) for _ in range(5)])
    assert alone.value == together.value == 0.5
    # Five copies of each score say hardly more than one: about sqrt(5) times as wide.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(5), rel=0.1)


def test_fractional_scores_have_narrower_intervals_than_right_and_wrong() -> None:
    chooser = np.random.default_rng(0)
    fractional = interval(chooser.beta(5, 5, 200).tolist(), [""] * 200)
    binary = interval([float(number % 2) for number in range(200)], [""] * 200)
    assert fractional.high - fractional.low < 0.5 * (binary.high - binary.low)
    covered = sum(
        one.low <= 0.5 <= one.high
        for _ in range(TRIALS)
        for one in [interval(chooser.beta(5, 5, 30).tolist(), [""] * 30)]
    )
    assert covered / TRIALS >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS)


def test_equal_scores_leave_room_for_rare_other_ones() -> None:
    chooser = np.random.default_rng(13)
    scores = np.where(chooser.random((TRIALS, 50)) < 0.03, 0.0, 0.7)
    held = [one.low <= 0.97 * 0.7 <= one.high for one in (interval(row.tolist(), [""] * 50) for row in scores)]
    assert np.mean(held) >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS)


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_few_groups_count_as_single_questions(groups: int) -> None:
    chooser = np.random.default_rng(groups)
    sizes = np.full(groups, 30)
    names = np.repeat([str(number) for number in range(groups)], sizes).tolist()
    held, _ = measured(rights(0.5, 0.6, "beta", sizes, TRIALS, chooser), sizes, names, 0.5)
    assert held >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS)


def test_ratio_and_no_weight() -> None:
    found = interval([1, 0, 2], ["a", "b", "c"], [2, 0, 2])
    assert found.value == 0.75
    assert 0 < found.low < 0.75 < found.high < 1
    assert math.isnan(interval([0, 0], ["", ""], [0, 0]).value)
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([1.5], [""])
    with pytest.raises(ValueError, match="weight"):
        interval([3.0], [""], [2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([math.nan], [""])
    with pytest.raises(ValueError, match="finite"):
        paired_difference([0.0], [math.nan], [""])


def test_the_sign_flip_test_is_scipys() -> None:
    changes = np.random.default_rng(3).normal(0.3, 1, 11)
    wanted = permutation_test((changes,), np.sum, permutation_type="samples", n_resamples=math.inf).pvalue
    found = paired_difference([0.0] * 11, changes.tolist(), [""] * 11)
    assert found.p == pytest.approx(wanted)
    assert found.value == pytest.approx(changes.mean())


@pytest.mark.parametrize("groups", [11, 40])
def test_the_interval_of_a_difference_is_the_inversion_of_its_test(groups: int) -> None:
    chooser = np.random.default_rng(groups)
    names = [str(number % groups) for number in range(3 * groups - 5)]
    changes = chooser.normal(0.2, 0.4, len(names))
    found = paired_difference([0.0] * len(names), changes.tolist(), names)
    assert -1 < found.low < found.value < found.high < 1
    for bound, inwards in ((found.low, 1e-6), (found.high, -1e-6)):
        inside, outside = ((changes - bound - step).tolist() for step in (inwards, -inwards))
        assert paired_difference([0.0] * len(names), inside, names).p > 0.05
        assert paired_difference([0.0] * len(names), outside, names).p <= 0.05


def test_interval_and_p_agree() -> None:
    chooser = np.random.default_rng(7)
    fractions = [chooser.random(100) * (chooser.random(100) < 0.04) for _ in range(50)]
    binary = [chooser.choice([-1.0, 0.0, 1.0], 40, p=[0.1, 0.6, 0.3]) for _ in range(200)]
    near = [np.array([1.0] * gained + [-1.0] * lost + [0.0] * 106) for gained, lost in ((29, 15), (42, 25), (57, 37))]
    for changes in (*binary, *near, *fractions, np.full(6, 0.3)):
        found = paired_difference([0.0] * len(changes), changes.tolist(), [""] * len(changes))
        assert (found.p <= 0.05) != (found.low <= 0 <= found.high), (found, changes)
        assert found.low <= found.value <= found.high
    assert all(paired_difference([0.0] * 40, one.tolist(), [""] * 40).p == mcnemar(one) for one in binary), (
        "exact if no questions share a group"
    )


def test_below_six_groups_nothing_is_significant() -> None:
    for groups in (1, 2, 5):
        names = [str(number % groups) for number in range(60)]
        found = paired_difference([0.0] * 60, [1.0] * 60, names)
        assert found.p == 2.0 ** -(groups - 1)
        assert (found.low, found.high) == (-1, 1), "the test rejects no difference"
    assert paired_difference([0.0] * 60, [1.0] * 60, [str(n % 6) for n in range(60)]).p == 1 / 32


def test_a_paired_difference_counts_groups_not_questions() -> None:
    gains = [float(gain) for gain in np.random.default_rng(4).normal(0.3, 1, 40).round(2) for _ in range(5)]
    groups = [str(number) for number in range(40) for _ in range(5)]
    together = paired_difference([0.0] * 200, gains, groups)
    once = paired_difference([0.0] * 40, gains[::5], [""] * 40)
    assert (once.value, once.low, once.high, once.p) == pytest.approx(
        (together.value, together.low, together.high, together.p)
    )
    alone = paired_difference([0.0] * 200, gains, [""] * 200)
    assert alone.p < 0.05 < together.p


def test_a_weighted_difference_is_the_ratio_of_the_sums() -> None:
    changes, weights = np.array([[1.0], [0.5], [-0.25], [2.0]] * 5), [2.0, 1.0, 1.0, 4.0] * 5
    found = paired_differences(changes, [""] * 20, math.inf, weights)[0]
    assert found.value == pytest.approx(3.25 / 8)
    assert found.low < found.value < found.high


def test_type_1_error_is_held() -> None:
    rates = type_1(TRIALS, np.random.default_rng(5))
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)
    assert {name: rate for name, rate in rates.items() if rate > allowed} == {}
    assert max(rates.values()) > 0.01, "the simulation can fail"


def test_a_real_difference_is_found() -> None:
    chooser = np.random.default_rng(6)
    names = np.repeat([str(number) for number in range(30)], 4).tolist()
    changes = chooser.choice([-1.0, 0.0, 1.0], (120, TRIALS), p=[0.05, 0.65, 0.3])
    assert rejected(changes, names) > 0.8


def test_intervals_of_differences_cover_the_truth() -> None:
    chooser = np.random.default_rng(8)
    names = np.repeat([str(number) for number in range(20)], group_sizes("geometric", 20)).tolist()
    changes = chooser.choice([-1.0, 0.0, 1.0], (len(names), TRIALS), p=[0.1, 0.6, 0.3])
    held = np.mean([one.low <= 0.2 <= one.high for one in paired_differences(changes, names)])
    assert held >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS)


def test_twenty_runs_are_compared_quickly_and_equally_each_time() -> None:
    assert compare_seconds(np.random.default_rng(1)) < 60  # .1 here; a wrong complexity takes minutes
    changes = np.random.default_rng(2).normal(0, 1, (50, 3))
    assert paired_differences(changes, [""] * 50) == paired_differences(changes, [""] * 50)


def test_the_bootstrap_resamples_groups() -> None:
    scores = np.repeat(np.random.default_rng(9).random(40), 5)
    groups = [str(number) for number in range(40) for _ in range(5)]
    together = interval_of(lambda places: float(scores[places].mean()), groups, 500, seed=1)
    alone = interval_of(lambda places: float(scores[places].mean()), [""] * 200, 500, seed=1)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(5), rel=0.2)
    assert together == interval_of(lambda places: float(scores[places].mean()), groups, 500, seed=1)


def crossed(
    seeds: int, names: list[str], between_seeds: float, between_groups: float, chooser: np.random.Generator
) -> np.ndarray:
    """Scores `[seeds, questions]` around 0 with effects of seeds, of seeds within groups, and of single answers."""
    numbers = np.unique(names, return_inverse=True)[1]
    found = between_seeds * chooser.normal(size=(seeds, 1))
    found = found + between_groups * chooser.normal(size=(seeds, int(numbers.max()) + 1))[:, numbers]
    return found + 0.1 * chooser.normal(size=found.shape)


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("between_seeds", [0.0, 0.05, 0.2])
def test_a_difference_of_methods_allows_for_other_seeds(seeds: int, between_seeds: float) -> None:
    chooser = np.random.default_rng(11)
    names = np.repeat([str(number) for number in range(20)], group_sizes("geometric", 20)).tolist()
    small = ignored = 0
    for _ in range(TRIALS):
        first, second = (crossed(seeds, names, between_seeds, 0.1, chooser) for _ in range(2))
        small += seeds_difference(first, second, names).p < 0.05
        ignored += paired_difference(first[0].tolist(), second[0].tolist(), names).p < 0.05
    assert small / TRIALS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)
    if between_seeds == 0.2:
        assert ignored / TRIALS > 0.5, "one adapter each: a difference between adapters, not between methods"


def test_a_difference_of_methods_is_found() -> None:
    chooser = np.random.default_rng(12)
    names = [str(number) for number in range(40)]
    found = [
        seeds_difference(crossed(5, names, 0.02, 0.1, chooser), 0.1 + crossed(5, names, 0.02, 0.1, chooser), names)
        for _ in range(100)
    ]
    assert sum(one.p < 0.05 for one in found) > 90
    assert sum(one.low <= 0.1 <= one.high for one in found) >= 90


def test_a_difference_of_methods_by_hand() -> None:
    # Two seeds each; the seeds' means differ by .2 and .1, the two groups' differences are .4 and .6.
    first, second = np.array([[0.1, 0.1], [0.3, 0.3]]), np.array([[0.55, 0.75], [0.65, 0.85]])
    found = seeds_difference(first, second, ["a", "b"])
    parts = [0.01, 0.01, 0.0025]  # groups: 2 · .1² · 2 / 2²; seeds: .02 / 2 and .005 / 2
    freedom = sum(parts) ** 2 / sum(part**2 for part in parts)
    assert found.value == pytest.approx(0.5)
    assert found.high == pytest.approx(min(1, 0.5 + student.ppf(0.975, freedom) * math.sqrt(sum(parts))))
    assert found.p == pytest.approx(2 * student.sf(0.5 / math.sqrt(sum(parts)), freedom))
    with pytest.raises(ValueError, match="two seeds"):
        seeds_difference(first[:1], second, ["a", "b"])
    same = seeds_difference(first * 0, first * 0, ["a", "b"])
    assert (same.value, same.p) == (0, 1)
    assert same.low < 0 < same.high

"""Intervals and tests against published values and simulated truth."""

import math

import numpy as np
import pytest

from cdsframe.evaluation.statistics import holm, interval, mcnemar, paired_difference


def test_mcnemar_is_the_exact_binomial() -> None:
    first = [1.0] * 2 + [0.0] * 10 + [1.0] * 5
    second = [0.0] * 2 + [1.0] * 10 + [1.0] * 5
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(second, first) == pytest.approx(mcnemar(first, second))
    assert mcnemar(first, first) == 1


def test_holm_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = interval(list(generator.binomial(1, 0.3, 80).astype(float)), [""] * 80, 400, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_clusters_widen_the_interval() -> None:
    scores = [float(number % 2) for number in range(40) for _ in range(5)]
    groups = [str(number) for number in range(40) for _ in range(5)]
    alone = interval(scores, [""] * 200, 2000, seed=1)
    together = interval(scores, groups, 2000, seed=1)
    assert alone.value == together.value == 0.5
    # five copies of each score say no more than one: sqrt(5) times as wide
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(5), rel=0.15)


def test_ratio_and_no_weight() -> None:
    found = interval([1, 0, 2], ["a", "b", "c"], 500, seed=1, weights=[2, 0, 2])
    assert found.value == 0.75
    assert found.low == 0.5
    assert found.high == 1
    assert math.isnan(interval([0, 0], ["", ""], 100, seed=1, weights=[0, 0]).value)


def test_paired_difference() -> None:
    generator = np.random.default_rng(3)
    first = generator.random(100)
    better = paired_difference(list(first), list(first + generator.normal(0.2, 0.3, 100)), [""] * 100, 1000, seed=1)
    assert better.low > 0
    assert better.p < 0.01
    same = paired_difference(list(first), list(first), [""] * 100, 1000, seed=1)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_paired_difference_counts_clusters_not_questions() -> None:
    gains = [float(gain) for gain in np.random.default_rng(4).normal(0.3, 1, 40).round(2) for _ in range(5)]
    groups = [str(number) for number in range(40) for _ in range(5)]
    alone = paired_difference([0.0] * 200, gains, [""] * 200, 2000, seed=1)
    together = paired_difference([0.0] * 200, gains, groups, 2000, seed=1)
    assert alone.value == pytest.approx(together.value)
    # five copies of each gain say no more than one: sqrt(5) times as wide, and not significant any more
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(5), rel=0.15)
    assert alone.p < 0.05 < together.p
    once = paired_difference([0.0] * 40, gains[::5], [""] * 40, 2000, seed=1)
    assert (once.value, once.low, once.high, once.p) == pytest.approx(
        (together.value, together.low, together.high, together.p)
    )


def test_p_counts_the_observed_difference_so_that_it_is_never_zero() -> None:
    certain = paired_difference([0.0] * 30, [1.0] * 30, [""] * 30, 999, seed=1)
    assert certain.p == pytest.approx(1 / 1000)


def test_p_is_uniform_where_nothing_differs() -> None:
    generator = np.random.default_rng(5)
    small = sum(
        paired_difference([0.0] * 60, list(generator.normal(0, 1, 60)), [""] * 60, 400, seed=n).p < 0.05
        for n in range(200)
    )
    assert small <= 20  # 5 % of 200, and room for chance


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = [0.1, 0.5, 0.9, 0.2] * 100
    assert interval(scores, [""] * 400, 600, seed=7) == interval(scores, [""] * 400, 600, seed=7)
    assert interval(scores, [""] * 400, 600, seed=7) != interval(scores, [""] * 400, 600, seed=8)

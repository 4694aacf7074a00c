"""Confidence intervals and paired tests over per-question scores.

Every interval is a 95 % percentile bootstrap (Efron & Tibshirani 1993, ch. 13) over *groups* of questions that are not
independent, such as two wordings of one fact (the cluster bootstrap, Davison & Hinkley 1997, ch. 3.8); questions
without a group are groups of one. Does not know what the scores mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 256
"""Number of resamples that are drawn at once; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """`second - first` on the same questions, with its 95 % interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


def interval(
    scores: Sequence[float],
    groups: Sequence[str],
    resamples: int,
    seed: int,
    weights: Sequence[float] | None = None,
) -> Interval:
    """The mean of the scores, or with weights the ratio `sum(scores) / sum(weights)`, with its bootstrap interval.

    Precision and recall are such ratios (correct citations / citations): both sums are resampled together, and a
    resample whose weights sum to 0 is left out. All three values are NaN if the weights sum to 0.
    """
    import numpy as np

    top = _group_sums(scores, groups)
    bottom = _group_sums([1.0] * len(scores) if weights is None else weights, groups)
    if not bottom.sum():
        return Interval(float("nan"), float("nan"), float("nan"))
    ratios = []
    for drawn in _draws(len(top), resamples, seed):
        under = bottom[drawn].sum(axis=1)
        ratios.append(top[drawn].sum(axis=1)[under > 0] / under[under > 0])
    low, high = np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high))


def paired_difference(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str], resamples: int, seed: int
) -> Difference:
    """The mean of `second - first` per question, with a paired bootstrap interval and p.

    p is the share of resamples whose difference is at least as far from the observed difference as the observed
    difference is from 0 (the shifted null of Efron & Tibshirani 1993, ch. 16; Berg-Kirkpatrick et al. 2012, ACL
    D12-1091); the observed difference counts as one more resample.
    """
    import numpy as np

    sums = _group_sums([b - a for a, b in zip(first, second, strict=True)], groups)
    counts = _group_sums([1.0] * len(first), groups)
    observed = float(sums.sum() / counts.sum())
    drawn = np.concatenate([sums[d].sum(axis=1) / counts[d].sum(axis=1) for d in _draws(len(sums), resamples, seed)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    as_far = int((np.abs(drawn - observed) >= abs(observed) - 1e-12).sum())
    return Difference(observed, float(low), float(high), (as_far + 1) / (resamples + 1))


def interval_of(statistic: Callable[[np.ndarray], float], groups: Sequence[str], resamples: int, seed: int) -> Interval:
    """Any statistic of an array of question indices, with its bootstrap interval; slower than `interval`."""
    import numpy as np

    names = _named(groups)
    members = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
    found = [
        statistic(np.concatenate([members[place] for place in row]))
        for drawn in _draws(len(members), resamples, seed)
        for row in drawn
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(statistic(np.arange(len(groups))), float(low), float(high))


def mcnemar(first: Sequence[float], second: Sequence[float]) -> float:
    """The exact two-sided p of McNemar's test (1947) on two lists of scores: 1 right, 0 wrong, between them a tie.

    Counts the questions on which each list has the higher score. With values between 0 and 1 it is the sign test.
    """
    from scipy.stats import binomtest

    gained = sum(b > a for a, b in zip(first, second, strict=True))
    lost = sum(b < a for a, b in zip(first, second, strict=True))
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted for multiple tests by Holm's step-down method (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _group_sums(values: Sequence[float], groups: Sequence[str]) -> np.ndarray:
    """The sum of the values of each group, `[groups]`, in order of first appearance."""
    import numpy as np

    places: dict[str, int] = {}
    index = [places.setdefault(name, len(places)) for name in _named(groups)]
    return np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(places))


def _named(groups: Sequence[str]) -> np.ndarray:
    """The groups' names, `[questions]`; a question without a group gets a unique name."""
    import numpy as np

    return np.array([group or f"\0{number}" for number, group in enumerate(groups)])


def _draws(size: int, resamples: int, seed: int) -> list[np.ndarray]:
    """Indices below `size`, drawn with replacement, `[resamples, size]` in chunks; equal for equal seed and size."""
    import numpy as np

    generator = np.random.default_rng(seed)
    rows = [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]
    return [generator.integers(0, size, (count, size)) for count in rows]

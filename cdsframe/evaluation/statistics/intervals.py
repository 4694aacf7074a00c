"""95 % intervals of means and ratios of scores between 0 and 1.

The interval is Clopper & Pearson's (1934) for an effective number of questions, as Korn & Graubard (1998, Survey
Methodology 24) propose for samples of clusters: `n / deff`, where `deff = 1 + (m - 1) icc` is Kish's design effect
(1965), `m = Σ nᵢ² / n` for groups of nᵢ questions, and `icc` the intra-cluster correlation by analysis of variance
(Donner 1986, Int. Stat. Rev. 54). With few groups the estimate of the correlation is imprecise, so it is averaged with
`PRIOR`, which counts as `PRIOR_GROUPS` groups. With fewer than `FEW_GROUPS` groups the correlation is taken as 1: a
group counts as one question. The percentile bootstrap and intervals from the variance between groups cover the truth
less often than they state if there are few groups, or one large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdsframe.evaluation.statistics.groups import numbered, sums

if TYPE_CHECKING:
    import numpy as np

PRIOR, PRIOR_GROUPS = 0.15, 5
"""Assumed intra-cluster correlation, and its weight as a number of groups."""
FEW_GROUPS = 6
"""Number of groups from which the correlation is estimated."""
ERROR = 0.05
"""1 - the nominal coverage."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def interval(scores: Sequence[float], groups: Sequence[str], weights: Sequence[float] | None = None) -> Interval:
    """The mean of the scores, or with weights the ratio `sum(scores) / sum(weights)`, with its interval.

    Precision and recall are such ratios: of `weight` citations of a question, `score` are right. No interval has zero
    width. All three values are NaN if the weights sum to 0.

    Raises ValueError if a score is not between 0 and 1 (or its weight).
    """
    import numpy as np
    from scipy.stats import beta

    tops = np.asarray(scores, dtype=float)
    bottoms = np.ones(len(tops)) if weights is None else np.asarray(weights, dtype=float)
    if not ((tops >= -1e-9) & (tops <= bottoms + 1e-9)).all():  # also if one is NaN
        raise ValueError("an interval needs scores between 0 and 1, or between 0 and their weight")
    count = float(bottoms.sum())
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(np.clip(tops.sum() / count, 0, 1))
    # A question with a weight stands for as many binary outcomes, whose squares sum to their sum.
    squares = float((tops**2).sum() if weights is None else tops.sum())
    size = effective_size(tops, bottoms, numbered(groups), mean, squares)
    right, wrong = mean * size, (1 - mean) * size
    low = float(beta.ppf(ERROR / 2, right, wrong + 1)) if mean > 0 else 0.0
    high = float(beta.ppf(1 - ERROR / 2, right + 1, wrong)) if mean < 1 else 1.0
    return Interval(mean, low, high)


def effective_size(tops: np.ndarray, bottoms: np.ndarray, numbers: np.ndarray, mean: float, squares: float) -> float:
    """The number of independent binary outcomes whose mean is as certain as that of these scores."""
    count = float(bottoms.sum())
    largest = mean * (1 - mean)
    variance = max(squares / count - mean**2, 0.0)
    # Scores of 0 and 1 may be too rare to be among these: 3 / n is the rule of three for outcomes that were not seen.
    variance += max(largest - variance, 0.0) * min(3 / count, 1.0)
    independent = count * (largest / variance if variance else 1.0)
    sizes = sums(bottoms, numbers)
    sizes, totals = sizes[sizes > 0], sums(tops, numbers)[sizes > 0]
    typical = float((sizes**2).sum() / count)
    correlation = intra_cluster_correlation(totals, sizes, mean, squares)
    correlation = PRIOR if correlation is None else correlation
    if len(sizes) < FEW_GROUPS and len(sizes) < count:
        shrunk = 1.0
    elif len(sizes) < count:
        shrunk = (len(sizes) * correlation + PRIOR_GROUPS * PRIOR) / (len(sizes) + PRIOR_GROUPS)
    else:
        shrunk = 0.0  # each question is a group
    return min(independent, independent / (1 + (typical - 1) * min(max(shrunk, 0.0), 1.0)))


def intra_cluster_correlation(totals: np.ndarray, sizes: np.ndarray, mean: float, squares: float) -> float | None:
    """The correlation of two scores of one group, from each group's sum and size; None: all scores are equal.

    The one-way analysis of variance estimator; it may be negative.
    """
    count, groups = float(sizes.sum()), len(sizes)
    if groups < 2 or count <= groups:
        return None
    between = float((sizes * (totals / sizes - mean) ** 2).sum()) / (groups - 1)
    within = max(squares - float((totals**2 / sizes).sum()), 0.0) / (count - groups)
    usual = (count - float((sizes**2).sum()) / count) / (groups - 1)
    spread = between + (usual - 1) * within
    return (between - within) / spread if spread > 1e-12 else None

"""Compares methods of which each was trained with several seeds, on the same questions.

Seeds and questions are two crossed random factors (Owen 2007, Annals of Applied Statistics 1; Bouthillier et al. 2021,
arXiv 2103.03098): another seed gives another adapter, other questions another mean. Does not compare single runs (see
`paired`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdsframe.evaluation.statistics.groups import numbered, sums
from cdsframe.evaluation.statistics.intervals import ERROR
from cdsframe.evaluation.statistics.paired import Difference

if TYPE_CHECKING:
    import numpy as np

ENOUGH = 5
"""Number of seeds per method from which a difference describes the methods, and not only their adapters."""


def seeds_difference(first: np.ndarray, second: np.ndarray, groups: Sequence[str], limit: float = 1.0) -> Difference:
    """The mean of `second - first` over seeds and questions, with an interval for other seeds and other questions.

    The variance of the difference is that of the means over seeds, between groups of questions, plus that of each
    method's means over questions, between seeds. Their sum counts the interaction of seeds and questions twice, so it
    is slightly too large. The interval is Student's t with Satterthwaite's (1946) degrees of freedom.

    Args:
        first, second: scores, `[seeds, questions]`, of the same questions; the numbers of seeds may differ.
        groups: of each question.
        limit: largest possible absolute difference; bounds the interval.

    Raises ValueError if a method has fewer than two seeds, or there are fewer than two groups.
    """
    numbers = numbered(groups)
    count, seeds = int(numbers.max()) + 1, (len(first), len(second))
    if min(seeds) < 2 or count < 2:
        raise ValueError(f"the variance of seeds needs two seeds per method and two groups, got {seeds} and {count}")
    return seeds_contrast([-first, second], groups, limit)


def seeds_contrast(parts: Sequence[np.ndarray], groups: Sequence[str], limit: float) -> Difference:
    """The sum of the parts' means over seeds and questions, as `seeds_difference`, of which it is the general form.

    Args:
        parts: weighted scores, `[seeds, questions]`, of the same questions; the seeds of two parts are independent. A
            part with a single seed (a model that was not trained) counts as fixed.
        groups: of each question.
        limit: largest possible absolute value; bounds the interval.

    Raises ValueError if there are fewer than two groups.
    """
    from scipy.stats import t

    numbers = numbered(groups)
    count = int(numbers.max()) + 1
    if count < 2:
        raise ValueError(f"the variance of questions needs two groups, got {count}")
    changes = sum(part.mean(0) for part in parts)
    value = float(changes.mean())
    rests = sums(changes - value, numbers)
    variances = [(float((rests**2).sum()) * count / (count - 1) / len(changes) ** 2, count - 1)]
    variances += [(float(part.mean(1).var(ddof=1)) / len(part), len(part) - 1) for part in parts if len(part) > 1]
    variance = sum(one for one, _ in variances)
    if variance < 1e-18:  # all seeds and questions agree
        unseen = limit * (1 - ERROR ** (1 / count))
        return Difference(value, max(value - unseen, -limit), min(value + unseen, limit), float(abs(value) < 1e-9))
    freedom = variance**2 / sum(one**2 / free for one, free in variances if one)
    error = math.sqrt(variance)
    half = float(t.ppf(1 - ERROR / 2, freedom)) * error
    return Difference(
        value, max(value - half, -limit), min(value + half, limit), float(2 * t.sf(abs(value) / error, freedom))
    )

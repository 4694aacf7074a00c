"""Paired tests of two runs on the same questions: the sign-flip test over groups, and exact McNemar.

If two runs are equally good, each group's summed difference is as likely to be negative as positive, so all
combinations of signs are equally likely (Fisher 1935, ch. 3; Good 2005, "Permutation, Parametric and Bootstrap Tests",
ch. 3). The 95 % interval holds the differences that this test does not reject. With five groups or fewer, the smallest
possible p is 2 / 2⁵ = .0625: no difference is significant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cdsframe.evaluation.statistics.groups import numbered, sums
from cdsframe.evaluation.statistics.intervals import ERROR

if TYPE_CHECKING:
    import numpy as np

FLIPS = 9_999
"""Number of random combinations of signs, besides the observed one; few groups: all combinations."""
_ALL_UP_TO = 13
"""Number of groups up to which all combinations are computed (2¹² that differ by more than the sign)."""
_SEED = 1
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """`second - first` on the same questions, with its 95 % interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


def paired_difference(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str], limit: float = 1.0
) -> Difference:
    """The mean of `second - first` per question; see `paired_differences`."""
    import numpy as np

    changes = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    return paired_differences(changes[:, None], groups, limit)[0]


def paired_differences(
    changes: np.ndarray, groups: Sequence[str], limit: float = 1.0, weights: Sequence[float] | None = None
) -> list[Difference]:
    """The means of several paired differences, each with its interval and p; equal for equal input.

    p is exact McNemar's if no two questions share a group and each changes by -1, 0 or 1. If all questions change
    alike, the interval allows for unseen changes: by at most `limit` on a share of groups of which so many groups would
    show none with a probability of .05.

    Args:
        changes: `second - first` of each question, `[questions, pairs]`.
        groups: of each question.
        limit: largest possible absolute difference; bounds the interval if the test rejects none.
        weights: of each question; then a difference is `sum(changes) / sum(weights)`.
    """
    import numpy as np

    numbers = numbered(groups)
    tops, sizes = sums(changes, numbers), np.bincount(numbers, weights).astype(float)
    flips = _signs(len(sizes))
    drawn, counts = flips @ tops, flips @ sizes
    independent = weights is None and len(sizes) == len(changes) and bool(np.isin(changes, (-1, 0, 1)).all())
    found = []
    for pair in range(changes.shape[1]):
        observed = float(tops[:, pair].sum())
        p = float((np.abs(drawn[:, pair]) >= abs(observed) - _SAME).mean())
        low, high = _not_rejected(observed, float(sizes.sum()), drawn[:, pair], counts, limit)
        if independent:
            p = mcnemar(changes[:, pair])
            # The interval is drawn, p is exact: they must agree on whether 0 is rejected.
            low, high = (min(low, 0.0), max(high, 0.0)) if p > ERROR else (low, high)
        value = observed / float(sizes.sum())
        if high - low < _SAME:
            unseen = limit * (1 - ERROR ** (1 / len(sizes)))
            low, high = max(value - unseen, -limit), min(value + unseen, limit)
        found.append(Difference(value, low, high, p))
    return found


def mcnemar(changes: Sequence[float] | np.ndarray) -> float:
    """The exact two-sided p of McNemar's test (1947): positive against negative changes; zeros do not count.

    With other values than -1, 0 and 1 it is the sign test.
    """
    from scipy.stats import binomtest

    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return float(binomtest(int(gained), int(gained + lost), 0.5).pvalue) if gained + lost else 1.0


def _not_rejected(
    observed: float, size: float, drawn: np.ndarray, counts: np.ndarray, limit: float
) -> tuple[float, float]:
    """The bounds of the mean differences that the test does not reject.

    A difference d shifts each group's sum by d times its size. Signs s are at least as extreme as the observed ones
    where `|observed - d size| <= |drawn_s - d counts_s|`: for d between `(observed - drawn_s) / (size - counts_s)`
    and `(observed + drawn_s) / (size + counts_s)`, an interval that contains the observed mean. So p falls with the
    distance from the observed mean, and the bounds are order statistics of the ends of these intervals.
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(observed - drawn) / (size - counts), (observed + drawn) / (size + counts)])
    lows, highs = ends.min(0), ends.max(0)
    always = (size - np.abs(counts)) < _SAME  # the observed signs, or all reversed: as extreme for every difference
    lows[always], highs[always] = -np.inf, np.inf
    kept = int(np.floor(ERROR * len(drawn) + _SAME))  # so many signs may still be as extreme where p <= ERROR
    low, high = np.sort(lows)[kept], np.sort(highs)[-1 - kept]
    return max(float(low), -limit), min(float(high), limit)


@lru_cache(maxsize=8)
def _signs(groups: int) -> np.ndarray:
    """Combinations of signs, `[combinations, groups]`; the first is the observed one."""
    import numpy as np

    if groups <= _ALL_UP_TO:  # the first group keeps its sign: reversing all signs gives the same p
        bits = np.arange(2 ** (groups - 1))[:, None] >> np.arange(groups)[None, :]
        return np.where(np.roll(bits & 1, 1, axis=1), -1.0, 1.0)
    signs = np.random.default_rng(_SEED).integers(0, 2, (FLIPS + 1, groups)) * 2.0 - 1.0
    signs[0] = 1.0
    return signs

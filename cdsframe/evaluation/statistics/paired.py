"""Paired tests of two runs on the same questions: the sign-flip test over groups, and exact McNemar.

If it makes no difference which of two runs gave which answers, each group's summed difference is as likely to be
negative as positive, so all combinations of signs are equally likely (Fisher 1935, ch. 3; Good 2005, "Permutation,
Parametric and Bootstrap Tests", ch. 3). The 95 % interval holds the differences that this test does not reject. It
assumes that differences scatter symmetrically: many small gains beside rare large losses are covered less often than
95 %. With five groups or fewer, the smallest possible p is 2 / 2⁵ = .0625: no difference is significant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdsframe.evaluation.statistics.groups import numbered, sums
from cdsframe.evaluation.statistics.intervals import ERROR, Interval

if TYPE_CHECKING:
    import numpy as np

FLIPS = 9_999
"""Number of random combinations of signs, besides the observed one; few groups: all combinations."""
_ALL_UP_TO = 13
"""Number of groups up to which all combinations are computed (2¹² that differ by more than the sign)."""
_SEED = 1
_SAME = 1e-9
"""Sums that differ by less are equal."""
_NUMBERS = 1 << 22
"""Number of signs in memory at once."""
_PAIRS = 128
"""Number of pairs whose sums are in memory at once."""


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """`second - first` on the same questions, with its 95 % interval and a two-sided p-value."""

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
    alike, the interval allows for other changes that were not seen: a share of groups that change by `limit`, of which
    this number of groups contains none with a probability of .05.

    Args:
        changes: `second - first` of each question, `[questions, pairs]`.
        groups: of each question.
        limit: largest possible absolute difference; bounds the interval.
        weights: of each question; then a difference is `sum(changes) / sum(weights)`.

    Raises ValueError if a change is not finite.
    """
    import numpy as np

    if not np.isfinite(changes).all():
        raise ValueError("differences must be finite numbers")
    numbers = numbered(groups)
    tops, sizes = sums(changes, numbers), np.bincount(numbers, weights).astype(float)
    alone = weights is None and len(sizes) == len(changes)
    exact = [alone and bool(np.isin(column, (-1, 0, 1)).all()) for column in changes.T]
    found: list[Difference] = []
    for start in range(0, changes.shape[1], _PAIRS):
        part = slice(start, start + _PAIRS)
        drawn, counts = _drawn(tops[:, part], sizes)
        for place, column in enumerate(drawn.T):
            p = float((np.abs(column) >= abs(column[0]) - _SAME).mean())
            if exact[start + place]:
                p = mcnemar(changes[:, start + place])
            found.append(_difference(column, counts, p, len(sizes), limit))
    return found


def _difference(drawn: np.ndarray, counts: np.ndarray, p: float, groups: int, limit: float) -> Difference:
    """The difference with its interval, which holds 0 exactly if p is above .05."""
    import numpy as np

    value = float(drawn[0] / counts[0])
    low, high = _not_rejected(drawn, counts, limit)
    if high - low < _SAME:
        unseen = limit * (1 - ERROR ** (1 / groups))
        low, high = max(value - unseen, -limit), min(value + unseen, limit)
    if p > ERROR:
        low, high = min(low, 0.0), max(high, 0.0)
    elif value > 0:
        low = max(low, float(np.nextafter(0, 1)))
    else:
        high = min(high, -float(np.nextafter(0, 1)))
    return Difference(value, low, high, p)


def mcnemar(changes: Sequence[float] | np.ndarray) -> float:
    """The exact two-sided p of McNemar's test (1947): positive against negative changes; zeros do not count.

    With other values than -1, 0 and 1 it is the sign test.
    """
    from scipy.stats import binomtest

    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return float(binomtest(int(gained), int(gained + lost), 0.5).pvalue) if gained + lost else 1.0


def _not_rejected(drawn: np.ndarray, counts: np.ndarray, limit: float) -> tuple[float, float]:
    """The bounds of the mean differences that the test does not reject.

    A difference d shifts each group's sum by d times its size. Signs s are at least as extreme as the observed ones
    where `|observed - d size| <= |drawn_s - d counts_s|`: for d between `(observed - drawn_s) / (size - counts_s)`
    and `(observed + drawn_s) / (size + counts_s)`, an interval that contains the observed mean. So p falls with the
    distance from the observed mean, and the bounds are order statistics of the ends of these intervals.
    """
    import numpy as np

    observed, size = drawn[0], counts[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(observed - drawn) / (size - counts), (observed + drawn) / (size + counts)])
    lows, highs = ends.min(0), ends.max(0)
    always = (size - np.abs(counts)) < _SAME  # the observed signs, or all reversed: as extreme for every difference
    lows[always], highs[always] = -np.inf, np.inf
    kept = int(np.floor(ERROR * len(drawn) + _SAME))  # at p = .05, this number of combinations is as extreme
    low, high = np.sort(lows)[kept], np.sort(highs)[-1 - kept]
    return max(float(low), -limit), min(float(high), limit)


def _drawn(tops: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums under each combination of signs, `[combinations, pairs]`, and of the sizes; the first is observed."""
    import numpy as np

    both = np.concatenate([tops, sizes[:, None]], axis=1)
    found = np.concatenate([signs @ both for signs in _signs(len(sizes))])
    found[0] = both.sum(0)
    return found[:, :-1], found[:, -1]


def _signs(groups: int) -> Iterator[np.ndarray]:
    """Combinations of signs in parts, `[combinations, groups]`; equal for an equal number of groups."""
    import numpy as np

    if groups <= _ALL_UP_TO:  # the first group keeps its sign: reversing all signs gives the same p
        bits = np.arange(2 ** (groups - 1))[:, None] >> np.arange(groups)[None, :]
        yield np.where(np.roll(bits & 1, 1, axis=1), -1.0, 1.0)
        return
    chooser = np.random.default_rng(_SEED)
    rows = max(1, _NUMBERS // groups)
    for start in range(0, FLIPS + 1, rows):
        yield chooser.integers(0, 2, (min(rows, FLIPS + 1 - start), groups), dtype=np.int8) * 2.0 - 1.0

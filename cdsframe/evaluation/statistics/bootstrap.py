"""The cluster bootstrap, for statistics that are no mean of per-question scores.

Percentile bootstrap (Efron & Tibshirani 1993, ch. 13) over groups (Davison & Hinkley 1997, ch. 3.8). Its intervals are
too narrow with few groups; means use `intervals` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cdsframe.evaluation.statistics.groups import numbered
from cdsframe.evaluation.statistics.intervals import Interval

if TYPE_CHECKING:
    import numpy as np


def interval_of(statistic: Callable[[np.ndarray], float], groups: Sequence[str], resamples: int, seed: int) -> Interval:
    """Any statistic of an array of question indices, with its bootstrap interval."""
    import numpy as np

    numbers = numbered(groups)
    members = [np.flatnonzero(numbers == number) for number in range(int(numbers.max()) + 1)]
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(0, len(members), len(members)) for _ in range(resamples))
    found = [statistic(np.concatenate([members[place] for place in row])) for row in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(statistic(np.arange(len(groups))), float(low), float(high))

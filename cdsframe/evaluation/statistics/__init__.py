"""Confidence intervals and paired tests over per-question scores, for questions that are not all independent.

Questions of one *group* (two wordings of a fact, questions on one document) are dependent; questions without a group
are groups of one. `benchmarks/coverage.py` measures coverage, width and type I error by simulation. Does not know what
the scores mean.
"""

from cdsframe.evaluation.statistics.bootstrap import interval_of
from cdsframe.evaluation.statistics.intervals import Interval, interval
from cdsframe.evaluation.statistics.multiple import holm
from cdsframe.evaluation.statistics.paired import Difference, mcnemar, paired_difference, paired_differences
from cdsframe.evaluation.statistics.seeds import seeds_contrast, seeds_difference

__all__ = [
    "Difference",
    "Interval",
    "holm",
    "interval",
    "interval_of",
    "mcnemar",
    "paired_difference",
    "paired_differences",
    "seeds_contrast",
    "seeds_difference",
]

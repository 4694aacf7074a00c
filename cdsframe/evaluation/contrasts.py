"""Compares runs in pairs: one primary measure against one baseline, and everything else as exploration.

Only the primary contrasts, whose p-values are adjusted by Holm, can be called significant. Does not read files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from cdsframe.errors import InputError, named
from cdsframe.evaluation.dependence import connected
from cdsframe.evaluation.statistics import Difference, holm, paired_differences
from cdsframe.evaluation.statistics.groups import numbered, sums
from cdsframe.evaluation.text import METRICS
from cdsframe.types import JsonObject

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05
"""Significance level of the p-value after Holm's adjustment."""
_POWER = 0.8
"""Probability with which a difference is found, for planning."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of `predictions.jsonl`, compared over the rows selected by `belongs` that have it in both runs.

    `metric`: the key of a run's metrics that is the mean of the column over these rows.
    """

    name: str
    column: str
    metric: str
    belongs: Callable[[JsonObject], bool] = lambda row: True
    printed: bool = True
    """Whether comparisons by this measure are printed; otherwise they are only in `comparison.md`."""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """`second - first` of one measure: the difference with its interval, p, and what such an evaluation can find.

    Attributes:
        p_holm: p after Holm's adjustment over the primary contrasts; None: the pair is exploratory.
        groups: number of groups of questions that are not independent.
        found_from: the smallest true difference that is found with a probability of .8, for this spread of differences
            (after Bonferroni's correction for the primary contrasts, which Holm's first step equals).
        questions_for_margin: number of such questions with which a difference of the margin is found with that
            probability; None: no margin.
        not_worse: whether the interval excludes that `second` is worse by the margin; None: no margin.
    """

    measure: str
    first: str
    second: str
    questions: int
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float | None = None
    groups: int | None = None
    found_from: float | None = None
    questions_for_margin: int | None = None
    not_worse: bool | None = None

    @property
    def significant(self) -> bool:
        """Whether this is a primary contrast whose adjusted p is at most .05."""
        return self.p_holm is not None and self.p_holm <= LEVEL

    def __str__(self) -> str:
        verdict = "exploratory" if self.p_holm is None else "significant" if self.significant else "not significant"
        adjusted = "" if self.p_holm is None else f", adjusted {self.p_holm:.3g}"
        return (
            f"{self.measure}: {self.second} - {self.first} = {self.difference:+.3f} [{self.ci_low:+.3f}, "
            f"{self.ci_high:+.3f}], p = {self.p:.3g}{adjusted}: {verdict}"
        )


def _answerable(row: JsonObject) -> bool:
    return bool(row.get("answerable", False))


_MEASURES = (
    Measure("F1, answerable", "f1", "qa/f1", _answerable),
    Measure("exact match, answerable", "em", "qa/em", _answerable, printed=False),
    Measure("citation precision, answerable", "citation_precision", "qa/citation_precision", _answerable),
    Measure("citation recall, answerable", "citation_recall", "qa/citation_recall", _answerable),
    Measure("refused, unanswerable", "refused", "qa/refusal_recall", lambda row: not row.get("answerable", True)),
    Measure("refused, answerable", "refused", "qa/answerable_refused", _answerable, higher_is_better=False),
    Measure(
        "wrong dose, answerable", "wrong_dose", "qa/wrong_dose", _answerable, printed=False, higher_is_better=False
    ),
    Measure("accuracy", "correct", "mcq/accuracy"),
    Measure("accuracy over shifted options", "permuted_correct", "mcq/permuted_accuracy"),
    Measure("nDCG@10", "ndcg@10", "retrieval/ndcg@10"),
    Measure("score", "score", "score"),
)


def measures() -> list[Measure]:
    """`_MEASURES`, and every other metric of an answer's text."""
    known = {measure.column for measure in _MEASURES}
    others = [
        Measure(f"{key}, answerable", key, f"qa/{key}", _answerable, printed=False)
        for key in METRICS
        if key not in known
    ]
    return [*_MEASURES, *others]


def can_be_significant(groups: int, tests: int) -> bool:
    """Whether sign flips over so many groups can reach the level after Holm's adjustment.

    All signs agree by chance with a probability of `2 ** (1 - groups)`.
    """
    return tests * 2.0 ** (1 - groups) <= LEVEL


def contrast(
    measure: Measure,
    names: Sequence[str],
    rows: Sequence[Mapping[str, JsonObject]],
    baseline: int,
    primary: bool,
    margin: float | None,
) -> list[PairedComparison]:
    """Compares all pairs of runs by one measure, over the questions that have it in both; omits other pairs.

    Args:
        names, rows: of each run; rows by question id.
        baseline: number of the run that is `first` in each pair with it.
        primary: True: the pairs with the baseline are primary contrasts.
        margin: difference that matters (non-inferiority); None: none is declared.
    """
    import numpy as np
    from scipy.stats import norm

    columns = [
        {key: score_of(row, measure.column) for key, row in run.items() if measure.column in row} for run in rows
    ]
    ids = [key for key, row in rows[0].items() if measure.belongs(row)]
    order = [baseline, *(place for place in range(len(rows)) if place != baseline)]
    pairs_of: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for first, second in combinations(order, 2):
        if both := tuple(key for key in ids if key in columns[first] and key in columns[second]):
            pairs_of.setdefault(both, []).append((first, second))
    contrasts = sum(primary and pair[0] == baseline for pairs in pairs_of.values() for pair in pairs)
    found: dict[tuple[int, int], PairedComparison] = {}
    for both, pairs in pairs_of.items():
        changes = np.array([[columns[second][key] - columns[first][key] for first, second in pairs] for key in both])
        groups = common_groups(rows, both)
        spreads = _standard_errors(changes, groups)
        for pair, one, spread in zip(pairs, paired_differences(changes, groups), spreads, strict=True):
            tests = contrasts if primary and pair[0] == baseline else 1
            errors = float(norm.ppf(1 - LEVEL / 2 / tests) + norm.ppf(_POWER))
            # Without any difference, nothing is known of the spread, so nothing can be planned.
            needed = None if margin is None or not spread else math.ceil(len(both) * (errors * spread / margin) ** 2)
            found[pair] = PairedComparison(
                measure.name, names[pair[0]], names[pair[1]], len(both), one.value, one.low, one.high, one.p,
                None, len(set(groups)), errors * spread or None, needed, _not_worse(measure, one, margin),
            )  # fmt: skip
    first_class = [pair for pair in found if primary and pair[0] == baseline]
    adjusted = dict(zip(first_class, holm([found[pair].p for pair in first_class]), strict=True))
    ordered = sorted(found, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    return [replace(found[pair], p_holm=adjusted.get(pair)) for pair in ordered]


def common_groups(rows: Sequence[Mapping[str, JsonObject]], ids: Sequence[str]) -> list[str]:
    """The group of each question, from the groups of all runs: runs may know different dependences."""
    return connected(
        [{(place, run[id]["group"]) for place, run in enumerate(rows) if run[id].get("group")} for id in ids]
    )


def score_of(row: JsonObject, column: str) -> float:
    """Raises InputError if the row's value is no number from 0 to 1."""
    value = row[column]
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"predictions: {column} of the question {named(str(row['id']))} is no number from 0 to 1")
    return float(value)


def _not_worse(measure: Measure, one: Difference, margin: float | None) -> bool | None:
    if margin is None:
        return None
    return one.low > -margin if measure.higher_is_better else one.high < margin


def _standard_errors(changes: np.ndarray, groups: Sequence[str]) -> list[float]:
    """The standard error of each mean change `[questions, pairs]` if there is no difference, from sums of groups."""
    import numpy as np

    totals = sums(changes, numbered(groups))
    return [float(value) for value in np.sqrt((totals**2).sum(0)) / len(groups)]

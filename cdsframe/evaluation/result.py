"""What an evaluation hands back: metrics with intervals, the number that a sweeper optimises, and a table to read.

Does not measure anything itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.contracts import LanguageModel
from cdsframe.evaluation.statistics import Interval, interval
from cdsframe.types import Metrics, Question

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Result:
    """Metrics, the key of the one that counts (NaN where it could not be measured), and what to print."""

    metrics: Metrics
    headline: str
    text: str

    @property
    def value(self) -> float:
        return self.metrics.get(self.headline, float("nan"))


class Scores:
    """Collects metrics from per-question scores, each with its clustered bootstrap interval."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed
        self.metrics: Metrics = {}

    def add(
        self, name: str, scores: Sequence[float], groups: Sequence[str], weights: Sequence[float] | None = None
    ) -> None:
        """Adds the mean, or the ratio of sums where there are weights; nothing where there is nothing to measure."""
        if scores:
            self.put(name, interval(scores, groups, self.resamples, self.seed, weights))

    def put(self, name: str, found: Interval) -> None:
        """Adds an estimate with its interval."""
        if not math.isnan(found.value):
            self.metrics |= {name: found.value, f"{name}/ci_low": found.low, f"{name}/ci_high": found.high}


def stratified(items: Sequence[Item], limit: int | None, seed: int, stratum: Callable[[Item], str]) -> list[Item]:
    """At most `limit` items, from each stratum in proportion, in their order; a smaller limit takes a subset.

    Chosen by a digest of the seed and the item's `id`, so that neither the files' order nor their length matters.
    """
    if limit is None or limit >= len(items):
        return list(items)
    members: dict[Hashable, list[Item]] = {}
    for item in sorted(items, key=lambda item: digest(str(seed), _id(item))):
        members.setdefault(stratum(item), []).append(item)
    # The i-th of n members stands at (i + 1/2) / n of its stratum: the lowest places are a proportional sample.
    placed = [
        ((place + 0.5) / len(own), digest(str(seed), _id(i)), i)
        for own in members.values()
        for place, i in enumerate(own)
    ]
    chosen = {_id(item) for _, _, item in sorted(placed, key=lambda entry: entry[:2])[:limit]}
    return [item for item in items if _id(item) in chosen]


def _id(item: Any) -> str:
    return str(item.id)


def question_digest(questions: Sequence[Question]) -> str:
    """Changes with any question, gold answer or order."""
    return digest(*(part for q in questions for part in (q.id, q.question, q.answer, *q.aliases)))


def model_digests(model: LanguageModel) -> dict[str, str | None]:
    """What was loaded: the base weights and the adapter."""
    return {"model": model.digest, "adapter": weights_digest(Path(model.adapter)) if model.adapter else None}


def with_table(metrics: Metrics, headline: str) -> Result:
    """A result that is printed as the table of its metrics."""
    return Result(metrics, headline, table(metrics))


def table(metrics: Metrics) -> str:
    """The metrics as aligned lines, `name  value  [low, high]`."""
    names = [name for name in metrics if not name.endswith(("/ci_low", "/ci_high"))]
    width = max((len(name) for name in names), default=0)
    lines = []
    for name in names:
        low, high = metrics.get(f"{name}/ci_low"), metrics.get(f"{name}/ci_high")
        measured = low is not None and high is not None
        value = f"{metrics[name]:.3f}" if measured or metrics[name] % 1 else f"{metrics[name]:.0f}"
        bounds = f"   [{low:.3f}, {high:.3f}]" if measured else ""
        lines.append(f"{name:<{width}}   {value:>8}{bounds}")
    return "\n".join(lines)

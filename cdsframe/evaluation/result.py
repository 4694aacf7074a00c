"""The result of an evaluation: metrics with intervals, the value that a sweeper optimises, and a text to print.

Does not measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.contracts import LanguageModel, Retriever, WeightedRetriever
from cdsframe.evaluation.statistics import Interval, interval
from cdsframe.types import JsonObject, Metrics, Question


@dataclass(frozen=True, slots=True)
class Result:
    """Metrics, the key of the headline metric, and the text to print. `value`: the headline; NaN if not measured."""

    metrics: Metrics
    headline: str
    text: str

    @property
    def value(self) -> float:
        return self.metrics.get(self.headline, float("nan"))


class Scores:
    """Collects metrics from per-question scores between 0 and 1, each with its 95 % interval."""

    def __init__(self) -> None:
        self.metrics: Metrics = {}

    def add(
        self, name: str, scores: Sequence[float], groups: Sequence[str], weights: Sequence[float] | None = None
    ) -> None:
        """Adds the mean, or with weights `sum(scores) / sum(weights)`; adds nothing if `scores` is empty."""
        if scores:
            self.put(name, interval(scores, groups, weights))

    def put(self, name: str, found: Interval) -> None:
        """Adds an estimate with its interval; nothing if it is NaN, no bounds if they are infinite."""
        if not math.isnan(found.value):
            self.metrics[name] = found.value
            if math.isfinite(found.low) and math.isfinite(found.high):
                self.metrics |= {f"{name}/ci_low": found.low, f"{name}/ci_high": found.high}


def question_digest(questions: Sequence[Question]) -> str:
    """A digest of the questions and gold answers, in order."""
    return digest(*(part for q in questions for part in (q.id, q.question, q.answer, *q.aliases)))


def model_digests(model: LanguageModel) -> dict[str, str | None]:
    """Digests of the base weights and the adapter."""
    return {"model": model.digest, "adapter": weights_digest(Path(model.adapter)) if model.adapter else None}


def precision_of(model: LanguageModel) -> JsonObject:
    """The precision of computation and of the weights, on which the options chosen depend."""
    return {"precision": str(model.compute_dtype), "quantization": dict(model.quantization.identity)}


def retrieval_weights_digest(retriever: Retriever) -> str | None:
    """A digest of the weights in use, which may come from the index; None for a retriever without weights."""
    if not isinstance(retriever, WeightedRetriever):
        return None
    return digest(*(f"{path}={weight!r}" for path, weight in sorted(retriever.weights.items())))


def with_table(metrics: Metrics, headline: str) -> Result:
    """A result whose text is the table of its metrics."""
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

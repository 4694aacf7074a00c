"""What strategies without a model score on the questions of compared runs, as rows of a table.

Does not compute the scores: each run's metrics hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdsframe.types import JsonObject, Metrics

_COPY, _REFUSE = "qa/copy_passage/f1", "qa/always_refuse/f1_all"
_EXAM = {
    "majority letter": "mcq/majority_letter",
    "longest option": "mcq/longest_option",
    "chance": "mcq/chance",
}


def naive_rows(runs: Sequence[JsonObject]) -> list[JsonObject]:
    """Rows with `name` and `metrics`: refusing all, copying the first passage, a letter, the longest option, chance."""
    return [{"name": name, "metrics": metrics} for name, metrics in _strategies(runs)]


def naive_means(runs: Sequence[JsonObject], metric: str) -> dict[str, float]:
    """Name of a strategy -> its value of a metric, where it is known."""
    return {row["name"]: row["metrics"][metric] for row in naive_rows(runs) if metric in row["metrics"]}


def _strategies(runs: Sequence[JsonObject]) -> Iterator[tuple[str, Metrics]]:
    if any(_REFUSE in run["metrics"] for run in runs):
        refusals = {"qa/answerable_refused": 1.0}
        if any("qa/refusal_recall" in run["metrics"] for run in runs):
            refusals["qa/refusal_recall"] = 1.0
        yield "(always refuse)", {"qa/f1": 0.0, "qa/em": 0.0, "qa/wrong_dose": 0.0, **refusals}
    copied: set[float] = set()
    for run in runs:
        found = run["metrics"].get(_COPY)
        if found is not None and found not in copied:  # one row for each way to retrieve
            copied.add(found)
            yield f"(first passage of: {run['name']})", _as(run["metrics"], _COPY, "qa/f1")
    for name, key in _EXAM.items():
        holder = next((run["metrics"] for run in runs if key in run["metrics"]), None)
        if holder is not None:
            yield f"({name})", _as(holder, key, "mcq/accuracy")


def _as(metrics: Metrics, key: str, other: str) -> Metrics:
    """A metric with its interval under another key."""
    return {other + end: metrics[key + end] for end in ("", "/ci_low", "/ci_high") if key + end in metrics}

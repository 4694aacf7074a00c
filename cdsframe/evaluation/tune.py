"""`evaluation=tune`: fits a retriever's weights to development queries and estimates the gain by cross-fitting.

Stores weights that are better with the index, where the retriever finds them. Changes no configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from cdsframe.artifacts.files import InputFile, write_json
from cdsframe.artifacts.run import Run
from cdsframe.contracts import Index, System, WeightedRetriever
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.evaluation.fitting import MEASURE, WeightFitter, Weights, folds_of, legs_alone, overrides
from cdsframe.evaluation.places import clusters, locate
from cdsframe.evaluation.result import Result, Scores
from cdsframe.evaluation.retrieval import files_problems, load, queries_digest
from cdsframe.evaluation.statistics import Difference, paired_difference
from cdsframe.retriever.stored_weights import StoredWeights

log = logging.getLogger(__name__)

_WAIT = 60.0
"""Seconds to wait for another writer of the index."""


@declares(asks_generator=False)
@checked_by(files_problems)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    queries: InputFile | None,
    qrels: InputFile | None,
    split: Literal["train", "validation", "test"],
    sample: Annotated[int, Field(ge=1)] | None,
    grid: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2)],
    folds: Annotated[int, Field(ge=2)],
    store: Literal["if_better", "never", "remove"],
) -> Result:
    """Finds the weights with the best mean nDCG@10, and scores them on queries that were not used to fit them.

    Queries with a common relevant document stay in one fold. Each fold is scored with the weights fitted on the other
    folds (cross-fitting). Its differences to the weights in use, and to the better leg alone, are paired, with a
    clustered interval and p. The better leg is chosen on all queries, which favours it. `store=remove` removes the
    stored weights and fits nothing.
    """
    retriever, index = _weighted(system.retriever), system.index
    if store == "remove":  # before the weights are read: they may be damaged
        run.finish({}, {"index": index.digest})
        return Result({}, f"retrieval/{MEASURE}_tuned", _changed(index, retriever.weights_key, None))
    chosen, judged, counts = load(queries, qrels, system, split, sample, seed)
    groups = clusters(chosen, judged, locate(index, judged))
    fold_of = folds_of(groups, folds, seed)
    fitter = WeightFitter(retriever, chosen, judged, grid)
    in_use, fitted = fitter.scores(retriever.weights), fitter.cross_fitted(fold_of)
    weights = fitter.best(range(len(chosen)))
    alone = {leg: fitter.scores(only) for leg, only in legs_alone(retriever.weights).items()}
    best_leg = max(alone, key=lambda leg: sum(alone[leg]))

    scores = Scores()
    for name, values in {"": in_use, "_tuned": fitted, **{f"_{leg}": alone[leg] for leg in alone}}.items():
        scores.add(f"retrieval/{MEASURE}{name}", values, groups)
    gain = paired_difference(in_use, fitted, groups)
    to_leg = paired_difference(alone[best_leg], fitted, groups)
    metrics = scores.metrics | {
        **_difference("retrieval/tuned_difference", "retrieval/tuned_p", gain),
        **_difference("retrieval/best_leg_difference", "retrieval/best_leg_p", to_leg),
        **counts,
    }
    write_json(run.folder / "weights.json", dict(weights))
    data = queries_digest(chosen)
    run.finish(metrics, {"index": index.digest, "data": data})
    new = StoredWeights(weights=weights, queries=len(chosen), data=data)
    why_not = _not_stored(retriever, gain, store, partial=sample is not None or (queries is None and split == "test"))
    stored = why_not or _changed(index, retriever.weights_key, new)
    return Result(
        metrics, f"retrieval/{MEASURE}_tuned", f"{_summary(metrics, gain, to_leg, best_leg, weights)}\n{stored}"
    )


def _weighted(retriever: object) -> WeightedRetriever:
    if hasattr(retriever, "expand"):
        raise ConfigError("evaluation=tune fits the weights without an expansion; add expansion=none")
    if not hasattr(type(retriever), "weights_key"):
        raise ConfigError(
            "evaluation=tune needs a retriever with weights; use retriever=hybrid, hierarchical or hierarchical_light"
        )
    return cast(WeightedRetriever, retriever)


def _not_stored(retriever: WeightedRetriever, gain: Difference, store: str, *, partial: bool) -> str:
    """Returns why the weights must not become those of the index, or ""."""
    if store == "never":
        return "not stored: evaluation.store=never"
    if retriever.weights_configured:
        return (
            "not stored: the weights to compare with were configured; leave fusion.weights and retriever.weights null"
        )
    if partial:
        return "not stored: fitted to a sample or to test questions"
    if gain.low <= 0:
        return "not stored: on other queries they are not reliably better than the weights in use"
    return ""


def _changed(index: Index, key: str, new: StoredWeights | None) -> str:
    """Stores the weights with the index, or removes the stored ones; returns what was done."""
    if index.ephemeral:
        return "not stored: this index ends with the process"
    try:
        with index.writer(_WAIT):
            before = index.annotations.get(key)
            index.annotate(key, None if new is None else new.model_dump())
    except (CdsframeError, OSError) as error:
        log.warning("the index's weights are not changed: %s", error)
        return "not stored: the index could not be written; set the weights by the overrides above"
    if new is None:
        return "the index had no stored weights" if before is None else "the stored weights are removed"
    replaced = "" if before is None else f" (before: {overrides(before['weights'])})"
    return (
        f"stored with the index{replaced}: used from the next start where no weight is configured; calibrations that "
        "were fitted before must be fitted again"
    )


def _difference(name: str, p_name: str, found: Difference) -> dict[str, float]:
    return {name: found.value, f"{name}/ci_low": found.low, f"{name}/ci_high": found.high, p_name: found.p}


def _summary(metrics: Mapping[str, Any], gain: Difference, to_leg: Difference, best_leg: str, weights: Weights) -> str:
    return (
        f"nDCG@10 {metrics['retrieval/ndcg@10']:.3f} with the weights in use, "
        f"{metrics['retrieval/ndcg@10_tuned']:.3f} cross-fitted: {_written(gain)}\nto the better leg alone ({best_leg} "
        f"{metrics[f'retrieval/ndcg@10_{best_leg}']:.3f}): {_written(to_leg)}\n"
        f"fitted to all {metrics['retrieval/queries']:.0f} queries: {overrides(weights)}"
    )


def _written(difference: Difference) -> str:
    verdict = "" if difference.p < 0.05 else ", not significant"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], p {difference.p:.3f}{verdict}"

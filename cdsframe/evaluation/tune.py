"""`evaluation=tune`: fits a retriever's weights to development queries and estimates the gain by cross-fitting.

Searches each query once with each leg; only the fusion is repeated. Stores the weights with the index, where the
retriever finds them; changes no configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import InputFile, write_json
from cdsframe.artifacts.run import Run
from cdsframe.contracts import Index, System
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.errors import ConfigError, InputError
from cdsframe.evaluation.places import clusters, locate
from cdsframe.evaluation.ranking import Qrels, score_rankings
from cdsframe.evaluation.result import Result, Scores
from cdsframe.evaluation.retrieval import JudgedQuery, files_problems, load
from cdsframe.evaluation.statistics import Difference, paired_difference
from cdsframe.types import Hit, Query

log = logging.getLogger(__name__)

Weights = Mapping[str, float]
"""Config path -> factor."""

_Lists = dict[str, list[Hit]]

_LEG = "fusion.weights."
"""Beginning of the config path of a leg's weight."""

_WAIT = 60.0
"""Seconds to wait for another writer of the index."""

_AT_ONCE = 64
_MEASURE = "ndcg@10"
_SAME = 1e-9
"""Means that differ by less are equal."""


@runtime_checkable
class Weighted(Protocol):
    """A retriever whose weights can be fitted."""

    @property
    def weights(self) -> Weights: ...

    @property
    def weights_key(self) -> str: ...

    def weighted(self, weights: Weights) -> Weighted: ...

    def lists(self, queries: Sequence[Query], filter: Mapping[str, str]) -> list[_Lists]: ...

    def join(self, legs: _Lists) -> list[Hit]: ...


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
    store: bool,
    resamples: Annotated[int, Field(ge=100)],
) -> Result:
    """Finds the weights with the best mean nDCG@10, and scores them on queries that were not used to fit them.

    Queries with a common relevant document stay in one fold. Each fold is scored with the weights fitted on the other
    folds (cross-fitting). The differences to the configured weights and to the best single leg are paired, with a
    clustered interval and p. With `store`, the index gets the weights fitted to all queries; if cross-fitting shows no
    gain, it gets the configured ones.
    """
    retriever, index = system.retriever, system.index
    if not isinstance(retriever, Weighted):
        raise ConfigError(
            "evaluation=tune needs a retriever with weights; use retriever=hybrid, hierarchical or hierarchical_light"
        )
    chosen, judged, left_out = load(queries, qrels, system, split, sample, seed)
    groups = clusters(chosen, judged, locate(index, judged))
    fold_of = _folds(groups, folds, seed)
    tuner = _Tuner(retriever, chosen, judged, grid)

    fixed = tuner.scores(retriever.weights)
    fitted = list(fixed)
    for fold in range(folds):
        weights = tuner.best([place for place, own in enumerate(fold_of) if own != fold])
        log.info("fold %d of %d: %s", fold + 1, folds, _overrides(weights))
        found = tuner.scores(weights)
        for place, own in enumerate(fold_of):
            if own == fold:
                fitted[place] = found[place]
    weights = tuner.best(range(len(chosen)))
    alone = {leg: tuner.scores(weights) for leg, weights in _alone(retriever.weights).items()}
    best_leg = max(alone, key=lambda leg: sum(alone[leg]))

    scores = Scores(resamples, seed)
    scores.add(f"retrieval/{_MEASURE}", fixed, groups)
    scores.add(f"retrieval/{_MEASURE}_tuned", fitted, groups)
    for leg, values in alone.items():
        scores.add(f"retrieval/{_MEASURE}_{leg}", values, groups)
    to_fixed = paired_difference(fixed, fitted, groups, resamples, seed)
    to_leg = paired_difference(alone[best_leg], fitted, groups, resamples, seed)
    metrics = scores.metrics | {
        **_difference("retrieval/tuned_difference", "retrieval/tuned_p", to_fixed),
        **_difference("retrieval/best_leg_difference", "retrieval/best_leg_p", to_leg),
        "retrieval/queries": len(chosen),
        "retrieval/left_out": left_out,
    }
    write_json(run.folder / "weights.json", dict(weights))
    run.finish(metrics, {"index": index.digest, "data": digest(*(part for q in chosen for part in (q.id, q.text)))})
    text = _summary(metrics, to_fixed, to_leg, best_leg, weights)
    if store:
        text += "\n" + _store(index, retriever, weights if to_fixed.value > 0 else retriever.weights, len(chosen))
    return Result(metrics, f"retrieval/{_MEASURE}_tuned", text)


def _store(index: Index, retriever: Weighted, weights: Weights, queries: int) -> str:
    """Stores the weights with the index; returns what was done."""
    if index.ephemeral:
        return "not stored: index=memory ends with this process"
    try:
        with index.writer(_WAIT):
            index.annotate(retriever.weights_key, {"weights": dict(weights), "queries": queries})
    except InputError as error:
        log.warning("the weights are not stored with the index: %s", error)
        return "not stored; set the weights by the overrides above"
    return (
        f"stored with the index: {_overrides(weights)}\nretrieval with this retriever, fusion and embedder uses them "
        "where fusion.weights and retriever.weights are null"
    )


class _Tuner:
    """Caches the hit lists of all queries and the scores of each set of weights."""

    def __init__(
        self, retriever: Weighted, queries: Sequence[JudgedQuery], qrels: Qrels, grid: Sequence[float]
    ) -> None:
        self._retriever, self._queries, self._qrels, self._grid = retriever, queries, qrels, sorted(grid)
        searching = retriever.weighted(
            dict.fromkeys(retriever.weights, 1.0)
        )  # a leg with weight 0 would not be searched
        self._lists = [lists for batch in _batches(queries) for lists in searching.lists(batch, {})]
        self._tried: dict[tuple[float, ...], list[float]] = {}

    def scores(self, weights: Weights) -> list[float]:
        """nDCG@10 of each query."""
        weights = _scaled(weights)
        key = tuple(weights.values())
        if key not in self._tried:
            retriever = self._retriever.weighted(weights)
            rankings = {
                query.id: [hit.passage.id for hit in retriever.join(lists)[:10]]
                for query, lists in zip(self._queries, self._lists, strict=True)
            }
            self._tried[key] = score_rankings(self._qrels, rankings, {_MEASURE: "nDCG@10"})[_MEASURE]
        return self._tried[key]

    def best(self, places: Sequence[int]) -> dict[str, float]:
        """The weights with the best mean score over the queries at these indices, by coordinate ascent on the grid.

        Ascends from the configured weights and from each leg alone; ties keep the earlier weights. Only the ratios
        matter: the largest weight of a leg is 1.
        """
        best, found = -1.0, dict(self._retriever.weights)
        for start in (self._retriever.weights, *_alone(self._retriever.weights).values()):
            mean, weights = self._ascend(dict(start), places)
            if mean > best + _SAME:
                best, found = mean, weights
        return _scaled(found)

    def _ascend(self, weights: dict[str, float], places: Sequence[int]) -> tuple[float, dict[str, float]]:
        best, moved = self._mean(weights, places), True
        while moved:
            moved = False
            for path in weights:
                for value in self._grid:
                    other = weights | {path: value}
                    if _searches(other) and (mean := self._mean(other, places)) > best + _SAME:
                        best, weights, moved = mean, other, True
        return best, weights

    def _mean(self, weights: Weights, places: Sequence[int]) -> float:
        scores = self.scores(weights)
        return sum(scores[place] for place in places) / len(places)


def _alone(weights: Weights) -> dict[str, dict[str, float]]:
    """Leg -> weights under which this leg alone ranks."""
    legs = [path for path in weights if path.startswith(_LEG)]
    return {leg.removeprefix(_LEG): {path: float(path == leg) for path in weights} for leg in legs}


def _searches(weights: Weights) -> bool:
    """Whether any leg has a weight."""
    return any(weight > 0 for path, weight in weights.items() if path.startswith(_LEG))


def _scaled(weights: Weights) -> dict[str, float]:
    """The weights that give the same ranking and whose largest weight of a leg is 1."""
    top = max(weight for path, weight in weights.items() if path.startswith(_LEG)) or 1.0
    return {path: weight / top if path.startswith(_LEG) else weight for path, weight in weights.items()}


def _difference(name: str, p_name: str, found: Difference) -> dict[str, float]:
    return {name: found.value, f"{name}/ci_low": found.low, f"{name}/ci_high": found.high, p_name: found.p}


def _batches(queries: Sequence[JudgedQuery]) -> Iterator[list[Query]]:
    from tqdm import tqdm

    with tqdm(total=len(queries), desc="queries", unit="", disable=len(queries) <= _AT_ONCE) as bar:
        for first in range(0, len(queries), _AT_ONCE):
            batch = queries[first : first + _AT_ONCE]
            yield [Query.plain(query.text) for query in batch]
            bar.update(len(batch))


def _folds(groups: Sequence[str], folds: int, seed: int) -> list[int]:
    """Each query's fold: whole clusters, largest first into the smallest fold; ties are broken by seed."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    if len(sizes) < folds:
        raise InputError(
            f"evaluation.folds={folds} is more than the {len(sizes)} clusters of queries; use at most {len(sizes)}"
        )
    filled, fold_of = [0] * folds, dict[str, int]()
    for group in sorted(sizes, key=lambda group: (-sizes[group], digest(str(seed), group))):
        fold = filled.index(min(filled))
        fold_of[group] = fold
        filled[fold] += sizes[group]
    return [fold_of[group] for group in groups]


def _overrides(weights: Weights) -> str:
    return " ".join(f"{path}={value:g}" for path, value in weights.items())


def _summary(
    metrics: Mapping[str, Any], to_fixed: Difference, to_leg: Difference, best_leg: str, weights: Weights
) -> str:
    return (
        f"nDCG@10 {metrics['retrieval/ndcg@10']:.3f} as configured, {metrics['retrieval/ndcg@10_tuned']:.3f} "
        f"cross-fitted: {_written(to_fixed)}\nto the best leg alone ({best_leg} "
        f"{metrics[f'retrieval/ndcg@10_{best_leg}']:.3f}): {_written(to_leg)}\n"
        f"fitted to all {metrics['retrieval/queries']} queries: {_overrides(weights)}"
    )


def _written(difference: Difference) -> str:
    verdict = "" if difference.p < 0.05 else ", not significant"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], p {difference.p:.3f}{verdict}"

"""`evaluation=tune`: tunes a retriever's weights on development queries and estimates the gain by cross-fitting.

Searches each query once with each leg; only the fusion is repeated. Changes no configuration: prints the overrides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import InputFile, write_json
from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
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

_AT_ONCE = 64
_MEASURE = "ndcg@10"


@runtime_checkable
class Weighted(Protocol):
    """A retriever whose weights can be tuned."""

    @property
    def weights(self) -> Weights: ...

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
    resamples: Annotated[int, Field(ge=100)],
) -> Result:
    """Finds the weights with the best mean nDCG@10, and scores them on queries that were not used to fit them.

    Queries with a common relevant document stay in one fold. Each fold is scored with the weights fitted on the other
    folds (cross-fitting). The difference to the configured weights is paired, with a clustered interval and p.
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

    scores = Scores(resamples, seed)
    scores.add(f"retrieval/{_MEASURE}", fixed, groups)
    scores.add(f"retrieval/{_MEASURE}_tuned", fitted, groups)
    difference = paired_difference(fixed, fitted, groups, resamples, seed)
    metrics = scores.metrics | {
        "retrieval/tuned_difference": difference.value,
        "retrieval/tuned_difference/ci_low": difference.low,
        "retrieval/tuned_difference/ci_high": difference.high,
        "retrieval/tuned_p": difference.p,
        "retrieval/queries": len(chosen),
        "retrieval/left_out": left_out,
    }
    write_json(run.folder / "weights.json", dict(weights))
    run.finish(metrics, {"index": index.digest, "data": digest(*(part for q in chosen for part in (q.id, q.text)))})
    return Result(metrics, f"retrieval/{_MEASURE}_tuned", _summary(metrics, difference, weights))


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

        Starts from the configured weights; ties keep the earlier weights. The last weight of the fusion is fixed: only
        the ratios matter.
        """
        weights = dict(self._retriever.weights)
        free = [path for path in weights if path != _anchor(weights)]
        best, moved = self._mean(weights, places), True
        while moved:
            moved = False
            for path in free:
                for value in self._grid:
                    other = weights | {path: value}
                    if (mean := self._mean(other, places)) > best + 1e-9:
                        best, weights, moved = mean, other, True
        return weights

    def _mean(self, weights: Weights, places: Sequence[int]) -> float:
        scores = self.scores(weights)
        return sum(scores[place] for place in places) / len(places)


def _anchor(weights: Weights) -> str:
    """Config path of the weight that is kept fixed: the last weight of the fusion."""
    return [path for path in weights if path.startswith("fusion.")][-1]


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


def _summary(metrics: Mapping[str, Any], difference: Difference, weights: Weights) -> str:
    verdict = "" if difference.p < 0.05 else ", not significant"
    return (
        f"nDCG@10 {metrics['retrieval/ndcg@10']:.3f} as configured, {metrics['retrieval/ndcg@10_tuned']:.3f} "
        f"cross-fitted: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], p {difference.p:.3f}"
        f"{verdict}\nfitted to all {metrics['retrieval/queries']} queries: {_overrides(weights)}"
    )

"""Fits the weights of a retriever to queries with known passages, and scores them on other queries (cross-fitting).

Each query is searched once with each leg; only the fusion is repeated. Stores nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from cdsframe.artifacts.digests import digest
from cdsframe.contracts import WeightedRetriever
from cdsframe.errors import InputError
from cdsframe.evaluation.ranking import Qrels, score_rankings
from cdsframe.evaluation.retrieval import JudgedQuery
from cdsframe.types import Query

log = logging.getLogger(__name__)

Weights = Mapping[str, float]
"""Config path -> factor."""

LEG = "fusion.weights."
"""Beginning of the config path of a leg's weight."""

MEASURE = "ndcg@10"

_AT_ONCE = 64
_SAME = 1e-9
"""Means that differ by less are equal."""


class WeightFitter:
    """Finds the weights with the best mean nDCG@10. Caches the queries' hits and the scores of each set of weights.

    Args:
        queries: the queries, each with a relevant passage in `qrels`.
        grid: the values to try for each weight.
    """

    def __init__(
        self, retriever: WeightedRetriever, queries: Sequence[JudgedQuery], qrels: Qrels, grid: Sequence[float]
    ) -> None:
        self._retriever, self._queries, self._qrels, self._grid = retriever, queries, qrels, sorted(grid)
        every_leg = retriever.weighted(
            dict.fromkeys(retriever.weights, 1.0)
        )  # with weight 0, a level's legs are not searched
        self._lists = [lists for batch in _batches(queries) for lists in every_leg.lists(batch, {})]
        self._tried: dict[tuple[float, ...], list[float]] = {}

    def scores(self, weights: Weights) -> list[float]:
        """nDCG@10 of each query."""
        weights = scaled(weights)
        key = tuple(weights.values())
        if key not in self._tried:
            retriever = self._retriever.weighted(weights)
            rankings = {
                query.id: [hit.passage.id for hit in retriever.join(lists)[:10]]
                for query, lists in zip(self._queries, self._lists, strict=True)
            }
            self._tried[key] = score_rankings(self._qrels, rankings, {MEASURE: "nDCG@10"})[MEASURE]
        return self._tried[key]

    def best(self, places: Sequence[int]) -> dict[str, float]:
        """The weights with the best mean score over the queries at these indices, by coordinate ascent on the grid.

        Ascends from the weights in use and from each leg alone; ties keep the earlier weights. Only the ratios matter:
        the largest weight of a leg is 1.
        """
        found, best = dict(self._retriever.weights), -1.0
        for start in (self._retriever.weights, *legs_alone(self._retriever.weights).values()):
            weights, mean = self._ascend(dict(start), places)
            if mean > best + _SAME:
                found, best = weights, mean
        return scaled(found)

    def cross_fitted(self, fold_of: Sequence[int]) -> list[float]:
        """nDCG@10 of each query with the weights that are best for the queries of the other folds."""
        found = [0.0] * len(fold_of)
        folds = sorted(set(fold_of))
        for fold in folds:
            weights = self.best([place for place, own in enumerate(fold_of) if own != fold])
            log.info("fold %d of %d: %s", fold + 1, len(folds), overrides(weights))
            scores = self.scores(weights)
            for place, own in enumerate(fold_of):
                if own == fold:
                    found[place] = scores[place]
        return found

    def _ascend(self, weights: dict[str, float], places: Sequence[int]) -> tuple[dict[str, float], float]:
        best, moved = self._mean(weights, places), True
        while moved:
            moved = False
            for path in weights:
                for value in self._grid:
                    other = weights | {path: value}
                    if _searches(other) and (mean := self._mean(other, places)) > best + _SAME:
                        best, weights, moved = mean, other, True
        return weights, best

    def _mean(self, weights: Weights, places: Sequence[int]) -> float:
        scores = self.scores(weights)
        return sum(scores[place] for place in places) / len(places)


def legs_alone(weights: Weights) -> dict[str, dict[str, float]]:
    """Leg -> weights with which this leg alone ranks."""
    legs = [path for path in weights if path.startswith(LEG)]
    return {leg.removeprefix(LEG): {path: float(path == leg) for path in weights} for leg in legs}


def scaled(weights: Weights) -> dict[str, float]:
    """The weights that give the same rankings and whose largest weight of a leg is 1."""
    top = max(weight for path, weight in weights.items() if path.startswith(LEG)) or 1.0
    return {path: weight / top if path.startswith(LEG) else weight for path, weight in weights.items()}


def overrides(weights: Weights) -> str:
    """The weights as Hydra overrides."""
    return " ".join(f"{path}={value:g}" for path, value in weights.items())


def folds_of(groups: Sequence[str], folds: int, seed: int) -> list[int]:
    """Each query's fold: whole clusters, largest first into the smallest fold; ties are broken by seed.

    Raises InputError if there are fewer clusters than folds.
    """
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


def _searches(weights: Weights) -> bool:
    """Whether any leg has a weight."""
    return any(weight > 0 for path, weight in weights.items() if path.startswith(LEG))


def _batches(queries: Sequence[JudgedQuery]) -> Iterator[list[Query]]:
    from tqdm import tqdm

    with tqdm(total=len(queries), desc="queries", unit="", disable=len(queries) <= _AT_ONCE) as bar:
        for first in range(0, len(queries), _AT_ONCE):
            batch = queries[first : first + _AT_ONCE]
            yield [Query.plain(query.text) for query in batch]
            bar.update(len(batch))

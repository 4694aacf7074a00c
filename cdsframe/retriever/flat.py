"""Retrievers over passages: BM25, kNN, and both combined. They ignore records of other levels."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.identity import flat, name_of
from cdsframe.contracts import Embedder, Fusion, Index
from cdsframe.retriever.base import Leg, LegRetriever, QueryBatch, scored_by
from cdsframe.types import Filter, Hit, Level, Query, Request

log = logging.getLogger(__name__)

TopK = Annotated[int, Field(ge=1)]


class Bm25Leg:
    """BM25 among the records of one level."""

    def __init__(self, num_candidates: int, level: Level = "passage") -> None:
        self.name = leg_name("bm25", level)
        self._num_candidates, self._level = num_candidates, level

    def requests(self, batch: QueryBatch) -> list[Request]:
        k, level, filter = self._num_candidates, self._level, batch.filter
        return [Request(k, text=query.words, level=level, filter=filter) for query in batch.queries]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return scored_by(self.name, result)


class KnnLeg:
    """kNN among the records of one level."""

    def __init__(self, num_candidates: int, embedder: Embedder, level: Level = "passage") -> None:
        self.name = leg_name("knn", level)
        self._num_candidates, self._embedder, self._level = num_candidates, embedder, level

    def requests(self, batch: QueryBatch) -> list[Request]:
        k, level, filter = self._num_candidates, self._level, batch.filter
        return [Request(k, vector=v, level=level, filter=filter) for v in batch.vectors(self._embedder)]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return scored_by(self.name, result)


def leg_name(kind: str, level: Level) -> str:
    """The leg's name in `Hit.parts`: `bm25` or `knn` for passages; `document.bm25` and so on for other levels."""
    return kind if level == "passage" else f"{level}.{kind}"


class Bm25(LegRetriever):
    """BM25 over passages.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits requested from the index; at least `top_k`.
        index: the index to search.
    """

    reads_words, needs_vectors = True, False

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index) -> None:
        super().__init__(top_k, num_candidates, index)

    def _legs(self) -> Sequence[Leg]:
        return [Bm25Leg(self._num_candidates)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return legs["bm25"]


class Knn(LegRetriever):
    """kNN over passages, by cosine similarity.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits requested from the index; at least `top_k`.
        index: the index to search.
        embedder: the embedder that the index was built with.
    """

    reads_words, needs_vectors = False, True

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder = embedder

    def _legs(self) -> Sequence[Leg]:
        return [KnnLeg(self._num_candidates, self._embedder)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return legs["knn"]


class Hybrid(LegRetriever):
    """BM25 and kNN over passages, joined by a fusion.

    If no weight is configured, the weights that `evaluation=tune` stored with the index are used, if they were fitted
    for this class of retriever, this class of fusion and this embedder.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits that each leg requests from the index; at least `top_k`.
        index: the index to search.
        embedder: the embedder that the index was built with.
        fusion: joins the two lists.
    """

    reads_words = needs_vectors = True

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder, fusion: Fusion) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder, self._fusion = embedder, fusion

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings that determine rankings, with the fitted weights if they are used."""
        used = {} if self._fitted is None else {"fitted_weights": self._fitted.weights}
        return {
            "_target_": name_of(type(self)), "top_k": self.top_k, "num_candidates": self._num_candidates, **used,
        }  # fmt: skip

    @property
    def weights_key(self) -> str:
        """Key of the index's annotation with the weights fitted for this retriever, its fusion and its embedder."""
        fitted_for = name_of(type(self)), name_of(type(self._fusion)), json.dumps(flat(self._embedder.identity))
        return f"weights:{digest(*fitted_for)}"

    @cached_property
    def _fitted(self) -> Hybrid | None:
        """This retriever with the fitted weights; None if any weight is configured, or none was fitted."""
        if self._configured_weights:
            return None
        found = self._index.annotations.get(self.weights_key)
        if found is None or found["weights"].keys() != self.weights.keys():
            return None
        weights = " ".join(f"{path}={weight:g}" for path, weight in found["weights"].items())
        log.info("retriever: weights fitted to %d queries by evaluation=tune: %s", found["queries"], weights)
        return self.weighted(found["weights"])

    @property
    def _configured_weights(self) -> Mapping[str, float]:
        return self._fusion.weights

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        if self._fitted is None:
            return super()._find(queries, wanted, filter)
        return self._fitted._find(queries, wanted, filter)

    def _legs(self) -> Sequence[Leg]:
        return [Bm25Leg(self._num_candidates), KnnLeg(self._num_candidates, self._embedder)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return self._fusion.fuse(legs)

    @property
    def weights(self) -> dict[str, float]:
        """Config path -> weight, as configured or its default; fitted weights are not used. `evaluation=tune` fits
        these weights."""
        return {f"fusion.weights.{leg}": self._fusion.weights.get(leg, 1.0) for leg in ("bm25", "knn")}

    def weighted(self, weights: Mapping[str, float]) -> Hybrid:
        """A copy of the retriever with other weights (see `weights`)."""
        other = copy(self)
        vars(other).pop("_fitted", None)
        other._fusion = self._fusion.weighted({leg: weights[f"fusion.weights.{leg}"] for leg in ("bm25", "knn")})
        return other

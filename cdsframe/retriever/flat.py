"""Retrievers over passages: BM25, kNN, and both combined. They ignore records of other levels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Embedder, Fusion, Index
from cdsframe.retriever.base import Leg, LegRetriever, QueryBatch, scored_by
from cdsframe.retriever.stored_weights import key_of, stored_weights
from cdsframe.types import Filter, Hit, Level, Query, Request

log = logging.getLogger(__name__)

_LEGS = ("bm25", "knn")

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

    If no weight is configured, weights that `evaluation=tune` stored with the index are used (see `weights_key`).

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
        self._in_use: Hybrid | None = None

    @property
    def weights_key(self) -> str:
        """Key of the index's annotation with weights fitted for this retriever, its fusion and its embedder."""
        return key_of(self, self._num_candidates, self._fusion, self._embedder)

    @property
    def weights_configured(self) -> bool:
        """Whether any weight is configured, so that stored weights are not used."""
        return bool(self._fusion.weights)

    @property
    def weights(self) -> dict[str, float]:
        """Config path -> weight in use: configured, else stored with the index, else the default."""
        return self._with_weights_in_use()._own_weights()

    def weighted(self, weights: Mapping[str, float]) -> Hybrid:
        """A copy of the retriever with other weights (see `weights`)."""
        other = copy(self)
        other._fusion = self._fusion.weighted({leg: weights[f"fusion.weights.{leg}"] for leg in _LEGS})
        return other

    def _own_weights(self) -> dict[str, float]:
        """Config path -> weight: configured, else the default."""
        return {f"fusion.weights.{leg}": self._fusion.weights.get(leg, 1.0) for leg in _LEGS}

    def _with_weights_in_use(self) -> Hybrid:
        """This retriever, or a copy with the stored weights. Reads the index once, unless a weight is configured."""
        if self.weights_configured:
            return self
        if self._in_use is None:
            stored = stored_weights(self._index, self.weights_key, self._own_weights())
            if stored is not None:
                written = " ".join(f"{path}={weight:g}" for path, weight in stored.weights.items())
                log.info("retriever: weights fitted to %d queries by evaluation=tune: %s", stored.queries, written)
            self._in_use = self if stored is None else self.weighted(stored.weights)
        return self._in_use

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        used = self._with_weights_in_use()
        return super()._find(queries, wanted, filter) if used is self else used._find(queries, wanted, filter)

    def _legs(self) -> Sequence[Leg]:
        return [Bm25Leg(self._num_candidates), KnnLeg(self._num_candidates, self._embedder)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return self._fusion.fuse(legs)

"""Retrievers over passages as they are: by words (BM25), by vectors (kNN), by both.

Do not look at documents or sections as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Embedder, Fusion, Index
from cdsframe.retriever.base import Leg, Search, Searching, named
from cdsframe.types import Hit, Level, Request

TopK = Annotated[int, Field(ge=1)]


class Words:
    """By words (BM25), among the records of one level."""

    def __init__(self, num_candidates: int, level: Level = "passage") -> None:
        self.name = leg_name("bm25", level)
        self._num_candidates, self._level = num_candidates, level

    def requests(self, search: Search) -> list[Request]:
        k, level, filter = self._num_candidates, self._level, search.filter
        return [Request(k, text=query.words, level=level, filter=filter) for query in search.queries]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return named(self.name, result)


class Vectors:
    """By vectors (kNN), among the records of one level."""

    def __init__(self, num_candidates: int, embedder: Embedder, level: Level = "passage") -> None:
        self.name = leg_name("knn", level)
        self._num_candidates, self._embedder, self._level = num_candidates, embedder, level

    def requests(self, search: Search) -> list[Request]:
        k, level, filter = self._num_candidates, self._level, search.filter
        return [Request(k, vector=v, level=level, filter=filter) for v in search.vectors(self._embedder)]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return named(self.name, result)


def leg_name(kind: str, level: Level) -> str:
    """What a leg is called in `Hit.parts`: `bm25`, `knn`, and so on; `document.bm25` where it searched documents."""
    return kind if level == "passage" else f"{level}.{kind}"


class Bm25(Searching):
    """Passages that share words with the query, the rarer the better.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many the index is asked for, whatever `top_k` is.
        index: what is searched.
    """

    reads_words, needs_vectors = True, False

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index) -> None:
        super().__init__(top_k, num_candidates, index)

    def _legs(self) -> Sequence[Leg]:
        return [Words(self._num_candidates)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return legs["bm25"]


class Knn(Searching):
    """Passages whose vectors are nearest to the query's, by cosine.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many the index is asked for, whatever `top_k` is.
        index: what is searched.
        embedder: the one that the index was made with.
    """

    reads_words, needs_vectors = False, True

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder = embedder

    def _legs(self) -> Sequence[Leg]:
        return [Vectors(self._num_candidates, self._embedder)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return legs["knn"]


class Hybrid(Searching):
    """Words and vectors, joined by a fusion.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many each leg asks the index for, whatever `top_k` is.
        index: what is searched.
        embedder: the one that the index was made with.
        fusion: joins the two lists.
    """

    reads_words = needs_vectors = True

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder, fusion: Fusion) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder, self._fusion = embedder, fusion

    def _legs(self) -> Sequence[Leg]:
        return [Words(self._num_candidates), Vectors(self._num_candidates, self._embedder)]

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return self._fusion.fuse(legs)

    @property
    def weights(self) -> dict[str, float]:
        """Config path -> the factor of a share: what can be tuned."""
        return {f"fusion.weights.{leg}": self._fusion.weights.get(leg, 1.0) for leg in ("bm25", "knn")}

    def weighted(self, weights: Mapping[str, float]) -> Hybrid:
        """The same retriever with other weights (see `weights`)."""
        other = copy(self)
        other._fusion = self._fusion.weighted({leg: weights[f"fusion.weights.{leg}"] for leg in ("bm25", "knn")})
        return other

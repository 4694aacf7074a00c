"""Retrievers over passages as they are: by words (BM25), by vectors (kNN), by both.

Do not look at documents or sections as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from pydantic import Field

from cdsframe.retriever.base import Leg, Searching, named
from cdsframe.types import Embedder, Filter, Hit, Index, Request

TopK = Annotated[int, Field(ge=1)]


class _Fusion(Protocol):
    def fuse(self, legs: Mapping[str, Sequence[Hit]]) -> list[Hit]: ...


class _Words:
    name = "bm25"

    def __init__(self, num_candidates: int) -> None:
        self._num_candidates = num_candidates

    def requests(self, queries: Sequence[str], filter: Filter) -> list[Request]:
        return [Request(self._num_candidates, text=query, filter=filter) for query in queries]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return named(self.name, result)


class _Vectors:
    name = "knn"

    def __init__(self, num_candidates: int, embedder: Embedder) -> None:
        self._num_candidates, self._embedder = num_candidates, embedder

    def requests(self, queries: Sequence[str], filter: Filter) -> list[Request]:
        vectors = self._embedder.encode_queries(queries)
        return [Request(self._num_candidates, vector=vector, filter=filter) for vector in vectors.tolist()]

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        return named(self.name, result)


class Bm25(Searching):
    """Passages that share words with the query, the rarer the better.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many the index is asked for, whatever `top_k` is.
        index: what is searched.
    """

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index) -> None:
        super().__init__(top_k, num_candidates, index)

    def _legs(self) -> Sequence[Leg]:
        return [_Words(self._num_candidates)]

    def _join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return legs["bm25"]


class Knn(Searching):
    """Passages whose vectors are nearest to the query's, by cosine.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how many the index is asked for, whatever `top_k` is.
        index: what is searched.
        embedder: the one that the index was made with.
    """

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder = embedder

    def _legs(self) -> Sequence[Leg]:
        return [_Vectors(self._num_candidates, self._embedder)]

    def _join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
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

    def __init__(self, top_k: TopK, num_candidates: TopK, index: Index, embedder: Embedder, fusion: _Fusion) -> None:
        super().__init__(top_k, num_candidates, index)
        self._embedder, self._fusion = embedder, fusion

    def _legs(self) -> Sequence[Leg]:
        return [_Words(self._num_candidates), _Vectors(self._num_candidates, self._embedder)]

    def _join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        return self._fusion.fuse(legs)

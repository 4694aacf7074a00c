"""Base classes of retrievers: check requests and send the searches of many queries at once.

Do not decide how a query is searched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from cdsframe.contracts import Embedder, Index
from cdsframe.errors import InputError
from cdsframe.filters import empty_fields
from cdsframe.types import Filter, Filters, Hit, LegScore, Query, Request

if TYPE_CHECKING:
    import numpy as np


class QueryBatch:
    """Queries searched together under one filter. Their vectors are computed once for all legs."""

    def __init__(self, queries: Sequence[Query], filter: Filter) -> None:
        self.queries, self.filter = queries, filter
        self._vectors: list[list[float]] | None = None

    def vectors(self, embedder: Embedder) -> list[list[float]]:
        """One vector per query, computed at the first call. All calls pass the same embedder."""
        if self._vectors is None:
            self._vectors = query_vectors(embedder, self.queries).tolist()
        return self._vectors


class Leg(Protocol):
    """One search method (BM25, kNN) at one level, split into requests and hits so that all legs share one search."""

    name: str

    def requests(self, batch: QueryBatch) -> list[Request]:
        """One request per query."""

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        """Converts the index's result for one request to hits with this leg in `parts`."""


def scored_by(leg: str, result: Sequence[Hit]) -> list[Hit]:
    """The hits with their rank and score in `Hit.parts`, under the leg's name."""
    return [Hit(hit.passage, hit.score, hit.rank, {leg: LegScore(hit.rank, hit.score)}) for hit in result]


def query_vectors(embedder: Embedder, queries: Sequence[Query]) -> np.ndarray:
    """`[n, dimension]`: the normalised sum of the vectors of each query's `meaning` and `passages` (arXiv
    2212.10496)."""
    import numpy as np

    vectors = embedder.encode_queries([query.meaning for query in queries])
    written = [passage for query in queries for passage in query.passages]
    passages = embedder.encode_passages(written) if written else ()
    ends = np.cumsum([len(query.passages) for query in queries])
    for number, (query, end) in enumerate(zip(queries, ends, strict=True)):
        if query.passages:
            total = vectors[number] + sum(passages[end - len(query.passages) : end])
            vectors[number] = total / max(float(np.linalg.norm(total)), 1e-12)
    return vectors


class BaseRetriever(ABC):
    """Implements `search` and `search_many` by `_find`, which subclasses define.

    Args:
        top_k: number of passages returned unless a search asks for another number.
    """

    searches = True
    """Whether it can find anything (`retriever=none` cannot)."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k

    def search(self, query: str | Query, top_k: int | None = None, filter: Filters | None = None) -> list[Hit]:
        """The best passages for one query. Raises InputError for an unknown metadata field in the filter."""
        return self.search_many([query], top_k, filter)[0]

    def search_many(
        self, queries: Sequence[str | Query], top_k: int | None = None, filter: Filters | None = None
    ) -> list[list[Hit]]:
        """The best passages per query, found in one search of the index."""
        wanted = self.top_k if top_k is None else top_k
        if wanted < 0:
            raise InputError(f"top_k must be >= 0, got {wanted}")
        wanted_filter = Filter(filter)
        if not isinstance(filter, Filter) and (empty := empty_fields(wanted_filter)):
            raise InputError(f"the filter's value of {', '.join(empty)} is empty; set a value, or remove the field")
        if not queries or not wanted or not wanted_filter.satisfiable:
            return [[] for _ in queries]
        asked = [query if isinstance(query, Query) else Query.plain(query) for query in queries]
        return [hits[:wanted] for hits in self._find(asked, wanted, wanted_filter)]

    @abstractmethod
    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        """Returns one list of hits per query, best first. The first hits must be the same for every `wanted`."""


class LegRetriever(BaseRetriever):
    """A retriever of one or more legs.

    Args:
        top_k: number of passages returned unless a search asks for another number.
        num_candidates: number of hits that each leg requests from the index; at least `top_k`.
        index: the index to search.
    """

    reads_texts: ClassVar[bool] = False
    """Whether `join` needs text or metadata of the hits. All candidates are then read in full, which takes longer."""

    def __init__(self, top_k: int, num_candidates: int, index: Index) -> None:
        super().__init__(top_k)
        self._num_candidates, self._index = num_candidates, index

    @staticmethod
    def hits_found(num_candidates: int) -> int:
        """Maximum number of hits; the configuration check compares a reranker's depth with it."""
        return num_candidates

    @staticmethod
    def problems(top_k: int, num_candidates: int) -> list[str]:
        """Returns the problems of the options: `num_candidates` must be at least `top_k`."""
        if top_k <= num_candidates:
            return []
        return [f"retriever.top_k={top_k} must be <= retriever.num_candidates={num_candidates}"]

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        if wanted > self._num_candidates:
            raise InputError(
                f"{wanted} passages were requested, but each leg returns {self._num_candidates}; set "
                f"retriever.num_candidates={wanted}"
            )
        legs, batch = self._legs(), QueryBatch(queries, filter)

        def best(results: list[list[Hit]]) -> list[list[Hit]]:
            return [self.join(lists)[:wanted] for lists in _by_query(legs, results, len(queries))]

        if self.reads_texts:
            return best(self._index.search(_requests(legs, batch)))
        return self._index.search(_requests(legs, batch), best)

    def lists(self, queries: Sequence[Query], filter: Filter) -> list[dict[str, list[Hit]]]:
        """Returns for each query: leg name -> hits. Searches the index once for all queries."""
        legs, batch = self._legs(), QueryBatch(queries, filter)
        return _by_query(legs, self._index.search(_requests(legs, batch)), len(queries))

    @abstractmethod
    def _legs(self) -> Sequence[Leg]: ...

    @abstractmethod
    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        """Joins one query's hits of all legs. The passages have no text unless the retriever `reads_texts`."""


def _requests(legs: Sequence[Leg], batch: QueryBatch) -> list[Request]:
    """The requests of all queries, leg by leg."""
    return [request for leg in legs for request in leg.requests(batch)]


def _by_query(legs: Sequence[Leg], results: Sequence[list[Hit]], queries: int) -> list[dict[str, list[Hit]]]:
    """Groups the results of `_requests` by query."""
    return [
        {leg.name: leg.hits(results[number * queries + query]) for number, leg in enumerate(legs)}
        for query in range(queries)
    ]

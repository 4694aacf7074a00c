"""What retrievers share: checking what is asked for, and sending the requests of many queries in one search.

Does not know what a query is searched by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar, Protocol

from cdsframe.contracts import Embedder, Index
from cdsframe.errors import InputError
from cdsframe.filters import empty_fields
from cdsframe.types import METADATA_FIELDS, Filter, Hit, Part, Query, Request

if TYPE_CHECKING:
    import numpy as np


class Search:
    """Queries that are searched at once under one filter; their vectors are made once, for all legs that need them."""

    def __init__(self, queries: Sequence[Query], filter: Filter) -> None:
        self.queries, self.filter = queries, filter
        self._vectors: list[list[float]] | None = None

    def vectors(self, embedder: Embedder) -> list[list[float]]:
        """One for each query. A retriever has one embedder."""
        if self._vectors is None:
            self._vectors = query_vectors(embedder, self.queries).tolist()
        return self._vectors


class Leg(Protocol):
    """One way of searching, in two halves, so that a combiner sends the requests of all its legs at once."""

    name: str

    def requests(self, search: Search) -> list[Request]:
        """One request for each query."""

    def hits(self, result: Sequence[Hit]) -> list[Hit]:
        """What the index answered to one request, as hits whose parts name this leg."""


def named(leg: str, result: Sequence[Hit]) -> list[Hit]:
    """The hits with their rank and score as this leg's part."""
    return [Hit(hit.passage, hit.score, hit.rank, {leg: Part(hit.rank, hit.score)}) for hit in result]


def query_vectors(embedder: Embedder, queries: Sequence[Query]) -> np.ndarray:
    """`[n, dimension]`: the mean of the vectors of each query's meaning and of its passages (arXiv 2212.10496)."""
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
    """`search` and `search_many` over `_find`.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
    """

    searches = True
    """Whether it can find anything (`retriever=none` cannot)."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k

    def search(self, query: str | Query, top_k: int | None = None, filter: Filter | None = None) -> list[Hit]:
        """The best passages for one query. Raises InputError for an unknown metadata field in the filter."""
        return self.search_many([query], top_k, filter)[0]

    def search_many(
        self, queries: Sequence[str | Query], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        """The best passages for each query, found in one search of the index."""
        wanted = self.top_k if top_k is None else top_k
        if wanted < 0:
            raise InputError(f"top_k must be >= 0, got {wanted}")
        for field in (filter or {}).keys() - set(METADATA_FIELDS):
            near = get_close_matches(field, METADATA_FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METADATA_FIELDS)}"
            raise InputError(f"no metadata field {field} to filter by; {hint}")
        if empty := empty_fields(filter or {}):
            raise InputError(f"the filter's value of {', '.join(empty)} is empty; give a value, or leave the field out")
        if not queries or not wanted:
            return [[] for _ in queries]
        asked = [query if isinstance(query, Query) else Query.plain(query) for query in queries]
        return [hits[:wanted] for hits in self._find(asked, wanted, filter or {})]

    @abstractmethod
    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        """For each query a list whose first `wanted` hits do not depend on `wanted`."""


class Searching(BaseRetriever):
    """A retriever of one or more legs.

    Args:
        top_k: how many passages a search gives unless it is asked for another number.
        num_candidates: how deep each leg looks, whatever `top_k` is.
        index: what is searched.
    """

    reads_texts: ClassVar[bool] = False
    """Whether `join` looks at more of a passage than what is bare: all candidates are then read, which takes longer."""

    def __init__(self, top_k: int, num_candidates: int, index: Index) -> None:
        super().__init__(top_k)
        self._num_candidates, self._index = num_candidates, index

    @staticmethod
    def problems(top_k: int, num_candidates: int) -> list[str]:
        """Empty if the legs look at least as deep as the list is long."""
        if top_k <= num_candidates:
            return []
        return [f"retriever.top_k={top_k} must be <= retriever.num_candidates={num_candidates}"]

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        if wanted > self._num_candidates:
            raise InputError(
                f"{wanted} passages were asked for, each leg looks at {self._num_candidates}; "
                f"set retriever.num_candidates={wanted}"
            )
        legs, search = self._legs(), Search(queries, filter)

        def best(results: list[list[Hit]]) -> list[list[Hit]]:
            return [self.join(lists)[:wanted] for lists in _by_query(legs, results, len(queries))]

        if self.reads_texts:
            return best(self._index.search(_requests(legs, search)))
        return self._index.search(_requests(legs, search), best)

    def lists(self, queries: Sequence[Query], filter: Filter) -> list[dict[str, list[Hit]]]:
        """For each query what each leg found, by the leg's name, in one search of the index."""
        legs, search = self._legs(), Search(queries, filter)
        return _by_query(legs, self._index.search(_requests(legs, search)), len(queries))

    @abstractmethod
    def _legs(self) -> Sequence[Leg]: ...

    @abstractmethod
    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        """One query's hits from those of each leg. Their passages are bare unless the retriever `reads_texts`."""


def _requests(legs: Sequence[Leg], search: Search) -> list[Request]:
    """Of one leg after the other, for all queries each."""
    return [request for leg in legs for request in leg.requests(search)]


def _by_query(legs: Sequence[Leg], results: Sequence[list[Hit]], queries: int) -> list[dict[str, list[Hit]]]:
    """The answers to `_requests`."""
    return [
        {leg.name: leg.hits(results[number * queries + query]) for number, leg in enumerate(legs)}
        for query in range(queries)
    ]

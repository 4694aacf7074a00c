"""Base class of expansions: a retriever that expands queries and delegates the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from cdsframe.contracts import Retriever
from cdsframe.types import Filter, Filters, Hit, Query


class Expanding(ABC):
    """Expands queries and searches them with another retriever.

    Args:
        retriever: searches the expanded queries.
    """

    adds_words = False
    """Whether the expansion changes what BM25 searches for."""
    adds_vectors = False
    """Whether the expansion changes what kNN searches for."""
    needs_generator = False
    """Whether the generator writes the added text."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever, self.top_k, self.searches = retriever, retriever.top_k, retriever.searches

    def search(self, query: str | Query, top_k: int | None = None, filter: Filters | None = None) -> list[Hit]:
        return self.search_many([query], top_k, filter)[0]

    def search_many(
        self, queries: Sequence[str | Query], top_k: int | None = None, filter: Filters | None = None
    ) -> list[list[Hit]]:
        if not queries or not self.searches or top_k == 0:
            return [[] for _ in queries]
        asked = [query if isinstance(query, Query) else Query.plain(query) for query in queries]
        return self._retriever.search_many(self.expand(asked, Filter(filter)), top_k, filter)

    @abstractmethod
    def expand(self, queries: Sequence[Query], filter: Filter) -> list[Query]:
        """Expands each query. Must not use passages that the filter excludes."""

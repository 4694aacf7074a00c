"""No retrieval: questions are answered closed-book."""

from __future__ import annotations

from collections.abc import Sequence

from cdsframe.retriever.base import BaseRetriever
from cdsframe.types import Filter, Hit, Query


class NoRetriever(BaseRetriever):
    """Finds nothing."""

    searches = False

    def __init__(self) -> None:
        super().__init__(0)

    def _find(self, queries: Sequence[Query], wanted: int, filter: Filter) -> list[list[Hit]]:
        return [[] for _ in queries]

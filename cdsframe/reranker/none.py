"""No reranking: keeps the retriever's order."""

from __future__ import annotations

from cdsframe.types import Hit


class NoReranker:
    """Returns the hits unchanged."""

    depth = 0

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        return hits

"""No reranking: the retriever's order stays."""

from __future__ import annotations

from cdsframe.types import Hit


class NoReranker:
    """Leaves the hits as they are."""

    depth = 0

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        return hits

"""A retriever that sorts what BM25 finds by date."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from cdsframe import Hit, Index
from cdsframe.retriever.flat import Bm25


class Newest(Bm25):
    """The newest passages first, among those with at least a share of the best BM25 score."""

    reads_texts = True  # and metadata; otherwise `join` gets hits with ids and titles only

    def __init__(
        self,
        top_k: Annotated[int, Field(ge=1)],
        num_candidates: Annotated[int, Field(ge=1)],
        share: Annotated[float, Field(gt=0, le=1)],
        index: Index,
    ) -> None:
        super().__init__(top_k, num_candidates, index)
        self._share = share

    def join(self, legs: Mapping[str, list[Hit]]) -> list[Hit]:
        """Called with the hits of each leg, best first; returns one list."""
        found = super().join(legs)
        good = [hit for hit in found if hit.score >= self._share * found[0].score]
        return sorted(good, key=lambda hit: hit.passage.metadata.get("date", ""), reverse=True)

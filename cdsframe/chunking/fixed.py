"""Splits a whole document into passages of one size, ignoring sections and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any

from pydantic import Field

from cdsframe.chunking.base import Levels, Prepend, SectionRun, Size, SummarySentences
from cdsframe.chunking.cutting import Breaks
from cdsframe.chunking.section import SectionChunker
from cdsframe.contracts import Embedder
from cdsframe.types import Section


class FixedChunker(SectionChunker):
    """Splits between words. A passage may span sections; it belongs to the section that it begins in.

    Args:
        size: maximum tokens of a passage.
        overlap: maximum tokens repeated at the start of the next passage, which begins with a whole word.
        prepend: which of title and heading are prepended for embedding and BM25.
        levels: levels of the records made besides passages: `document`, `section`, `title`.
        summary_sentences: number of central sentences that form a document record's text; None: the whole text.
        embedder: its tokenizer counts tokens.
    """

    def __init__(
        self,
        size: Size,
        overlap: Annotated[int, Field(ge=0)],
        prepend: Prepend,
        levels: Levels,
        summary_sentences: SummarySentences,
        embedder: Embedder,
    ) -> None:
        super().__init__(size, overlap, prepend, levels, summary_sentences, embedder)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {**super().identity, "name": "fixed"}

    def _section_runs(self, sections: Sequence[Section]) -> Iterable[SectionRun]:
        for whole, run in groupby(enumerate(sections), key=lambda numbered: numbered[1].passage_id is not None):
            if whole:
                yield from ([numbered] for numbered in run)
            else:
                yield list(run)

    def _breaks(self, text: str) -> Breaks:
        return replace(super()._breaks(text), sentences=())

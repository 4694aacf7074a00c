"""Cuts the whole document into passages of one size, whatever its sections and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any

from pydantic import Field

from cdsframe.chunking.base import Levels, Prepend, Size, Stretch, SummarySentences
from cdsframe.chunking.cutting import Breaks
from cdsframe.chunking.section import SectionChunker
from cdsframe.contracts import Embedder
from cdsframe.types import Section


class FixedChunker(SectionChunker):
    """A passage ends between words, and may run on into the next section; its section is the one that it begins in.

    Args:
        size: the longest passage, in tokens.
        overlap: how far back, in tokens, the next passage begins, at a word's beginning.
        prepend: what of title and heading goes before its text where it is embedded and read by BM25.
        levels: the records that stand beside the passages.
        summary_sentences: of how many sentences a document's record is; None: of its whole text.
        embedder: whose tokenizer counts.
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

    def _stretches(self, sections: Sequence[Section]) -> Iterable[Stretch]:
        for whole, run in groupby(enumerate(sections), key=lambda numbered: numbered[1].passage_id is not None):
            if whole:
                yield from ([numbered] for numbered in run)
            else:
                yield list(run)

    def _breaks(self, text: str) -> Breaks:
        return replace(super()._breaks(text), sentences=())

"""Cuts each section into passages: at sentence ends where it can, with overlap.

Lengths are tokens of the embedder's own tokenizer, so nothing is ever cut silently.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cdsframe.chunking.base import BaseChunker, Levels, Prepend, Size, SummarySentences
from cdsframe.chunking.cutting import Breaks
from cdsframe.contracts import Embedder
from cdsframe.errors import ConfigError


class SectionChunker(BaseChunker):
    """A passage never crosses a section.

    It ends at a sentence's end if there is one in its second half, else between words, else between tokens.

    Args:
        size: the longest passage, in tokens.
        overlap: how far back, in tokens, the next passage may begin, at a sentence's beginning where there is one.
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
        if found := self.problems(size, overlap, levels, summary_sentences):
            raise ConfigError(found)
        super().__init__(size, prepend, levels, summary_sentences, embedder)
        self._overlap = overlap

    @classmethod
    def problems(cls, size: int, overlap: int, levels: Levels, summary_sentences: int | None) -> list[str]:
        """Empty if the overlap leaves room for progress, and there is a record to be summarised."""
        found = cls.level_problems(levels, summary_sentences)
        if overlap >= size // 2:
            found.append(f"chunking.overlap must be less than half of chunking.size={size}, got {overlap}")
        return found

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "section", "overlap": self._overlap, **super().identity}

    def _cut(self, places: Breaks, begin: int, limit: int, done: int) -> int:
        if limit == places.length:
            return limit
        return places.before(limit, sentence=max(done, (begin + limit) // 2), word=max(done, begin))

    def _back(self, places: Breaks, first: int, after: int) -> int:
        earliest = places.tokens[max(first + 1, after - self._overlap)]
        for breaks in (places.sentences, places.words):
            at = bisect_left(breaks, earliest)
            if at < len(breaks) and breaks[at] < places.tokens[after]:
                return bisect_left(places.tokens, breaks[at])
        return after

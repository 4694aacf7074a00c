"""Splits each section into overlapping passages, at sentence ends if possible.

Lengths are tokens of the embedder's tokenizer, so the embedder never truncates silently.
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
    """A passage never spans sections.

    It ends at the last sentence end in its second half, else between words, else between tokens.

    Args:
        size: maximum tokens of a passage.
        overlap: maximum tokens repeated at the start of the next passage, which begins with a sentence if one fits.
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
        if found := self.problems(size, overlap, levels, summary_sentences):
            raise ConfigError(found)
        super().__init__(size, prepend, levels, summary_sentences, embedder)
        self._overlap = overlap

    @classmethod
    def problems(cls, size: int, overlap: int, levels: Levels, summary_sentences: int | None) -> list[str]:
        """Returns the problems of the options: `overlap` must be less than half of `size`; also those of
        `level_problems`."""
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

"""Splits each section into passages of a fixed number of sentences with a sliding window."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cdsframe.chunking.base import BaseChunker, Levels, Prepend, Size, SummarySentences
from cdsframe.chunking.cutting import Breaks
from cdsframe.contracts import Embedder
from cdsframe.errors import ConfigError


class SentenceChunker(BaseChunker):
    """A passage has fewer than `sentences` sentences if they exceed `size`; a longer sentence is split between words.

    Args:
        size: maximum tokens of a passage.
        sentences: sentences per passage.
        overlap: sentences repeated at the start of the next passage.
        prepend: which of title and heading are prepended for embedding and BM25.
        levels: levels of the records made besides passages: `document`, `section`, `title`.
        summary_sentences: number of central sentences that form a document record's text; None: the whole text.
        embedder: its tokenizer counts tokens.
    """

    def __init__(
        self,
        size: Size,
        sentences: Annotated[int, Field(ge=1)],
        overlap: Annotated[int, Field(ge=0)],
        prepend: Prepend,
        levels: Levels,
        summary_sentences: SummarySentences,
        embedder: Embedder,
    ) -> None:
        if found := self.problems(sentences, overlap, levels, summary_sentences):
            raise ConfigError(found)
        super().__init__(size, prepend, levels, summary_sentences, embedder)
        self._sentences, self._overlap = sentences, overlap

    @classmethod
    def problems(cls, sentences: int, overlap: int, levels: Levels, summary_sentences: int | None) -> list[str]:
        """Returns the problems of the options: `overlap` must be less than `sentences`; also those of
        `level_problems`."""
        found = cls.level_problems(levels, summary_sentences)
        if overlap >= sentences:
            found.append(f"chunking.overlap must be less than chunking.sentences={sentences}, got {overlap}")
        return found

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "sentence", "sentences": self._sentences, "overlap": self._overlap, **super().identity}

    def _cut(self, places: Breaks, begin: int, limit: int, done: int) -> int:
        wanted = bisect_right(places.sentences, begin) + self._sentences - 1
        end = places.sentences[wanted] if wanted < len(places.sentences) else places.length
        return end if end <= limit else places.before(limit, sentence=max(done, begin), word=max(done, begin))

    def _back(self, places: Breaks, first: int, after: int) -> int:
        at = bisect_left(places.sentences, places.tokens[after])
        if at == len(places.sentences) or places.sentences[at] > places.tokens[after]:
            return after  # the passage ends within a sentence
        back = min(at, max(at - self._overlap, bisect_right(places.sentences, places.tokens[first])))
        return bisect_left(places.tokens, places.sentences[back])

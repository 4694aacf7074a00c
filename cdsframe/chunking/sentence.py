"""Cuts each section into passages of so many sentences: a window that moves on by whole sentences."""

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
    """A passage has fewer sentences where they are longer than `size`; a longer single one is cut between words.

    Args:
        size: the longest passage, in tokens.
        sentences: how many sentences a passage has.
        overlap: how many of them the next one begins with again.
        prepend: what of title and heading goes before its text where it is embedded and read by BM25.
        levels: the records that stand beside the passages.
        summary_sentences: of how many sentences a document's record is; None: of its whole text.
        embedder: whose tokenizer counts.
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
        """Empty if each passage has a sentence of its own, and there is a record to be summarised."""
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
            return after  # the passage ends within a sentence, which goes on
        back = min(at, max(at - self._overlap, bisect_right(places.sentences, places.tokens[first])))
        return bisect_left(places.tokens, places.sentences[back])

"""Cuts documents into passages that a model reads whole: within sections, at sentence ends, with overlap.

Lengths are tokens of the embedder's own tokenizer, so nothing is ever cut silently. Does not embed, and does not see
other documents.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from cdsframe.chunking.base import BaseChunker, Levels
from cdsframe.errors import ConfigError
from cdsframe.types import Document, Embedder, Passage, Section, digest

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+(?=[^\s\da-z])|\n\s*\n|\n(?=\s*(?:[-*•|]|\d+[.)]\s))")
_WORD_END = re.compile(r"\s+")


class SectionChunker(BaseChunker):
    """Passages of at most `size` tokens, counted as the model reads them: prefix, title, heading, text, special tokens.

    A passage never crosses a section. It ends at a sentence's end if there is one in its second half, else between
    words, else between tokens. Records that are passages already (`Section.passage_id`) are kept whole.

    Args:
        size: the longest passage, in tokens.
        overlap: how far back, in tokens, the next passage may begin, at a sentence's beginning where there is one.
        levels: the records that stand beside the passages.
        embedder: whose tokenizer counts.
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=16)],
        overlap: Annotated[int, Field(ge=0)],
        levels: Levels,
        embedder: Embedder,
    ) -> None:
        super().__init__(levels)
        problems = self.problems(size, overlap)
        if problems:
            raise ConfigError(problems)
        self._size, self._overlap, self._embedder = size, overlap, embedder

    @staticmethod
    def problems(size: int, overlap: int) -> list[str]:
        """Empty if the overlap leaves room for progress."""
        if overlap >= size // 2:
            return [f"chunking.overlap must be less than half of chunking.size={size}, got {overlap}"]
        return []

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "section", "size": self._size, "overlap": self._overlap, "levels": self._levels}

    def _passages(self, document: Document) -> list[Passage]:
        passages: list[Passage] = []
        for number, section in enumerate(document.sections):
            if section.passage_id is not None:
                title, heading = document.title, section.heading
                spans: Iterator[tuple[int, int]] = iter([(section.start, section.end)])
            else:
                title, heading = self._shorten(document.title, section.heading)
                spans = self._spans(document.text, section, title, heading)
            for start, end in spans:
                text = document.text[start:end]
                passages.append(
                    Passage(
                        id=section.passage_id or digest(document.id, str(len(passages)), text),
                        document_id=document.id,
                        section_id=section.id or f"{document.id}#{number}",
                        level="passage",
                        text=text,
                        title=title,
                        heading=heading,
                        ordinal=len(passages),
                        start=start,
                        end=end,
                        digest=document.digest,
                        metadata=document.metadata,
                    )
                )
        return passages

    def _shorten(self, title: str, heading: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Title and heading in at most half of `size`: outer headings go first, then the ends of what is left."""
        half = self._size // 2
        while len(heading) > 1 and self._count(title, heading, "") > half:
            heading = heading[1:]
        for cut_title in (False, True):
            while self._count(title, heading, "") > half:
                words = (title if cut_title else " ".join(heading)).removesuffix("…").split()
                shorter = " ".join(words[:-1]) + "…" if len(words) > 1 else ""
                title, heading = (shorter, heading) if cut_title else (title, (shorter,) if shorter else ())
                if not shorter:
                    break
        return title, heading

    def _count(self, title: str, heading: tuple[str, ...], text: str) -> int:
        return self._embedder.count("\n".join(part for part in (title, " > ".join(heading), text) if part))

    def _spans(self, source: str, section: Section, title: str, heading: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        """Character spans of the section's passages, without blanks at their ends."""
        text = source[section.start : section.end]
        # A token that the tokenizer did not see (a control character) belongs to the token before it.
        starts = [start for start, end in self._embedder.offsets(text) if end > start]
        sentences = [m.end() for m in _SENTENCE_END.finditer(text)]
        words = [m.end() for m in _WORD_END.finditer(text)]
        first = after = done = 0  # tokens: where this passage begins, where new text begins; characters already shown
        while first < len(starts):
            begin = done if first == after else starts[first]
            end = self._end(text, begin, starts, first, title, heading)
            if end < len(text):
                end = _cut(begin, end, done, sentences, words)
            if end <= done:  # the overlap leaves no room for anything new
                first = after
                continue
            piece = text[begin:end]
            if text[done:end].strip():
                start = section.start + begin + len(piece) - len(piece.lstrip())
                yield start, start + len(piece.strip())
            done, after = end, bisect_left(starts, end)
            first = after if after == len(starts) else self._back(starts, first, after, sentences, words)

    def _end(self, text: str, begin: int, starts: list[int], first: int, title: str, heading: tuple[str, ...]) -> int:
        """The character at which a passage from token `first` on is full: before a token, at least one behind."""
        last = min(first + max(1, self._size - self._count(title, heading, "")), len(starts))
        while True:
            end = starts[last] if last < len(starts) else len(text)
            if last == first + 1 or self._count(title, heading, text[begin:end].strip()) <= self._size:
                return end
            last -= 1  # tokens count differently in company: rare, and seldom more than one

    def _back(self, starts: list[int], first: int, after: int, sentences: list[int], words: list[int]) -> int:
        """The token at which the next passage begins: behind `first`, at most `overlap` tokens before `after`."""
        earliest = starts[max(first + 1, after - self._overlap)]
        for breaks in (sentences, words):
            at = bisect_left(breaks, earliest)
            if at < len(breaks) and breaks[at] < starts[after]:
                return bisect_left(starts, breaks[at])
        return after


def _cut(begin: int, limit: int, done: int, sentences: list[int], words: list[int]) -> int:
    """Behind `done`: the last sentence end in the second half of `begin:limit`, else a word's end, else `limit`."""
    for breaks, least in ((sentences, max(done, (begin + limit) // 2)), (words, max(done, begin))):
        at = bisect_right(breaks, limit) - 1
        if at >= 0 and breaks[at] > least:
            return breaks[at]
    return limit

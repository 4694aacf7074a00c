"""Base class of chunkers: passages of limited size with prepended title and heading, and records of other levels.

Subclasses decide which sections are split as one text and where to split. Does not embed and does not see other
documents.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.chunking.cutting import Breaks, breaks
from cdsframe.chunking.records import records
from cdsframe.contracts import Embedder
from cdsframe.types import HEADS, Document, Head, Passage, Section, headed

Size = Annotated[int, Field(ge=16)]
"""Maximum tokens of a passage as the embedder reads it: model prefix, prepended fields, text and special tokens."""
Prepend = list[Head]
"""Which of title and heading are prepended to the text for embedding and BM25."""
Levels = list[Literal["section", "document", "title"]]
"""Levels of the records made besides passages; `retriever=hierarchical` uses them."""
SummarySentences = Annotated[int, Field(ge=1)] | None
"""Number of the document's most central sentences that form the text of its record; None: the whole text."""

SectionRun = Sequence[tuple[int, Section]]
"""Consecutive sections, with their numbers in the document, that are split as one text."""

_BLANKS = re.compile(r"\s*")


class BaseChunker(ABC):
    """Makes passages of at most `size` tokens, as the embedder counts them, then the document's other records.

    Sections that are passages already in the corpus (`Section.passage_id`) are kept whole.

    Args:
        size, prepend, levels, summary_sentences: see their types.
        embedder: its tokenizer counts tokens.
    """

    def __init__(
        self, size: int, prepend: Prepend, levels: Levels, summary_sentences: int | None, embedder: Embedder
    ) -> None:
        self._size, self._levels, self._summary_sentences, self._embedder = size, levels, summary_sentences, embedder
        self._prepended = tuple(head for head in HEADS if head in prepend)

    @staticmethod
    def level_problems(levels: Levels, summary_sentences: int | None) -> list[str]:
        """Returns the problems of the options: `summary_sentences` needs `document` among `levels`."""
        if summary_sentences is None or "document" in levels:
            return []
        return [
            f"chunking.summary_sentences={summary_sentences} needs document records, which chunking.levels does not "
            "request; add document to chunking.levels, or set chunking.summary_sentences=null"
        ]

    @staticmethod
    def passage_tokens(size: int) -> int:
        """Maximum tokens of a passage, for the configuration check."""
        return size

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "size": self._size,
            "prepend": list(self._prepended),
            "levels": self._levels,
            "summary_sentences": self._summary_sentences,
        }

    def split(self, document: Document) -> list[Passage]:
        """The document's passages in order, with `document.text[p.start:p.end] == p.text`, then its other records."""
        passages = self._passages(document)
        if not passages:
            return []
        around = (records(document, passages, level, self._summary_sentences) for level in self._levels)
        return [*passages, *(record for level in around for record in level)]

    def _section_runs(self, sections: Sequence[Section]) -> Iterable[SectionRun]:
        """Groups sections that are split as one text; by default each alone. A section that is already a passage stays
        alone."""
        return ([numbered] for numbered in enumerate(sections))

    def _breaks(self, text: str) -> Breaks:
        """The possible split points of a text."""
        return breaks(text, self._embedder.offsets(text))

    @abstractmethod
    def _cut(self, places: Breaks, begin: int, limit: int, done: int) -> int:
        """The end (character) of a passage that begins at `begin`, at most `limit`. Earlier passages cover text up to
        `done`."""

    @abstractmethod
    def _back(self, places: Breaks, first: int, after: int) -> int:
        """Returns the token that the next passage begins with, in (`first`, `after`].

        `after` is the first token that no passage covers yet.
        """

    def _passages(self, document: Document) -> list[Passage]:
        passages: list[Passage] = []
        own = document.digest  # computed once, since it hashes the whole text
        for run in self._section_runs(document.sections):
            for (number, section), title, heading, start, end in self._pieces(document, run):
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
                        digest=own,
                        metadata=document.metadata,
                        prepended=self._prepended,
                    )
                )
        return passages

    def _pieces(
        self, document: Document, run: SectionRun
    ) -> Iterator[tuple[tuple[int, Section], str, tuple[str, ...], int, int]]:
        """Yields per passage: (number, section) of its first section; title; heading; start; end."""
        first = run[0][1]
        if first.passage_id is not None:
            yield run[0], document.title, first.heading, first.start, first.end
            return
        names = [self._shorten(document.title, section.heading) for _, section in run]
        ends = [section.end - first.start for _, section in run[:-1]]
        text = document.text[first.start : run[-1][1].end]
        for start, end in self._spans(text, lambda place: self._head(*names[bisect_right(ends, place)])):
            at = bisect_right(ends, start)
            yield run[at], *names[at], first.start + start, first.start + end

    def _head(self, title: str, heading: tuple[str, ...]) -> str:
        """The title and heading that are put before each passage's text, as `prepend` configures."""
        return headed(title if "title" in self._prepended else "", heading if "heading" in self._prepended else (), "")

    def _shorten(self, title: str, heading: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Shortens title and heading so that the prepended part fits in half of `size`.

        Removes outer headings first, then the ends of the remaining texts.
        """
        half = self._size // 2
        with_title, with_heading = "title" in self._prepended, "heading" in self._prepended
        while with_heading and len(heading) > 1 and self._count(self._head(title, heading), "") > half:
            heading = heading[1:]
        for cut_title in [False] * with_heading + [True] * with_title:
            while self._count(self._head(title, heading), "") > half:
                words = (title if cut_title else " ".join(heading)).removesuffix("…").split()
                whole = "".join(words)  # halved if it is one word or a script without spaces
                shorter = " ".join(words[:-1]) if len(words) > 1 else whole[: len(whole) // 2]
                shorter += "…" if shorter else ""
                title, heading = (shorter, heading) if cut_title else (title, (shorter,) if shorter else ())
                if not shorter:
                    break
        return title, heading

    def _count(self, head: str, text: str) -> int:
        return self._embedder.count(headed(head, (), text))  # the embedder counts the text's search form

    def _spans(self, text: str, head: Callable[[int], str]) -> Iterator[tuple[int, int]]:
        """Character spans of a text's passages, stripped of blanks; `head` returns the prepended text for a start
        position.

        In the loop, the passage begins with token `first`; `after` is the first token that no passage covers yet;
        passages cover the first `done` characters.
        """
        places = self._breaks(text)
        first = after = done = 0
        while first < len(places.tokens):
            begin = done if first == after else places.tokens[first]
            start = _BLANKS.match(text, begin).end()  # type: ignore[union-attr]  # it matches anywhere
            end = self._cut(places, begin, self._limit(text, places, begin, first, head(start)), done)
            if bisect_left(places.tokens, end) == len(places.tokens):
                end = places.length  # no token begins later: take the rest of the text
            if end <= done:  # the overlap leaves no room for new text
                first = after
                continue
            if text[done:end].strip():
                yield start, begin + len(text[begin:end].rstrip())
            done, after = end, bisect_left(places.tokens, end)
            first = after if after == len(places.tokens) else self._back(places, first, after)

    def _limit(self, text: str, places: Breaks, begin: int, first: int, head: str) -> int:
        """The largest end (character) of a passage that begins with token `first` and has at most `size` tokens, or one
        token if even that exceeds `size`."""
        last = min(first + max(1, self._size - self._count(head, "")), len(places.tokens))
        while True:
            end = places.tokens[last] if last < len(places.tokens) else len(text)
            if last == first + 1 or self._count(head, text[begin:end].strip()) <= self._size:
                return end
            last -= 1  # rare: a token count depends on context, seldom by more than one

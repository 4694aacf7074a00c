"""Finds split points of a text: ends of sentences, words and tokens. Does not know documents or limits."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

_SENTENCE_END = re.compile(
    r"[.!?…؟۔।॥][\"'”’)\]]*\s+(?=[^\s\da-z])|[。！？｡]+[\"'”’)\]」』）】]*\s*|\n\s*\n|\n(?=\s*(?:[-*•|]|\d+[.)]\s))"
)
_WORD_END = re.compile(r"\s+|[、，；：・]")
_DIVIDED = re.compile(r"[^\W\d_][-\u2010\u2011\u00ad]$")
"""The characters before a line end that divides a word. A search would find neither half of a word split there."""


@dataclass(frozen=True, slots=True)
class Breaks:
    """Character positions at which tokens, words and sentences begin, ascending; `length` is the text's length."""

    length: int
    tokens: Sequence[int]
    words: Sequence[int]
    sentences: Sequence[int]

    def before(self, limit: int, sentence: int, word: int) -> int:
        """The last sentence start in (`sentence`, `limit`], else the last word start in (`word`, `limit`], else
        `limit`."""
        for breaks, least in ((self.sentences, sentence), (self.words, word)):
            at = bisect_right(breaks, limit) - 1
            if at >= 0 and breaks[at] > least:
                return breaks[at]
        return limit


def breaks(text: str, offsets: Sequence[tuple[int, int]]) -> Breaks:
    """The split points of a text whose tokens have these offsets.

    Characters outside all tokens (control characters) belong to the preceding token.
    """
    tokens = [start for start, end in offsets if end > start]
    words = [end.end() for end in _WORD_END.finditer(text) if not _divides(text, end)]
    return Breaks(len(text), tokens, words, [match.end() for match in _SENTENCE_END.finditer(text)])


def _divides(text: str, blanks: re.Match[str]) -> bool:
    """Whether these blanks are a line end within a word."""
    return "\n" in blanks[0] and _DIVIDED.search(text, max(0, blanks.start() - 2), blanks.start()) is not None

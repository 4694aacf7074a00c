"""Where a text may be cut: at the ends of sentences, words and tokens. Knows no documents and no limits."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_SENTENCE_END = re.compile(
    r"[.!?…؟۔।॥][\"'”’)\]]*\s+(?=[^\s\da-z])|[。！？｡]+[\"'”’)\]」』）】]*\s*|\n\s*\n|\n(?=\s*(?:[-*•|]|\d+[.)]\s))"
)
_WORD_END = re.compile(r"\s+|[、，；：・]")
_DIVIDED = re.compile(r"[^\W\d_][-\u2010\u2011\u00ad]$")
"""The end of a line that divides a word: what is cut there is found by neither half."""


@dataclass(frozen=True, slots=True)
class Breaks:
    """The characters of a text at which tokens, words and sentences begin, ascending; `length` is the text's."""

    length: int
    tokens: Sequence[int]
    words: Sequence[int]
    sentences: Sequence[int]

    def before(self, limit: int, sentence: int, word: int) -> int:
        """The last sentence's beginning up to `limit` behind `sentence`, else a word's behind `word`, else `limit`."""
        for breaks, least in ((self.sentences, sentence), (self.words, word)):
            at = bisect_right(breaks, limit) - 1
            if at >= 0 and breaks[at] > least:
                return breaks[at]
        return limit


def breaks(text: str, offsets: Sequence[tuple[int, int]]) -> Breaks:
    """The places in a text whose tokens have these offsets.

    A token that the tokenizer did not see (a control character) belongs to the token before it.
    """
    tokens = [start for start, end in offsets if end > start]
    words = [end.end() for end in _WORD_END.finditer(text) if not _divides(text, end)]
    return Breaks(len(text), tokens, words, [match.end() for match in _SENTENCE_END.finditer(text)])


def _divides(text: str, blanks: re.Match[str]) -> bool:
    """Whether a line ends there within a word."""
    return "\n" in blanks[0] and _DIVIDED.search(text, max(0, blanks.start() - 2), blanks.start()) is not None


def sentences(text: str) -> list[str]:
    """The text's sentences, without blanks around them."""
    places = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    found = (text[start:end].strip() for start, end in pairwise(places))
    return [sentence for sentence in found if sentence]

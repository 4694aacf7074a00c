"""Splits text into sentences. A line wrapped within a sentence, as in PDF files, does not end the sentence.

Uses no grammar, and does not split passages (see `cdsframe.chunking.cutting`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from cdsframe.text.search_form import search_form

_DIVIDED = re.compile(r"[^\W_][-\u2010\u2011\u00ad\u0002\ufffe]\Z")
"""A line's end that hyphenates a word or divides a range of numbers."""
_ITEM = re.compile(r"\s*(?:[-*+•‣◦▪–—·]\s|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{2,5})[.)]\s|\||#{1,6}\s|>\s)\s*")
"""A line's beginning that starts a list item, a table row, a heading or a quotation."""
_RECORD = re.compile(r"\d{4}-\d\d-\d\d\b|[^\W_a-z][^\n.!?;:,]{0,60}:\s")
"""A line's beginning with a name and a value: "Department: Pharmacy", "2024-03-01: …"."""
_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|(?<=[。！？｡])(?=[^。！？｡\s])|\s*\n\s*")
_WITHIN_WORD = "\v"
"""Replaces a line's end that divides a word; one character, so that offsets stay the same."""
_NARROWEST = 30
"""Minimum width (characters of the longest line) of a paragraph that is read as wrapped prose."""


class Sentence(NamedTuple):
    """A sentence's span in a text.

    Attributes:
        start, end: character offsets, without surrounding blanks.
        lead: for a list item, the line above the list ("Do not"); else "".
    """

    start: int
    end: int
    lead: str


def sentences(text: str) -> list[Sentence]:
    """Returns the sentences of a text in order."""
    joined = _joined(text)
    found: list[Sentence] = []
    start, lead, item, begins_line = len(joined) - len(joined.lstrip()), "", False, True
    for end in [*_END.finditer(joined, start), None]:
        stop = end.start() if end else len(joined.rstrip())
        if sentence := joined[start:stop]:
            if begins_line:
                item = _ITEM.match(joined, start) is not None
                lead = lead if item else "" if sentence[-1] in ".!?。！？" else sentence.rstrip(" :")
            found.append(Sentence(start, stop, lead if item else ""))
            begins_line = False
        if end:
            start, begins_line = end.end(), begins_line or "\n" in end[0]
    return found


def words_of(text: str, sentence: Sentence, *, join_divided: bool) -> str:
    """Returns a sentence's text in one line, preceded by its lead.

    Args:
        join_divided: whether a word hyphenated at a line's end loses the hyphen ("hyper-\\ntension" becomes
            "hypertension") or keeps it ("beta-\\nblocker" becomes "beta-blocker").
    """
    own = _joined(text)[sentence.start : sentence.end]
    if sentence.lead:
        own = f"{sentence.lead} {_ITEM.sub('', own, count=1)}"
    if _WITHIN_WORD not in own:
        return own
    return search_form(own.replace(_WITHIN_WORD, "\n")) if join_divided else re.sub(rf"{_WITHIN_WORD}\s*", "", own)


def divides_words(text: str) -> bool:
    """Whether the text has a word that a line's end divides."""
    return _WITHIN_WORD in _joined(text)


@lru_cache(maxsize=256)
def _joined(text: str) -> str:
    """Replaces each line's end within a sentence by a blank; the length stays the same.

    A sentence continues if the next line begins with a lower-case letter, or if its first word would not have fitted on
    the line.
    """
    if "\n" not in text:
        return text
    lines = text.split("\n")
    widths = _widths(lines)
    parts = [lines[0]]
    for place, line in enumerate(lines[1:]):
        parts += [_between(lines[place], line, widths[place]), line]
    return "".join(parts)


def _widths(lines: list[str]) -> list[int]:
    """Returns for each line the length of the longest line in its paragraph."""
    widths: list[int] = []
    first = 0
    for place in range(len(lines) + 1):
        if place == len(lines) or not lines[place].strip():
            longest = max((len(line.rstrip()) for line in lines[first:place]), default=0)
            widths += [longest] * (place - first) + [0]
            first = place + 1
    return widths


def _between(line: str, following: str, width: int) -> str:
    """Returns the replacement of a line's end: a blank within a sentence, `_WITHIN_WORD` within a word, else itself."""
    line, following = line.rstrip(), following.strip()
    if not line or not following:
        return "\n"
    if _DIVIDED.search(line) and following[0].isalnum():
        return _WITHIN_WORD
    if _ITEM.match(following + " "):
        return "\n"
    if following[0].islower() or line[-1] in ",(&/":
        return " "
    if line[-1] in ".!?:;" or _RECORD.match(following + " "):
        return "\n"
    full = len(line) + 1 + len(following.split(maxsplit=1)[0]) > width
    return " " if full and width >= _NARROWEST else "\n"

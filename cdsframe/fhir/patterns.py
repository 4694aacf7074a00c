"""Joins many regular expressions into one that tries each only where its matches can begin. Interprets no content."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Pattern(NamedTuple):
    """A regular expression, and the characters with which a match can begin.

    A match that begins with a letter must not begin within a word. A match that begins with a digit must not begin
    within a number.
    """

    first: str
    """First characters of matches. Upper and lower case are equivalent."""
    text: str
    """The regular expression."""


def compiled(patterns: Iterable[Pattern]) -> re.Pattern[str] | None:
    """Joins the patterns; of two with equal first characters, the earlier one wins. Returns None without patterns."""
    groups: dict[str, list[str]] = {}
    for pattern in dict.fromkeys(patterns):
        first = {form[:1] for letter in pattern.first for form in (letter, letter.lower(), letter.upper())}
        groups.setdefault("".join(sorted(first)), []).append(pattern.text)
    if not groups:
        return None
    found = (rf"{_start(first)}(?=[{re.escape(first)}])(?:{'|'.join(texts)})" for first, texts in groups.items())
    return re.compile(rf"(?=[{re.escape(''.join(groups))}])(?:{'|'.join(found)})")


def _start(first: str) -> str:
    """Returns a lookbehind that excludes positions where no match with these first characters can begin."""
    if all(letter.lower() != letter.upper() for letter in first):
        return r"(?<![^\W\d_])"
    return r"(?<!\d)" if all(letter.isdecimal() for letter in first) else ""

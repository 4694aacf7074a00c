"""Many regular expressions as one, which tries each only where the first character fits. Knows nothing of persons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Pattern(NamedTuple):
    """A regular expression with the characters with which a match can begin, in any case."""

    first: str
    text: str
    """Matches no part of a word that begins with a letter, and no part of a number that begins with a digit."""


def compiled(patterns: Iterable[Pattern]) -> re.Pattern[str] | None:
    """The patterns as one, earlier ones preferred where two begin alike; None without patterns."""
    groups: dict[str, list[str]] = {}
    for pattern in dict.fromkeys(patterns):
        first = {form[:1] for letter in pattern.first for form in (letter, letter.lower(), letter.upper())}
        groups.setdefault("".join(sorted(first)), []).append(pattern.text)
    if not groups:
        return None
    found = (rf"{_start(first)}(?=[{re.escape(first)}])(?:{'|'.join(texts)})" for first, texts in groups.items())
    return re.compile(rf"(?=[{re.escape(''.join(groups))}])(?:{'|'.join(found)})")


def _start(first: str) -> str:
    """What no match with these first characters can stand behind."""
    if all(letter.lower() != letter.upper() for letter in first):
        return r"(?<![^\W\d_])"
    return r"(?<!\d)" if all(letter.isdecimal() for letter in first) else ""

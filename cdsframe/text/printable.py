"""Makes untrusted text safe to print in a terminal. Does not escape for HTML or JSON."""

from __future__ import annotations

import unicodedata

_WITHIN_WORDS = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
_JOINERS = "\u200c\u200d"
"""Kept: they change the shape of neighbouring letters in Persian and Indic scripts."""


def plain(text: str, keep: str = "\n") -> str:
    """Replaces control characters, which a terminal would execute, by spaces, except those in `keep`.

    Removes soft hyphens and zero-width spaces without leaving a space.
    """
    keep, text = keep + _JOINERS, text.translate(_WITHIN_WORDS)
    return "".join(letter if letter in keep or unicodedata.category(letter)[0] != "C" else " " for letter in text)

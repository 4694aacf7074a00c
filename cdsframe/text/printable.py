"""Untrusted text as a terminal may show it. Does not escape for HTML or JSON: who writes these does."""

from __future__ import annotations

import unicodedata

_WITHIN_WORDS = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
_JOINERS = "\u200c\u200d"
"""They shape the letters beside them in Persian and Indic scripts."""


def plain(text: str, keep: str = "\n") -> str:
    """Without control characters, which a terminal would obey; all but those in `keep` become spaces.

    Characters without a shape within words (soft hyphens, zero-width spaces) leave no space.
    """
    keep, text = keep + _JOINERS, text.translate(_WITHIN_WORDS)
    return "".join(letter if letter in keep or unicodedata.category(letter)[0] != "C" else " " for letter in text)

"""Untrusted text as a terminal may show it. Does not escape for HTML or JSON: who writes these does."""

from __future__ import annotations

import unicodedata


def plain(text: str, keep: str = "\n") -> str:
    """Without control characters, which a terminal would obey; all but those in `keep` become spaces."""
    return "".join(letter if letter in keep or unicodedata.category(letter)[0] != "C" else " " for letter in text)

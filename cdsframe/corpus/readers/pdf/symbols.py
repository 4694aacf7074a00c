"""Decodes letters that a PDF's font maps to the private use area or to no character.

Supports the fonts Symbol and Wingdings, whose letters office programs store in the private use area, and list bullets
in other fonts. Does not guess other letters.
"""

from __future__ import annotations

import unicodedata

from cdsframe.corpus.readers.symbol_fonts import SYMBOL, WINGDINGS

UNKNOWN = "\ufffd"
"""Marks a letter that could not be decoded to Unicode."""

_BULLETS = {0xB7: "•", 0xA7: "▪", 0xD8: "➢"}
"""Code -> list bullet; applied to fonts of any name."""


def decoded(written: str, font: str = "") -> str:
    """The text of a letter; UNKNOWN for a control character, an unassigned code, a lone surrogate or private use.

    Args:
        written: the character to which the PDF's font maps the letter.
        font: the font's name.
    """
    kind = unicodedata.category(written)
    if kind == "Co" and 0xF020 <= ord(written) <= 0xF0FF:
        code, name = ord(written) - 0xF000, font.casefold()
        if "wingdings" in name:
            return WINGDINGS.get(code) or _BULLETS.get(code, UNKNOWN)
        if "symbol" in name:
            return SYMBOL.get(code, UNKNOWN)
        return _BULLETS.get(code, UNKNOWN)
    if "\ufb50" <= written <= "\ufdff" or "\ufe70" <= written <= "\ufefc":
        return unicodedata.normalize("NFKC", written)  # presentation forms of Arabic letters
    return UNKNOWN if kind in ("Cc", "Cn", "Cs", "Co") else written

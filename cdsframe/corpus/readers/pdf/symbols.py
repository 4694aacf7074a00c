"""The Unicode text of a letter that a PDF's font maps to the private use area or to no character at all.

Knows the fonts Symbol and Wingdings, whose letters office programs write as private use. Does not guess other fonts.
"""

from __future__ import annotations

import unicodedata

UNKNOWN = "\ufffd"
"""Stands for a letter without a Unicode meaning."""

_SYMBOL = {
    0x20: " !∀#∃%&∋()∗+,−./0123456789:;<=>?",
    0x40: "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_",
    0x61: "αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    0xA0: "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…|—↵",
    0xC0: "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓",
    0xE0: "◊〈®©™∑",
    0xF1: "〉∫",
}
"""Adobe's encoding of the font Symbol: first code -> the characters from there on."""

_WINGDINGS = {
    0x6C: "●", 0x6E: "■", 0x6F: "☐", 0x71: "❑", 0x72: "❒", 0x73: "⬧", 0x75: "◆", 0x76: "❖", 0x77: "⬥", 0x78: "☒",
    0x9E: "·", 0x9F: "•", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xDF: "←", 0xE0: "→", 0xE1: "↑", 0xE2: "↓", 0xE7: "←",
    0xE8: "→", 0xE9: "↑", 0xEA: "↓", 0xF0: "⇨", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
}  # fmt: skip

_MAPPED = {start + n: letter for start, letters in _SYMBOL.items() for n, letter in enumerate(letters)}
_BULLETS = {0xB7: "•", 0xA7: "▪", 0xD8: "➢"}
"""Bullets of lists, whatever the font is called."""


def decoded(written: str, font: str = "") -> str:
    """The character, or UNKNOWN: a control, an unassigned code, half a surrogate pair, a private one that is not known.

    Args:
        written: the one character that the font's map gives.
        font: the font's name.
    """
    kind = unicodedata.category(written)
    if kind == "Co" and 0xF020 <= ord(written) <= 0xF0FF:
        code, name = ord(written) - 0xF000, font.casefold()
        if "wingdings" in name:
            return _WINGDINGS.get(code) or _BULLETS.get(code, UNKNOWN)
        if "symbol" in name:
            return _MAPPED.get(code, UNKNOWN)
        return _BULLETS.get(code, UNKNOWN)
    return UNKNOWN if kind in ("Cc", "Cn", "Cs", "Co") else written

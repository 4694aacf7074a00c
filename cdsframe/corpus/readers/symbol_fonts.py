"""Maps character codes of symbol fonts (Symbol, Wingdings, Webdings) to Unicode, for readers of every format.

The tables of Wingdings and Webdings contain only signs that carry meaning in a text. All signs of Wingdings 3 are
unknown. Reads no file.
"""

from __future__ import annotations

import re

_SYMBOL_ROWS = {
    0x20: " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    0xA0: "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…|—↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪",
    0xF1: "〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
}
SYMBOL = {start + place: letter for start, row in _SYMBOL_ROWS.items() for place, letter in enumerate(row)}
"""Adobe's encoding of the Symbol font: code -> character."""

WINGDINGS = {
    0x21: "✏", 0x22: "✂", 0x28: "☎", 0x2A: "✉", 0x36: "⌛", 0x4A: "☺", 0x4B: "☹", 0x4C: "☹", 0x4E: "☠", 0x6C: "●",
    0x6D: "❍", 0x6E: "■", 0x6F: "☐", 0x70: "☐", 0x71: "❑", 0x72: "❒", 0x73: "⬧", 0x74: "◆", 0x75: "◆", 0x76: "❖",
    0x77: "⬥", 0x78: "☒", 0x9E: "·", 0x9F: "•", 0xA1: "○", 0xA7: "▪", 0xA8: "☐", 0xAB: "★", 0xD8: "➢", 0xDF: "←",
    0xE0: "→", 0xE1: "↑", 0xE2: "↓", 0xE7: "←", 0xE8: "→", 0xE9: "↑", 0xEA: "↓", 0xEF: "⇦", 0xF0: "⇨", 0xF1: "⇧",
    0xF2: "⇩", 0xF3: "⇔", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
    **{0x80 + digit: "⓪①②③④⑤⑥⑦⑧⑨⑩"[digit] for digit in range(11)},
    **{0x8B + digit: "⓿❶❷❸❹❺❻❼❽❾❿"[digit] for digit in range(11)},
}  # fmt: skip

WINGDINGS_2 = {
    0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x98: "●", 0xA3: "□", 0xA2: "■",
}  # fmt: skip

WEBDINGS = {0x61: "✓", 0x63: "□", 0x67: "■", 0x6E: "●", 0x72: "✗"}

_FONTS: dict[str, dict[int, str]] = {
    "symbol": SYMBOL,
    "standardsymbols": SYMBOL,
    "wingdings": WINGDINGS,
    "wingdings2": WINGDINGS_2,
    "wingdings3": {},
    "webdings": WEBDINGS,
}
_SUBSET = re.compile(r"\A[A-Z]{6}\+")
_VARIANT = re.compile(r"(?:mt|ps|regular|l)\Z")


def _family(font: str) -> str:
    """Returns the font's family: `symbol` for `Symbol`, `SymbolMT`, `Symbol MT`, `ABCDEF+Symbol-Regular`."""
    family = re.sub(r"[\W_]", "", _SUBSET.sub("", font.strip())).casefold()
    while family not in _FONTS and (shorter := _VARIANT.sub("", family)) != family:
        family = shorter
    return family


def is_symbol_font(font: str) -> bool:
    """Whether the font draws signs that differ from the Unicode characters of their codes."""
    return _family(font) in _FONTS


def sign(code: int, font: str) -> str | None:
    """The Unicode text of the sign that a font draws for a code; None if unknown.

    Args:
        code: the character's code; for a symbol font, also that code plus 0xF000 (private use area).
        font: the font's name. In an ordinary font, a code is the Unicode character itself; private use is unknown.
    """
    table = _FONTS.get(_family(font))
    private = 0xE000 <= code <= 0xF8FF
    if table is None:
        return None if private or not 0x20 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF else chr(code)
    if code in (0xA0, 0xAD):  # no-break space and soft hyphen: programs never write these as codes of a symbol font
        return chr(code)
    if private:
        code &= 0xFF
    return table.get(code) or (" " if code == 0x20 else None if private or code < 0x100 else chr(code))

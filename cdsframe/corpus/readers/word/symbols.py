"""Unicode for the letters of symbol fonts (Symbol, Wingdings), which a Word file stores as codes. Reads no file.

Only signs that carry meaning in a text are listed for Wingdings; ornaments have no entry.
"""

from __future__ import annotations

_SYMBOL_ROWS = {
    0x20: " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    0xA0: "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…|—↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪",
    0xF1: "〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
}
_WINGDINGS = {
    0x21: "✏", 0x22: "✂", 0x28: "☎", 0x2A: "✉", 0x36: "⌛", 0x4A: "☺", 0x4B: "☹", 0x4C: "☹", 0x4E: "☠", 0x6C: "●",
    0x6D: "❍", 0x6E: "■", 0x6F: "□", 0x70: "□", 0x71: "□", 0x72: "□", 0x73: "◆", 0x74: "◆", 0x75: "◆", 0x76: "❖",
    0x77: "◆", 0x9F: "•", 0xA1: "○", 0xA7: "▪", 0xA8: "□", 0xAB: "★", 0xD8: "➢", 0xDF: "←", 0xE0: "→", 0xE1: "↑",
    0xE2: "↓", 0xE8: "➔", 0xEF: "⇦", 0xF0: "⇨", 0xF1: "⇧", 0xF2: "⇩", 0xF3: "⇔", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒",
    0xFE: "☑", **{0x80 + digit: "⓪①②③④⑤⑥⑦⑧⑨⑩"[digit] for digit in range(11)},
    **{0x8B + digit: "⓿❶❷❸❹❺❻❼❽❾❿"[digit] for digit in range(11)},
}  # fmt: skip
_WINGDINGS_2 = {
    0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x98: "●", 0xA3: "□", 0xA2: "■",
}  # fmt: skip
_WEBDINGS = {0x61: "✓", 0x63: "□", 0x67: "■", 0x6E: "●", 0x72: "✗"}

_FONTS: dict[str, dict[int, str]] = {
    "symbol": {start + place: letter for start, row in _SYMBOL_ROWS.items() for place, letter in enumerate(row)},
    "wingdings": _WINGDINGS,
    "wingdings 2": _WINGDINGS_2,
    "webdings": _WEBDINGS,
}


def is_symbol_font(font: str) -> bool:
    """Whether letters in this font show other signs than their codes say."""
    return font.casefold() in _FONTS


def sign(code: int, font: str) -> str | None:
    """The sign that a code shows in a font; None where it is unknown.

    Args:
        code: of the letter; symbol fonts also use the private area from U+F000.
        font: the font's name. A code outside the private area in an ordinary font is the letter itself.
    """
    table = _FONTS.get(font.casefold())
    private = 0xE000 <= code <= 0xF8FF
    if table is None:
        return None if private or not 0x20 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF else chr(code)
    if private:
        code &= 0xFF
    return table.get(code) or (" " if code == 0x20 else None if private or code < 0x100 else chr(code))

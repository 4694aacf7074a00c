"""The sign that a letter of a Word file shows in its font. Reads no file."""

from __future__ import annotations

from cdsframe.corpus.readers.symbol_fonts import SYMBOL, WEBDINGS, WINGDINGS, WINGDINGS_2

_FONTS: dict[str, dict[int, str]] = {
    "symbol": SYMBOL,
    "wingdings": WINGDINGS,
    "wingdings 2": WINGDINGS_2,
    "webdings": WEBDINGS,
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
    if code in (0xA0, 0xAD):  # no-break space and soft hyphen, which no program writes as codes of the font
        return chr(code)
    if private:
        code &= 0xFF
    return table.get(code) or (" " if code == 0x20 else None if private or code < 0x100 else chr(code))

"""Bytes to text where nothing says how: byte order marks, UTF-8, then the likeliest of the old encodings.

Does not look into a format's own declaration (HTML's and XML's readers do).
"""

from __future__ import annotations

import codecs
from typing import IO

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SAMPLE = 1 << 20
"""Bytes that a guess is made from."""


def decode(data: bytes) -> tuple[str, str | None]:
    """The text with line ends `\\n`, and the encoding if it was guessed.

    Raises ValueError that continues the sentence which the file's name begins.
    """
    marked = next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)
    guessed = None
    try:
        text = data.decode(marked or "utf-8")
    except UnicodeDecodeError as error:
        if marked or b"\0" in data:
            raise ValueError(f"is not {marked} text, as its first bytes say" if marked else _BINARY) from None
        guessed = guess(data[max(0, error.start - _SAMPLE // 2) :][:_SAMPLE])
        text = data.decode(guessed, "replace")
    if "\0" in text:
        raise ValueError(_BINARY)
    return text.replace("\r\n", "\n"), guessed


_BINARY = "is binary (it holds NUL bytes)"


def guess(sample: bytes) -> str:
    """The encoding of bytes that are not UTF-8: Windows' western one where that makes sense, else the likeliest.

    Raises ValueError where none does.
    """
    from charset_normalizer import from_bytes

    western = from_bytes(sample, cp_isolation=["cp1252"], threshold=0.4).best()  # short texts have many odd characters
    best = western or from_bytes(sample, cp_exclusion=["utf_16", "utf_16_le", "utf_16_be"]).best()
    if best is None:
        raise ValueError("is neither UTF-8 nor in another encoding that could be recognised")
    return best.encoding


def encoding_of(file: IO[bytes]) -> tuple[str, bool]:
    """A file's encoding and whether it was guessed, by one pass over it in pieces. Raises as `decode` does."""
    piece = file.read(_SAMPLE)
    marked = next((encoding for mark, encoding in MARKS if piece.startswith(mark)), None)
    if marked:
        return marked, False
    decoder = codecs.getincrementaldecoder("utf-8")()
    while piece:
        if b"\0" in piece:
            raise ValueError(_BINARY)
        following = file.read(_SAMPLE)
        try:
            decoder.decode(piece, final=not following)
        except UnicodeDecodeError:
            return guess(piece), True
        piece = following
    return "utf-8", False

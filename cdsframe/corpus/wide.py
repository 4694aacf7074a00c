"""Recognises UTF-16 without a byte order mark by its letters, also in text without NUL bytes. Does not decode files.

Nearly all letters must be common letters of one language; bytes of another encoding hardly ever decode to such letters.
"""

from __future__ import annotations

from functools import cache
from itertools import product

_SAMPLE = 1 << 16
_LEAST = 4
"""A text with fewer letters is not recognised."""

_SHARE = 0.95
"""Bytes count as UTF-16 if at least this share of their letters, decoded as UTF-16, is common in one language."""

_SHARE_OF_OTHERS = 0.7
"""Bytes count as one of `_LEGACY`, not as UTF-16, if at least this share of their letters, decoded so, is common."""

_WORDS = b" ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MOST_WORDS = 0.6
"""With a larger share of the bytes `_WORDS`, the text has Latin letters of one byte each and is not UTF-16."""

_SETS = {"gb2312": (0xB0, 0xD7), "euc_jp": (0xB0, 0xCF), "euc_kr": (0xB0, 0xC8), "big5": (0xA4, 0xC6)}
"""Codec -> range of the first bytes of its common letters."""

_CONTROLS = bytes({*range(1, 32)} - {9, 10, 12, 13})
_MANY = 0.3
"""If at least this share of the bytes is control characters, valid UTF-8 does not count as UTF-8."""

_LEGACY = ("cp932", "gb18030", "big5hkscs", "euc_jp", "cp949")
_KANA = range(0x3041, 0x3100)
_ALPHABETS = range(0x0370, 0x2000)
"""Letters of alphabets other than Latin. Their upper byte in UTF-16 is a control character in other encodings."""

_NEUTRAL = (range(0x0370), range(0x2010, 0x2040), range(0x2190, 0x2300), range(0x3000, 0x3040), range(0xFF00, 0xFFF0))
"""Latin letters, digits, signs and punctuation: they occur in all languages and do not count as letters."""


def utf_16(data: bytes) -> str | None:
    """Returns `utf-16-le` or `utf-16-be`; None if the bytes are another encoding or cannot be recognised."""
    sample = data[:_SAMPLE]
    if len(data) % 2:
        return None
    if b"\0" not in sample:
        words = len(sample) - len(sample.translate(None, _WORDS))
        controls = len(sample) - len(sample.translate(None, _CONTROLS))
        is_utf_8 = controls < _MANY * len(sample) and _decoded(sample, "utf-8") is not None
        if is_utf_8 or words > _MOST_WORDS * len(sample):
            return None
        if any(_is_of_common_letters(sample, name, _SHARE_OF_OTHERS) for name in _LEGACY):
            return None
    found = [name for name in ("utf-16-le", "utf-16-be") if _is_of_common_letters(sample, name, _SHARE)]
    return found[0] if len(found) == 1 else None


def _is_of_common_letters(data: bytes, encoding: str, share: float) -> bool:
    text = _decoded(data, encoding)
    if text is None or any(letter < " " and letter not in "\t\n\r\f" for letter in text):
        return False
    letters = [letter for letter in text if not any(ord(letter) in neutral for neutral in _NEUTRAL)]
    if len(letters) < _LEAST:
        return False
    most = max(sum(letter in common for letter in letters) for common in _common())
    return most >= share * len(letters)


def _decoded(data: bytes, encoding: str) -> str | None:
    """Decodes the beginning of a file, whose last letter may be cut; returns None if it is invalid in the encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3 or not error.start or len(data) < _SAMPLE:
            return None
        return data[: error.start].decode(encoding)


@cache
def _common() -> tuple[frozenset[str], ...]:
    """Returns five sets of common letters: alphabets, simplified Chinese, Japanese, Korean, traditional Chinese."""
    found = [frozenset(map(chr, _ALPHABETS))]
    for codec, (first, last) in _SETS.items():
        pairs = product(range(first, last + 1), (*range(0x40, 0x7F), *range(0xA1, 0xFF)))
        letters = {bytes(pair).decode(codec, "ignore") for pair in pairs} - {""}
        kana = set(map(chr, _KANA)) if codec == "euc_jp" else set()
        found.append(frozenset(letter for letter in letters if len(letter) == 1 and letter > "\u3040") | kana)
    return tuple(found)

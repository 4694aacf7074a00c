"""Recognises UTF-16 without a byte order mark by its letters, where few or no NUL bytes show it. Decodes no files.

Nearly all letters must be common ones of one language, which bytes of another encoding do not give by accident.
"""

from __future__ import annotations

from functools import cache
from itertools import product

_SAMPLE = 1 << 16
_LEAST = 4
"""Letters of the shortest text that is recognised."""

_SHARE = 0.95
"""Share of common letters in UTF-16."""

_SHARE_OF_OTHERS = 0.7
"""Share of common letters from which on the bytes are taken for an encoding in more frequent use."""

_WORDS = b" ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MOST_WORDS = 0.6
"""Share of these bytes above which the text has Latin letters of one byte."""

_SETS = {"gb2312": (0xB0, 0xD7), "euc_jp": (0xB0, 0xCF), "euc_kr": (0xB0, 0xC8), "big5": (0xA4, 0xC6)}
"""Codecs, and the first bytes of their common letters."""

_CONTROLS = bytes({*range(1, 32)} - {9, 10, 12, 13})
_MANY = 0.3
"""Share of control characters above which text is no UTF-8, though all its bytes are valid there."""

_LEGACY = ("cp932", "gb18030", "big5hkscs", "euc_jp", "cp949")
_KANA = range(0x3041, 0x3100)
_ALPHABETS = range(0x0370, 0x2000)
"""Letters whose upper byte is a control character of other encodings."""

_NEUTRAL = (range(0x0370), range(0x2010, 0x2040), range(0x2190, 0x2300), range(0x3000, 0x3040), range(0xFF00, 0xFFF0))
"""Latin letters, digits, signs and punctuation, which say nothing."""


def utf_16(data: bytes) -> str | None:
    """The kind of UTF-16 that bytes are; None where they are other text, or where that cannot be seen."""
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
    """The text of a file's beginning, whose last letter may be cut off; None where it is not of the encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3 or not error.start or len(data) < _SAMPLE:
            return None
        return data[: error.start].decode(encoding)


@cache
def _common() -> tuple[frozenset[str], ...]:
    """The common letters of Chinese, Japanese, Korean, and of the languages with an alphabet."""
    found = [frozenset(map(chr, _ALPHABETS))]
    for codec, (first, last) in _SETS.items():
        pairs = product(range(first, last + 1), (*range(0x40, 0x7F), *range(0xA1, 0xFF)))
        letters = {bytes(pair).decode(codec, "ignore") for pair in pairs} - {""}
        kana = set(map(chr, _KANA)) if codec == "euc_jp" else set()
        found.append(frozenset(letter for letter in letters if len(letter) == 1 and letter > "\u3040") | kana)
    return tuple(found)

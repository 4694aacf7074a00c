"""Splits scripts without spaces between words into overlapping n-grams of letters. Needs no dictionary.

Bigrams for Chinese, Japanese and Korean (as Lucene's CJKAnalyzer), trigrams for Thai, Lao, Khmer, Burmese and related
scripts. Does not find word boundaries: n-grams across two words are searched, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from string import ascii_lowercase

_CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u3099\u309a\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua000-\ua48c\ua960-\ua97c\u1100-\u11ff\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f"
    "\U00016fe0-\U00018dff\U0001aff0-\U0001b2ff\U00020000-\U0003ffff"
)
_ASIAN = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109d"
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u1950-\u1974\u1980-\u19c9\u1a20-\u1a7c\u1aa7\u1b00-\u1b4c\ua980-\ua9c0"
    "\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa00-\uaa4d\uaa60-\uaa76\uaa7a-\uaadf"
)
UNSPACED = _CJK + _ASIAN
"""Letters and signs of the scripts without spaces, as content of a regular expression's character class."""

MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u07a6-\u07b0\u0900-\u0963\u0971-\u0dff"
    "\u0f71-\u0f84\u0f86-\u0fbc"
)
"""Combining signs, and Indic blocks of letters and signs, of scripts with spaces between words."""

_SIGNS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u105e-\u1060"
    "\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u17b4-\u17d3\u17dd\u3099\u309a\u1a55-\u1a7c\u1b34-\u1b44"
    "\ua9b3-\ua9c0\uaa29-\uaa36\uaa43\uaa4c\uaa4d\uaa7b-\uaa7d\uaab0-\uaabf\uaac1"
)
"""Vowel and tone signs of the scripts without spaces, which belong to the preceding letter."""

_RUN = re.compile(f"(?P<cjk>[{_CJK}]+)|[{_ASIAN}]+")
_LETTER = re.compile(f"[^{_SIGNS}]?[{_SIGNS}]+|.", re.DOTALL)
_CJK_PIECE, _ASIAN_PIECE = 2, 3

_LONGEST = 60
"""Maximum letters of a code: LanceDB drops words of more than 64."""


def coded(text: str, question: bool) -> str:
    """Replaces runs of scripts without spaces by codes: words of Latin letters that no engine splits.

    A document gets n-grams of all lengths, so that one-letter words are found; a question gets only the longest that
    fit into each run.
    """
    return _RUN.sub(lambda run: f" {' '.join(_codes(run, question))} ", text)


def letters(run: str) -> list[tuple[int, int]]:
    """Returns the span of each letter of a run of one script, with the combining marks that follow the letter."""
    return [found.span() for found in _LETTER.finditer(run)]


def grams(run: str) -> list[tuple[int, int]]:
    """Returns the spans of the n-grams that a question gets for a run of a script without spaces."""
    places = letters(run)
    first = _RUN.match(run)
    size = min(len(places), _CJK_PIECE if first and first["cjk"] else _ASIAN_PIECE)
    return [(places[n][0], places[n + size - 1][1]) for n in range(len(places) - size + 1)]


def _codes(run: re.Match[str], question: bool) -> Iterator[str]:
    text = run[0]
    places = letters(text)
    longest = min(len(places), _CJK_PIECE if run["cjk"] else _ASIAN_PIECE)
    for size in range(longest if question else 1, longest + 1):
        for n in range(len(places) - size + 1):
            yield _code(text[places[n][0] : places[n + size - 1][1]])


@lru_cache(1 << 16)
def _code(piece: str) -> str:
    """Returns a word for an n-gram, unique to it, that no stemmer changes and no tokenizer splits."""
    code = "".join(map(_sign, piece))
    if len(code) > _LONGEST - 3:
        code = "".join(ascii_lowercase[byte % 26] for byte in sha256(piece.encode()).digest())
    return f"qq{code}q"


def _sign(letter: str) -> str:
    """Encodes a character as four Latin letters: 26⁴ exceeds the number of assigned characters."""
    number, code = ord(letter), ""
    for _ in range(4):
        number, rest = divmod(number, 26)
        code += ascii_lowercase[rest]
    return code

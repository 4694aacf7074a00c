"""Texts as words and as sets of word n-grams (shingles): how near-copies are told from texts of their own.

Does not decide what a copy is (see `cdsframe.data.duplicates` and `cdsframe.contamination`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_QUANTITY = re.compile(r"[<>≤≥±−-]?\d[\d.,:/]*")


def words(text: str) -> list[str]:
    """The words and numbers of a text in order, whatever their case, width and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """What two texts that differ in case, width, punctuation and blanks only have in common."""
    return " ".join(words(text))


def shingles(listed: Sequence[str], n: int) -> set[int]:
    """Hashes of all runs of `n` words; none where there are fewer. They are the same within one process only."""
    return {hash(tuple(listed[start : start + n])) for start in range(len(listed) - n + 1)}


def quantities(text: str) -> list[str]:
    """The numbers of a text in order, with their signs: texts that differ in one are no copies of each other."""
    return [found.rstrip(".,:/") for found in _QUANTITY.findall(text)]

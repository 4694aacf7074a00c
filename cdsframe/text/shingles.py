"""Splits texts into words and word n-grams (shingles), to compare near-copies.

Does not decide what a copy is (see `cdsframe.data.duplicates` and `cdsframe.contamination`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_QUANTITY = re.compile(r"[<>≤≥±−-]?\d[\d.,:/]*")


def words(text: str) -> list[str]:
    """Returns the words and numbers of a text in order, without punctuation, case-folded and in NFKC."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """Returns a form that is equal for texts that differ only in case, character width, punctuation and blanks."""
    return " ".join(words(text))


def shingles(listed: Sequence[str], n: int) -> set[int]:
    """Returns the hashes of all n-grams of `n` words; they are only comparable within one process."""
    return {hash(tuple(listed[start : start + n])) for start in range(len(listed) - n + 1)}


def quantities(text: str) -> list[str]:
    """Returns the numbers of a text in order, with a preceding sign or comparator."""
    return [found.rstrip(".,:/") for found in _QUANTITY.findall(text)]

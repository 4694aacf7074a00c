"""An embedder without vectors, for an index that is searched by BM25 only. Counts words instead of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cdsframe.errors import InputError
from cdsframe.text.search_form import UNSPACED, search_form

if TYPE_CHECKING:
    import numpy as np

_LENGTH = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+|[^\\w\\s]")
"""Units of length without a tokenizer: a word, a letter of a script without spaces, or a punctuation mark."""

_WHOLE, _PIECE = 32, 5
"""A word of up to `_WHOLE` letters counts as one unit; a longer word counts as one per `_PIECE` letters."""


class NoEmbedder:
    """Makes no vectors, for an index that is searched by BM25 only. `encode_*` raise InputError."""

    makes_vectors = False
    identity: Mapping[str, Any] = {}
    dimension = None
    max_tokens = None

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Returns the spans of words and punctuation marks.

        Splits scripts without spaces into letters, and words of more than 32 letters into pieces of 5.
        """
        found: list[tuple[int, int]] = []
        for start, end in (one.span() for one in _LENGTH.finditer(text)):
            size = end - start if end - start <= _WHOLE else _PIECE
            found += [(first, min(first + size, end)) for first in range(start, end, size)]
        return found

    def count(self, text: str) -> int:
        return len(self.offsets(search_form(text)))

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        raise InputError("embedder=none makes no vectors; use retriever=bm25, or ingest with embedder=minilm")

    encode_queries = encode_passages

"""A test double: an embedder without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from cdsframe.embedder.none import NoEmbedder
from cdsframe.text.search_form import search_form

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"\w+|[^\w\s]")


class HashEmbedder(NoEmbedder):
    """A test double without a model: hashes words into a small vector, so that texts with common words are similar."""

    makes_vectors = True

    def __init__(self, dimension: int = 32, max_tokens: int | None = None) -> None:
        self.dimension = dimension  # type: ignore[assignment]
        self.max_tokens = max_tokens  # type: ignore[assignment]
        self.identity = {"name": "hash", "dimension": dimension}

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        vectors = np.full((len(texts), self.dimension or 0), 1e-3, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(search_form(text).casefold()):
                hashed = int.from_bytes(sha256(word.encode("utf-8", "surrogatepass")).digest()[:8], "big")
                row[(hashed >> 1) % len(row)] += 1 - 2 * (hashed & 1)
        found: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return found

    encode_queries = encode_passages

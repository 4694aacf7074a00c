"""Removes near-duplicate texts, and orders texts by maximal marginal relevance. Does not know hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cdsframe.context.words import words
from cdsframe.contracts import Embedder

if TYPE_CHECKING:
    import numpy as np

Similarity = Literal["words", "vectors"]

_SHINGLE = 3
"""Words per shingle."""


def distinct(texts: Sequence[str], threshold: float) -> list[int]:
    """Indices of the texts whose shingle overlap with every earlier kept text is below the threshold.

    The overlap is the Jaccard index (Broder 1997, "On the resemblance and containment of documents").
    """
    kept: list[int] = []
    shingles = [_shingles(text) for text in texts]
    for number, own in enumerate(shingles):
        if all(_jaccard(own, shingles[other]) < threshold for other in kept):
            kept.append(number)
    return kept


def diversify(
    texts: Sequence[str], relevance: Sequence[float], weight: float, by: Similarity, embedder: Embedder
) -> list[tuple[int, float]]:
    """(index, score) of all texts in the order of maximal marginal relevance."""
    import numpy as np

    alike = _likeness(texts, by, embedder)
    left, nearest, order = list(range(len(texts))), np.zeros(len(texts)), []
    while left:
        worth = {n: weight * relevance[n] - (1 - weight) * float(nearest[n]) for n in left}
        best = max(left, key=lambda n: (worth[n], -n))
        order.append((best, worth[best]))
        left.remove(best)
        nearest = np.maximum(nearest, alike[best])
    return order


def _likeness(texts: Sequence[str], by: Similarity, embedder: Embedder) -> np.ndarray:
    """Pairwise similarities `[n, n]`, from 0 to 1."""
    import numpy as np

    if by == "vectors":
        vectors = embedder.encode_passages(texts)
        found: np.ndarray = np.clip(vectors @ vectors.T, 0, 1)
        return found
    sets = [frozenset(words(text)) for text in texts]
    return np.array([[_jaccard(one, other) for other in sets] for one in sets])


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    found = words(text)
    return frozenset(tuple(found[start : start + _SHINGLE]) for start in range(max(1, len(found) - _SHINGLE + 1)))


def _jaccard(one: frozenset, other: frozenset) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0

"""Ranges of passages in documents: `(document id, first ordinal, last ordinal)`, both included."""

from __future__ import annotations

from collections.abc import Iterable

OrdinalRange = tuple[str, int, int]


def merged(ranges: Iterable[OrdinalRange]) -> list[OrdinalRange]:
    """Merges overlapping and adjacent ranges. Returns them sorted by document id, then by ordinal."""
    found: list[OrdinalRange] = []
    for document_id, first, last in sorted(ranges):
        if found and found[-1][0] == document_id and first <= found[-1][2] + 1:
            found[-1] = document_id, found[-1][1], max(last, found[-1][2])
        else:
            found.append((document_id, first, last))
    return found

"""Stretches of documents by their passages' ordinals: `(document id, first, last)`, both included."""

from __future__ import annotations

from collections.abc import Iterable

Stretch = tuple[str, int, int]


def disjoint(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same passages, each in one stretch only; ordered by document id and ordinal."""
    found: list[Stretch] = []
    for document_id, first, last in sorted(stretches):
        if found and found[-1][0] == document_id and first <= found[-1][2] + 1:
            found[-1] = document_id, found[-1][1], max(last, found[-1][2])
        else:
            found.append((document_id, first, last))
    return found

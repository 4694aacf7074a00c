"""Refusing an index that was made with other settings than the configuration has. Does not read any index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdsframe.errors import IndexMismatchError

Identity = Mapping[str, Mapping[str, Any]]
"""Group (`embedder`, `chunking`) -> the settings that the index's content depends on; an empty group: none."""


def require_same(index: str, made: Identity, asked: Identity, *, writing: bool = False) -> None:
    """Raises IndexMismatchError that names each key that differs, both values, and the mend.

    A reader is compared in the groups that both sides have (an index is read without knowing its chunking, and by
    words without its embedder); a writer in all of its own.
    """
    different = []
    for group in sorted(asked):
        mine, its = asked[group], made.get(group, {})
        if not writing and not (mine and its):
            continue
        different += [
            f"{group}.{key} is {mine.get(key)!r} in the configuration and {its.get(key)!r} in the index"
            for key in sorted({*mine, *its})
            if mine.get(key) != its.get(key)
        ]
    if different:
        mend = "ingest into another index.name" if writing else "ingest again into another index.name"
        raise IndexMismatchError(
            f"the index {index} was made with other settings: {'; '.join(different)}; use the settings of the index, "
            f"or {mend}"
        )


def require_dimension(index: str, dimension: int | None, vector: int | None) -> None:
    """Raises IndexMismatchError where vectors of length `vector` do not fit an index of length `dimension`."""
    if dimension == vector:
        return
    if dimension is None:
        raise IndexMismatchError(
            f"the index {index} holds no vectors (it was made with embedder=none); use retriever=bm25, or ingest into "
            "another index.name with an embedder"
        )
    had = "no vectors were given" if vector is None else f"vectors of dimension {vector} were given"
    raise IndexMismatchError(
        f"the index {index} holds vectors of dimension {dimension}, {had}; use the embedder it was made with, or "
        "ingest into another index.name"
    )

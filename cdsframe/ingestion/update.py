"""Brings an index up to date with a corpus: what is new or changed is cut, embedded and written, what is gone goes.

Readers see nothing of it before the end. Does not read files and does not know the index's engine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.ingestion.changes import note_update, tell_of_rebuild
from cdsframe.ingestion.filling import fill
from cdsframe.ingestion.rebuild import rebuild_part
from cdsframe.ingestion.report import Report


def update(
    window: Annotated[int, Field(ge=1)],
    shard: Annotated[int, Field(ge=0)],
    num_shards: Annotated[int, Field(ge=1)],
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
) -> Report:
    """Makes the index hold exactly the corpus, embedding only what it does not hold already.

    Killed at any time, the index answers from its last complete state, and the next update goes on where this one
    stopped. Raises InputError, and removes nothing, where the corpus has no document that can be read.

    Args:
        window: passages that are sorted by length and embedded together; a killed update loses at most two of these.
        shard, num_shards: of several processes, each fills its part of a new index, which takes the old one's place
            when the last is done.
    """
    if num_shards > 1:
        return rebuild_part(window, shard, num_shards, corpus, chunking, embedder, index)
    tell_of_rebuild(index)
    with index.writer():
        report = fill(index, window, corpus, chunking, embedder, noting=True)
        if index.rebuilding:
            note_update(index)
        index.commit(optimize=True)
    return report


def _problems(shard: int, num_shards: int) -> list[str]:
    """Empty if there is such a shard."""
    if shard < num_shards:
        return []
    return [f"ingestion.shard must be < ingestion.num_shards={num_shards}, got {shard}"]


update.problems = _problems  # type: ignore[attr-defined]

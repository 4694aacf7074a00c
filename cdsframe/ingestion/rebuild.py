"""A new index beside the one that is read, filled from the corpus and swapped in when it is complete.

What others write meanwhile is noted beside the index (see `cdsframe.ingestion.changes`) and written into the new one
before the swap. Does not stop readers, and writers only for the swap.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.ingestion.changes import note_part, outstanding, parts_behind, replay
from cdsframe.ingestion.filling import fill, require_kept
from cdsframe.ingestion.report import Report

_WAIT = 600.0
"""Seconds that the swap waits for another writer's end."""


def rebuild(
    window: Annotated[int, Field(ge=1)], corpus: Corpus, chunking: Chunker, embedder: Embedder, index: Index
) -> Report:
    """Embeds the whole corpus anew, into an index that then takes the old one's place.

    Killed at any time, the old one stays, and the next rebuild goes on where this one stopped. Raises InputError, and
    keeps the old one, where it has documents whose sources cannot be read now.

    Args:
        window: as for an update.
    """
    return rebuild_part(window, 0, 1, corpus, chunking, embedder, index)


def rebuild_part(
    window: int, shard: int, num_shards: int, corpus: Corpus, chunking: Chunker, embedder: Embedder, index: Index
) -> Report:
    """One process's part of a rebuild: the documents whose id's digest leaves the remainder `shard`."""
    with index.rebuild(shard, num_shards) as new:
        began = len(index.noted())
        with new.writer():
            report = fill(new, window, corpus, chunking, embedder, shard, num_shards)
            noted = index.noted()
            replay(outstanding(noted, began), chunking, embedder, new, shard, num_shards)
        with index.writer(_WAIT), new.writer():
            later = index.noted()
            replay(later[len(noted) :], chunking, embedder, new, shard, num_shards)
            require_kept(index, new, report, shard, num_shards)
            for other in parts_behind(later):
                if other != shard:
                    _catch_up(other, num_shards, chunking, embedder, index)
            if num_shards > 1:
                note_part(index, shard)
            new.commit(optimize=True)
    return report


def _catch_up(shard: int, num_shards: int, chunking: Chunker, embedder: Embedder, index: Index) -> None:
    """Writes into a part that was finished earlier what was noted since; within the index's `writer()`."""
    with index.rebuild(shard, num_shards) as part:
        if not part.rebuilding:
            replay(part.noted(), chunking, embedder, part, shard, num_shards)
            part.commit()

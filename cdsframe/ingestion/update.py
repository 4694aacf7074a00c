"""Brings an index up to date with a corpus: what is new or changed is cut, embedded and written, what is gone goes.

Readers see nothing of it before the end. Does not read files and does not know the index's engine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.contracts.declarations import checked_by
from cdsframe.ingestion.changes import note_update, tell_of_rebuild
from cdsframe.ingestion.filling import fill
from cdsframe.ingestion.rebuild import rebuild_part
from cdsframe.ingestion.report import Report
from cdsframe.ingestion.share import both, claim


def _problems(shard: int, num_shards: int, add: bool, replace: bool) -> list[str]:
    """Empty if there is such a shard, and at most one of the two is asked for."""
    problems = both(add, replace)
    if shard >= num_shards:
        problems.append(f"ingestion.shard must be < ingestion.num_shards={num_shards}, got {shard}")
    if add and num_shards > 1:
        problems.append(
            f"ingestion.add=true adds to the index, and ingestion.num_shards={num_shards} makes a new one of a single "
            "corpus; use ingestion.num_shards=1"
        )
    return problems


@checked_by(_problems)
def update(
    window: Annotated[int, Field(ge=1)],
    shard: Annotated[int, Field(ge=0)],
    num_shards: Annotated[int, Field(ge=1)],
    add: bool,
    replace: bool,
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
) -> Report:
    """Makes the index hold, of this corpus, exactly its documents, embedding only what it does not hold already.

    Documents of other corpora stay. Killed at any time, the index answers from its last complete state, and the next
    update of the same corpus resumes where this one stopped. Raises ConfigError where the index has corpora and not
    this one, and InputError where the corpus has no document that can be read or an id of another corpus's document;
    nothing is removed then.

    Args:
        window: passages that are sorted by length and embedded together; a killed update loses at most two of these.
        shard, num_shards: of several processes, each fills its part of a new index, which takes the old one's place
            when the last is done.
        add: take in a corpus that the index does not know, beside those that it has.
        replace: the corpus takes the place of all others.
    """
    if num_shards > 1:
        return rebuild_part(window, shard, num_shards, replace, corpus, chunking, embedder, index)
    tell_of_rebuild(index)
    with index.writer():
        share = claim(index, corpus, add=add, replace=replace)
        report = fill(index, share, window, corpus, chunking, embedder, noting=True)
        if share.adopts:
            index.adopt(share.corpus)
        if index.rebuilding:
            note_update(index, share.corpus)
        index.commit(optimize=True)
    return report

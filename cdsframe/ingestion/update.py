"""Updates an index from a corpus: splits, embeds and writes new and changed documents, removes those that the
corpus no longer has.

Searches see the changes only when the update has finished. Does not read files and does not know the index engine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.contracts.declarations import checked_by
from cdsframe.ingestion.changes import note_update, warn_of_rebuild
from cdsframe.ingestion.filling import fill
from cdsframe.ingestion.rebuild import rebuild_part
from cdsframe.ingestion.report import Report
from cdsframe.ingestion.share import claim, flag_problems


def _problems(shard: int, num_shards: int, add: bool, replace: bool) -> list[str]:
    """Returns the problems of the options: `shard` is not below `num_shards`, or `add` is combined with `replace` or
    with several shards."""
    problems = flag_problems(add, replace)
    if shard >= num_shards:
        problems.append(f"ingestion.shard must be < ingestion.num_shards={num_shards}, got {shard}")
    if add and num_shards > 1:
        problems.append(
            f"ingestion.add=true adds to the index, but ingestion.num_shards={num_shards} builds a new index from one "
            "corpus; set ingestion.num_shards=1"
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
    """Makes the index's documents of this corpus equal to the corpus; embeds only new and changed ones.

    Keeps documents of other corpora. If it is killed, the index serves its last commit, and the next update of the same
    corpus continues. Raises ConfigError if the index has only other corpora, and InputError if no document of the
    corpus is readable or if one has the id of another corpus's document; nothing is removed then.

    Args:
        window: number of records (passages, titles, …) that are sorted by length and embedded together; a killed update
            loses at most two windows.
        shard, num_shards: with several processes, each fills its shard of a new index, which the last one publishes.
        add: add a corpus that the index does not have; keep the others.
        replace: the corpus replaces all others.
    """
    if num_shards > 1:
        return rebuild_part(window, shard, num_shards, replace, corpus, chunking, embedder, index)
    warn_of_rebuild(index)
    with index.writer():
        share = claim(index, corpus, add=add, replace=replace)
        report = fill(index, share, window, corpus, chunking, embedder, noting=True)
        if share.adopts:
            index.adopt(share.corpus)
        if index.rebuilding:
            note_update(index, share.corpus)
        index.commit(optimize=True)
    return report

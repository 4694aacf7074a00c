"""Builds a new index from the corpus and swaps it in when it is complete.

Changes made meanwhile are recorded (see `cdsframe.ingestion.changes`) and replayed into the new index before the swap.
Does not block readers; blocks writers only for the swap.
"""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Chunker, Corpus, Embedder, Index
from cdsframe.errors import ConfigError, named
from cdsframe.ingestion.changes import Replaying, in_shard, note_part, outstanding, parts_behind
from cdsframe.ingestion.filling import fill, require_kept
from cdsframe.ingestion.report import Report
from cdsframe.ingestion.share import Share, adopting, guessed, name_of, others_of, require_known_corpus

_WAIT = 600.0
"""Seconds that the swap waits for another writer."""


def rebuild(
    window: Annotated[int, Field(ge=1)],
    replace: bool,
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
) -> Report:
    """Embeds the whole corpus into a new index that replaces the old one.

    If it is killed, the old index stays and the next rebuild resumes it. Raises InputError, and keeps the old index, if
    that index has documents whose sources exist but cannot be read now; ConfigError if that index has other corpora and
    `replace` is false.

    Args:
        window: see `cdsframe.ingestion.update`.
        replace: whether to drop all other corpora from the index.
    """
    return rebuild_part(window, 0, 1, replace, corpus, chunking, embedder, index)


def rebuild_part(
    window: int,
    shard: int,
    num_shards: int,
    replace: bool,
    corpus: Corpus,
    chunking: Chunker,
    embedder: Embedder,
    index: Index,
) -> Report:
    """Rebuilds one process's shard: the documents with digest(id) modulo `num_shards` equal to `shard`."""
    dropped, unnamed, before = _claim(index, corpus, replace=replace)
    replaying = Replaying(chunking, embedder, name_of(corpus), frozenset(dropped), shard, num_shards)
    with index.rebuild(shard, num_shards) as new:
        began = len(index.noted())
        with new.writer():
            share = Share(name_of(corpus), new.owned(), everything=True, unnamed=unnamed, before=before)
            report = fill(new, share, window, corpus, chunking, embedder, shard, num_shards)
            noted = index.noted()
            replaying.replay(outstanding(noted, began, name_of(corpus)), new)
        with index.writer(_WAIT), new.writer():
            later = index.noted()
            replaying.replay(later[len(noted) :], new)
            _require_added(index, new, set(others_of(index, corpus)) - set(dropped), shard, num_shards)
            require_kept(index, new, corpus, report, shard, num_shards)
            for other in parts_behind(later):
                if other != shard:
                    _catch_up(other, replaying, index)
            if num_shards > 1:
                note_part(index, shard)
            new.commit(optimize=True)
    return report


def _claim(index: Index, corpus: Corpus, *, replace: bool) -> tuple[list[str], list[str], list[str]]:
    """Returns what the rebuild does with the index's documents, as three lists.

    The corpora to drop. The ids of documents without a corpus, which this corpus takes over. The ids that the index has
    under this corpus's name, if that name was derived from a path (`corpus.name=null`): the new index must have most of
    them, or the path may have been mistyped.

    Raises ConfigError if the index has other corpora and `replace` is false.
    """
    require_known_corpus(index, corpus, replace=replace)
    others = others_of(index, corpus)
    if others and not replace:
        raise ConfigError(
            f"a rebuild reads one corpus, and the index also has {', '.join(map(named, others))}, which it would "
            "lose; rebuild into another index.name: this corpus first, then the others by ingestion=update "
            "ingestion.add=true; or keep this corpus only, by ingestion.replace=true"
        )
    adopts = adopting(index, corpus)
    if replace or not (adopts or guessed(corpus)):
        return others, [], []
    owned = index.owned(committed=True).items()
    unnamed = [id_ for id_, (_, owner) in owned if adopts and not owner]
    return others, unnamed, [id_ for id_, (_, owner) in owned if guessed(corpus) and owner == name_of(corpus)]


def _require_added(index: Index, new: Index, added: set[str], shard: int, num_shards: int) -> None:
    """Raises ConfigError if a corpus added during the rebuild is not completely in the new index."""
    if not added:
        return
    has = new.owned()
    lacking = (
        owner
        for id_, (digest, owner) in index.owned(committed=True).items()
        if owner in added and in_shard(id_, shard, num_shards) and has.get(id_, ("",))[0] != digest
    )
    if name := next(lacking, None):
        raise ConfigError(
            f"the corpus {named(name)} was added to the index during the rebuild, and the new index lacks documents "
            "of it; the index is unchanged: drop the rebuild by ingestion=abandon, then start it again"
        )


def _catch_up(shard: int, replaying: Replaying, index: Index) -> None:
    """Replays newer changes into a shard that was finished earlier; call within the index's `writer()`."""
    with index.rebuild(shard, replaying.num_shards) as part:
        if not part.rebuilding:
            replaced(replaying, shard=shard).replay(part.noted(), part)
            part.commit()

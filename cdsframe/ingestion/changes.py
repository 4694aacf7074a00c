"""Writes changes of single documents, and records them for a rebuild in progress. Does not read a corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from cdsframe.artifacts.digests import digest
from cdsframe.contracts import Chunker, Embedder, Index
from cdsframe.ingestion.vectors import vectors_of
from cdsframe.types import Document, JsonObject, Omission, Passage, Section

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

Changes = Mapping[str, Document | None]
"""Document id -> the document's new version, or None if the document is removed."""

_AT_ONCE = 100
"""Documents that a replay keeps in memory."""

_NOTE = 1_000_000
"""Approximate maximum of characters in a recorded change: servers limit the size of a request."""


@dataclass(frozen=True)
class Prepared:
    """Changes that are split and embedded: the slow work is done before the writer lock is taken."""

    changes: Changes
    records: Sequence[Passage]
    vectors: np.ndarray | None
    corpus: str
    """Name of the corpus to which the documents belong."""

    def write(self, index: Index, by: Literal["corpus", "live"] | None) -> None:
        """Writes the changes; does not commit.

        If a rebuild is in progress, also records the changes for it, with the origin `by`; with None, records nothing.
        """
        if by is not None and index.rebuilding:
            note(index, self.changes, by, self.corpus)
        written = {record.document_id for record in self.records}
        if gone := [document_id for document_id in self.changes if document_id not in written]:
            index.delete(gone)
        if self.records:
            index.write(self.records, self.vectors, self.corpus)


def prepare(changes: Changes, chunking: Chunker, embedder: Embedder, corpus: str) -> Prepared:
    """Splits and embeds documents of a corpus. A document without text in its sections counts as removed."""
    records = [record for document in changes.values() if document for record in chunking.split(document)]
    return Prepared(changes, records, vectors_of(records, embedder) if records else None, corpus)


def note(index: Index, changes: Changes, by: Literal["corpus", "live"], corpus: str) -> None:
    """Records changes that the index's rebuild replays.

    Args:
        by: whether the changes come from the corpus or were made directly in the index.
        corpus: the corpus of the documents.
    """
    for some in _pieces(changes):
        index.note({
            "by": by,
            "corpus": corpus,
            "put": [asdict(document) for document in some.values() if document is not None],
            "remove": [document_id for document_id, document in some.items() if document is None],
        })  # fmt: skip


def _pieces(changes: Changes) -> Iterator[Changes]:
    """Splits changes into parts of about `_NOTE` characters."""
    piece: dict[str, Document | None] = {}
    characters = 0
    for document_id, document in changes.items():
        piece[document_id] = document
        characters += len(document_id) + (len(document.text) if document else 0)
        if characters >= _NOTE:
            yield piece
            piece, characters = {}, 0
    if piece:
        yield piece


def warn_of_rebuild(index: Index) -> None:
    """Warns if a rebuild is unfinished: every write records its changes for it, also if the rebuild was killed."""
    if index.rebuilding:
        log.warning(
            "a rebuild of the index is unfinished, and all writes are recorded for it; if no process is running it, "
            "resume it by ingestion=rebuild or drop it by ingestion=abandon"
        )


def note_update(index: Index, corpus: str) -> None:
    """Records that an update of this corpus is complete."""
    index.note({"by": "corpus", "corpus": corpus, "put": [], "remove": [], "complete": True})


def note_part(index: Index, shard: int) -> None:
    """Records that a shard of the rebuild contains all changes recorded before."""
    index.note({"by": "rebuild", "put": [], "remove": [], "shard": shard})


def parts_behind(noted: Sequence[JsonObject]) -> list[int]:
    """The shards of a rebuild that were finished before the last recorded change of a document."""
    finished = {change["shard"]: number for number, change in enumerate(noted) if "shard" in change}
    last = max((number for number, change in enumerate(noted) if change["put"] or change["remove"]), default=-1)
    return [shard for shard, number in finished.items() if number < last]


def in_shard(document_id: str, shard: int, num_shards: int) -> bool:
    """Whether a document belongs to a shard: the digest of its id modulo `num_shards` is `shard`."""
    return num_shards == 1 or int(digest(document_id), 16) % num_shards == shard


def outstanding(noted: Sequence[JsonObject], began: int, corpus: str) -> list[JsonObject]:
    """Returns the recorded changes that a rebuild must replay.

    `began`: number of changes recorded when the rebuild began to read the corpus. Of these, changes of the corpus are
    not replayed, because the corpus contained them; direct changes are, unless a complete update followed them.
    """
    complete = (n for n in range(began) if "complete" in noted[n] and noted[n].get("corpus", "") in ("", corpus))
    undone = max(complete, default=-1)
    return [change for change in noted[undone + 1 : began] if change["by"] == "live"] + list(noted[began:])


@dataclass(frozen=True)
class Replaying:
    """Replays recorded changes into an index that a rebuild fills.

    Args:
        corpus: the corpus of the rebuild, and of recorded changes that name none.
        dropped: names of corpora that the new index will not have; their changes are skipped.
        shard, num_shards: only changes of documents in this shard are replayed.
    """

    chunking: Chunker
    embedder: Embedder
    corpus: str
    dropped: frozenset[str] = frozenset()
    shard: int = 0
    num_shards: int = 1

    def replay(self, noted: Iterable[JsonObject], index: Index) -> None:
        """Writes the last recorded version of each document; does not commit."""
        changes: dict[str, tuple[str, Document | None]] = {}
        for change in noted:
            corpus = change.get("corpus") or self.corpus
            if corpus not in self.dropped:
                changes |= {values["id"]: (corpus, _document(values)) for values in change["put"]}
                changes |= dict.fromkeys(change["remove"], (corpus, None))
        for corpus in sorted({corpus for corpus, _ in changes.values()}):
            own = [id_ for id_, (owner, _) in changes.items() if owner == corpus]
            ids = [id_ for id_ in own if in_shard(id_, self.shard, self.num_shards)]
            for first in range(0, len(ids), _AT_ONCE):
                some = {id_: changes[id_][1] for id_ in ids[first : first + _AT_ONCE]}
                prepare(some, self.chunking, self.embedder, corpus).write(index, by=None)


def _document(values: Mapping[str, Any]) -> Document:
    sections = [Section(**{**section, "heading": tuple(section["heading"])}) for section in values["sections"]]
    omitted = [Omission(**item) for item in values.get("omitted", ())]
    return Document(**{**values, "sections": tuple(sections), "omitted": tuple(omitted)})

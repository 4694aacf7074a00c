"""Changes of single documents: writing them, and keeping them beside an index that is being rebuilt."""

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
"""Document id -> what it is from now on; None: it is gone."""

_AT_ONCE = 100
"""Documents that a replay holds at once."""

_NOTE = 1_000_000
"""Characters of documents above which a note ends: a server bounds what it takes in one request."""


@dataclass(frozen=True)
class Prepared:
    """Changes that are cut and embedded: what takes time is done before anybody is kept waiting."""

    changes: Changes
    records: Sequence[Passage]
    vectors: np.ndarray | None
    corpus: str
    """Whose documents these are."""

    def write(self, index: Index, by: Literal["corpus", "live"] | None) -> None:
        """Writes them into the index, uncommitted; says where they come from to a rebuild that is under way."""
        if by is not None and index.rebuilding:
            note(index, self.changes, by, self.corpus)
        written = {record.document_id for record in self.records}
        if gone := [document_id for document_id in self.changes if document_id not in written]:
            index.delete(gone)
        if self.records:
            index.write(self.records, self.vectors, self.corpus)


def prepare(changes: Changes, chunking: Chunker, embedder: Embedder, corpus: str) -> Prepared:
    """Cuts and embeds documents of a corpus. A document without text in its sections becomes one that is gone."""
    records = [record for document in changes.values() if document for record in chunking.split(document)]
    return Prepared(changes, records, vectors_of(records, embedder) if records else None, corpus)


def note(index: Index, changes: Changes, by: Literal["corpus", "live"], corpus: str) -> None:
    """Keeps changes beside the index until its rebuild replays them.

    Args:
        by: whether the corpus says so, or somebody who changed the index directly.
        corpus: whose documents these are.
    """
    for some in _pieces(changes):
        index.note({
            "by": by,
            "corpus": corpus,
            "put": [asdict(document) for document in some.values() if document is not None],
            "remove": [document_id for document_id, document in some.items() if document is None],
        })  # fmt: skip


def _pieces(changes: Changes) -> Iterator[Changes]:
    """Changes in parts of about as many characters as one note has."""
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


def tell_of_rebuild(index: Index) -> None:
    """Says in the log that a rebuild has begun: one that was killed would make every write note what it writes."""
    if index.rebuilding:
        log.warning(
            "a rebuild of the index has begun, and what is written is noted for it too; if none is running, go on with "
            "it by ingestion=rebuild or drop it by ingestion=abandon"
        )


def note_update(index: Index, corpus: str) -> None:
    """Notes that an update of this corpus is complete."""
    index.note({"by": "corpus", "corpus": corpus, "put": [], "remove": [], "complete": True})


def note_part(index: Index, shard: int) -> None:
    """Keeps beside the index that a part of its rebuild holds all that was noted before this."""
    index.note({"by": "rebuild", "put": [], "remove": [], "shard": shard})


def parts_behind(noted: Sequence[JsonObject]) -> list[int]:
    """The parts of a rebuild that were finished before changes of documents were noted."""
    finished = {change["shard"]: number for number, change in enumerate(noted) if "shard" in change}
    last = max((number for number, change in enumerate(noted) if change["put"] or change["remove"]), default=-1)
    return [shard for shard, number in finished.items() if number < last]


def in_shard(document_id: str, shard: int, num_shards: int) -> bool:
    """Whether a document belongs to a part: its id's digest leaves the remainder `shard`."""
    return num_shards == 1 or int(digest(document_id), 16) % num_shards == shard


def outstanding(noted: Sequence[JsonObject], began: int, corpus: str) -> list[JsonObject]:
    """Returns the noted changes that a rebuild must replay.

    `began`: how many changes were noted when the rebuild began to read the corpus. Of the changes before, those of the
    corpus are in what it read; direct changes are replayed if no complete update followed them.
    """
    complete = (n for n in range(began) if "complete" in noted[n] and noted[n].get("corpus", "") in ("", corpus))
    undone = max(complete, default=-1)
    return [change for change in noted[undone + 1 : began] if change["by"] == "live"] + list(noted[began:])


@dataclass(frozen=True)
class Replaying:
    """How noted changes get into an index that a corpus's rebuild fills.

    Args:
        corpus: whose rebuild it is; changes that were noted without a corpus are this one's.
        dropped: the corpora that the rebuild leaves out.
        shard, num_shards: the part that is filled.
    """

    chunking: Chunker
    embedder: Embedder
    corpus: str
    dropped: frozenset[str] = frozenset()
    shard: int = 0
    num_shards: int = 1

    def replay(self, noted: Iterable[JsonObject], index: Index) -> None:
        """Writes into an index, or a part of it, what was noted, uncommitted: of each document what came last."""
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

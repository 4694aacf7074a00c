"""Changes of single documents: writing them, and keeping them beside an index that is being rebuilt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from cdsframe.ingestion.vectors import vectors_of
from cdsframe.types import Chunker, Document, Embedder, Index, JsonObject, Passage, Section

if TYPE_CHECKING:
    import numpy as np

Changes = Mapping[str, Document | None]
"""Document id -> what it is from now on; None: it is gone."""

_AT_ONCE = 100
"""Documents that a replay holds at once."""


@dataclass(frozen=True)
class Prepared:
    """Changes that are cut and embedded: what takes time is done before anybody is kept waiting."""

    changes: Changes
    records: Sequence[Passage]
    vectors: np.ndarray | None

    def write(self, index: Index, by: Literal["corpus", "live"] | None) -> None:
        """Writes them into the index, uncommitted; says where they come from to a rebuild that is under way."""
        if by is not None and index.rebuilding:
            note(index, self.changes, by)
        written = {record.document_id for record in self.records}
        if gone := [document_id for document_id in self.changes if document_id not in written]:
            index.delete(gone)
        if self.records:
            index.write(self.records, self.vectors)


def prepare(changes: Changes, chunking: Chunker, embedder: Embedder) -> Prepared:
    """Cuts and embeds. A document without text in its sections becomes one that is gone."""
    records = [record for document in changes.values() if document for record in chunking.split(document)]
    return Prepared(changes, records, vectors_of(records, embedder) if records else None)


def note(index: Index, changes: Changes, by: Literal["corpus", "live"]) -> None:
    """Keeps changes beside the index until its rebuild replays them.

    Args:
        by: whether the corpus says so, or somebody who changed the index directly.
    """
    index.note({
        "by": by,
        "put": [asdict(document) for document in changes.values() if document is not None],
        "remove": [document_id for document_id, document in changes.items() if document is None],
    })  # fmt: skip


def note_update(index: Index) -> None:
    """Keeps beside the index that it holds exactly the corpus, as an update leaves it."""
    index.note({"by": "corpus", "put": [], "remove": [], "complete": True})


def outstanding(noted: Sequence[JsonObject], began: int) -> list[JsonObject]:
    """What a rebuild lacks whose reading of the corpus began when `began` changes had been noted.

    The corpus that it read holds what the corpus said before; of the direct changes before, those count that no
    complete update has undone.
    """
    undone = max((number for number in range(began) if "complete" in noted[number]), default=-1)
    return [change for change in noted[undone + 1 : began] if change["by"] == "live"] + list(noted[began:])


def replay(noted: Iterable[JsonObject], chunking: Chunker, embedder: Embedder, index: Index) -> None:
    """Writes into an index what was noted, uncommitted: of each document what came last."""
    changes: dict[str, Document | None] = {}
    for change in noted:
        changes |= {values["id"]: _document(values) for values in change["put"]}
        changes |= dict.fromkeys(change["remove"])
    ids = list(changes)
    for first in range(0, len(ids), _AT_ONCE):
        some = {document_id: changes[document_id] for document_id in ids[first : first + _AT_ONCE]}
        prepare(some, chunking, embedder).write(index, by=None)


def _document(values: Mapping[str, Any]) -> Document:
    sections = [Section(**{**section, "heading": tuple(section["heading"])}) for section in values["sections"]]
    return Document(**{**values, "sections": tuple(sections)})

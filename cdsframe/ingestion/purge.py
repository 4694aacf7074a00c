"""Removes documents for good: from every answer, and their text from every file of the index.

What lies elsewhere stays: the corpus itself, backups and snapshots, the runs' folders, a model that was trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field

from cdsframe.contracts import Index
from cdsframe.errors import InputError
from cdsframe.types import Metrics


@dataclass(frozen=True)
class Purged:
    """How many documents went, and the ids of which the index had none."""

    documents: int
    absent: tuple[str, ...] = ()
    failure = None

    @property
    def score(self) -> float:
        return float(self.documents)

    @property
    def metrics(self) -> Metrics:
        return {"ingest/purged": float(self.documents)}

    @property
    def text(self) -> str:
        absent = f" Not in the index, whose files were made anew all the same: {', '.join(self.absent)}."
        return (
            f"documents purged: {self.documents}; no file of the index holds their text.{absent if self.absent else ''}"
            " The corpus, backups and snapshots do where they did, and the next update brings back what the corpus "
            "still has"
        )


def purge(documents: Annotated[list[str], Field(min_length=1)], force: bool, index: Index) -> Purged:
    """Also of documents that the index has no more: an update that removes one leaves its text in files for a while.

    Raises InputError, and removes nothing, where there is no index, and where it has no document of an id but some of
    ids that look like it.

    Args:
        documents: the ids of the documents to remove.
        force: do not ask whether an id was meant that looks like it.
    """
    ids = list(dict.fromkeys(documents))
    with index.writer():
        known = index.documents()
        if not known and index.digest is None and not index.rebuilding:
            raise InputError("there is nothing to purge: nothing was ever written to the index; see index.name")
        absent = tuple(document_id for document_id in ids if document_id not in known)
        near = {document_id: get_close_matches(document_id, known, n=3) for document_id in absent}
        if not force and any(near.values()):
            named = "; no document ".join(f"{id_} (did you mean {', '.join(n)}?)" for id_, n in near.items() if n)
            raise InputError(
                f"ingestion.documents: the index has no document {named}; nothing was removed. Use "
                "ingestion.force=true for documents that it had earlier"
            )
        index.purge(ids)
    return Purged(len(ids) - len(absent), absent)

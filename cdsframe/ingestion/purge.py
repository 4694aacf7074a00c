"""Removes documents for good: from every answer, and their text from every file of the index.

Does not touch the corpus, backups and snapshots, run folders, or models trained on the documents.
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
    """Number of removed documents, and the ids that the index did not have."""

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
        absent = f" Not in the index: {', '.join(self.absent)} (its files were rewritten anyway)."
        return (
            f"documents purged: {self.documents}; no file of the index contains their "
            f"text.{absent if self.absent else ''} The corpus, backups and snapshots are unchanged, and the next "
            "update adds the documents that the corpus still has"
        )


def purge(documents: Annotated[list[str], Field(min_length=1)], force: bool, index: Index) -> Purged:
    """Purges documents, including removed ones: an update leaves the text of a removed document in files for a while.

    Raises InputError, and removes nothing, if there is no index, or if it lacks a given id but has similar ones.

    Args:
        documents: ids of the documents to remove.
        force: whether to accept an unknown id although the index has similar ones.
    """
    ids = list(dict.fromkeys(documents))
    with index.writer():
        known = index.documents()
        if not known and index.digest is None and not index.rebuilding:
            raise InputError("there is nothing to purge: nothing was ever written to the index; check index.name")
        absent = tuple(document_id for document_id in ids if document_id not in known)
        near = {document_id: get_close_matches(document_id, known, n=3) for document_id in absent}
        if not force and any(near.values()):
            named = "; no document ".join(f"{id_} (did you mean {', '.join(n)}?)" for id_, n in near.items() if n)
            raise InputError(
                f"ingestion.documents: the index has no document {named}; nothing was removed: correct the id, or set "
                "ingestion.force=true for documents that the index had earlier"
            )
        index.purge(ids)
    return Purged(len(ids) - len(absent), absent)

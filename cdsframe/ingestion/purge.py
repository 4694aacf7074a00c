"""Removes documents for good: from every answer, and their text from every file of the index.

What lies elsewhere stays: the corpus itself, backups and snapshots, the runs' folders, a model that was trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field

from cdsframe.errors import InputError
from cdsframe.types import Index, Metrics


@dataclass(frozen=True)
class Purged:
    """How many documents went."""

    documents: int
    failure = None

    @property
    def score(self) -> float:
        return float(self.documents)

    @property
    def metrics(self) -> Metrics:
        return {"ingest/purged": float(self.documents)}

    @property
    def text(self) -> str:
        return (
            f"documents purged: {self.documents}; no file of the index holds their text. The corpus, backups and "
            "snapshots do where they did, and the next update brings back what the corpus still has"
        )


def purge(documents: Annotated[list[str], Field(min_length=1)], index: Index) -> Purged:
    """Raises InputError, and removes nothing, where the index has no document of one of the ids.

    Args:
        documents: the ids of the documents to remove.
    """
    with index.writer():
        known = index.documents()
        unknown = [document_id for document_id in dict.fromkeys(documents) if document_id not in known]
        if unknown:
            named = "; no document ".join(_with_hint(document_id, known) for document_id in unknown)
            raise InputError(f"ingestion.documents: the index has no document {named}")
        index.purge(list(dict.fromkeys(documents)))
    return Purged(len(set(documents)))


def _with_hint(document_id: str, known: dict[str, str]) -> str:
    near = get_close_matches(document_id, known, n=3)
    return f"{document_id} (did you mean {', '.join(near)}?)" if near else document_id

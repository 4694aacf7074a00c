"""Reads the evidence of a question: spans of documents, or quotes that are located in a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from cdsframe.contracts import Corpus
from cdsframe.errors import InputError
from cdsframe.types import Document, Evidence


class EvidenceReader:
    """Converts `{document_id, start, end}` (characters of the document's text) and `{document_id, quote}`.

    Args:
        corpus: the documents in which quotes are located; read only if a record gives its evidence by a quote.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def read(self, items: Iterable[Mapping[str, Any]], where: str) -> tuple[Evidence, ...]:
        """Returns the evidence of one record. Raises InputError, which begins with `where`, if an item is unusable."""
        return tuple(self._one(item, where) for item in items)

    def _one(self, item: Mapping[str, Any], where: str) -> Evidence:
        match item:
            case {"document_id": str(document_id), "start": int(start), "end": int(end)} if 0 <= start < end:
                return Evidence(document_id, start, end)
            case {"document_id": str(document_id), "quote": str(quote)} if quote:
                return self._locate(document_id, quote, where)
        raise InputError(f"{where}: evidence needs document_id and either start < end or a quote")

    def _locate(self, document_id: str, quote: str, where: str) -> Evidence:
        document = self._documents.get(document_id)
        if document is None:
            raise InputError(f"{where}: the corpus has no document {document_id}; choose a corpus that contains it")
        if document.text.count(quote) != 1:
            times = document.text.count(quote)
            raise InputError(f"{where}: the quote occurs {times} times in {document_id}; it must occur exactly once")
        start = document.text.index(quote)
        return Evidence(document_id, start, start + len(quote))

    @cached_property
    def _documents(self) -> dict[str, Document]:
        return {d.id: d for d in self._corpus.documents() if isinstance(d, Document)}

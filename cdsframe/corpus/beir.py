"""Corpora whose records are passages already, in the form of BEIR (arXiv 2104.08663): their ids are kept.

Does not cut records and does not read queries or judgements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cdsframe.corpus.jsonl import metadata_of, records, text_field
from cdsframe.corpus.records import checked
from cdsframe.files import InputFile, resolve
from cdsframe.types import Document, Section, Unreadable

_Record = tuple[str, str, str | None, str, Mapping[str, str]]
"""Passage id, title, section id, text, metadata."""


class Beir:
    """Records `{doc_id or _id, title, text}`, optionally with `document_id` (its page) and `pair_id` (its section).

    Records of one `document_id` make one document, in the order of the file, their texts separated by blank lines. A
    passage id that stands twice is numbered from the second on: `x`, `x-2`.

    Args:
        path: a `.jsonl` file, or `.jsonl.gz`.
        strict: refuse the whole corpus when one line cannot be read.
    """

    def __init__(self, path: InputFile, strict: bool) -> None:
        self._path, self._strict = path, strict

    def documents(self) -> Iterator[Document | Unreadable]:
        """First the lines that cannot be read, then the documents; the whole file is held in memory."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        documents: dict[str, list[_Record]] = {}
        seen: dict[str, int] = {}
        for source, record in records(self._path):
            if isinstance(record, str):
                yield source, record
                continue
            try:
                key, passage = _record(record)
            except ValueError as error:
                yield source, str(error)
                continue
            count = seen[passage[0]] = seen.get(passage[0], 0) + 1
            if count > 1:
                passage = (f"{passage[0]}-{count}", *passage[1:])
                key = passage[0] if key == record.get("doc_id", record.get("_id")) else key
            documents.setdefault(key, []).append(passage)
        for key, passages in documents.items():
            yield key, _join(key, passages)


class MedQuad(Beir):
    """The passages of MedQuAD (BMC Bioinformatics 20:511) in `medquad/retrieval_corpus.jsonl.gz` of a data folder.

    Args:
        folder: the folder that CDSFRAME_DATA names.
        strict: refuse the whole corpus when one line cannot be read.
    """

    def __init__(self, folder: str | None, strict: bool) -> None:
        super().__init__(f"{folder}/medquad/retrieval_corpus.jsonl.gz", strict)

    @staticmethod
    def problems(folder: str | None) -> list[str]:
        """That no folder is named, or that the file is not in it."""
        if folder is None:
            return ["corpus=medquad needs a data folder; set CDSFRAME_DATA to the one that holds medquad/"]
        if not (resolve(folder) / "medquad/retrieval_corpus.jsonl.gz").is_file():
            return [f"corpus=medquad: no file medquad/retrieval_corpus.jsonl.gz in {folder} (paths.data)"]
        return []


def _record(record: Mapping[str, Any]) -> tuple[str, _Record]:
    """The id of the document that a record belongs to, and its passage."""
    id_ = text_field(record, "doc_id" if "doc_id" in record else "_id", needed=True)
    text = text_field(record, "text", needed=True)
    section = text_field(record, "pair_id") or None
    return text_field(record, "document_id") or id_, (
        id_,
        text_field(record, "title"),
        section,
        text,
        metadata_of(record),
    )


def _join(key: str, passages: list[_Record]) -> Document:
    title, position = passages[0][1], 0
    sections = []
    for id_, own_title, section, text, _ in passages:
        heading = (own_title,) if own_title and own_title != title else ()
        sections.append(Section(heading, position, position + len(text), section, id_))
        position += len(text) + 2
    return Document(key, title, "\n\n".join(passage[3] for passage in passages), tuple(sections), passages[0][4])

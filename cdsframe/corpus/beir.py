"""Corpora whose records are passages already, in the form of BEIR (arXiv 2104.08663): their ids are kept.

Does not cut records and does not read queries or judgements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from cdsframe.artifacts.files import InputFile, resolve
from cdsframe.corpus.fields import as_text
from cdsframe.corpus.jsonl import records
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.record_values import count_values, metadata_of, unnamed
from cdsframe.corpus.records import checked
from cdsframe.types import METADATA_FIELDS, Document, Section, Unreadable

_Record = tuple[str, str, str | None, str, Mapping[str, str], int]
"""Passage id, title, section id, text, metadata, and how many values no name takes."""

_LONGEST = 100 << 20
"""Bytes of a line: a longer one is no passage."""


class Beir:
    """Records `{doc_id or _id, title, text}`, optionally with `document_id` (its page) and `pair_id` (its section).

    Records of one `document_id` make one document, in the order of the file, their texts separated by blank lines. A
    passage id that stands twice is numbered from the second on: `x`, `x-2`, by the next number that no earlier one has.
    Further values of a record, and metadata that a document's first record does not have, are counted.

    Args:
        path: a `.jsonl` file, or `.jsonl.gz`.
        strict: refuse the whole corpus when one line cannot be read.
        name: which corpus this is.
    """

    def __init__(self, path: InputFile, strict: bool, name: CorpusName) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._strict = path, strict

    def documents(self) -> Iterator[Document | Unreadable]:
        """Each document after its last record, or why a line gives none.

        The file is read twice, first to count each document's records: so only the documents are held whose records
        are not all read, one where they are adjacent.
        """
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        left = Counter(_hash(key) for _, key, passage in self._passages() if not isinstance(passage, str))
        begun: dict[str, list[_Record]] = {}
        for source, key, passage in self._passages():
            if isinstance(passage, str):
                yield source, passage
                continue
            begun.setdefault(key, []).append(passage)
            left[_hash(key)] -= 1
            if left[_hash(key)] <= 0:
                yield key, _join(key, begun.pop(key))
        for key, passages in begun.items():  # the file was cut meanwhile
            yield key, _join(key, passages)

    def _passages(self) -> Iterator[tuple[str, str, _Record | str]]:
        """For each line its name, its document's id, and its passage or why there is none."""
        seen: Counter[bytes] = Counter()
        for source, record in records(self._path, _LONGEST):
            if isinstance(record, str):
                yield source, "", record
                continue
            try:
                key, passage = _record(record)
            except ValueError as error:
                yield source, "", str(error)
                continue
            id_, name = passage[0], passage[0]
            while seen[_hash(name)]:
                seen[_hash(id_)] += 1
                name = f"{id_}-{seen[_hash(id_)]}"
            seen[_hash(name)] = 1
            if name != id_:
                passage = (name, *passage[1:])
                key = name if key == id_ else key
            yield source, key, passage


class MedQuad(Beir):
    """The passages of MedQuAD (BMC Bioinformatics 20:511) in `medquad/retrieval_corpus.jsonl.gz` of a data folder.

    Args:
        folder: the folder that CDSFRAME_DATA names.
        strict: refuse the whole corpus when one line cannot be read.
        name: which corpus this is.
    """

    def __init__(self, folder: str | None, strict: bool, name: CorpusName) -> None:
        super().__init__(f"{folder}/medquad/retrieval_corpus.jsonl.gz", strict, name)

    @staticmethod
    def problems(folder: str | None) -> list[str]:
        """That no folder is named, or that the file is not in it."""
        if folder is None:
            return ["corpus=medquad needs a data folder; set CDSFRAME_DATA to the one that holds medquad/"]
        if not (resolve(folder) / "medquad/retrieval_corpus.jsonl.gz").is_file():
            return [f"corpus=medquad: no file medquad/retrieval_corpus.jsonl.gz in {folder} (paths.data)"]
        return []


def _hash(id_: str) -> bytes:
    """What stands for an id in the counts of all records, so that these stay small."""
    return blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _record(record: Mapping[str, Any]) -> tuple[str, _Record]:
    """The id of the document that a record belongs to, and its passage."""
    name = "doc_id" if "doc_id" in record else "_id"
    id_ = as_text(record.get(name), name, needed=True)
    text = as_text(record.get("text"), "text", needed=True)
    section = as_text(record.get("pair_id"), "pair_id") or None
    metadata, places = metadata_of(record, {key: (key,) for key in METADATA_FIELDS})
    document = as_text(record.get("document_id"), "document_id") or id_
    places |= {(key,) for key in (name, "text", "pair_id", "title", "document_id")}
    passage = (id_, as_text(record.get("title"), "title"), section, text, metadata, count_values(record, places))
    return document, passage


def _join(key: str, passages: list[_Record]) -> Document:
    title, position, left = passages[0][1], 0, 0
    sections = []
    for id_, own_title, section, text, metadata, count in passages:
        heading = (own_title,) if own_title and own_title != title else ()
        sections.append(Section(heading, position, position + len(text), section, id_))
        position += len(text) + 2
        left += count + len(metadata.items() - passages[0][4].items())
    whole = "\n\n".join(passage[3] for passage in passages)
    return Document(
        key, title, whole, tuple(sections), passages[0][4], omitted=unnamed(left, "corpus=beir does not read")
    )

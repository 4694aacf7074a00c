"""Reads corpora in the format of BEIR (arXiv 2104.08663), whose records are passages. Keeps the ids of passages.

Does not cut records into passages and does not read queries or judgements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from cdsframe.artifacts.files import InputFile, resolve
from cdsframe.corpus.fields import as_text
from cdsframe.corpus.jsonl import records
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.record_values import count_values, metadata_of, unnamed
from cdsframe.corpus.records import checked
from cdsframe.types import STANDARD_FIELDS, Document, Section, Unreadable

_Record = tuple[str, str, str | None, str, Mapping[str, str], int]
"""Passage id, title, section id, text, metadata, and the number of the record's other values, which are not read."""

_LONGEST = 100 << 20
"""Maximum bytes of a line; a longer line is unreadable."""


class Beir:
    """A file of passage records `{doc_id or _id, title, text}`.

    A record may have `document_id` (the passage's page) and `pair_id` (the passage's section).

    Records with the same `document_id` form one document, in the order of the file, separated by blank lines. A
    repeated passage id gets the next free number: `x`, `x-2`, `x-3`. Other values of a record are counted as omitted,
    and so is metadata that differs from that of the document's first record.

    Args:
        path: a `.jsonl` or `.jsonl.gz` file.
        strict: whether the first unreadable line raises InputError; otherwise each becomes an Unreadable.
        name: the name by which an index identifies the corpus; None derives it from the path.
        metadata_fields: the deployment's own metadata fields.
    """

    def __init__(self, path: InputFile, strict: bool, name: CorpusName, metadata_fields: Sequence[str]) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._strict = path, strict
        self._metadata_names = {field: (field,) for field in (*STANDARD_FIELDS, *metadata_fields)}

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields each document once its last record is read, and an Unreadable for each line that cannot be read.

        Reads the file twice; the first pass counts each document's records. Memory holds only documents with records
        still to come: one at a time if the file keeps each document's records together.
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
        for key, passages in begun.items():  # documents left incomplete: the file was truncated between the passes
            yield key, _join(key, passages)

    def _passages(self) -> Iterator[tuple[str, str, _Record | str]]:
        """Yields `(place, document id, passage)` for each line; the place is "FILE, line 7".

        For a line that cannot be read, yields `(place, "", reason)`; the reason is a str.
        """
        seen: Counter[bytes] = Counter()
        for source, record in records(self._path, _LONGEST):
            if isinstance(record, str):
                yield source, "", record
                continue
            try:
                key, passage = _record(record, self._metadata_names)
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


class MedQuadPassages(Beir):
    """The passages of MedQuAD (BMC Bioinformatics 20:511) in `medquad/retrieval_corpus.jsonl.gz` of a data folder.

    Args:
        folder: the data folder, from the environment variable CDSFRAME_DATA; None if the variable is not set.
        strict: whether the first unreadable line raises InputError; otherwise each becomes an Unreadable.
        name: the name by which an index identifies the corpus; None derives it from the path.
    """

    def __init__(self, folder: str | None, strict: bool, name: CorpusName) -> None:
        super().__init__(f"{folder}/medquad/retrieval_corpus.jsonl.gz", strict, name, metadata_fields=())

    @staticmethod
    def problems(folder: str | None) -> list[str]:
        """Returns the problems of the options: no data folder, or no file of passages in it."""
        if folder is None:
            return ["corpus=medquad needs a data folder; set CDSFRAME_DATA to the one that holds medquad/"]
        if not (resolve(folder) / "medquad/retrieval_corpus.jsonl.gz").is_file():
            return [f"corpus=medquad: no file medquad/retrieval_corpus.jsonl.gz in {folder} (paths.data)"]
        return []


def _hash(id_: str) -> bytes:
    """Returns an 8-byte digest of an id: counts by digest need less memory than counts by id."""
    return blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _record(record: Mapping[str, Any], metadata_names: Mapping[str, Iterable[str]]) -> tuple[str, _Record]:
    """Returns the id of the record's document, and its passage. Raises ValueError if a value has the wrong type."""
    name = "doc_id" if "doc_id" in record else "_id"
    id_ = as_text(record.get(name), name, needed=True)
    text = as_text(record.get("text"), "text", needed=True)
    section = as_text(record.get("pair_id"), "pair_id") or None
    metadata, places = metadata_of(record, metadata_names)
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

"""JSON Lines as a corpus: one document a line, with sections if it has them. Does not read passages (see `beir`)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from cdsframe.corpus.records import Block, assemble, checked
from cdsframe.files import InputFile, parse_object, require_file
from cdsframe.types import METADATA_FIELDS, Document, Section, Unreadable


class Jsonl:
    """Records `{id, title, text}` or `{id, title, sections: [{heading, text}]}`, metadata beside them or in `metadata`.

    Where there are sections, their texts with their headings between are the document's text.

    Args:
        path: a `.jsonl` file, or `.jsonl.gz`.
        strict: refuse the whole corpus when one line cannot be read.
    """

    def __init__(self, path: InputFile, strict: bool) -> None:
        self._path, self._strict = path, strict

    def documents(self) -> Iterator[Document | Unreadable]:
        """Every line's document, or why there is none."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        for source, record in records(self._path):
            try:
                yield source, _document(record) if isinstance(record, dict) else record
            except ValueError as error:
                yield source, str(error)


def records(path: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """`("FILE, line 7", record)` for each line that is not blank; instead of a record the reason why it is none."""
    found = require_file(path, "corpus.path")
    number = 0
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                value: dict[str, Any] | str
                try:
                    value = parse_object(line)
                except ValueError as error:
                    value = f"is {error}"
                yield f"{found.name}, line {number}", value
    except (gzip.BadGzipFile, zlib.error, EOFError):
        yield f"{found.name}, after line {number}", "is not a whole gzip file"


def text_field(record: Mapping[str, Any], key: str, *, needed: bool = False) -> str:
    """A record's field as stripped text. Raises ValueError, without its content, where it is missing or not text."""
    value = record.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ValueError(f"has no text in the field {key}")
    return value.strip()


def metadata_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The metadata fields of a record, those in its `metadata` first."""
    inner = record.get("metadata")
    merged = {**record, **inner} if isinstance(inner, Mapping) else record
    return {key: value for key in METADATA_FIELDS if (value := text_field(merged, key))}


def _document(record: Mapping[str, Any]) -> Document:
    parts = record.get("sections")
    if parts:
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise ValueError("has sections that are not a list of objects")
        text, sections = assemble(
            block
            for part in parts
            for block in (Block(text_field(part, "heading"), 1), Block(text_field(part, "text")))
        )
    else:
        text = text_field(record, "text", needed=True)
        sections = (Section((), 0, len(text)),)
    if not sections:
        raise ValueError("has no text in its sections")
    return Document(
        text_field(record, "id", needed=True), text_field(record, "title"), text, sections, metadata_of(record)
    )

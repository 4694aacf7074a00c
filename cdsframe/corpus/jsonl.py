"""Reads JSON Lines as a corpus: one document for each line, with its sections. Does not read passages (see `beir`)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputFile, parse_object, require_file
from cdsframe.corpus.fields import Fields, as_text, document_of, metadata_names, names_of, record_field_problems
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.record_values import count_values, metadata_of, place_of, scalar, unnamed, value_at
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, open_bytes
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import Document, Section, Unreadable

_SECTION = frozenset(("heading", "text", "sections"))
"""Keys of a section that are read."""

_DEEPEST = 50
"""Maximum nesting of sections."""


class JsonlCorpus:
    """Records `{id, title, text}` or `{id, title, sections: [{heading, text}]}`.

    Metadata stands beside these names or under `metadata`. The headings and texts of sections form the document's text.
    A section may contain `sections`, which are one level deeper. Values under other names are counted as omitted. The
    file is streamed.

    Args:
        path: a `.jsonl` or `.jsonl.gz` file.
        fields: field of a document -> name in the record. A dotted name (`authors.0.name`) names a value inside nested
            objects and lists.
        strict: whether the first unreadable line raises InputError; otherwise each becomes an Unreadable.
        max_megabytes: maximum size of a line; a longer line is unreadable.
        name: the name by which an index identifies the corpus; None derives it from the path.
        metadata_fields: the deployment's own metadata fields, read under their names unless `fields` gives others.
    """

    def __init__(
        self,
        path: InputFile,
        fields: Fields,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        name: CorpusName,
        metadata_fields: Sequence[str],
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        unmapped: Fields = {field: field for field in metadata_fields}
        self._path, self._fields, self._strict, self._limit = path, unmapped | fields, strict, max_megabytes << 20

    @staticmethod
    def problems(fields: Fields) -> list[str]:
        """Returns what is wrong with `fields`: `text` needs a name, and only `text` may have a list of names."""
        return record_field_problems(fields)

    @staticmethod
    def metadata_read(fields: Fields) -> list[str]:
        """The metadata fields that `fields` names, for the configuration check."""
        return list(metadata_names(fields))

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields a Document or an Unreadable for each line."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        for source, record in records(self._path, self._limit):
            try:
                yield source, self._document(record) if isinstance(record, dict) else record
            except ValueError as error:
                yield source, str(error)

    def _document(self, record: Mapping[str, Any]) -> Document:
        metadata, places = metadata_of(record, metadata_names(self._fields))
        texts = names_of(self._fields, "text")
        parts, body, more = record.get("sections"), None, 0
        if parts:
            beside = [text for name in texts if (text := scalar(value_at(record, name)))]
            texts = [name for name in texts if scalar(value_at(record, name))]
            body, more = _joined(parts, beside), _unread(parts)
            places.add(("sections",))
        document = document_of(lambda name: value_at(record, name), self._fields, metadata, body)
        named = (*names_of(self._fields, "id"), *names_of(self._fields, "title"), *texts)
        places |= {place for name in named if (place := place_of(record, name)) is not None}
        return replace(document, omitted=unnamed(count_values(record, places) + more))


def _joined(parts: Any, texts: Sequence[str]) -> tuple[str, tuple[Section, ...]]:
    """Joins the sections to one text. Puts the record's other texts before it, unless the sections repeat them."""
    blocks = list(_blocks(parts, 1))
    own = [block.text for block in blocks if not block.level]
    repeated = {_words([text]) for text in own} | {_words(own), _words(block.text for block in blocks)}
    text, sections = assemble([*(Block(text) for text in texts if _words([text]) not in repeated), *blocks])
    if not sections:
        raise ValueError("has no text in its sections")
    return text, sections


def _blocks(parts: Any, level: int) -> Iterator[Block]:
    """Yields the headings and texts of sections; inner sections are one level deeper."""
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError("has sections that are not a list of objects")
    if level > _DEEPEST:
        raise ValueError(f"has sections that are nested more than {_DEEPEST} levels deep")
    for part in parts:
        if part and not _SECTION & part.keys():
            raise ValueError("has a section with neither heading nor text")
        # Text without a heading belongs to the section before, not to an inner section of it.
        yield Block("", closes=level + 1)
        yield Block(as_text(part.get("heading"), "heading"), level)
        yield Block(as_text(part.get("text"), "text"))
        if part.get("sections"):
            yield from _blocks(part["sections"], level + 1)


def _unread(parts: Iterable[Mapping[str, Any]]) -> int:
    """Counts the values of sections under keys that are not read."""
    return sum(
        sum(count_values(value) for key, value in part.items() if key not in _SECTION)
        + _unread(part.get("sections") or ())
        for part in parts
    )


def _words(texts: Iterable[str]) -> str:
    return " ".join(word for text in texts for word in text.split())


def lines(path: Path, limit: int, root: Path | None = None) -> Iterator[tuple[str, bytes | str]]:
    """Yields `(place, line)` for each line that is not blank; the place is "FILE, line 7", the line is bytes.

    Yields `(place, reason)` for a line of more than `limit` bytes, and if the rest of the file cannot be read; the
    reason is a str. Below `root`, follows no symbolic link, not even one created during the read.
    """
    number = 0
    try:
        with open_bytes(path, root) as file:
            while line := file.readline(limit + 1):
                number += 1
                source = f"{path.name}, line {number}"
                if len(line) > limit:
                    _pass_over(file, line, limit)
                    yield source, f"is longer than {limit >> 20} MB (corpus.max_megabytes)"
                elif line.strip():
                    yield source, line
    except Refused as refusal:
        yield path.name, str(refusal)
    except (gzip.BadGzipFile, zlib.error, EOFError):
        yield f"{path.name}, after line {number}", "is a truncated or damaged gzip file"
    except OSError as error:
        yield f"{path.name}, after line {number}", in_words(error)


def _pass_over(file: IO[bytes], line: bytes, limit: int) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(limit)


def records(path: str, limit: int) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yields `(place, record)` for each line that is not blank; the place is "FILE, line 7", the record is a dict.

    Yields `(place, reason)` for a line that cannot be read; the reason is a str.
    """
    for source, line in lines(require_file(path, "corpus.path"), limit):
        try:
            yield source, parse_object(line, decimals=True) if isinstance(line, bytes) else line
        except ValueError as error:
            yield source, f"is {error}"

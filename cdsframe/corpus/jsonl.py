"""JSON Lines as a corpus: one document a line, with sections if it has them. Does not read passages (see `beir`)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputFile, parse_object, require_file
from cdsframe.corpus.fields import Fields, as_text, document_of, names_of, problems_of
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.record_values import count_values, metadata_of, place_of, scalar, unnamed, value_at
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, open_bytes
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import METADATA_FIELDS, Document, Section, Unreadable

_SECTION = frozenset(("heading", "text", "sections"))
"""The names of a section's values."""

_DEEPEST = 50
"""Levels of sections within sections that are read."""


class Jsonl:
    """Records `{id, title, text}` or `{id, title, sections: [{heading, text}]}`, metadata beside them or in `metadata`.

    Where there are sections, their texts with their headings between are the document's text. A section may have
    `sections` too, which are one level deeper. Values that no field takes are counted. The file is streamed.

    Args:
        path: a `.jsonl` file, or `.jsonl.gz`.
        fields: the record's names for a document's fields; dots go into objects, and numbers into lists.
        strict: refuse the whole corpus when one line cannot be read.
        max_megabytes: a longer line is refused.
        name: which corpus this is.
    """

    def __init__(
        self,
        path: InputFile,
        fields: Fields,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        name: CorpusName,
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._fields, self._strict, self._limit = path, fields, strict, max_megabytes << 20

    @staticmethod
    def problems(fields: Fields) -> list[str]:
        """That no field gives the text, or that a list stands where one name is wanted."""
        return problems_of(fields)

    def documents(self) -> Iterator[Document | Unreadable]:
        """Every line's document, or why there is none."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        for source, record in records(self._path, self._limit):
            try:
                yield source, self._document(record) if isinstance(record, dict) else record
            except ValueError as error:
                yield source, str(error)

    def _document(self, record: Mapping[str, Any]) -> Document:
        names = {key: names_of(self._fields, key) for key in METADATA_FIELDS}
        metadata, places = metadata_of(record, names)
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
    """The sections' text. Texts beside the sections stand before them, unless the sections repeat them."""
    blocks = list(_blocks(parts, 1))
    own = [block.text for block in blocks if not block.level]
    repeated = {_words([text]) for text in own} | {_words(own), _words(block.text for block in blocks)}
    text, sections = assemble([*(Block(text) for text in texts if _words([text]) not in repeated), *blocks])
    if not sections:
        raise ValueError("has no text in its sections")
    return text, sections


def _blocks(parts: Any, level: int) -> Iterator[Block]:
    """The headings and texts of sections, and of those within them one level deeper."""
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError("has sections that are not a list of objects")
    if level > _DEEPEST:
        raise ValueError(f"has sections that are nested more than {_DEEPEST} levels deep")
    for part in parts:
        if part and not _SECTION & part.keys():
            raise ValueError("has a section with neither heading nor text")
        yield Block("", closes=level + 1)  # a section without a heading continues the one before, not its inner ones
        yield Block(as_text(part.get("heading"), "heading"), level)
        yield Block(as_text(part.get("text"), "text"))
        if part.get("sections"):
            yield from _blocks(part["sections"], level + 1)


def _unread(parts: Iterable[Mapping[str, Any]]) -> int:
    """How many values of sections stand under other names than a section has."""
    return sum(
        sum(count_values(value) for key, value in part.items() if key not in _SECTION)
        + _unread(part.get("sections") or ())
        for part in parts
    )


def _words(texts: Iterable[str]) -> str:
    return " ".join(word for text in texts for word in text.split())


def lines(path: Path, limit: int, root: Path | None = None) -> Iterator[tuple[str, bytes | str]]:
    """`("FILE, line 7", line)` for each line that is not blank; instead of a line the reason why there is none.

    Below `root` no symbolic link is followed, whenever it was made.
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
        yield f"{path.name}, after line {number}", "is not a whole gzip file"
    except OSError as error:
        yield f"{path.name}, after line {number}", in_words(error)


def _pass_over(file: IO[bytes], line: bytes, limit: int) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(limit)


def records(path: str, limit: int) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """`("FILE, line 7", record)` for each line that is not blank; instead of a record the reason why it is none."""
    for source, line in lines(require_file(path, "corpus.path"), limit):
        try:
            yield source, parse_object(line, decimals=True) if isinstance(line, bytes) else line
        except ValueError as error:
            yield source, f"is {error}"

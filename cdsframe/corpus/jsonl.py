"""JSON Lines as a corpus: one document a line, with sections if it has them. Does not read passages (see `beir`)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from cdsframe.corpus.fields import Fields, as_text, document_of, names_of, problems_of
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.records import Block, assemble, checked
from cdsframe.corpus.tree import in_words, open_bytes
from cdsframe.files import InputFile, parse_object, require_file
from cdsframe.types import METADATA_FIELDS, Document, Omission, Section, Unreadable


class Jsonl:
    """Records `{id, title, text}` or `{id, title, sections: [{heading, text}]}`, metadata beside them or in `metadata`.

    Where there are sections, their texts with their headings between are the document's text. The file is streamed.

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
        metadata = {}
        for key in METADATA_FIELDS:
            for name in names_of(self._fields, key):
                inner = value_at(record, f"metadata.{name}")
                if text := as_text(value_at(record, name) if inner is None else inner, name):
                    metadata[key] = text
        texts = [value_at(record, name) for name in names_of(self._fields, "text")]
        body = _joined(record["sections"], texts) if record.get("sections") else None
        document = document_of(lambda name: value_at(record, name), self._fields, metadata, body)
        unnamed = self._unnamed(record)
        omitted = Omission("values under names that corpus.fields does not have", unnamed, text=False)
        return replace(document, omitted=(omitted,)) if unnamed else document

    def _unnamed(self, record: Mapping[str, Any]) -> int:
        """How many values of the record, and of its `metadata`, no field takes."""
        used = {name for key in self._fields for name in names_of(self._fields, key)}
        first = {name.split(".")[0] for name in used} | used | {"sections", "metadata"}
        inner = record.get("metadata")
        rest = [record[name] for name in record.keys() - first]
        rest += [inner[name] for name in inner.keys() - first] if isinstance(inner, Mapping) else []
        return sum(value not in (None, "", [], {}) for value in rest)


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """What stands under a name, or at a dotted path; None where nothing does."""
    if path in record:
        return record[path]
    value: Any = record
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _joined(parts: Any, texts: list[Any]) -> tuple[str, tuple[Section, ...]]:
    """The sections' text. Texts beside the sections stand before them, unless the sections repeat them."""
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError("has sections that are not a list of objects")
    if any(part and not {"heading", "text"} & part.keys() for part in parts):
        raise ValueError("has a section with neither heading nor text")
    blocks = [
        block
        for part in parts
        for block in (Block(as_text(part.get("heading"), "heading"), 1), Block(as_text(part.get("text"), "text")))
    ]
    own = _words(block.text for block in blocks if not block.level)
    whole = _words(block.text for block in blocks)
    named = (text.strip() for text in texts if isinstance(text, str))
    beside = [text for text in named if _words([text]) not in whole and _words([text]) != own]
    text, sections = assemble([*map(Block, beside), *blocks])
    if not sections:
        raise ValueError("has no text in its sections")
    return text, sections


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

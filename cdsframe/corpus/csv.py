"""Tables of comma-, semicolon-, tab- or bar-separated values as a corpus: a row is a document.

Does not read spreadsheets' own formats: save those as CSV.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain, islice
from typing import Annotated

from pydantic import Field

from cdsframe.corpus.encodings import encoding_of
from cdsframe.corpus.fields import Fields, document_of, names_of, problems_of
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, open_bytes
from cdsframe.errors import InputError
from cdsframe.files import InputFile, require_file
from cdsframe.types import METADATA_FIELDS, Document, Unreadable

log = logging.getLogger(__name__)

_DELIMITERS = ",;\t|"


class Csv:
    """The rows of a file whose first row names the columns. The file is streamed.

    Args:
        path: a `.csv`, `.tsv` or `.txt` file, or one of them with `.gz`; UTF-8, UTF-16 with its mark, or guessed.
        fields: the columns that give a document's fields; several for `text` are sections under the columns' names.
        delimiter: between values; None: what divides the first rows best.
        strict: refuse the whole corpus when one row cannot be read.
        max_megabytes: a longer value is refused.
        name: which corpus this is.
    """

    def __init__(
        self,
        path: InputFile,
        fields: Fields,
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        name: CorpusName,
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._fields, self._delimiter = path, fields, delimiter
        self._strict, self._limit = strict, max_megabytes << 20

    @staticmethod
    def problems(fields: Fields) -> list[str]:
        """That no column gives the text, or that a list stands where one column is wanted."""
        return problems_of(fields)

    def documents(self) -> Iterator[Document | Unreadable]:
        """Every row's document, or why there is none. Raises InputError where a named column is not in the file."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        path = require_file(self._path, "corpus.path")
        try:
            with open_bytes(path) as data:
                encoding, guessed = encoding_of(data)
            if guessed:
                log.warning("%s: is not UTF-8 and does not say what it is; read as %s", path.name, encoding)
            with open_bytes(path) as data, io.TextIOWrapper(data, encoding, "replace", newline="") as text:
                yield from self._rows(path.name, text)
        except (EOFError, gzip.BadGzipFile):
            yield path.name, "is not a whole gzip file"
        except OSError as error:
            yield path.name, in_words(error)
        except ValueError as error:
            yield path.name, str(error)

    def _rows(self, name: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Document | str]]:
        csv.field_size_limit(self._limit)
        lines = _lines(text, self._limit)
        beginning = list(islice(lines, 20))
        rows = csv.reader(chain(beginning, lines), delimiter=self._delimiter or _sniff(beginning))
        columns = [column.strip() for column in next(rows, [])]
        self._look_for_columns(name, columns)
        number = 1
        while True:
            number += 1
            try:
                row = next(rows, None)
            except csv.Error:
                too_long = f"has a value that is longer than {self._limit >> 20} MB (corpus.max_megabytes)"
                yield f"{name}, row {number}", too_long
                continue
            if row is None:
                return
            if any(value.strip() for value in row):
                yield f"{name}, row {number}", self._document(dict(zip(columns, row, strict=False)), row, columns)

    def _document(self, record: Mapping[str, str], row: list[str], columns: list[str]) -> Document | str:
        if len(row) != len(columns):
            return f"has {len(row)} values, the header names {len(columns)} columns (is a quotation mark not closed?)"
        if any("\0" in value for value in row):
            return "is binary (it holds NUL bytes)"
        named = {key: record[column].strip() for key in METADATA_FIELDS for column in names_of(self._fields, key)}
        try:
            return document_of(record.get, self._fields, {key: value for key, value in named.items() if value})
        except ValueError as error:
            return str(error)

    def _look_for_columns(self, name: str, columns: list[str]) -> None:
        for key in self._fields:
            for column in names_of(self._fields, key):
                if column not in columns:
                    near = get_close_matches(column, columns, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"its first row has {len(columns)} values"
                    raise InputError(f"corpus.fields.{key}: {name} has no column {column}; {hint}")


def _lines(text: io.TextIOWrapper, limit: int) -> Iterator[str]:
    while line := text.readline(limit + 1):
        if len(line) > limit:
            raise ValueError(f"has a line that is longer than {limit >> 20} MB (corpus.max_megabytes)")
        yield line


def _sniff(beginning: list[str]) -> str:
    """The delimiter that gives the most columns, in the same number in the most rows."""

    def quality(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(beginning, delimiter=delimiter) if row]
        return (widths.count(widths[0]) if widths and widths[0] > 1 else 0, widths[0] if widths else 0)

    return max(_DELIMITERS, key=quality)

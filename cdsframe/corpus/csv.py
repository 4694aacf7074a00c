"""Reads tables separated by commas, semicolons, tabs or bars as a corpus: one document for each row.

Does not read spreadsheet formats; save those as CSV.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain, islice
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFile, require_file
from cdsframe.corpus.csv_rows import Row, delimiters_of, rows_of
from cdsframe.corpus.encodings import encoding_of, undecoded
from cdsframe.corpus.fields import Fields, document_of, metadata_names, names_of, record_field_problems
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, open_bytes
from cdsframe.errors import InputError
from cdsframe.types import Document, Omission, Unreadable

log = logging.getLogger(__name__)

_WRONG = re.compile("[\udc80-\udcff]|\ufffd")
"""Characters that replace bytes which could not be decoded."""


class CsvCorpus:
    """A file whose first row holds the column names. The file is streamed.

    Args:
        path: a `.csv`, `.tsv` or `.txt` file, also with `.gz`; in UTF-8, in UTF-16 with a byte order mark, or in an
            encoding that is guessed.
        fields: field of a document -> column. Several columns for `text` become sections under the columns' names.
        delimiter: separates values; None finds the delimiter that fits the first rows best.
        strict: whether the first row that is unreadable or loses text raises InputError; otherwise each unreadable row
            becomes an Unreadable.
        max_megabytes: maximum size of a value; a row with a larger value is unreadable.
        name: the name by which an index identifies the corpus; None derives it from the path.
        metadata_fields: the deployment's own metadata fields, read from columns of their names unless `fields` gives
            others.
    """

    def __init__(
        self,
        path: InputFile,
        fields: Fields,
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        name: CorpusName,
        metadata_fields: Sequence[str],
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._delimiter = path, delimiter
        self._fields: Fields = {key: _composed(name) for key, name in fields.items()}
        self._unmapped = [field for field in metadata_fields if field not in fields]
        self._strict, self._limit = strict, max_megabytes << 20

    @staticmethod
    def problems(fields: Fields) -> list[str]:
        """Returns the problems of `fields`: no column for `text`, or a list of columns for another field."""
        return record_field_problems(fields)

    @staticmethod
    def metadata_read(fields: Fields) -> list[str]:
        """The metadata fields that `fields` names, for the configuration check."""
        return list(metadata_names(fields))

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields a Document or an Unreadable for each row. Raises InputError if a configured column is missing."""
        return checked(self._read(), self._strict)

    def _read(self) -> Iterator[tuple[str, Document | str]]:
        path = require_file(self._path, "corpus.path")
        try:
            with open_bytes(path) as data:
                encoding, guessed = encoding_of(data)
            if guessed:
                log.warning("%s: is not UTF-8 and declares no encoding; read as %s", path.name, encoding)
            wrong = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
            with open_bytes(path) as data, io.TextIOWrapper(data, encoding, wrong, newline="") as text:
                yield from self._rows(path.name, text)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield path.name, "is a truncated or damaged gzip file"
        except OSError as error:
            yield path.name, in_words(error)
        except ValueError as error:
            yield path.name, str(error)

    def _rows(self, name: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Document | str]]:
        csv.field_size_limit(self._limit)
        lines = _lines(text, self._limit)
        beginning = list(islice(lines, 20))
        found, before = delimiters_of(beginning, [*self._unmapped, *_columns_of(self._fields)])
        too_long = f"has a value that is longer than {self._limit >> 20} MB (corpus.max_megabytes)"
        rows = rows_of(chain(beginning[before:], lines), self._delimiter or found[0], too_long, before + 1)
        header = next(rows, None)
        if header is None or header.problem:
            missing = "has no header row with column names"
            yield f"{name}, row 1", (header.problem + header.unread if header and header.problem else missing)
            return
        columns = [unicodedata.normalize("NFC", column.strip()) for column in header.values]
        fields: Fields = {**{field: field for field in self._unmapped if field in columns}, **self._fields}
        self._warn_of_similar(name, columns)
        _look_for_columns(name, fields, columns)
        number, last = 1, header.last
        for row in rows:
            number += row.first - last  # blank lines count as rows, too
            last = row.last
            yield f"{name}, row {number}", _document(row, columns, fields)

    def _warn_of_similar(self, name: str, columns: list[str]) -> None:
        """Logs each own field without a column whose name differs from a column's only in case."""
        for field in self._unmapped:
            similar = [column for column in columns if column.casefold() == field and column != field]
            if similar and field not in columns:
                log.warning(
                    "%s: metadata field %s is not read: there is no column %s, but %s; to read it, give "
                    "'corpus.fields.%s=%s'", name, field, field, similar[0], field, similar[0],
                )  # fmt: skip


def _document(row: Row, columns: list[str], fields: Fields) -> Document | str:
    if row.problem:
        return row.problem + row.unread
    if len(row.values) != len(columns):
        counts = f"has {len(row.values)} values, but the header has {len(columns)} columns"
        return f"{counts} (is a quotation mark not closed?){row.unread}"
    if any("\0" in value for value in row.values):
        return "is binary (it holds NUL bytes)"
    record, used = dict(zip(columns, row.values, strict=True)), _columns_of(fields)
    wrong = sum(len(_WRONG.findall(record[column])) for column in used)
    record = {column: _WRONG.sub("\ufffd", value) for column, value in record.items()}
    names = metadata_names(fields)
    named = {key: record[column].strip() for key, columns in names.items() for column in columns}
    try:
        document = document_of(record.get, fields, {key: value for key, value in named.items() if value})
    except ValueError as error:
        return str(error)
    values = zip(columns, row.values, strict=True)
    unnamed = sum(bool(value.strip()) for column, value in values if column not in used)
    omitted = [Omission("values of columns that corpus.fields does not name", unnamed, text=False)] * bool(unnamed)
    return replace(document, omitted=(*undecoded(wrong, f"line {row.first}"), *omitted))


def _look_for_columns(name: str, fields: Fields, columns: list[str]) -> None:
    """Raises InputError if a column of `fields` is missing, or if several columns have its name."""
    for key in fields:
        for column in names_of(fields, key):
            if column not in columns:
                folded = {name.casefold(): name for name in columns}
                near = get_close_matches(column.casefold(), folded, n=1)
                hint = f"did you mean {folded[near[0]]}?" if near else f"its first row has {len(columns)} values"
                raise InputError(f"corpus.fields.{key}: {name} has no column {column}; {hint}")
            if columns.count(column) > 1:
                twice = f"{name} has {columns.count(column)} columns that are named {column}"
                raise InputError(f"corpus.fields.{key}: {twice}; rename all but one of them in its first row")


def _columns_of(fields: Fields) -> list[str]:
    return [column for key in fields for column in names_of(fields, key)]


def _composed(name: str | list[str] | None) -> str | list[str] | None:
    """Returns one or several column names in NFC."""
    if isinstance(name, list):
        return [unicodedata.normalize("NFC", item) for item in name]
    return name and unicodedata.normalize("NFC", name)


def _lines(text: io.TextIOWrapper, limit: int) -> Iterator[str]:
    while line := text.readline(limit + 1):
        if len(line) > limit:
            raise ValueError(f"has a line that is longer than {limit >> 20} MB (corpus.max_megabytes)")
        yield line

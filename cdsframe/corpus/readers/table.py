"""Tables of separated values as one document: a line for each row, each value behind its column's name.

A row that is long is a section below its first value, so that each of its passages says whose values they are. Does not
read each row as a document (see `cdsframe.corpus.csv`), nor spreadsheets' own formats.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cdsframe.corpus.csv_rows import delimiters_of, rows_of
from cdsframe.corpus.encodings import decode
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.types import Section

_LONG_ROW = 400
"""Characters above which a row is a section, and a value in it has a heading: about half of a passage."""
_LONG_LABEL = 100
_SAMPLE = 100
"""Rows that the delimiter and the header are guessed from."""


def read_table(data: bytes, limit: int) -> Parsed:
    """A table whose first rows may be lines of text above the names of the columns.

    Raises Refused where a quotation mark makes rows unreadable by every likely delimiter.
    """
    try:
        decoded = decode(data)
    except ValueError as error:
        raise Refused(str(error)) from None
    csv.field_size_limit(max(limit, 1 << 17))
    lines = list(io.StringIO(decoded.text, newline=""))
    delimiters, before = delimiters_of(lines[:_SAMPLE])
    rows = _first_whole(lines, delimiters, before)
    parsed = with_sections(*_assembled(_pieces(rows)), title="", omitted=decoded.omitted)
    return replace(parsed, remark=decoded.remark)


def _first_whole(lines: Sequence[str], delimiters: Sequence[str], before: int) -> list[list[str]]:
    """The rows by the first delimiter that leaves no quotation mark open; raises what the first one raised."""
    refused: Refused | None = None
    for delimiter in delimiters:
        try:
            return [*_rows(lines, delimiter, before)]
        except Refused as refusal:
            refused = refused or refusal
    raise refused or Refused("has no text")


def _rows(lines: Sequence[str], delimiter: str, before: int) -> Iterator[list[str]]:
    """The rows that are not blank, with single blanks. Raises Refused where a quotation mark is wrong."""
    too_long = "has a value that is longer than a file may be"
    for row in rows_of(iter(lines[before:]), delimiter, too_long, before + 1, lenient=True):
        if row.problem:
            raise Refused(f"{row.problem}; correct it, or take it out")
        yield [" ".join(value.split()) for value in row.values]


def _pieces(rows: Sequence[list[str]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Headings and text of one line after the other, from the header on with the columns' names.

    The header becomes a separate line where a column has no value in any row, so no column name is lost.
    """
    sample = rows[:_SAMPLE]
    usual = Counter(map(_width, sample)).most_common(1)[0][0] if sample else 0
    above = next((number for number, row in enumerate(sample) if _width(row) > 1 or usual <= 1), 0)
    has_header = len(sample) > above + 1 and _is_header(sample[above])
    for row in sample[:above]:
        yield (), " ".join(filter(None, row))
    header, body = sample[above] if has_header else None, rows[above + has_header :]
    if header and any(name and not any(row[n : n + 1] > [""] for row in body) for n, name in enumerate(header)):
        yield (), " | ".join(filter(None, header))
    for row in body:
        yield from _row(row, header)


def _row(row: list[str], columns: list[str] | None) -> Iterator[tuple[tuple[str, ...], str]]:
    if columns is None:
        yield (), " | ".join(filter(None, row))
        return
    names = [*columns, *[""] * (len(row) - len(columns))]
    cells = [(name, value) for name, value in zip(names, row, strict=False) if value]
    line = "; ".join(_cell(name, value) for name, value in cells)
    if len(line) <= _LONG_ROW:
        yield (), line
        return
    label = _cell(*cells[0])
    label = label if len(label) <= _LONG_LABEL else f"{label[:_LONG_LABEL]}…"
    for name, value in cells:
        yield (label, name) if name and len(value) > _LONG_ROW else (label,), _cell(name, value)


def _assembled(pieces: Iterator[tuple[tuple[str, ...], str]]) -> tuple[str, tuple[Section, ...]]:
    """The lines joined by blank lines; neighbours below the same headings are one section."""
    parts: list[str] = []
    sections: list[Section] = []
    position = 0
    for heading, text in pieces:
        start, end = position, position + len(text)
        if sections and sections[-1].heading == heading:
            start = sections.pop().start
        sections.append(Section(heading, start, end))
        parts.append(text)
        position = end + 2
    return "\n\n".join(parts), tuple(sections)


def _cell(name: str, value: str) -> str:
    return f"{name.removesuffix(':')}: {value}" if name else value


def _width(row: list[str]) -> int:
    """How many columns a row fills, from the first one to the last that is not empty."""
    return max((number for number, value in enumerate(row, start=1) if value), default=0)


def _is_header(row: list[str]) -> bool:
    """Whether a row looks like names of columns: different short texts with letters, in most of its columns."""
    names = [value for value in row if value]
    words = all(any(map(str.isalpha, name)) and len(name) <= _LONG_LABEL for name in names)
    return words and len(set(names)) == len(names) and 2 * len(names) > _width(row)

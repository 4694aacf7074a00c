"""Reads a CSV or TSV file as one document: one line per row, each value after its column's name.

A long row becomes a section with its first value as heading, so that each of its passages names the row. Does not read
rows as separate documents (see `cdsframe.corpus.csv`) or spreadsheet formats.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from cdsframe.corpus.csv_rows import delimiters_of, rows_of
from cdsframe.corpus.encodings import decode
from cdsframe.corpus.readers.column_names import are_names, are_repeated
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.types import Section

_LONG_ROW = 400
"""Characters: a longer row becomes a section, and a longer value in it a section below that; about half a passage."""
_LONG_LABEL = 100
_SAMPLE = 100
"""Number of rows used to guess the delimiter and the header."""


_Row = list[str]
_Table = tuple[_Row | None, list[_Row]]
"""`(column names, rows)`; None instead of column names if the rows are written as plain lines."""


def read_table(data: bytes, limit: int) -> Parsed:
    """Reads a table; lines of text may precede the header.

    Raises Refused if the file is not text or is empty, or if a stray quotation mark makes the rows unreadable with
    every likely delimiter.
    """
    try:
        decoded = decode(data)
    except ValueError as error:
        raise Refused(str(error)) from None
    csv.field_size_limit(max(limit, 1 << 17))
    lines = list(io.StringIO(decoded.text, newline=""))
    delimiters, before = delimiters_of(lines[:_SAMPLE])
    blocks = _first_whole(lines, delimiters, before)
    parsed = with_sections(*_assembled(_pieces(blocks)), title="", omitted=decoded.omitted)
    return replace(parsed, remark=decoded.remark)


def _first_whole(lines: Sequence[str], delimiters: Sequence[str], before: int) -> list[list[_Row]]:
    """The blocks of rows by the first delimiter that `_blocks` accepts; else raises the first delimiter's error."""
    refused: Refused | None = None
    for delimiter in delimiters:
        try:
            return _blocks(lines, delimiter, before)
        except Refused as refusal:
            refused = refused or refusal
    raise refused or Refused("has no text")


def _blocks(lines: Sequence[str], delimiter: str, before: int) -> list[list[_Row]]:
    """Splits lines into rows, and the rows into blocks at blank rows. Normalises the whitespace of values.

    If a blank row follows every row, all rows form one block. Raises Refused for a misplaced quotation mark.
    """
    too_long = "has a value that is longer than a file may be (corpus.max_megabytes)"
    blocks: list[list[_Row]] = []
    last = 0
    for row in rows_of(iter(lines[before:]), delimiter, too_long, before + 1, lenient=True):
        if row.problem:
            raise Refused(f"{row.problem}; correct it, or take it out")
        if not blocks or row.first > last + 1:
            blocks.append([])
        blocks[-1].append([" ".join(value.split()) for value in row.values])
        last = row.last
    if not blocks:
        raise Refused("has no text")
    if all(len(block) == 1 for block in blocks):
        return [[*chain.from_iterable(blocks)]]
    return blocks


def _pieces(blocks: Sequence[list[_Row]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields `(headings, text)` for each line of text; in a row, column names precede the values.

    If a named column has no value in any row, the table's column names are also yielded as one line before the rows, so
    that no name is lost.
    """
    tables = _tables(blocks) if _has_columns(blocks) else _list(blocks)
    for names, rows in tables:
        if names and any(name and not any(row[n : n + 1] > [""] for row in rows) for n, name in enumerate(names)):
            yield (), " | ".join(filter(None, names))
        for row in rows:
            yield from _row(row, names)


def _has_columns(blocks: Sequence[list[_Row]]) -> bool:
    """Whether most rows have several columns, or all rows of some block have them after its title lines."""
    widths = [[_width(row) for row in block] for block in blocks]
    if Counter(list(chain.from_iterable(widths))[:_SAMPLE]).most_common(1)[0][0] > 1:
        return True
    return any(min(wide) > 1 < len(wide) for block in widths if (wide := block[_titles(block) :]))


def _titles(widths: Sequence[int]) -> int:
    """The number of title lines of a block: leading rows without a value beyond the first column."""
    return next((number for number, width in enumerate(widths) if width > 1), len(widths))


def _list(blocks: Sequence[list[_Row]]) -> list[_Table]:
    """Reads a file of one column. The first row may be the column's name, unless blank rows divide the file."""
    rows = [*chain.from_iterable(blocks)]
    if len(blocks) == 1 and len(rows) > 1 and are_names(rows[0], rows[1:_SAMPLE]):
        return [(rows[0], rows[1:])]
    return [(None, rows)]


def _tables(blocks: Sequence[list[_Row]]) -> list[_Table]:
    """Assigns column names to rows. A row whose names are uncertain gets none: a wrong column name would change a fact.

    The rows after a blank row continue the table above, unless their first row is a title line, repeats the table's
    header, or may be another header.
    """
    tables: list[_Table] = []
    known: _Row | None = None
    for block in blocks:
        number = _titles([*map(_width, block)])
        if number:
            tables.append((None, block[:number]))
        rows = block[number:]
        if not rows:
            continue
        first, below = rows[0], rows[1:_SAMPLE]
        may_be_names = are_names(first, below)
        if may_be_names and (known is None or are_repeated(known, first)):
            known, rows = first, rows[1:]
            tables.append((known, []))
        elif known is None or may_be_names:
            known = known or []
            tables.append((None, []))
        for row in rows:
            if row == known:
                tables.append((known, []))
                continue
            if tables[-1][0] and are_repeated(known, row) and are_names(row, ()):
                tables.append((None, []))  # `row` is the header of a second table, or `known` was not a header
            tables[-1][1].append(row)
    return tables


def _row(row: _Row, columns: _Row | None) -> Iterator[tuple[tuple[str, ...], str]]:
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
    """Joins the lines by blank lines; adjacent lines with the same headings form one section."""
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


def _width(row: _Row) -> int:
    """The number of columns up to the last value that is not empty."""
    return max((number for number, value in enumerate(row, start=1) if value), default=0)

"""Lines of a table to rows, with the lines that each row takes; a quotation mark that is not closed is found.

Does not know what the columns mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

DELIMITERS = ",;\t|"
_TRAILING_SPACE = re.compile(r'"[ \t]+(?=[,;\t|\r\n]|\Z)')
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)


class Row(NamedTuple):
    """A row's values, or why it has none."""

    values: list[str]
    problem: str | None
    first: int
    """Its first line, from 1."""
    last: int


class _Counted:
    """Lines with a count, and those that the current row has taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.number, self.taken = lines, 0, list[str]()

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line


def rows_of(lines: Iterator[str], delimiter: str, too_long: str, first_line: int = 1) -> Iterator[Row]:
    """Each row that is not blank. A row whose quotation marks are wrong has a problem, and none of its lines is a row.

    Args:
        lines: with their ends.
        delimiter: between values.
        too_long: the problem of a value that is longer than `csv.field_size_limit`.
        first_line: the number of the first line.
    """
    counted = _Counted(lines)
    counted.number = first_line - 1
    reader = csv.reader(counted, delimiter=delimiter, strict=True)
    width = 0
    while True:
        counted.taken, first = [], counted.number + 1
        problem = None
        try:
            values = next(reader, None)
        except csv.Error as error:
            values, problem = _after(str(error), counted.taken, delimiter, first, too_long)
        if values is None:
            return
        last = counted.number
        width = width or len(values)
        if problem is None and len(counted.taken) > 1 and _swallows(counted.taken, values, width, delimiter):
            problem = f"has a quotation mark that is not closed (line {_open_line(counted.taken, first)})"
        if problem and last > first:
            problem += f"; the lines {first} to {last} are not read"
        if problem or any(value.strip() for value in values):
            yield Row(values, problem, first, last)


def _after(error: str, taken: list[str], delimiter: str, first: int, too_long: str) -> tuple[list[str], str | None]:
    """The values of a row that the strict reader refuses, or the problem."""
    if "field limit" in error:
        return [], too_long
    if "unexpected end" in error:
        return [], f"has a quotation mark that is not closed (line {_open_line(taken, first)})"
    if len(taken) == 1:
        try:
            return next(csv.reader([_TRAILING_SPACE.sub('"', taken[0])], delimiter=delimiter, strict=True)), None
        except (csv.Error, StopIteration):
            pass
    return [], f"has a quotation mark within a quoted value that is not doubled (line {first + len(taken) - 1})"


def _open_line(taken: Sequence[str], first: int) -> int:
    """The last line that has an odd number of quotation marks: there one stays open."""
    odd = [number for number, line in enumerate(taken[:-1], start=first) if line.count('"') % 2]
    return odd[-1] if odd else first


def _swallows(taken: Sequence[str], values: list[str], width: int, delimiter: str) -> bool:
    """Whether lines within a value are rows themselves: they have all columns and begin as the row does."""
    inner = [next(csv.reader([line], delimiter=delimiter), []) for line in taken[1:] if line.strip()]
    shape = _shape(values[0]) if values else ""
    alike = sum(len(row) == width > 1 and _shape(row[0]) == shape for row in inner)
    return bool(alike) and ("9" in shape or (alike == len(inner) and alike + width > 3))


def _shape(value: str) -> str:
    return re.sub("[^\\W\\d_]+", "a", re.sub("\\d+", "9", value.strip()))


def delimiter_of(beginning: list[str], wanted: Sequence[str]) -> tuple[str, int]:
    """The delimiter of a table's first lines, and how many lines stand before its header.

    A line `sep=;`, which Excel writes, says it. Else it is the one that finds the most of the wanted columns, then
    the one that gives the most columns in the same number in the most rows.
    """
    blank = next((number for number, line in enumerate(beginning) if line.strip()), 0)
    said = _SEPARATOR.fullmatch(beginning[blank].strip("\r\n")) if beginning else None
    if said:
        return said[1], blank + 1

    def quality(delimiter: str) -> tuple[int, int, int]:
        rows = [row for row in csv.reader(beginning[blank:], delimiter=delimiter) if row]
        widths = [len(row) for row in rows]
        found = len({value.strip() for value in rows[0]} & set(wanted)) if rows else 0
        return (found, widths.count(widths[0]) if widths and widths[0] > 1 else 0, widths[0] if widths else 0)

    return max(DELIMITERS, key=quality), blank

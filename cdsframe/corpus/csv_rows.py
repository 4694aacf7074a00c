"""Parses the lines of a table into rows with line numbers, and finds quotation marks that are not closed.

Used by `corpus=csv` and by the CSV reader of `corpus=folder`. Does not interpret columns.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

DELIMITERS = ",;\t|"
_TRAILING_SPACE = re.compile(r'"[ \t]+(?=[,;\t|\r\n]|\Z)')
_LINE_END = re.compile(r"\r\n?|\n")
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)


class Row(NamedTuple):
    """A row's values and line numbers. A row with a `problem` is unreadable: its values must not be used."""

    values: list[str]
    problem: str | None
    first: int
    """Number of the row's first line; the file begins with line 1."""
    last: int

    @property
    def unread(self) -> str:
        """A clause to append to `problem` that names the lines lost with the row; empty for a single line."""
        return f"; the lines {self.first} to {self.last} are not read" if self.last > self.first else ""


class _Counted:
    """Iterates over lines, counts them, and records the lines of the current row in `taken`."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.number, self.taken = lines, 0, list[str]()

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line


def rows_of(
    lines: Iterator[str], delimiter: str, too_long: str, first_line: int = 1, *, lenient: bool = False
) -> Iterator[Row]:
    """Yields each row that is not blank.

    A row with wrong quotation marks gets a problem, and none of its lines is yielded as a separate row. A row over
    several lines that look like separate rows (see `_swallows`) counts as wrong although it is valid CSV.

    Args:
        lines: the lines with their line ends.
        delimiter: separates values.
        too_long: the problem to report for a value longer than `csv.field_size_limit`.
        first_line: the number of the first line.
        lenient: whether to read a quotation mark that should be doubled as a character, if the row is one line, and to
            skip spaces at the start of a value.
    """
    counted = _Counted(lines)
    counted.number = first_line - 1
    reader = csv.reader(counted, delimiter=delimiter, strict=True, skipinitialspace=lenient)
    width = 0
    while True:
        counted.taken, first = [], counted.number + 1
        problem = None
        try:
            values = next(reader, None)
        except csv.Error as error:
            values, problem = _after(str(error), counted.taken, delimiter, first, too_long, lenient)
        if values is None:
            return
        last = counted.number
        width = width or len(values)
        if problem is None and len(counted.taken) > 1 and _swallows(counted.taken, values, width, delimiter):
            problem = f"has a quotation mark that is not closed (line {_open_line(counted.taken, first)})"
        if problem or any(value.strip() for value in values):
            yield Row(values, problem, first, last)


def _after(
    error: str, taken: list[str], delimiter: str, first: int, too_long: str, lenient: bool
) -> tuple[list[str], str | None]:
    """Returns `(values, None)` of a row that the strict parser refused with `error`, or `([], problem)`."""
    if "field limit" in error:
        return [], too_long
    if "unexpected end" in error:
        return [], f"has a quotation mark that is not closed (line {_open_line(taken, first)})"
    if len(taken) == 1 and lenient:
        return next(csv.reader(taken, delimiter=delimiter, skipinitialspace=True)), None
    if len(taken) == 1:
        try:
            return next(csv.reader([_TRAILING_SPACE.sub('"', taken[0])], delimiter=delimiter, strict=True)), None
        except (csv.Error, StopIteration):
            pass
    return [], f"has a quotation mark within a quoted value that is not doubled (line {first + len(taken) - 1})"


def _open_line(taken: Sequence[str], first: int) -> int:
    """Returns the number of the line where a quotation mark was left open: the last with an odd number of them."""
    odd = [number for number, line in enumerate(taken[:-1], start=first) if line.count('"') % 2]
    return odd[-1] if odd else first


def _swallows(taken: Sequence[str], values: list[str], width: int, delimiter: str) -> bool:
    """Whether a value may span separate rows because the quotation mark before it is not closed.

    True if lines after the row's first have all columns and a first value like this row's: if that value has a digit,
    one such line; else all lines, and at least two in a table of two columns. False in any case if the row has all
    columns as it is, but would lack some if it ended with the first line of any of its values.
    """
    if len(values) == width and not any(_fills(value, n, width, delimiter) for n, value in enumerate(values)):
        return False
    inner = [next(csv.reader([line], delimiter=delimiter), []) for line in taken[1:] if line.strip()]
    shape = _shape(values[0]) if values else ""
    alike = sum(len(row) == width > 1 and _shape(row[0]) == shape for row in inner)
    return bool(alike) and ("9" in shape or (alike == len(inner) and alike + width > 3))


def _fills(value: str, before: int, width: int, delimiter: str) -> bool:
    """Whether a value of several lines, which follows `before` values, fills its row with its first line."""
    first, *rest = _LINE_END.split(value, maxsplit=1)
    return bool(rest) and before + 1 + first.count(delimiter) >= width


def _shape(value: str) -> str:
    return re.sub("[^\\W\\d_]+", "a", re.sub("\\d+", "9", value.strip()))


def delimiters_of(beginning: list[str], wanted: Collection[str] = ()) -> tuple[list[str], int]:
    """Returns the likely delimiters of a table, best first, and the number of lines before the table.

    A line `sep=;`, which Excel writes, decides. Else the delimiters are ranked by the number of wanted columns in the
    first row, then by the number of rows with the most frequent width, then by that width.

    Args:
        beginning: the first lines of the file.
        wanted: column names to look for in the first row.
    """
    blank = next((number for number, line in enumerate(beginning) if line.strip()), 0)
    said = _SEPARATOR.fullmatch(beginning[blank].strip("\r\n")) if beginning else None
    if said:
        return [said[1]], blank + 1

    def quality(delimiter: str) -> tuple[int, int, int]:
        rows = [row for row in csv.reader(beginning[blank:], delimiter=delimiter, skipinitialspace=True) if row]
        found = len({value.strip() for value in rows[0]} & set(wanted)) if rows else 0
        widths = Counter(len(row) for row in rows if len(row) > 1)
        width, alike = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        return found, alike, width

    likely = [delimiter for delimiter in DELIMITERS if quality(delimiter) > (0, 0, 0)]
    return sorted(likely, key=quality, reverse=True) or [DELIMITERS[0]], blank

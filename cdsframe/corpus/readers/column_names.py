"""Decides whether a table row is a header (column names) or values. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cdsframe.text.units import unit_behind

LONGEST_NAME = 100
"""Maximum characters of a column name."""

_NUMBER = re.compile(r"[<>≤≥=~±+\-−]?\s*\d[\d.,/–-]*(?=\s|\Z)")
"""A number at the start of a value; does not match `1st line`, `24-hour dose`, `25OHD`."""

_DIGITS = re.compile(r"(?<![\w.,/])\d[\d.,]*")
_BRACKETS = re.compile(r"[(\[][^)\]]*[)\]]|\bper\s+\d+|/\s*\d+")
"""Parts of a column name in which a number belongs to a unit: `Sodium (mmol per 100 ml)`."""

_TIMES = frozenset(("ms", "s", "min", "h", "day", "week", "month", "year"))
_BANDS = frozenset(("month", "year", "kg"))
"""Units of patient groups: `1-4 years | 5-11 years`."""


def are_names(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a row looks like column names: distinct short texts with letters, in more than half of its columns.

    A row is not a header if one of its values contains a dose, begins with a number, or differs from most values below
    it only in its digits. Exception: ages or weights in two or more columns are names if no value below them is an age
    or a weight.

    Args:
        row: the row's values; "" for an empty cell.
        below: the following rows of the same table.
    """
    places = [place for place, value in enumerate(row) if value]
    names = [row[place] for place in places]
    if len({*names}) < len(names) or 2 * len(names) <= max(places, default=0) + 1:
        return False
    if not all(any(map(str.isalpha, name)) and len(name) <= LONGEST_NAME for name in names):
        return False
    if any(_differ_in_digits(row[place], _column(below, place)) for place in places):
        return False
    amounts = [place for place in places if _is_amount(row[place])]
    return not amounts or _are_bands(row, amounts, below)


def are_repeated(names: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a row repeats a header: it fills exactly the named columns, and a value equals its column's name."""
    filled = [bool(name) for name in names] == [bool(value) for value in row]
    return filled and any(name and name == value for name, value in zip(names, row, strict=True))


def _column(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    return [row[place] for row in rows if len(row) > place and row[place]]


def _differ_in_digits(name: str, values: Sequence[str]) -> bool:
    """Whether most values equal the name except for their digits."""
    shape = re.sub(r"\d+", "0", name.casefold())
    alike = sum(re.sub(r"\d+", "0", value.casefold()) == shape for value in values)
    return shape != name.casefold() and 2 * alike > len(values)


def _is_amount(value: str) -> bool:
    """Whether a value begins with a number, or contains a number with a unit other than time."""
    if _NUMBER.match(value):
        return True
    return bool(_units(_BRACKETS.sub(" ", value)) - _TIMES)


def _units(value: str) -> set[str]:
    """The units that follow the numbers of a value."""
    return {unit for found in _DIGITS.finditer(value) if (unit := unit_behind(value, found.end())[0])}


def _are_bands(row: Sequence[str], places: Sequence[int], below: Sequence[Sequence[str]]) -> bool:
    """Whether the values at `places` name groups: two or more ages or weights, above values that are neither."""
    if len(places) < 2 or not below:
        return False
    values = (value for place in places for value in _column(below, place))
    return all(_units(row[place]) & _BANDS for place in places) and not any(_units(value) & _BANDS for value in values)

"""Explains which part of a filter no document matches, and suggests similar values.

Suggests only values of documents that match the rest of the filter and the restrictions of `Filter.narrowed`, and no
values of fields that can identify a person.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from cdsframe.contracts import Index
from cdsframe.text.printable import plain
from cdsframe.types import Filter, Filters

SHOWN_FIELDS = ("kind", "department", "date")
"""Fields whose values may be suggested. Excludes `patient`, `author`, `source` and `url`, which can contain names."""

LIMIT = 1_000
"""A given value is compared with at most this many values of its field, the most frequent ones."""

_LISTED = 8
"""If no value is similar and the field has at most this many values, list them all."""

_NEAR = 0.6
"""Minimum similarity (0 to 1) of a suggested value to the given one."""

_LONGEST = 60
"""Maximum number of characters shown of a value."""


def empty_fields(filter: Mapping[str, object]) -> list[str]:
    """Returns the fields of a filter that have no value: a blank text, an empty list, or a list with a blank text."""
    return [field for field, value in filter.items() if not _filled(value)]


def unmatched(filter: Filters, index: Index) -> str | None:
    """Returns a sentence, without its full stop, that names the part of the filter that no document matches.

    None if documents match the filter, or if the filter is empty.
    """
    wanted = Filter(filter)
    if not wanted.satisfiable:
        return f"no document can match the filter, which allows no value of {' and of '.join(_without_values(wanted))}"
    if not wanted or index.holds(wanted):
        return None
    # No document matches the filter. A field is at fault if documents match the filter without it.
    rest = {field: wanted.relaxed(field) for field in wanted}
    faulty = [field for field in wanted if len(wanted) == 1 or index.holds(rest[field])]
    if len(wanted) > 1 and len(faulty) == 1:
        others = {field: values for field, values in wanted.items() if field != faulty[0]}
        sentence = f"no document with {_in_words(others)} has {_in_words({faulty[0]: wanted[faulty[0]]})}"
    else:
        sentence = f"no document has {_in_words(wanted)}"
    hints = [hint for field in faulty if field in SHOWN_FIELDS if (hint := _hint(field, wanted, rest[field], index))]
    return "; ".join([sentence, *hints[:1]])


def _without_values(filter: Filter) -> list[str]:
    return [field for field, values in filter.items() if not values]


def _hint(field: str, filter: Filter, rest: Filter, index: Index) -> str:
    """Suggests values similar to a given one. If none is similar, lists all values if there are at most `_LISTED`."""
    known = index.values(field, rest, LIMIT)
    name = "" if len(filter) == 1 else f"{field} = "
    for given in filter[field]:
        if near := nearest(given, known):
            return f"did you mean {name}{' or '.join(map(_shown, near))}?"
    if field == "date" or not 0 < len(known) <= _LISTED:
        return ""
    listed = ", ".join(map(_shown, sorted(known)))
    return f"the values of {field} are {listed}" if len(known) > 1 else f"the only value of {field} is {listed}"


def nearest(given: str, known: Sequence[str]) -> list[str]:
    """Returns up to three known values that equal the given one except for case, punctuation and blanks.

    If no known value does, returns up to three similar ones.
    """
    wanted, by_key = _key(given), dict[str, list[str]]()
    for value in known:
        by_key.setdefault(_key(value), []).append(value)
    if wanted in by_key:
        return by_key[wanted][:3]
    near = get_close_matches(wanted, by_key, n=3, cutoff=_NEAR)
    near += [key for key in by_key if len(wanted) > 2 and wanted in key and key not in near]
    return [by_key[key][0] for key in near[:3]]


def _key(value: str) -> str:
    letters = unicodedata.normalize("NFKC", value).casefold()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in letters).split()) or letters


def _in_words(filter: Mapping[str, Sequence[str]]) -> str:
    """Returns the conditions in words."""
    return " and ".join(f"{field} = {' or '.join(map(_shown, values))}" for field, values in filter.items())


def _shown(value: str) -> str:
    line = " ".join(plain(value).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _filled(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, str) and one.strip() for one in value)

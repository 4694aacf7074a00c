"""Reads values of a JSON record by name, and counts the values that were not read. Does not validate values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cdsframe.corpus.fields import as_text, metadata_text
from cdsframe.types import Omission

Place = tuple[str | int, ...]
"""Path to a value in a record: keys of objects and indices of lists."""


def place_of(record: Mapping[str, Any], name: str) -> Place | None:
    """Returns the path of the value under a name (`authors.0.name` for nested values); None if there is no value."""
    if name in record:
        return (name,)
    place: Place = ()
    value: Any = record
    for step in name.split("."):
        if isinstance(value, Mapping) and step in value:
            place, value = (*place, step), value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            place, value = (*place, int(step)), value[int(step)]
        else:
            return None
    return place


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """Returns the value under a name (`authors.0.name` for nested values); None if there is no value."""
    place = place_of(record, name)
    return None if place is None else _value(record, place)


def scalar(value: Any) -> str:
    """Returns a value as text; "" if it is missing, a boolean, a list or an object."""
    return "" if isinstance(value, bool | list | Mapping) else as_text(value, "text")


def metadata_of(record: Mapping[str, Any], names: Mapping[str, Iterable[str]]) -> tuple[dict[str, str], set[Place]]:
    """Returns the metadata of a record, and the paths of the values that were read.

    A value under `metadata` takes precedence over a value at the top level. If both are equal, both count as read. A
    list is joined (see `metadata_text`); an object does not count as read.

    Args:
        record: the record.
        names: metadata field -> names in the record. If several names have a value, the last one is used.
    """
    metadata: dict[str, str] = {}
    places: set[Place] = set()
    for key, own in names.items():
        for name in own:
            found = [place for at in (f"metadata.{name}", name) if (place := place_of(record, at)) is not None]
            first = next((place for place in found if _value(record, place) is not None), None)
            if first is not None and (text := metadata_text(_value(record, first))):
                metadata[key] = text
                places |= {place for place in found if metadata_text(_value(record, place)) == text}
    return metadata, places


def unnamed(count: int, whose: str = "corpus.fields does not have") -> tuple[Omission, ...]:
    """Returns the omission of values that are not read; empty if `count` is 0.

    Args:
        count: number of values.
        whose: completes the reason "values under names that …".
    """
    return (Omission(f"values under names that {whose}", count, text=False),) if count else ()


def count_values(value: Any, but: Collection[Place] = ()) -> int:
    """Counts the texts, numbers and booleans in a value at any depth, except those at or below the paths `but`."""
    count = 0
    waiting: list[tuple[Place, Any]] = [((), value)]
    while waiting:
        place, item = waiting.pop()
        if place in but:
            continue
        if isinstance(item, Mapping):
            waiting += (((*place, key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            waiting += (((*place, n), inner) for n, inner in enumerate(item))
        else:
            count += bool(item.strip()) if isinstance(item, str) else item is not None
    return count


def _value(record: Mapping[str, Any], place: Place) -> Any:
    value: Any = record
    for step in place:
        value = value[step]
    return value

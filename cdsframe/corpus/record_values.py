"""The values of a JSON record by name, and how many of them no name takes. Does not check what the values are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cdsframe.corpus.fields import as_text
from cdsframe.types import Omission

Place = tuple[str | int, ...]
"""The keys and list positions that lead to a value of a record."""


def place_of(record: Mapping[str, Any], name: str) -> Place | None:
    """Where a name leads: to a key, or by its dots into objects and lists; None where no value is found."""
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
    """The value under a name, which may have dots; None where no value is found."""
    place = place_of(record, name)
    return None if place is None else _value(record, place)


def scalar(value: Any) -> str:
    """A value as text; empty where it is missing, a truth value, a list or an object."""
    return "" if isinstance(value, bool | list | Mapping) else as_text(value, "text")


def metadata_of(record: Mapping[str, Any], names: Mapping[str, Iterable[str]]) -> tuple[dict[str, str], set[Place]]:
    """The metadata of a record, and the places of their values.

    A value under `metadata` comes before one beside it; two that are equal are both taken.

    Args:
        record: the record.
        names: field of a document -> the record's names for it. Of several values the last is taken.
    """
    metadata: dict[str, str] = {}
    places: set[Place] = set()
    for key, own in names.items():
        for name in own:
            found = [place for at in (f"metadata.{name}", name) if (place := place_of(record, at)) is not None]
            first = next((place for place in found if _value(record, place) is not None), None)
            if first is not None and (text := as_text(_value(record, first), name)):
                metadata[key] = text
                places |= {place for place in found if scalar(_value(record, place)) == text}
    return metadata, places


def unnamed(count: int, whose: str = "corpus.fields does not have") -> tuple[Omission, ...]:
    """The omission of values that no field takes, none where `count` is 0. `whose` ends the reason "… names that"."""
    return (Omission(f"values under names that {whose}", count, text=False),) if count else ()


def count_values(value: Any, but: Collection[Place] = ()) -> int:
    """Counts the texts, numbers and truth values of a value at any depth, without those at the places `but`."""
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

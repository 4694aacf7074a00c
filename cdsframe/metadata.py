"""Metadata fields of documents, and filters over them. Applies no filter; indexes apply them inside their searches.

Every index has the standard fields. A deployment adds its own with `metadata_fields`; they are part of the identity of
an index, under the group `metadata`. A name `metadata_fields` stands for a deployment's own fields everywhere, and
`known_fields` for the standard fields and these.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any

from cdsframe.errors import InputError

STANDARD_FIELDS = ("kind", "department", "author", "date", "patient", "source", "url")
"""The standard metadata fields. A field that does not apply to a document is missing, never an empty string."""

METADATA_GROUP = "metadata"
"""Group of an index's identity that lists the deployment's own metadata fields."""

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,49}")

_RESERVED = re.compile(
    r"id|document_id|section_id|level|title|heading|text|ordinal|start|end|digest|corpus|vector|words|words_.*|records"
    r"|born|died|long|unread|bare|document|section|passage|sections|fields|metadata"
)
"""Names that indexes and corpora use for other values of a record."""

Filters = Mapping[str, str | Sequence[str]]
"""Filters accepted from callers: a `Filter`, or field -> the required value or the allowed values."""


class Filter(Mapping[str, tuple[str, ...]]):
    """Metadata field -> the allowed values; a document must match all fields.

    Immutable. A field without allowed values matches no document; `narrowed` creates such a field if the two filters
    share no value of it. Equal to a mapping with the same values in any order.

    Args:
        fields: field -> the required value, or the allowed values.

    Raises InputError if `fields` is no mapping of texts to texts or collections of texts.
    """

    def __init__(self, fields: Filters | None = None) -> None:
        if not isinstance(fields, Mapping | None):
            raise InputError('a filter must map metadata fields to values, such as {"kind": "protocol"}')
        self._fields = {field: _allowed_values(field, value) for field, value in (fields or {}).items()}
        self._limits: dict[str, tuple[str, ...]] = dict(fields._limits) if isinstance(fields, Filter) else {}

    def narrowed(self, other: Filters) -> Filter:
        """Returns the intersection of both filters: `other` can only exclude documents.

        If a role's filter is narrowed by a client's, the client gets no document that the role may not see. The error
        for a misspelled value ("did you mean", `cdsframe.filters`) names only values from documents open to the role.
        """
        both = dict(self._fields)
        for field, allowed in Filter(other).items():
            both[field] = tuple(value for value in allowed if value in both[field]) if field in both else allowed
        narrowed = Filter(both)
        narrowed._limits = {**self._limits, **self._fields}
        return narrowed

    def relaxed(self, field: str) -> Filter:
        """Returns the filter without its condition on a field. What `narrowed` restricted stays restricted."""
        rest = {other: values for other, values in self._fields.items() if other != field}
        return Filter({**rest, field: self._limits[field]} if field in self._limits else rest)

    @property
    def satisfiable(self) -> bool:
        """Whether each field has at least one allowed value."""
        return all(self._fields.values())

    def __getitem__(self, field: str) -> tuple[str, ...]:
        return self._fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return False
        try:
            return self._sets() == Filter(other)._sets()
        except InputError:
            return False

    def __hash__(self) -> int:
        return hash(frozenset(self._sets().items()))

    def _sets(self) -> dict[str, frozenset[str]]:
        return {field: frozenset(values) for field, values in self._fields.items()}

    def __repr__(self) -> str:
        return f"Filter({', '.join(self._fields)})"  # omits the values: they can identify a patient


def _allowed_values(field: object, value: object) -> tuple[str, ...]:
    """Returns the allowed values of a field, each once. Raises InputError for a value that is no text."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(field, str):
        raise InputError(f"a filter's field must be a text, got {field!r}")
    if not isinstance(values, Sequence | Set) or not all(isinstance(one, str) for one in values):
        raise InputError(
            f"the filter's value of {field} must be a text or a list of texts; to allow any value, remove the field"
        )
    return tuple(dict.fromkeys(values))


def identity_of(metadata_fields: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the part of an index's identity that lists a deployment's own fields; empty if it has none."""
    return {METADATA_GROUP: {"fields": sorted(metadata_fields)}} if metadata_fields else {}


def known_fields(identity: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns all metadata fields of an index with this identity, the standard ones first."""
    return (*STANDARD_FIELDS, *identity.get(METADATA_GROUP, {}).get("fields", ()))


def metadata_field_problems(metadata_fields: Sequence[str]) -> list[str]:
    """Returns why names cannot be a deployment's own metadata fields; empty if all can."""
    problems = []
    for name, count in Counter(metadata_fields).items():
        if not _FIELD.fullmatch(name):
            problems.append(f"{name!r} must be at most 50 lower-case letters, digits and _, and begin with a letter")
        elif name in STANDARD_FIELDS:
            problems.append(f"{name} is a standard field, which every index has; remove it from the list")
        elif _RESERVED.fullmatch(name):
            problems.append(f"{name} is a value that every record has; choose another name")
        elif count > 1:
            problems.append(f"{name} is listed twice; remove one")
    return problems


def unknown_field(field: str, known: Sequence[str]) -> str:
    """Returns a message about a filter's field that the index does not have, with the most similar known field."""
    near = get_close_matches(field, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
    return f"unknown metadata field {field} in the filter; {hint}"


def require_known(filter: Iterable[str], known: Sequence[str]) -> None:
    """Raises InputError if a filter has a field that the index does not have."""
    for field in filter:
        if field not in known:
            raise InputError(unknown_field(field, known))


def require_stored(metadata: Iterable[Mapping[str, str]], known: Sequence[str]) -> None:
    """Raises InputError if a record has a metadata field that the index would not store."""
    for field in {field for one in metadata for field in one} - set(known):
        raise InputError(
            f"a document has the metadata field {field}, which the index does not store; ingest with "
            f"metadata_fields=[{','.join([*known[len(STANDARD_FIELDS) :], field])}] into another index.name"
        )

"""Metadata fields of documents, and filters over them. Applies no filter; indexes apply them inside their searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

METADATA_FIELDS = ("kind", "department", "author", "date", "patient", "source", "url")
"""Metadata fields of a document. A field that does not apply is missing, never an empty string."""

Filters = Mapping[str, str | Sequence[str]]
"""Filters accepted from callers: a `Filter`, or field -> the required value or the allowed values."""


class Filter(Mapping[str, tuple[str, ...]]):
    """Metadata field -> the allowed values; a document must match all fields.

    Immutable. A field without allowed values matches no document; only `narrowed` creates one. Equal to a mapping with
    the same values.

    Args:
        fields: field -> the required value, or the allowed values.
    """

    def __init__(self, fields: Filters | None = None) -> None:
        self._fields = {
            field: (value,) if isinstance(value, str) else tuple(value) for field, value in (fields or {}).items()
        }

    def narrowed(self, other: Filters) -> Filter:
        """Returns the intersection of both filters: `other` can only exclude documents.

        If a role's filter is narrowed by a client's, the client gets no document that the role may not see.
        """
        both = dict(self._fields)
        for field, allowed in Filter(other).items():
            both[field] = tuple(value for value in allowed if value in both[field]) if field in both else allowed
        return Filter(both)

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
        return isinstance(other, Mapping) and self._fields == Filter(other)._fields

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._fields.items())))

    def __repr__(self) -> str:
        return f"Filter({', '.join(self._fields)})"  # omits the values: they can identify a patient

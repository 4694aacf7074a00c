"""Metadata fields of documents, and filters over them. Applies no filter: indexes do, inside their searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

METADATA_FIELDS = ("kind", "department", "author", "date", "patient", "source", "url")
"""Metadata fields of a document. A field that does not apply is absent, never an empty string."""

Filters = Mapping[str, str | Sequence[str]]
"""What callers may pass: a `Filter`, or field -> the required value or the allowed values."""


class Filter(Mapping[str, tuple[str, ...]]):
    """Metadata field -> the values allowed in it; all fields must match.

    Immutable. A field without allowed values matches no document; only `narrowed` makes one. Compares equal to a
    mapping with the same values.

    Args:
        fields: field -> the required value, or the allowed values.
    """

    def __init__(self, fields: Filters | None = None) -> None:
        self._fields = {
            field: (value,) if isinstance(value, str) else tuple(value) for field, value in (fields or {}).items()
        }

    def narrowed(self, other: Filters) -> Filter:
        """The filter that matches what both match: `other` can exclude documents, and never admit one.

        A role's filter narrowed by a client's gives the client nothing that the role may not see.
        """
        both = dict(self._fields)
        for field, allowed in Filter(other).items():
            both[field] = tuple(value for value in allowed if value in both[field]) if field in both else allowed
        return Filter(both)

    @property
    def satisfiable(self) -> bool:
        """Whether each field has an allowed value."""
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
        return f"Filter({', '.join(self._fields)})"  # no values: they can name a patient

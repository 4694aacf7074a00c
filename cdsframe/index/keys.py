"""Checks that records written together have distinct keys.

Does not compare them with records written before: no engine can do that cheaply. `ingestion=verify` compares all.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdsframe.errors import InputError, named
from cdsframe.types import Level, Passage


def require_different(records: Iterable[Passage]) -> None:
    """Raises InputError if two records share level and id: a search could not tell them apart."""
    seen: dict[tuple[Level, str], str] = {}
    for record in records:
        if record.key in seen:
            other, own = named(seen[record.key]), named(record.document_id)
            whose = f"the document {own} has twice" if other == own else f"the documents {other} and {own} both have"
            raise InputError(
                f"{whose} a record of level {record.level} with the id {named(record.id)}; make the ids unique, "
                "in the chunker or in the corpus reader that creates them"
            )
        seen[record.key] = record.document_id

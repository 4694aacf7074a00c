"""What must hold of the keys of records that are written together: each is one record's alone.

Does not compare them with what was written before: no engine looks that up cheaply (`ingestion=verify` does).
"""

from __future__ import annotations

from collections.abc import Iterable

from cdsframe.errors import InputError, named
from cdsframe.types import Level, Passage


def require_different(records: Iterable[Passage]) -> None:
    """Raises InputError where two records have the same level and id: a search takes them for one."""
    seen: dict[tuple[Level, str], str] = {}
    for record in records:
        if record.key in seen:
            other, own = named(seen[record.key]), named(record.document_id)
            whose = f"the document {own} has twice" if other == own else f"the documents {other} and {own} both have"
            raise InputError(
                f"{whose} a record of the level {record.level} with the id {named(record.id)}; give each record an id "
                "of its own, in the chunker or in the corpus that makes it"
            )
        seen[record.key] = record.document_id

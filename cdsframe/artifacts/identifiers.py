"""Limits the length of record ids. Does not make ids: corpora and chunkers do."""

from __future__ import annotations

import json

LONGEST_IDS = 24_000
"""Maximum bytes of the ids of a record, its section and its document, as JSON: Elasticsearch keeps them in one key."""


def ids_problem(record: str, section: str, document: str) -> str | None:
    """Returns the error for ids that are too long together; None if they are not."""
    if 6 * (len(record) + len(section) + len(document)) + 12 <= LONGEST_IDS:  # a character takes at most six bytes
        return None
    size = len(json.dumps([record, document, section], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= LONGEST_IDS:
        return None
    return (
        f"has too long an id: with the ids of a section and a passage it has {size} bytes, at most {LONGEST_IDS} are "
        "allowed; give it a shorter id"
    )

"""Which ids a record can have. Does not make them: corpora and chunkers do."""

from __future__ import annotations

import json

LONGEST_IDS = 24_000
"""Bytes of a record's id, its section's and its document's, as JSON: a server's index keeps them in one key."""


def ids_problem(record: str, section: str, document: str) -> str | None:
    """Why a record cannot have such ids, in words; None where it can."""
    if 6 * (len(record) + len(section) + len(document)) + 12 <= LONGEST_IDS:  # a sign takes six bytes at most
        return None
    size = len(json.dumps([record, document, section], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= LONGEST_IDS:
        return None
    return (
        f"has too long an id: with those of a section and a passage there are {size} bytes, and {LONGEST_IDS} are "
        "taken; give it a shorter one"
    )

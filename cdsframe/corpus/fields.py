"""Maps names in a record to the id, title, text and metadata of a document. Does not read files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from cdsframe.artifacts.digests import digest
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import Document, Section

RECORD_FIELDS = ("id", "title", "text")
"""The fields of a document that are not metadata."""

Fields = dict[str, str | list[str] | None]
"""Field of a document -> the name in a record (column, JSON key) of its value, or None; `text` also takes a list."""


def record_field_problems(fields: Mapping[str, str | list[str] | None]) -> list[str]:
    """Returns the problems of `corpus.fields`: no name for `text`, or a list of names for another field."""
    lists = [key for key, value in fields.items() if isinstance(value, list) and key != "text"]
    problems = [f"corpus.fields.{key} must be one name; only text takes a list" for key in lists]
    if fields.get("text") in (None, "???", []):
        problems.append("corpus.fields.text is missing; name the column or key that holds the text, or a list of them")
    return problems


def names_of(fields: Mapping[str, str | list[str] | None], key: str) -> list[str]:
    """Returns the names of the record's fields that form the document's field `key`."""
    value = fields.get(key)
    return value if isinstance(value, list) else [] if value is None else [value]


def metadata_names(fields: Mapping[str, str | list[str] | None]) -> dict[str, list[str]]:
    """Returns metadata field -> the record's names for it."""
    return {key: names_of(fields, key) for key in fields if key not in RECORD_FIELDS}


def as_text(value: Any, name: str, *, needed: bool = False) -> str:
    """Returns a text or number as stripped text, and None as "". Raises ValueError for a value of another type.

    With `needed`, also raises ValueError for None and for blank text. `name` names the value in the error message.
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = str(value)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ValueError(f"has no text in the field {name}")
    return value.strip()


def metadata_text(value: Any) -> str:
    """Returns a metadata value as one text. Joins a list by ", ".

    Booleans become "true" and "false". Returns "" for None, an object, and a list that holds an object or a list.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        nested = any(isinstance(item, list | Mapping) for item in value)
        return "" if nested else ", ".join(filter(None, map(metadata_text, value)))
    return "" if isinstance(value, Mapping) else as_text(value, "metadata")


def document_of(
    value: Callable[[str], Any],
    fields: Mapping[str, str | list[str] | None],
    metadata: Mapping[str, str],
    body: tuple[str, tuple[Section, ...]] | None = None,
) -> Document:
    """Builds the document of a record. Without an id field, the id is a digest of title and text.

    Args:
        value: returns the record's value under a name, or None.
        fields: field of a document -> names in the record. Several texts become sections under their names.
        metadata: the document's metadata.
        body: text and sections to use instead of the values that `fields` names for `text`.

    Raises:
        ValueError: a value is missing or not text; the message is to follow the record's name.
    """
    texts = names_of(fields, "text")
    if body is not None:
        text, sections = body
    elif len(texts) == 1:
        text = as_text(value(texts[0]), texts[0], needed=True)
        sections = (Section((), 0, len(text)),)
    else:
        filled = [(name, content) for name in texts if (content := as_text(value(name), name))]
        text, sections = assemble(block for name, content in filled for block in (Block(name, 1), Block(content)))
        if not sections:
            raise ValueError(f"has no text in any of the fields {', '.join(texts)}")
    title = "".join(as_text(value(name), name) for name in names_of(fields, "title"))
    ids = [as_text(value(name), name, needed=True) for name in names_of(fields, "id")]
    return Document(ids[0] if ids else digest(title, text), title, text, sections, metadata)

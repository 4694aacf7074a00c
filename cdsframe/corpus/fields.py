"""Which of a record's own names give a document's id, title, text and metadata. Does not read records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from cdsframe.artifacts.digests import digest
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import METADATA_FIELDS, Document, Section

FIELDS = ("id", "title", "text", *METADATA_FIELDS)

Fields = dict[Literal[FIELDS], str | list[str] | None]  # type: ignore[valid-type]
"""Field of a document -> the record's name for it; for `text` also a list of names; None where there is none."""


def problems_of(fields: Mapping[str, str | list[str] | None]) -> list[str]:
    """What is wrong with a mapping, beyond its types."""
    lists = [key for key, value in fields.items() if isinstance(value, list) and key != "text"]
    problems = [f"corpus.fields.{key} must be one name; only text takes a list" for key in lists]
    if fields.get("text") in (None, "???", []):
        problems.append("corpus.fields.text is missing; give the name of what holds the text, or a list of names")
    return problems


def names_of(fields: Mapping[str, str | list[str] | None], key: str) -> list[str]:
    """The record's names for a field."""
    value = fields.get(key)
    return value if isinstance(value, list) else [] if value is None else [value]


def as_text(value: Any, name: str, *, needed: bool = False) -> str:
    """A value as stripped text. Raises ValueError, without its content, where it is missing or not text."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = str(value)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ValueError(f"has no text in the field {name}")
    return value.strip()


def document_of(
    value: Callable[[str], Any],
    fields: Mapping[str, str | list[str] | None],
    metadata: Mapping[str, str],
    body: tuple[str, tuple[Section, ...]] | None = None,
) -> Document:
    """The document of a record, whose values are given by name. Raises ValueError in words.

    Several texts stand under their names as headings. Without an id field, the id is a digest of title and text.
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

"""Maps names in a record to the id, title, text and metadata of a document. Does not read files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from cdsframe.artifacts.digests import digest
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import METADATA_FIELDS, Document, Section

FIELDS = ("id", "title", "text", *METADATA_FIELDS)

Fields = dict[Literal[FIELDS], str | list[str] | None]  # type: ignore[valid-type]
"""Field of a document -> the record's name for it, or None; for `text` also a list of names."""


def problems_of(fields: Mapping[str, str | list[str] | None]) -> list[str]:
    """Returns the problems of a mapping that its types do not exclude."""
    lists = [key for key, value in fields.items() if isinstance(value, list) and key != "text"]
    problems = [f"corpus.fields.{key} must be one name; only text takes a list" for key in lists]
    if fields.get("text") in (None, "???", []):
        problems.append("corpus.fields.text is missing; set it to the name of the text, or to a list of names")
    return problems


def names_of(fields: Mapping[str, str | list[str] | None], key: str) -> list[str]:
    """Returns the record's names for a field of a document."""
    value = fields.get(key)
    return value if isinstance(value, list) else [] if value is None else [value]


def as_text(value: Any, name: str, *, needed: bool = False) -> str:
    """Returns a value as stripped text; "" if missing. Raises ValueError if it is not text, or needed and empty."""
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
    """Builds the document of a record. Without an id field, the id is a digest of title and text.

    Args:
        value: name -> the record's value, or None.
        fields: field of a document -> the record's names for it. Several texts become sections under their names.
        metadata: the document's metadata.
        body: text and sections, instead of those of `fields`.

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

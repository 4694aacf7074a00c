"""The result of every reader, and the exception for a file that cannot be read. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdsframe.types import Omission, Section


class Refused(Exception):
    """A file cannot be read. The message is a predicate: callers put the file's name in front of it."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text, sections and title. Title None: use the first heading; "": the file has no title."""

    text: str
    sections: tuple[Section, ...]
    title: str | None = None
    front: Mapping[str, str] = field(default_factory=dict)
    """Metadata from the file itself, such as YAML front matter: `id`, `title` and metadata fields, among others."""
    remark: str | None = None
    """How the file was read, for the log; a predicate that follows the file's name."""
    omitted: tuple[Omission, ...] = ()
    """Counts of content that is not in the text."""


def with_sections(
    text: str, sections: tuple[Section, ...], title: str | None = None, omitted: Iterable[Omission] = ()
) -> Parsed:
    """Raises Refused if there are no sections; the message lists the omissions."""
    omitted = tuple(item for item in omitted if item.count)
    if not sections:
        found = ", ".join(f"{item.count} {item.reason}" for item in omitted)
        raise Refused("has no text" + (f"; left out: {found}" if found else ""))
    return Parsed(text, sections, title and " ".join(title.split()), omitted=omitted)

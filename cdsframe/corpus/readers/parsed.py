"""The result of every reader, and the exception for a file that cannot be read. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdsframe.types import Omission, Section


class Refused(Exception):
    """Raised if a file cannot be read. The message is a predicate, such as "is empty", that follows the file's name."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text, sections and title. If the title is None, the first heading is used; if it is "", none is."""

    text: str
    sections: tuple[Section, ...]
    title: str | None = None
    front: Mapping[str, str] = field(default_factory=dict)
    """Key -> value of YAML front matter: `id`, `title`, metadata fields and others; "" for a value without text."""
    remark: str | None = None
    """How the file was read, for the log; a predicate that follows the file's name."""
    omitted: tuple[Omission, ...] = ()
    """Counts of content that is not in the text."""


def with_sections(
    text: str, sections: tuple[Section, ...], title: str | None = None, omitted: Iterable[Omission] = ()
) -> Parsed:
    """Builds a Parsed. Raises Refused if there are no sections; the message lists what was omitted."""
    omitted = tuple(item for item in omitted if item.count)
    if not sections:
        found = ", ".join(f"{item.count} {item.reason}" for item in omitted)
        raise Refused("has no text" + (f"; left out: {found}" if found else ""))
    return Parsed(text, sections, title and " ".join(title.split()), omitted=omitted)

"""What every reader of a file gives back, and how it says that it cannot. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdsframe.types import Omission, Section


class Refused(Exception):
    """A file cannot be read; the message continues the sentence that the file's name begins."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text and sections, and its title: None for its first heading, "" for none at all."""

    text: str
    sections: tuple[Section, ...]
    title: str | None = None
    front: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself: `id`, `title` and metadata fields, among others."""
    remark: str | None = None
    """What the log says of how the file was read; continues the sentence that the file's name begins."""
    omitted: tuple[Omission, ...] = ()
    """Parts of the file that are not in the text."""


def with_sections(
    text: str, sections: tuple[Section, ...], title: str | None = None, omitted: Iterable[Omission] = ()
) -> Parsed:
    """Raises Refused where there is no section; the message names what was omitted."""
    omitted = tuple(item for item in omitted if item.count)
    if not sections:
        found = ", ".join(f"{item.count} {item.reason}" for item in omitted)
        raise Refused("has no text" + (f"; left out: {found}" if found else ""))
    return Parsed(text, sections, title and " ".join(title.split()), omitted=omitted)

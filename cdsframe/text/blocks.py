"""Assembles a document's text and sections from paragraphs and headings. Does not find headings in a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdsframe.types import Section

Path = tuple[tuple[int, str], ...]
"""A heading path: `(level, heading)` from the outermost."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph (`level` 0) or a heading (`level` 1 to 9)."""

    text: str
    level: int = 0
    closes: int = 0
    """If not 0, the block has no text and ends the headings of this level and deeper."""


def descend(path: Path, level: int, heading: str) -> Path:
    """Returns the heading path after a heading, which replaces those of its level and deeper."""
    return (*(item for item in path if item[0] < level), (level, heading))


def assemble(blocks: Iterable[Block]) -> tuple[str, tuple[Section, ...]]:
    """Joins the blocks' texts by blank lines. Returns the text and its sections.

    A section's span starts after its heading line. A heading without text and without deeper headings becomes a section
    whose text is the heading line, so that no heading is lost.
    """
    parts: list[str] = []
    sections: list[Section] = []
    path: Path = ()
    position, end = 0, 0
    start: int | None = None  # start of the open section's text
    unused: int | None = None  # start of the last heading line, until a block follows it

    def close(next_level: int) -> None:
        heading = tuple(heading for _, heading in path)
        if start is not None:
            sections.append(Section(heading, start, end))
        elif unused is not None and next_level <= path[-1][0]:
            sections.append(Section(heading, unused, end))

    for block in blocks:
        if block.closes and path and path[-1][0] >= block.closes:
            close(block.closes)
            start, unused, path = None, None, tuple(item for item in path if item[0] < block.closes)
        if not block.text.strip():
            continue
        if block.level:
            close(block.level)
            start, unused, path = None, position, descend(path, block.level, block.text)
        elif start is None:
            start, unused = position, None
        end = position + len(block.text)
        parts.append(block.text)
        position += len(block.text) + 2
    close(next_level=0)
    return "\n\n".join(parts), tuple(sections)


def under_title(title: str, sections: Sequence[Section]) -> tuple[Section, ...]:
    """Removes the outermost heading of sections if it repeats the document's title."""
    same = title.casefold()
    return tuple(
        Section(s.heading[1:], s.start, s.end, s.id, s.passage_id)
        if s.heading and s.heading[0].casefold() == same
        else s
        for s in sections
    )

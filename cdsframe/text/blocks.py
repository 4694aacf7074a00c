"""Assembles a document's text and sections from blocks: paragraphs, and headings with their levels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdsframe.types import Section

Path = tuple[tuple[int, str], ...]
"""A heading path: `(level, heading)` from the outermost."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph (`level` 0) or a heading (`level` 1 to 9) of a source without character offsets of its own."""

    text: str
    level: int = 0
    closes: int = 0
    """Ends the headings at this level and deeper, and holds nothing; 0 for other blocks."""


def descend(path: Path, level: int, heading: str) -> Path:
    """The path after a heading: what stands at its level or deeper is left."""
    return (*(item for item in path if item[0] < level), (level, heading))


def assemble(blocks: Iterable[Block]) -> tuple[str, tuple[Section, ...]]:
    """Joins the blocks' texts by blank lines. Returns the text and its sections.

    A section's span starts behind its heading line. A heading that has neither text nor a deeper heading below it is
    a section whose text is the heading line: no heading is lost.
    """
    parts: list[str] = []
    sections: list[Section] = []
    path: Path = ()
    position, end = 0, 0
    start: int | None = None  # of the open section's text
    unused: int | None = None  # where the last heading line begins, while nothing stands below it

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
    """The sections without the outermost heading where that only repeats the document's title."""
    same = title.casefold()
    return tuple(
        Section(s.heading[1:], s.start, s.end, s.id, s.passage_id)
        if s.heading and s.heading[0].casefold() == same
        else s
        for s in sections
    )

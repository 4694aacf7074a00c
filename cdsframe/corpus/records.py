"""What all corpora share: refusing ids, `strict`, and text assembled from blocks with a heading path.

Does not read any source itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cdsframe.errors import InputError
from cdsframe.identifiers import ids_problem
from cdsframe.types import Document, Omission, Section, Unreadable

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


def checked(items: Iterable[tuple[str, Document | str]], strict: bool) -> Iterator[Document | Unreadable]:
    """Documents, each with its source's name, or the reason why a source gives none; an id that is repeated or too
    long is such a reason.

    With `strict`, the first reason is an InputError, and so is the first document that lost text when it was read.
    """
    seen: dict[str, str] = {}
    for source, item in items:
        if isinstance(item, Document) and (problem := _ids_problem(item)):
            item = problem
        elif isinstance(item, Document) and item.id in seen:
            item = f"the id {item.id} stands twice, first in {seen[item.id]}"
        elif isinstance(item, Document) and not _is_text(item):
            item = "holds half a surrogate pair, which is no text"
        elif strict and isinstance(item, Document) and (lost := text_lost(item.omitted)):
            item = f"loses text ({lost})"
        if isinstance(item, Document):
            seen[item.id] = source
            yield item
            continue
        if strict:
            raise InputError(
                f"corpus: {source}: {item}; corpus.strict=true refuses the whole corpus. "
                "To fix this, correct the source, or set corpus.strict=false to read the others"
            )
        yield Unreadable(source, item)


def text_lost(omitted: Iterable[Omission]) -> str:
    """The omissions that lose text, as a phrase such as "3 undecodable bytes, page 2"; empty where there are none."""
    return "; ".join(
        f"{item.count} {item.reason}" + (f", {item.place}" if item.place else "") for item in omitted if item.text
    )


def _ids_problem(document: Document) -> str | None:
    """Why no index can keep a document's ids; None where each can."""
    named = {(section.passage_id or document.id, section.id or document.id) for section in document.sections}
    problems = (ids_problem(passage, section, document.id) for passage, section in named or {(document.id,) * 2})
    return next(filter(None, problems), None)


def _is_text(document: Document) -> bool:
    """Whether all of it can be written as UTF-8: escapes of YAML and the fonts of PDF can give what cannot."""
    headings = (heading for section in document.sections for heading in section.heading)
    try:
        "".join((document.id, document.title, document.text, *document.metadata.values(), *headings)).encode()
    except UnicodeEncodeError:
        return False
    return True

"""What chunkers share: the records of other levels that stand beside the passages of a document.

Does not cut anything and does not embed: a title has a vector of its own, a section's and a document's are made from
those of its passages (see `cdsframe.ingestion`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal

from cdsframe.types import Document, Level, Passage

Levels = list[Literal["section", "document", "title"]]
"""Which records stand beside the passages: what `retriever=hierarchical` weighs a passage's surroundings by."""


class BaseChunker(ABC):
    """`split` over `_passages`.

    Args:
        levels: the records that stand beside the passages.
    """

    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def split(self, document: Document) -> list[Passage]:
        """The document's passages in order, `document.text[p.start:p.end] == p.text`, then its other records."""
        passages = self._passages(document)
        if not passages:
            return []
        return [*passages, *(record for level in self._levels for record in _MAKE[level](document, passages))]

    @abstractmethod
    def _passages(self, document: Document) -> list[Passage]: ...


def _sections(document: Document, passages: Sequence[Passage]) -> Iterable[Passage]:
    for number, (section_id, group) in enumerate(groupby(passages, key=lambda passage: passage.section_id)):
        members = list(group)
        start, end = members[0].start, members[-1].end
        yield _record(document, "section", number, section_id, members[0], start, end)


def _whole(document: Document, passages: Sequence[Passage]) -> Iterable[Passage]:
    yield _record(document, "document", 0, document.id, None, 0, len(document.text))


def _titles(document: Document, passages: Sequence[Passage]) -> Iterable[Passage]:
    """One record for each title and heading path, without the text below it."""
    first = {(p.title, p.heading): p for p in reversed(passages) if p.title or p.heading}
    for number, passage in enumerate(sorted(first.values(), key=lambda passage: passage.ordinal)):
        yield _record(document, "title", number, passage.section_id, passage, passage.start, passage.start)


_MAKE = {"section": _sections, "document": _whole, "title": _titles}


def _record(
    document: Document, level: Level, number: int, section_id: str, like: Passage | None, start: int, end: int
) -> Passage:
    return Passage(
        id=f"{document.id}/{level}/{number}",
        document_id=document.id,
        section_id=section_id,
        level=level,
        text=document.text[start:end],
        title=like.title if like else document.title,
        heading=like.heading if like else (),
        ordinal=number,
        start=start,
        end=end,
        digest=document.digest,
        metadata=document.metadata,
    )

"""Makes the records of a document's sections, of its titles, and of the whole document.

Does not embed. `cdsframe.ingestion` embeds titles; the vector of a section or document is the mean of its passages'
vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from cdsframe.chunking.summary import summary
from cdsframe.types import HEADS, Document, Level, Passage


def records(
    document: Document, passages: Sequence[Passage], level: Level, summary_sentences: int | None
) -> Iterator[Passage]:
    """The document's records of one level, in order.

    A section's text is `document.text[start:end]`, with the same prepended fields as its passages. A title's text is
    empty. The document's text is the whole text, or a summary of `summary_sentences` sentences; `start` and `end`
    always span the whole text.
    """
    if level == "section":
        for number, (_, group) in enumerate(groupby(passages, key=lambda passage: passage.section_id)):
            members = list(group)
            start, end = members[0].start, members[-1].end
            yield _record(members[0], level, number, start, end, document.text[start:end])
    elif level == "document":
        text = document.text if summary_sentences is None else summary(document.text, summary_sentences)
        like = replace(passages[0], section_id=document.id, title=document.title, heading=(), prepended=HEADS)
        yield _record(like, level, 0, 0, len(document.text), text)
    else:
        first = {(p.title, p.heading): p for p in reversed(passages) if p.title or p.heading}
        for number, passage in enumerate(sorted(first.values(), key=lambda passage: passage.ordinal)):
            like = replace(passage, prepended=HEADS)
            yield _record(like, level, number, passage.start, passage.start, "")


def _record(like: Passage, level: Level, number: int, start: int, end: int, text: str) -> Passage:
    id_ = f"{like.document_id}/{level}/{number}"
    return replace(like, id=id_, level=level, ordinal=number, start=start, end=end, text=text)

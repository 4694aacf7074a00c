"""Refuses documents whose ids no index can keep, and applies `corpus.strict`. Does not read any source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cdsframe.artifacts.identifiers import ids_problem
from cdsframe.errors import InputError
from cdsframe.types import Document, Omission, Unreadable


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

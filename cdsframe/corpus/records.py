"""Reports documents with invalid or repeated ids as unreadable, and applies `corpus.strict`. Does not read sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cdsframe.artifacts.identifiers import ids_problem
from cdsframe.errors import InputError
from cdsframe.types import Document, Omission, Unreadable


def checked(items: Iterable[tuple[str, Document | str]], strict: bool) -> Iterator[Document | Unreadable]:
    """Yields a Document or an Unreadable for each item.

    A document with an earlier document's id, with an id that an index cannot store, or with half a surrogate pair
    becomes an Unreadable.

    Args:
        items: `(source, document)`, or `(source, reason)` if the source cannot be read.
        strict: whether to raise InputError instead of yielding an Unreadable or a document that lost text.
    """
    seen: dict[str, str] = {}
    for source, item in items:
        if isinstance(item, Document) and (problem := _ids_problem(item)):
            item = problem
        elif isinstance(item, Document) and item.id in seen:
            item = f"the id {item.id} is repeated; its first occurrence is in {seen[item.id]}"
        elif isinstance(item, Document) and not _is_text(item):
            item = "contains half a surrogate pair, which is not valid text"
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
    """Returns the omissions that lose text as a phrase, such as "3 undecodable bytes, page 2"; "" without any."""
    return "; ".join(
        f"{item.count} {item.reason}" + (f", {item.place}" if item.place else "") for item in omitted if item.text
    )


def _ids_problem(document: Document) -> str | None:
    """Returns why an index cannot store a document's ids; None if it can."""
    named = {(section.passage_id or document.id, section.id or document.id) for section in document.sections}
    problems = (ids_problem(passage, section, document.id) for passage, section in named or {(document.id,) * 2})
    return next(filter(None, problems), None)


def _is_text(document: Document) -> bool:
    """Whether a document can be encoded as UTF-8. Escapes in YAML and fonts in PDF may produce lone surrogates."""
    headings = (heading for section in document.sections for heading in section.heading)
    try:
        "".join((document.id, document.title, document.text, *document.metadata.values(), *headings)).encode()
    except UnicodeEncodeError:
        return False
    return True

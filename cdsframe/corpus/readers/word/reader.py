"""Reads Word documents: text, headings, tables, notes and text boxes as shown in the document.

Counts, but does not read, page headers and footers, comments, pictures, and deleted, struck-out and hidden text.
Computes list numbers and bullets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from itertools import groupby
from typing import Any

from cdsframe.corpus.readers.html import read_html
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.readers.word.blocks import TITLE
from cdsframe.corpus.readers.word.file import WordFile, plain_text
from cdsframe.corpus.readers.word.package import Package
from cdsframe.text.blocks import Block, assemble

_NO_TITLE = re.compile(
    r"|(?:word[ _-]?)?doc(?:ument)?[ _-]?\d*|dokument[ _-]?\d*|document sans titre|documento[ _-]?\d*|"
    r"(?:untitled|unbenannt|sans titre|sin título|без имени)(?: document)?[ _-]?\d*|title|titel|titre|"
    r"(?:insert |type |enter |click .*)?(?:document )?title(?: here)?|[\[<{(].*[\]>})]|template|vorlage|normal|"
    r"microsoft (?:office )?word\b.*|powerpoint presentation|slide \d+|new microsoft word document.*|"
    r"\S*\.(?:docx?|docm|dotx?|dotm|rtf|odt|pdf)",
    re.IGNORECASE,
)
"""Default titles of programs and templates, not written by the document's author."""


def read_docx(data: bytes, limit: int) -> Parsed:
    """Reads Word documents: the style Title gives the title, outline levels open sections, a table row is a line.

    Raises Refused if the file cannot be read or has no text.
    """
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused("is encrypted or in the old .doc format; save it as .docx without a password")
    if data.lstrip().startswith(b"{\\rtf"):
        raise Refused("is in the RTF format; save it as .docx")
    package = Package(data, limit)
    file = WordFile(package, lambda suffix, inner: _nested(suffix, inner, limit))
    blocks = list(_with_whole_titles(file.blocks()))
    title = next(iter(_titles(blocks, file.titles)), None) or _core_title(package)
    return with_sections(*assemble(blocks), title, file.omitted)


def _titles(blocks: Iterable[Block], in_boxes: Iterable[str]) -> Iterator[str]:
    """Yields the titles in the body, then those in text boxes."""
    yield from (block.text for block in blocks if block.level == TITLE)
    yield from in_boxes


def _with_whole_titles(blocks: Iterable[Block]) -> Iterator[Block]:
    """Joins adjacent title blocks: a title may consist of several paragraphs."""
    for level, group in groupby(blocks, key=lambda block: block.level):
        if level == TITLE:
            yield Block(" ".join(block.text for block in group), TITLE)
        else:
            yield from group


def _core_title(package: Package) -> str | None:
    """The title from the file's properties, unless it is a default title."""
    part = next(package.related("", "core-properties"), None)
    root: Any = package.root(part) if part else None
    package.damaged.pop(part or "", None)  # damaged properties lose no text
    found = next(root.iter("{http://purl.org/dc/elements/1.1/}title"), None) if root is not None else None
    title = " ".join((found.text or "").split()) if found is not None else ""
    return title if not _NO_TITLE.fullmatch(title) else None


def _nested(suffix: str, data: bytes, limit: int) -> Parsed | None:
    """Reads an embedded document (`w:altChunk`) by its part's suffix; returns None for an unsupported format."""
    if suffix in ("mht", "mhtml"):
        pages = (part for part in message_from_bytes(data).walk() if part.get_content_type() == "text/html")
        page = next(pages, None)
        return None if page is None else read_html(bytes(page.get_payload(decode=True) or b""), limit)
    if suffix in ("html", "htm", "xhtml"):
        return read_html(data, limit)
    if suffix in ("docx", "docm", "dotx", "dotm"):
        return read_docx(data, limit)
    if suffix == "txt":
        try:
            return plain_text(data)
        except ValueError:
            return None
    return None

"""Readers of single files: bytes to a text with sections, for each suffix in `READERS`.

Each raises Refused with a reason in words where a file cannot be read; none knows where the bytes come from.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cdsframe.corpus.records import Block, Path, assemble, descend
from cdsframe.types import Section


class Refused(Exception):
    """A file cannot be read; the message continues the sentence that the file's name begins."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text and sections, and its title: None for its first heading, "" for none at all."""

    text: str
    sections: tuple[Section, ...]
    title: str | None = None


def read_text(data: bytes) -> Parsed:
    """Plain text: one section."""
    text = _decode(data).strip()
    if not text:
        raise Refused("has no text")
    return Parsed(text, (Section((), 0, len(text)),))


_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


def read_markdown(data: bytes) -> Parsed:
    """Markdown: the text is the file's own, stripped at both ends; a `#` line opens a section (not in fenced code)."""
    text = _decode(data).strip()
    sections: list[Section] = []
    path: Path = ()
    position = start = 0
    fence: str | None = None

    def close(end: int) -> None:
        if text[start:end].strip():
            sections.append(Section(tuple(heading for _, heading in path), start, end))

    for line in text.splitlines(keepends=True):
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else None if fence == mark[1] else fence
        heading = _HEADING.match(line.rstrip("\n")) if fence is None else None
        if heading:
            close(position)
            path = descend(path, len(heading[1]), heading[2])
            start = position + len(line)
        position += len(line)
    close(position)
    return _with_sections(text, tuple(sections))


_SKIPPED = {"script", "style", "noscript", "template", "head", "nav", "svg", "form", "button"}
_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "ins", "kbd",
    "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr", "td", "th", "br",
}  # fmt: skip


def read_html(data: bytes) -> Parsed:
    """HTML: h1 to h6 open sections, each block is a paragraph, a table's row is a line; navigation and scripts go."""
    from lxml import etree, html

    if b"\0" in data:
        raise Refused("is binary (it holds NUL bytes)")
    try:
        data.decode("utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = None  # as the page declares it
    try:
        root = html.document_fromstring(data, parser=html.HTMLParser(encoding=encoding))
    except (etree.ParserError, etree.XMLSyntaxError):
        raise Refused("is not HTML") from None
    title = " ".join((root.findtext(".//title") or "").split())
    return _with_sections(*assemble(_html_blocks(root)), title or None)


def _html_blocks(root: Any) -> Iterator[Block]:
    """The page's text by blocks, in order: an element that is not inline begins and ends a block."""
    pending: list[str] = []

    def flush(level: int = 0) -> Iterator[Block]:
        text = " ".join("".join(pending).split()).strip("| ")
        pending.clear()
        if text:
            yield Block(text, level)

    def walk(node: Any) -> Iterator[Block]:
        tag = node.tag if isinstance(node.tag, str) else None
        if tag is not None and tag not in _SKIPPED:
            block = tag not in _INLINE
            if block:
                yield from flush()
            pending.append(" " if tag == "br" else node.text or "")
            for child in node:
                yield from walk(child)
            if tag in ("td", "th"):
                pending.append(" | ")
            if block:
                yield from flush(int(tag[1]) if re.fullmatch("h[1-6]", tag) else 0)
        pending.append(node.tail or "")

    yield from walk(root)
    yield from flush()


def read_docx(data: bytes) -> Parsed:
    """Word documents: the styles Title and Heading 1 to 9 open sections; a table's row is a line."""
    import docx
    from docx.table import Table

    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused("is encrypted or in the old .doc format; save it as .docx without a password")
    try:
        document = docx.Document(io.BytesIO(data))
        blocks: list[Block] = []
        for item in document.iter_inner_content():
            if isinstance(item, Table):
                rows = (" | ".join(" ".join(cell.text.split()) for cell in row.cells) for row in item.rows)
                blocks.append(Block("\n".join(rows)))
                continue
            style = item.style.name if item.style is not None and item.style.name else ""
            level = re.fullmatch(r"Heading ([1-9])", style)
            blocks.append(Block(item.text.strip(), int(level[1]) if level else 1 if style == "Title" else 0))
        title = document.core_properties.title
    except Exception as error:  # noqa: BLE001 (a broken archive makes the library raise whatever it meets)
        raise Refused(f"is not a readable .docx ({type(error).__name__})") from None
    return _with_sections(*assemble(blocks), title or None)


_LONGEST_HEADING = 120
"""Characters: a longer line is a paragraph, whatever its size."""


def read_pdf(data: bytes) -> Parsed:
    """PDF: lines set clearly larger than the body are headings; where there are none, each page is a section."""
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect
    from pdfplumber.utils.exceptions import PdfminerException

    try:
        with pdfplumber.open(io.BytesIO(data)) as pdf:
            pages = [
                [(line["text"].strip(), _size(line["chars"])) for line in page.extract_text_lines(return_chars=True)]
                for page in pdf.pages
            ]
            title = (pdf.metadata or {}).get("Title")
    except Exception as error:  # noqa: BLE001 (a broken file makes the library raise whatever it meets)
        cause = error.args[0] if isinstance(error, PdfminerException) and error.args else error
        if isinstance(cause, PDFPasswordIncorrect):
            raise Refused("is encrypted; remove its password") from None
        raise Refused(f"is not a readable PDF ({type(cause).__name__})") from None
    if not any(text for page in pages for text, _ in page):
        raise Refused("has no text (a scanned document must go through text recognition first)")
    headings = _headings(pages)
    blocks = _by_headings(pages, headings) if headings else _by_pages(pages)
    given = title.strip() if isinstance(title, str) else ""
    return _with_sections(*assemble(blocks), given or (None if headings else ""))


def _size(chars: list[dict[str, Any]]) -> float:
    """The size that most characters of a line have, in points."""
    return Counter(round(char["size"], 1) for char in chars).most_common(1)[0][0]


_Pages = list[list[tuple[str, float]]]
"""Lines with their sizes, page by page."""


def _headings(pages: _Pages) -> dict[float, int]:
    """Size -> heading level, of the sizes clearly above the body's; empty where they are too many to be headings."""
    lines = [line for page in pages for line in page]
    weights: Counter[float] = Counter()
    for text, size in lines:
        weights[size] += len(text)
    body = weights.most_common(1)[0][0]
    large = [size for text, size in lines if size >= 1.15 * body and len(text) <= _LONGEST_HEADING]
    if len(large) > 0.3 * len(lines):
        return {}
    return {size: min(level, 9) for level, size in enumerate(sorted(set(large), reverse=True), start=1)}


def _by_headings(pages: _Pages, levels: dict[float, int]) -> Iterator[Block]:
    paragraph: list[str] = []
    for text, size in (line for page in pages for line in page):
        if size in levels and len(text) <= _LONGEST_HEADING:
            yield Block("\n".join(paragraph))
            paragraph = []
            yield Block(text, levels[size])
        else:
            paragraph.append(text)
    yield Block("\n".join(paragraph))


def _by_pages(pages: _Pages) -> Iterator[Block]:
    for number, page in enumerate(pages, start=1):
        yield Block(f"Page {number}", 1)
        yield Block("\n".join(text for text, _ in page))


def _decode(data: bytes) -> str:
    if b"\0" in data:
        raise Refused("is binary (it holds NUL bytes)")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Refused("is not UTF-8 text") from None


def _with_sections(text: str, sections: tuple[Section, ...], title: str | None = None) -> Parsed:
    if not sections:
        raise Refused("has no text" + (" but headings" if text else ""))
    return Parsed(text, sections, title and " ".join(title.split()))


READERS: dict[str, Callable[[bytes], Parsed]] = {
    ".txt": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".docx": read_docx,
    ".pdf": read_pdf,
}

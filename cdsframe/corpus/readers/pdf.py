"""PDF with headings and ruled tables. Does not recognise scanned text, columns, or tables without rules."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.records import Block, assemble

_LONGEST_HEADING = 120
"""Characters: a longer line is a paragraph, whatever its size."""

_MOST_RULES = 2000
"""A page with more lines and boxes is a drawing: looking for tables in it would take minutes."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with the size of its letters in points, or a whole table with none."""

    text: str
    top: float
    size: float | None


_Pages = list[list[_Line]]


def read_pdf(data: bytes, limit: int) -> Parsed:
    """PDF: lines set clearly larger than the body are headings; where there are none, each page is a section."""
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect
    from pdfplumber.utils.exceptions import PdfminerException

    pages: _Pages = []
    try:
        with pdfplumber.open(io.BytesIO(data)) as pdf:
            for page in pdf.pages:
                pages.append(_lines(page))
                page.close()  # or all pages' letters stay in memory
            title = (pdf.metadata or {}).get("Title")
    except Exception as error:  # noqa: BLE001 (a broken file makes the library raise whatever it meets)
        cause = error.args[0] if isinstance(error, PdfminerException) and error.args else error
        if isinstance(cause, PDFPasswordIncorrect):
            raise Refused("is encrypted; remove its password") from None
        raise Refused(f"is not a readable PDF ({type(cause).__name__})") from None
    if not any(line.text for page in pages for line in page):
        raise Refused("has no text (a scanned document must go through text recognition first)")
    headings = _headings(pages)
    blocks = _by_headings(pages, headings) if headings else _by_pages(pages)
    given = title.strip() if isinstance(title, str) else ""
    return with_sections(*assemble(blocks), given or (None if headings else ""))


def _lines(page: Any) -> list[_Line]:
    """A page's lines from top to bottom, each ruled table as one of them, its text not repeated beside it."""
    tables: list[tuple[tuple[float, float, float, float], str]] = []
    if 2 < len(page.rects) + len(page.lines) + len(page.curves) <= _MOST_RULES:
        for table in page.find_tables():
            rows = [[" ".join((cell or "").split()) for cell in row] for row in table.extract()]
            rows = [row for row in rows if any(row)]
            if len(rows) > 1 and max(sum(map(bool, row)) for row in rows) > 1:
                tables.append((table.bbox, "\n".join(" | ".join(row) for row in rows)))
    text = page.filter(lambda item: not any(_within(item, box) for box, _ in tables)) if tables else page
    lines = [
        _Line(line["text"].strip(), line["top"], _size(line["chars"]))
        for line in text.extract_text_lines(return_chars=True)
    ]
    lines += [_Line(rows, box[1], None) for box, rows in tables]
    return sorted(lines, key=lambda line: line.top) if tables else lines


def _within(item: dict[str, Any], box: tuple[float, float, float, float]) -> bool:
    if item.get("object_type") != "char":
        return False
    across, down = (item["x0"] + item["x1"]) / 2, (item["top"] + item["bottom"]) / 2
    return box[0] <= across <= box[2] and box[1] <= down <= box[3]


def _size(chars: list[dict[str, Any]]) -> float:
    """The size that most characters of a line have, in points."""
    return Counter(round(char["size"], 1) for char in chars).most_common(1)[0][0]


def _headings(pages: _Pages) -> dict[float, int]:
    """Size -> heading level, of the sizes clearly above the body's; empty where they are too many to be headings."""
    lines = [(line.text, line.size) for page in pages for line in page if line.size is not None]
    weights: Counter[float] = Counter()
    for text, size in lines:
        weights[size] += len(text)
    if not weights:
        return {}
    body = weights.most_common(1)[0][0]
    large = [size for text, size in lines if size >= 1.15 * body and len(text) <= _LONGEST_HEADING]
    if len(large) > 0.3 * (len(lines) + sum(line.size is None for page in pages for line in page)):
        return {}
    return {size: min(level, 9) for level, size in enumerate(sorted(set(large), reverse=True), start=1)}


def _by_headings(pages: _Pages, levels: dict[float, int]) -> Iterator[Block]:
    paragraph: list[str] = []
    for line in (line for page in pages for line in page):
        heading = line.size in levels and len(line.text) <= _LONGEST_HEADING
        if not heading and line.size is not None:
            paragraph.append(line.text)
            continue
        yield Block("\n".join(paragraph))
        paragraph = []
        yield Block(line.text, levels[line.size] if heading and line.size is not None else 0)
    yield Block("\n".join(paragraph))


def _by_pages(pages: _Pages) -> Iterator[Block]:
    for number, page in enumerate(pages, start=1):
        yield Block(f"Page {number}", 1)
        yield from _by_headings([page], {})

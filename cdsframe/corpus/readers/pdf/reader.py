"""Reads PDF files with pdfium: text in reading order, tables, form values. Does not recognise scanned text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.readers.pdf.furniture import drop_repeated
from cdsframe.corpus.readers.pdf.headings import blocks_of
from cdsframe.corpus.readers.pdf.page import Page, read_page, read_second
from cdsframe.corpus.readers.pdf.second import SecondReading
from cdsframe.corpus.readers.pdf.titles import sensible
from cdsframe.text.blocks import assemble
from cdsframe.types import Omission

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_ONE_AT_A_TIME = threading.Lock()
"""pdfium is not thread-safe."""

_MOST_PLACES = 8
"""Maximum number of page ranges listed in a report."""


def read_pdf(data: bytes, limit: int) -> Parsed:
    """Reads a PDF: lines clearly larger than the body text are headings; without any, each page is a section.

    Raises Refused if the file cannot be read or has no text.
    """
    try:
        with _ONE_AT_A_TIME, closing(SecondReading(data)) as second:
            pages, title, xfa = _read(data, second)
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 (broken files make the libraries raise arbitrary errors; the other files must still be read)
        raise Refused("is not a readable PDF: its contents are damaged; save it again in a PDF viewer") from None
    repeated = drop_repeated(pages)
    omitted = [*_omissions(pages, repeated, xfa)]
    if not any(page.lines or page.overlay.notes for page in pages):
        raise Refused(_why_without_text(pages, xfa))
    blocks, largest = blocks_of(pages)
    return with_sections(*assemble(blocks), sensible(title) or largest, omitted)


def _read(data: bytes, second: SecondReading) -> tuple[list[Page], str, bool]:
    """The pages, the title in the file's properties, and whether the file has an XFA form."""
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        return _read_again(second, error.err_code), "", False
    try:
        form_type = document.get_formtype()
        with _form(document, form_type) as form:
            pages = [read_page(document, number, form, second) for number in range(len(document))]
        title = document.get_metadata_value("Title")
    finally:
        document.close()
    raw = pdfium.raw
    return pages, title, form_type in (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND)


def _read_again(second: SecondReading, code: int | None) -> list[Page]:
    """Reads with pdfminer a file that pdfium cannot open (error `code`). Raises Refused if it finds no letters."""
    import pypdfium2.raw as raw

    pages = [read_second(number, second) for number in range(second.pages)]
    if any(page.lines for page in pages):
        return pages
    if code == raw.FPDF_ERR_PASSWORD:
        raise Refused("is encrypted; remove its password")
    if code == raw.FPDF_ERR_SECURITY:
        raise Refused("is encrypted by a method that cannot be read; save it without encryption")
    raise Refused(
        "is not a readable PDF: it is damaged or of another format; open it in a PDF viewer and save it again"
    )


@contextmanager
def _form(document: PdfDocument, kind: int) -> Iterator[Any]:
    """Yields pdfium's handle of the document's form; None if the document has no form."""
    import pypdfium2.raw as raw

    if kind == raw.FORMTYPE_NONE:
        yield None
        return
    config = raw.FPDF_FORMFILLINFO(version=2)
    handle = raw.FPDFDOC_InitFormFillEnvironment(document.raw, config)
    try:
        yield handle
    finally:
        if handle:
            raw.FPDFDOC_ExitFormFillEnvironment(handle)


def _why_without_text(pages: Sequence[Page], xfa: bool) -> str:
    if xfa:
        return "is an XFA form, whose text cannot be read; print it to a new PDF file"
    if lost := sum(page.undecoded for page in pages):
        return f"has no text: the fonts of its {lost} letters have no Unicode map; run text recognition on it first"
    if all(page.broken for page in pages):
        return "is not a readable PDF: none of its pages can be read; open it in a PDF viewer and save it again"
    return "has no text (a scanned document must go through text recognition first)"


def _omissions(pages: Sequence[Page], repeated: int, xfa: bool) -> Iterator[Omission]:
    """Counts of visible content that is not in the text."""
    blank = [not page.lines and not page.undecoded and not page.broken and not page.overlay.notes for page in pages]
    scanned = [empty and page.scanned for empty, page in zip(blank, pages, strict=True)]
    drawn = [empty and page.drawn and not page.scanned for empty, page in zip(blank, pages, strict=True)]
    yield Omission("pages that cannot be read", *_where(page.broken for page in pages))
    yield Omission("scanned pages without text", *_where(scanned))
    yield Omission("letters without a Unicode meaning", *_where(page.undecoded for page in pages))
    yield Omission("stamps without text", *_where(page.overlay.stamps for page in pages))
    yield Omission("XFA forms, whose fields are not read", int(xfa), text=True)
    yield Omission("drawn pages without text", *_where(drawn, text=False))
    yield Omission("words of repeated page headers and footers", repeated, text=False)
    for reason, count in _HARMLESS.items():
        yield Omission(reason, sum(count(page) for page in pages), text=False)


_HARMLESS: dict[str, Callable[[Page], int]] = {
    "words printed again in the same place": lambda page: page.again,
    "words outside the visible page": lambda page: page.outside,
    "form values and comments that are not shown": lambda page: page.overlay.hidden,
    "signature fields": lambda page: page.overlay.signatures,
    "pictures": lambda page: page.pictures,
}


def _where(counts: Iterable[int], text: bool = True) -> tuple[int, bool, str]:
    """Returns an Omission's `(count, text, place)` from counts per page; the place is such as "pages 1, 3-5"."""
    listed = list(counts)
    ranges: list[list[int]] = []
    for number, count in enumerate(listed, start=1):
        if count and ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        elif count:
            ranges.append([number, number])
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in ranges[:_MOST_PLACES]]
    more = " and more" if len(ranges) > _MOST_PLACES else ""
    one = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    return sum(listed), text, f"page{'' if one else 's'} {', '.join(shown)}{more}" if shown else ""

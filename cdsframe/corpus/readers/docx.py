"""Word documents. Does not read page headers and footers (they repeat), footnotes, text boxes or comments."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.records import Block, assemble


def read_docx(data: bytes, limit: int) -> Parsed:
    """Word documents: the styles Title and Heading 1 to 9 open sections; a table's row is a line."""
    import docx

    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused("is encrypted or in the old .doc format; save it as .docx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > limit:
            raise Refused(f"unpacks to more than {limit >> 20} MB (corpus.max_megabytes)")
        document = docx.Document(io.BytesIO(data))
        blocks = list(_blocks(document.element.body, document))
        title = document.core_properties.title
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 (a broken archive makes the library raise whatever it meets)
        raise Refused(f"is not a readable .docx ({type(error).__name__})") from None
    return with_sections(*assemble(blocks), title or None)


def _blocks(element: Any, parent: Any) -> Iterator[Block]:
    """Paragraphs and tables in order, those inside content controls too."""
    from docx.oxml.ns import qn
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    for child in element:
        if child.tag == qn("w:p"):
            paragraph = Paragraph(child, parent)
            style = paragraph.style.name if paragraph.style is not None and paragraph.style.name else ""
            level = re.fullmatch(r"Heading ([1-9])", style)
            yield Block(paragraph.text.strip(), int(level[1]) if level else 1 if style == "Title" else 0)
        elif child.tag == qn("w:tbl"):
            yield Block("\n".join(_rows(Table(child, parent))))
        elif child.tag == qn("w:sdt"):
            content = child.find(qn("w:sdtContent"))
            if content is not None:
                yield from _blocks(content, parent)


def _rows(table: Any) -> Iterator[str]:
    """One line a row; a merged cell stands once, a table inside a cell in its cell, row after row."""
    above: set[Any] = set()
    for row in table.rows:
        cells = list(dict.fromkeys(cell._tc for cell in row.cells))
        text = {cell._tc: "" if cell._tc in above else _cell(cell) for cell in row.cells}
        above = set(cells)
        line = " | ".join(text[cell] for cell in cells)
        if line.strip(" |"):
            yield line


def _cell(cell: Any) -> str:
    return "; ".join(" ".join(block.text.split()) for block in _blocks(cell._tc, cell) if block.text)

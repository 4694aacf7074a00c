"""Yields paragraphs, headings, tables and text boxes of one part of a Word file, in order. Skips headers and footers.

A paragraph with a deleted paragraph mark, and a drop cap, continue in the next paragraph. A text box follows the
paragraph that it is anchored in. Headings in text boxes and in tables with several columns are read as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cdsframe.corpus.readers.word.names import attribute, child, flag, name, number, texts
from cdsframe.corpus.readers.word.numbering import BULLET, Numbering
from cdsframe.corpus.readers.word.story import Pieces, Reader
from cdsframe.corpus.readers.word.styles import Styles
from cdsframe.text.blocks import Block

TITLE = 1
"""The level of paragraphs in the style Title; Heading 1 is level 2."""
_LONGEST_HEADING = 300
"""Characters: a longer paragraph is text regardless of its style."""
_SKIPPED = frozenset(
    ("w:sectPr", "w:tblPr", "w:tblGrid", "w:sdtPr", "w:sdtEndPr", "w:customXmlPr", "w:pPr", "w:tcPr", "w:trPr")
)
_BLOCKS = ("w:p", "w:tbl", "w:altChunk", "w:subDoc")


class Blocks:
    """Reads the blocks of a container: of the body, a note, a table cell or a text box.

    Args:
        reader: reads the part's paragraphs.
        styles: the file's styles.
        numbering: the file's numbering.
        foreign: returns the blocks of the chart, diagram or embedded document to which an element refers.
    """

    def __init__(
        self, reader: Reader, styles: Styles, numbering: Numbering, foreign: Callable[[Any], Iterable[Block]]
    ) -> None:
        self._reader, self._styles, self._numbering, self._foreign = reader, styles, numbering, foreign
        self.titles: list[str] = []
        self._in_cell = False

    def of(self, container: Any) -> Iterator[Block]:
        """Yields the blocks of a container, including those inside wrappers such as content controls."""
        carried: list[tuple[str, str]] = []
        for item in self._members(container):
            if name(item) == "w:p" or not _has_blocks(item):
                pieces = self._reader.paragraph(item)
                pieces.parts[:0], carried = carried, []
                if _runs_on(item):
                    carried, pieces.parts = pieces.parts, []
                    yield from self._boxes(pieces)
                else:
                    yield from self._paragraph(item, pieces)
                continue
            if carried:
                yield Block(Pieces(carried).text().strip())
                carried = []
            if name(item) == "w:tbl":
                yield from self._table(item)
            else:
                yield from self._foreign(item)
        if carried:
            yield Block(Pieces(carried).text().strip())

    def _members(self, container: Any) -> Iterator[Any]:
        """Yields paragraphs, tables, references to embedded documents, and runs outside paragraphs."""
        for item in container:
            tag = name(item)
            if tag in _BLOCKS:
                yield item
            elif tag in _SKIPPED or not tag:
                continue
            elif tag in ("w:del", "w:moveFrom"):
                self._reader.leave_out(item, "deleted passages (tracked changes)")
            elif tag == "w:sdt" and self._reader.is_placeholder(item):
                self._reader.leave_out(item, "prompts of empty form fields")
            elif tag == "mc:AlternateContent":
                branch = self._reader.choice(item)
                yield from self._members(branch) if branch is not None and _has_blocks(branch) else ()
                if branch is not None and not _has_blocks(branch) and texts(branch):
                    yield branch
            elif _has_blocks(item) and tag != "w:r":
                yield from self._members(item)
            elif texts(item) or tag in ("w:r", "m:oMathPara"):
                yield item

    def _paragraph(self, element: Any, pieces: Pieces) -> Iterator[Block]:
        properties = child(element, "w:pPr")
        label = "" if flag(properties, "w:rPr", "w:vanish") else self._numbering.label(properties)
        text = " ".join(pieces.text(notes=False).split())
        outline = self._styles.level(properties)
        level = outline + 1 if outline else 0
        if text and self._styles.is_title(properties):
            level = TITLE
        if level and text and len(text) <= _LONGEST_HEADING:
            self.titles += [text] if level == TITLE else []
            yield Block(f"{label} {text}".strip(), level)
            yield from (Block(f"({note})") for note in pieces.notes)
        elif text or pieces.notes:
            yield Block(f"{label} {pieces.text().strip()}".strip())
        elif self._in_cell and label != BULLET:
            yield Block(label)  # a table cell that holds only a number
        yield from self._boxes(pieces)

    def _boxes(self, pieces: Pieces) -> Iterator[Block]:
        for box in pieces.boxes:
            blocks = self.of(box) if name(box) == "w:txbxContent" else self._foreign(box)
            yield from (Block(block.text) for block in blocks)

    def _table(self, table: Any) -> Iterator[Block]:
        """Yields one block with a line per row; a nested table yields a block per row.

        A table with one column is only a frame: yields the blocks in it.
        """
        rows = [(row, list(self._below(row, "w:tc"))) for row in self._below(table, "w:tr")]
        if all(len(cells) <= 1 for _, cells in rows):
            blocks = [block for _, cells in rows for cell in cells for block in self.of(cell)]
            headings = sum(1 for block in blocks if block.level)
            yield from blocks if headings > 1 and not self._in_cell else (Block(block.text) for block in blocks)
            return
        lines = [line for row, cells in rows if (line := self._row(row, cells))]
        yield from map(Block, lines if self._in_cell else ["\n".join(lines)])

    def _below(self, element: Any, wanted: str) -> Iterator[Any]:
        """Yields a table's rows or a row's cells, also inside wrappers; omits and counts deleted and hidden ones."""
        deleted = {"w:tr": ("w:trPr", "w:del"), "w:tc": ("w:tcPr", "w:cellDel")}[wanted]
        for item in element:
            tag = name(item)
            if tag in ("w:del", "w:moveFrom") or (tag == wanted and child(item, *deleted) is not None):
                self._reader.leave_out(item, "deleted passages (tracked changes)")
            elif tag == wanted and flag(item, "w:trPr", "w:hidden"):
                self._reader.leave_out(item, "hidden passages")
            elif tag == wanted:
                yield item
            elif tag == "w:sdt" and self._reader.is_placeholder(item):
                self._reader.leave_out(item, "prompts of empty form fields")
            elif tag == "mc:AlternateContent":
                branch = self._reader.choice(item)
                yield from self._below(branch, wanted) if branch is not None else ()
            elif tag and tag not in _SKIPPED:
                yield from self._below(item, wanted)

    def _row(self, row: Any, cells: Iterable[Any]) -> str:
        """Joins cells by column; a cell that spans several columns is written in the first."""
        columns = [""] * (number(row, "w:trPr", "w:gridBefore") or 0)
        for cell in cells:
            columns.append(self._cell(cell))
            columns += [""] * ((number(cell, "w:tcPr", "w:gridSpan") or 1) - 1)
        while columns and not columns[-1]:
            columns.pop()
        return " | ".join(columns)

    def _cell(self, cell: Any) -> str:
        outer, self._in_cell = self._in_cell, True
        text = "; ".join(filter(None, (" ".join(block.text.split()) for block in self.of(cell))))
        self._in_cell = outer
        return text


def _has_blocks(element: Any) -> bool:
    return any(name(item) in _BLOCKS for item in element.iter())


def _runs_on(paragraph: Any) -> bool:
    """Whether the next paragraph continues this one."""
    properties = child(paragraph, "w:pPr")
    frame = child(properties, "w:framePr")
    if frame is not None and attribute(frame, "dropCap") in ("drop", "margin"):
        return True
    return any(child(properties, "w:rPr", mark) is not None for mark in ("w:del", "w:moveFrom"))

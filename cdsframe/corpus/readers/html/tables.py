"""Writes tables of web pages as text: one line per row, each value in its column, with row and column spans resolved.

Does not detect header rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cdsframe.corpus.readers.html.lines import line
from cdsframe.corpus.readers.html.tree import Node

_LONG_CELL = 500
"""Characters: a table with headings or nested tables is a layout table if one of its cells is longer."""

_REPEATED = 200
"""Characters: a spanning cell's value repeats in each row and column of the span unless it is longer."""

_MOST_COLUMNS = 1000
_PARTS = frozenset(("caption", "thead", "tbody", "tfoot", "tr", "td", "th"))


@dataclass(slots=True)
class _Cell:
    text: str
    rows: int
    """Number of rows that the cell still spans, including the current one."""


def is_data(table: Node) -> bool:
    """Whether the table holds data; otherwise it only lays out the page."""
    if table.get("role") in ("presentation", "none"):
        return False
    inner = [node for node in table.descendants() if node is not table and not node.out]
    if any(node.tag in ("h1", "h2", "main", "article", "nav") for node in inner):
        return False
    rows = list(_rows(table, Counter()))
    cells = [cell for _, row in rows for cell in row]
    divided = any(node.tag in ("table", "h3", "h4", "h5", "h6") for node in inner)
    if not divided:
        return True
    several = len(rows) > 1 and max((len(row) for _, row in rows), default=0) > 1
    return several and max((cell.letters for cell in cells), default=0) <= _LONG_CELL


def lines_of(table: Node, omitted: Counter[str]) -> Iterator[str]:
    """Yields the caption, then one line per row that is not empty: `drug | dose`."""
    for child in table.children:
        if isinstance(child, Node) and child.tag == "caption":
            if child.out:
                omitted[child.out] += child.words
            else:
                yield line(child, omitted)
    rows = list(_placed(table, omitted))
    begins = sorted({column for row, starts in rows for column in starts})
    for row, starts in rows:
        values = []
        shown: set[int] = set()
        spans_all = _spans_all(row, begins)
        for column in begins:
            cell = row.get(column)
            long = cell is not None and (len(cell.text) > _REPEATED or spans_all)
            first = column in starts and cell is not None and id(cell) not in shown
            values.append(cell.text if cell is not None and (first or not long) else "")
            shown.add(id(cell))
        text = " | ".join(values).rstrip(" |") if not spans_all else values[0]
        if text.strip(" |"):
            yield text


def _spans_all(row: dict[int, _Cell], begins: list[int]) -> bool:
    return len(begins) > 1 and len({id(row.get(column)) for column in begins}) == 1


def _placed(table: Node, omitted: Counter[str]) -> Iterator[tuple[dict[int, _Cell], set[int]]]:
    """Yields `(cells by column, columns where a cell of this row starts)` for each row; a cell may span from above."""
    carried: dict[int, _Cell] = {}
    group: Node | None = None
    for of, cells in _rows(table, omitted):
        if of is not group:
            carried, group = {}, of
        row = dict(carried)
        starts: set[int] = set()
        column = 0
        for node in cells:
            while column in row:
                column += 1
            if node.out:
                omitted[node.out] += node.words
            rows = _span(node, "rowspan", 65534) or 1 << 30
            cell = _Cell("" if node.out else line(node, omitted, "; "), rows)
            starts.add(column)
            width = min(_span(node, "colspan", 1000) or 1, max(1, _MOST_COLUMNS - column))
            for place in range(column, column + width):
                if place > column and place in row:
                    break
                row[place] = cell
            column += width
        yield row, starts
        for cell in {id(cell): cell for cell in row.values()}.values():
            cell.rows -= 1
        carried = {place: cell for place, cell in row.items() if cell.rows > 0}


def _span(node: Node, name: str, most: int) -> int:
    value = node.get(name).strip()
    return min(int(value), most) if value.isascii() and value.isdigit() and len(value) < 9 else 1


def parts_of(table: Node) -> Iterator[Node]:
    """Yields the caption, row groups, rows and cells of a table, but not those of tables nested in its cells."""
    stack = [*reversed(table.children)]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node.tag in _PARTS:
            yield node
            stack += reversed(node.children if node.tag not in ("caption", "td", "th") else ())


def _rows(table: Node, omitted: Counter[str]) -> Iterator[tuple[Node, list[Node]]]:
    """Yields `(row group, cells)` for each row of the table, but not for rows of tables nested in its cells.

    The row group is the row's parent: `thead`, `tbody`, `tfoot` or the table. Cells that are marked as omitted are
    yielded too; the words of all other omitted parts are counted.
    """
    stack = [(table, child) for child in reversed(table.children)]
    while stack:
        group, node = stack.pop()
        if not isinstance(node, Node) or node.tag in ("caption", "colgroup", "table"):
            continue
        if node.out:
            omitted[node.out] += node.words
        elif node.tag == "tr":
            inner = [child for child in node.children if isinstance(child, Node)]
            yield group, [child for child in inner if child.tag in ("td", "th")]
            for child in inner:
                if child.out and child.tag not in ("td", "th"):
                    omitted[child.out] += child.words
        else:
            stack += [(node, child) for child in reversed(node.children)]

"""Ruled tables of a page: which letters stand in which cell, and the rows as lines `a | b | c`.

The cells are pdfplumber's. Does not find tables without rules on all sides of their cells.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from cdsframe.corpus.readers.pdf.letters import Box, Frame, Letter
from cdsframe.corpus.readers.pdf.pieces import Piece

_MOST_RULES = 1500
"""A page with more ruled lines is a drawing: looking for cells in it would take minutes."""

_LARGEST_CELL = 1500
"""Letters: a frame around more of them is the page's layout, not a table."""

_NEAR = 2.0
"""Points within which edges of cells belong to one row or column."""


@dataclass(slots=True)
class Table:
    """Cells in the frame of 0 degrees; `first` is the number of the first cell."""

    cells: list[Box]
    first: int


def find_tables(rules: Sequence[Box]) -> list[Table]:
    """The grids that ruled lines `(left, top, right, bottom)` form, the smallest first."""
    from pdfplumber.table import cells_to_tables, edges_to_intersections, intersections_to_cells, merge_edges

    if len(rules) < 4:
        return []
    edges = merge_edges([_edge(rule) for rule in rules], 3, 3, 3, 3)
    edges = [edge for edge in edges if max(edge["width"], edge["height"]) >= 3]
    if len(edges) > _MOST_RULES:
        return []
    grids = cells_to_tables(intersections_to_cells(edges_to_intersections(edges, 3, 3)))
    found: list[Table] = []
    number = 0
    for grid in sorted(grids, key=_area):
        if len(grid) > 1:
            found.append(Table(list(grid), number))
            number += len(grid)
    return found


def _edge(rule: Box) -> dict[str, float | str]:
    left, top, right, bottom = rule
    level = right - left >= bottom - top
    return {
        "x0": left,
        "x1": right,
        "top": top,
        "bottom": bottom,
        "width": right - left,
        "height": bottom - top,
        "orientation": "h" if level else "v",
    }


def _area(grid: Sequence[Box]) -> float:
    return sum((right - left) * (bottom - top) for left, top, right, bottom in grid)


def place(letters: Sequence[Letter], tables: Sequence[Table]) -> list[Table]:
    """Gives each letter inside a table its cell's number. Returns the tables that hold text in rows and columns."""
    by_turn: dict[float, list[Letter]] = defaultdict(list)
    for letter in letters:
        by_turn[letter.turn].append(letter)
    kept: list[Table] = []
    for table in tables:
        inside: dict[int, list[Letter]] = defaultdict(list)
        for turn, group in by_turn.items():
            boxes = [Frame(turn).box((left, -bottom, right, -top)) for left, top, right, bottom in table.cells]
            around = [*(min(box[n] for box in boxes) for n in (0, 1)), *(max(box[n] for box in boxes) for n in (2, 3))]
            for letter in group:
                x, y = (letter.left + letter.right) / 2, (letter.top + letter.bottom) / 2
                if letter.cell < 0 and around[0] <= x <= around[2] and around[1] <= y <= around[3]:
                    number = next((n for n, b in enumerate(boxes) if b[0] <= x <= b[2] and b[1] <= y <= b[3]), None)
                    if number is not None:
                        inside[number].append(letter)
        if not inside or max(map(len, inside.values())) > _LARGEST_CELL:
            continue
        filled = [table.cells[number] for number in inside]
        if _tallies(filled, 1) < 2 or _tallies(filled, 0) < 2 or not _row_of_two(filled):
            continue
        for number, cell in inside.items():
            for letter in cell:
                letter.cell = table.first + number
        kept.append(table)
    return kept


def _tallies(cells: Sequence[Box], side: int) -> int:
    return len(_steps(cell[side] for cell in cells))


def _row_of_two(cells: Sequence[Box]) -> bool:
    """Whether two filled cells stand beside each other, so that the grid is more than a stack of frames."""
    tops = Counter(round(cell[1] / _NEAR) for cell in cells)
    return max(tops.values()) > 1


def _steps(values: object) -> list[float]:
    """Sorted values, those that hardly differ as one."""
    found: list[float] = []
    for value in sorted(values):  # type: ignore[call-overload]
        if not found or value - found[-1] > _NEAR:
            found.append(value)
    return found


def table_piece(
    table: Table, letters: Sequence[Letter], order: int, text_of: Callable[[Sequence[Letter]], str]
) -> tuple[float, Piece]:
    """The table as one piece, and the direction of most of its text.

    Args:
        letters: those inside the table.
        text_of: writes a cell's letters on one line.
    """
    turn = Counter(letter.turn for letter in letters).most_common(1)[0][0]
    frame = Frame(turn)
    boxes = [frame.box((left, -bottom, right, -top)) for left, top, right, bottom in table.cells]
    texts: dict[int, list[Letter]] = defaultdict(list)
    for letter in letters:
        texts[letter.cell - table.first].append(letter)
    rows, columns = _steps(box[1] for box in boxes), _steps(box[0] for box in boxes)
    grid = [[""] * len(columns) for _ in rows]
    for number, cell in texts.items():
        row = _index(rows, boxes[number][1])
        column = _index(columns, boxes[number][0])
        grid[row][column] = " ".join((grid[row][column], text_of(cell))).strip()
    used = [column for column in range(len(columns)) if any(row[column] for row in grid)]
    lines = [" | ".join(row[column] for column in used) for row in grid if any(row)]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    size = median(letter.size for letter in letters)
    return turn, Piece("\n".join(lines), left, top, right, bottom, bottom, size, order, len(letters), table=True)


def _index(steps: Sequence[float], value: float) -> int:
    return min(range(len(steps)), key=lambda number: abs(steps[number] - value))

"""Writes a ruled table as text, one line per row: `a | b | c`. Does not find tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median

from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.pieces import Piece, is_rtl
from cdsframe.corpus.readers.pdf.rows import Line
from cdsframe.corpus.readers.pdf.tables import Table, cells_in, steps

_LARGEST_CELL = 600
_MOST_LINES = 6
"""Maximum characters and lines of a cell. A larger cell only lays out the page: its row is written cell by cell."""

_MOST_RUNNING_LINES = 12
"""Maximum lines of a cell with running text, which may be narrow, as in a header."""

_Cell = list[Line]
_LayOut = Callable[[Sequence[Letter]], list[Line]]


def table_piece(table: Table, letters: Sequence[Letter], order: int, lines_of: _LayOut) -> tuple[float, Piece]:
    """Returns the angle by which most of the table's text is turned, and the table as one piece.

    Args:
        letters: the letters inside the table.
        order: rank of the piece among the pieces as the file draws them.
        lines_of: lays out the letters of a cell.
    """
    turn = Counter(letter.turn for letter in letters).most_common(1)[0][0]
    boxes = cells_in(table, turn)
    inside: dict[int, list[Letter]] = defaultdict(list)
    for letter in letters:
        inside[letter.cell - table.first].append(letter)
    rtl = 2 * sum(is_rtl(letter.text) for letter in letters) > len(letters)
    text = "\n".join(_rows(inside, boxes, rtl, lines_of))
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    size = median(letter.size for letter in letters)
    return turn, Piece(text, left, top, right, bottom, bottom, size, order, len(letters), table=True)


def _rows(inside: dict[int, list[Letter]], boxes: Sequence[Box], rtl: bool, lines_of: _LayOut) -> list[str]:
    """The text of each row, without empty columns. `inside`: the letters by cell number; `boxes`: all cells."""
    tops, lefts = steps(box[1] for box in boxes), steps(box[0] for box in boxes)
    grid: list[list[list[Letter]]] = [[[] for _ in lefts] for _ in tops]
    for number, letters in inside.items():
        grid[_index(tops, boxes[number][1])][_index(lefts, boxes[number][0])] += letters
    used = [column for column in range(len(lefts)) if any(row[column] for row in grid)]
    laid_out = [[lines_of(row[column]) for column in (used[::-1] if rtl else used)] for row in grid]
    if any(_numbers_rows(cell) for row in laid_out for cell in row):
        return [line.text for line in lines_of([letter for letters in inside.values() for letter in letters])]
    found = []
    for row in laid_out:
        filled = [cell for cell in row if cell]
        if len(filled) == 1 or any(_is_layout(cell) for cell in filled):
            found += [line.text for cell in filled for line in cell]
        elif filled:
            found += [" | ".join(map(_one_line, part)) for part in _parted(row)]
    return found


def _numbers_rows(cell: _Cell) -> bool:
    """Whether a tall cell contains the row numbers of rows without rules between them."""
    return _is_layout(cell) and sum(line.text.rstrip(".)").isdecimal() for line in cell) >= 0.8 * len(cell)


def _is_layout(cell: _Cell) -> bool:
    running = sum(line.text[0].islower() for line in cell) >= 0.25 * len(cell)
    most = _MOST_RUNNING_LINES if running else _MOST_LINES
    return len(cell) > most or sum(len(line.text) for line in cell) > _LARGEST_CELL


def _index(places: Sequence[float], value: float) -> int:
    return min(range(len(places)), key=lambda number: abs(places[number] - value))


def _parted(row: list[_Cell]) -> list[list[_Cell]]:
    """Splits a row whose cells have lines on the same baselines: those lines are rows without rules between them."""
    filled = [cell for cell in row if cell]
    most = max(map(len, filled), default=0)
    if len(filled) < 2 or most < 2 or any(line.text[0].islower() for cell in filled for line in cell[1:]):
        return [row]
    bases = next([line.base for line in cell] for cell in filled if len(cell) == most)
    full = sum(len(cell) == most for cell in filled)
    near = 0.3 * filled[0][0].size
    fits = all(any(abs(line.base - base) <= near for base in bases) for cell in filled for line in cell)
    if not fits or full < 0.6 * len(filled) or min(map(len, filled)) < min(most, 2):
        return [row]
    return [[[line for line in cell if abs(line.base - base) <= near] for cell in row] for base in bases]


def _one_line(lines: _Cell) -> str:
    """Joins a cell's lines by blanks; a word that a hyphen divides is joined without a blank and keeps the hyphen."""
    text = ""
    for line in lines:
        cut = len(text) > 1 and text[-1] == "-" and text[-2].isalpha() and line.text[0].islower()
        text += line.text if cut or not text else " " + line.text
    return text

"""Finds the cells that take several lines in a table without rules, so that the text of each cell is read as a whole.

Two kinds are known: a line half-way between two lines of another cell, and a line in lower case below a cell that has
no more room. Lines that stand level with each other may be rows of their own and stay so: a value beside the wrong
label is worse than a cell in two parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, combinations, pairwise

from cdsframe.corpus.readers.pdf.pieces import Piece

_LEADING = 1.45
"""Distance of two lines of a cell in letter sizes, at most."""

_GAP = 1.0
"""Gap in letter sizes that divides two cells."""

_MOST_LINES = 4

_Run = list[Piece]
"""Pieces of one line that stand close to each other: a cell, or one of its lines."""


def cells_of(rows: Sequence[Sequence[Piece]]) -> list[list[_Run]]:
    """The rows in their order, each as the runs that are read one after the other.

    A row that takes one line is one run; of a row that takes several the lines of the first cell come first.

    Args:
        rows: the pieces of each line from top to bottom, of text from left to right.
    """
    runs = [_runs(row) for row in rows]
    if all(len(row) < 2 for row in runs):
        return [[list(row)] for row in rows]
    return _continued(_centred(runs))


def _runs(row: Sequence[Piece]) -> list[_Run]:
    found: list[_Run] = []
    for piece in sorted(row, key=lambda piece: (piece.left, piece.order)):
        if not found or piece.left - max(before.right for before in found[-1]) > _GAP * piece.size:
            found.append([])
        found[-1].append(piece)
    return found


def _left(runs: Iterable[_Run]) -> float:
    return min(piece.left for run in runs for piece in run)


def _right(runs: Iterable[_Run]) -> float:
    return max(piece.right for run in runs for piece in run)


def _base(run: _Run) -> float:
    return max(run, key=lambda piece: piece.size).base


def _size(run: _Run) -> float:
    return max(piece.size for piece in run)


def _meet(one: Iterable[_Run], other: Iterable[_Run]) -> bool:
    """Whether one stands above the other, at least in part."""
    one, other = list(one), list(other)
    return _left(one) < _right(other) and _left(other) < _right(one)


def _centred(rows: Sequence[list[_Run]]) -> list[list[list[_Run]]]:
    """The rows as cells of one or more lines, where cells are centred beside longer ones."""
    cells: list[list[_Run]] = []
    for run in chain.from_iterable(rows):
        above = [cell for cell in cells[-60:] if _is_below(cell[-1], run) and _meet(cell, [run])]
        if len(above) == 1:
            above[0].append(run)
        else:
            cells.append([run])
    found: list[list[list[_Run]]] = []
    place = {id(run): number for number, row in enumerate(rows) for run in row}
    for band in _bands(cells):
        if _is_row(band):
            found.append(sorted(band, key=_left))
        else:
            lines: dict[int, list[list[_Run]]] = defaultdict(list)
            for run in sorted(chain.from_iterable(band), key=lambda run: (place[id(run)], run[0].left)):
                lines[place[id(run)]].append([run])
            found += lines.values()
    return found


def _is_below(upper: _Run, lower: _Run) -> bool:
    distance = _base(lower) - _base(upper)
    sizes = _size(upper), _size(lower)
    return 0.5 * max(sizes) < distance <= _LEADING * min(sizes) and max(sizes) <= 1.15 * min(sizes)


def _bands(cells: Sequence[list[_Run]]) -> list[list[list[_Run]]]:
    """Cells that stand beside each other, from top to bottom."""
    found: list[list[list[_Run]]] = []
    end = float("-inf")
    for cell in sorted(cells, key=lambda cell: _base(cell[0])):
        if not found or _base(cell[0]) - 0.5 * _size(cell[0]) > end:
            found.append([])
        found[-1].append(cell)
        end = max(end, _base(cell[-1]))
    return found


def _is_row(band: Sequence[list[_Run]]) -> bool:
    """Whether cells of up to four lines stand beside each other, and a line of one stands half-way between two others.

    Columns of a table's rows may be shifted by less, and where all lines are level each of them may be a row.
    """
    longest = max(band, key=len)
    if len(band) < 2 or not 2 <= len(longest) <= _MOST_LINES or any(_meet(*pair) for pair in combinations(band, 2)):
        return False
    gaps = [(_base(upper), _base(lower)) for upper, lower in pairwise(longest)]
    return any(_half_way(_base(run), gap) for run in chain.from_iterable(band) for gap in gaps)


def _half_way(base: float, gap: tuple[float, float]) -> bool:
    return 0.4 <= (base - gap[0]) / (gap[1] - gap[0]) <= 0.6


def _continued(rows: Sequence[list[list[_Run]]]) -> list[list[_Run]]:
    """Joins a line with the row above whose cells it continues."""
    found: list[list[list[_Run]]] = []
    for row in rows:
        above = _continued_cells(found[-1], row) if found else None
        if above:
            for cell, lines in zip(above, row, strict=True):
                cell += lines
        else:
            found.append([list(cell) for cell in row])
    return [_in_reading_order(row) for row in found]


def _in_reading_order(row: Sequence[list[_Run]]) -> list[_Run]:
    runs = [run for cell in row for run in cell]
    return runs if len(runs) > len(row) else [list(chain.from_iterable(runs))]


def _continued_cells(above: list[list[_Run]], row: list[list[_Run]]) -> list[list[_Run]] | None:
    """The cell above that a line continues, as the only item; None where it continues none.

    The line is one cell in lower case, and its first word has no room behind the cell above, before the next column. A
    row in which a value is missing has room there.
    """
    if len(row) > 1 or len(above) < 2 or len(row[0]) > 1:
        return None
    text = row[0][0][0].text
    uppers = [number for number, upper in enumerate(above) if _meet(upper, row[0])]
    if not text[:1].islower() or len(uppers) != 1 or uppers[0] + 1 == len(above):
        return None
    upper, following = above[uppers[0]], above[uppers[0] + 1]
    first = row[0][0][0]
    word = (first.right - first.left) * len(text.split()[0]) / len(text)
    room = _left(following) - _right(upper[-1:]) - _GAP * first.size
    if upper[0][0].text[:1].islower() or not _is_below(upper[-1], row[0][0]) or word <= room:
        return None
    return [upper]

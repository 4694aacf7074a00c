"""Finds cells that take several lines in a table without rules, so that each cell's text is read as a whole.

Supports two cases: a line half-way between two lines of another cell, and a line in lower case below a cell whose line
is full. Lines of neighbouring cells on the same baselines are kept as separate rows: a value next to the wrong label is
worse than a split cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, combinations, pairwise

from cdsframe.corpus.readers.pdf.pieces import Piece

_LEADING = 1.45
"""Maximum distance between two lines of a cell, in font sizes."""

_GAP = 1.0
"""Minimum gap between two cells, in font sizes."""

_MOST_LINES = 4

_Run = list[Piece]
"""Adjacent pieces of one line: a cell, or one of its lines."""


def cells_of(rows: Sequence[Sequence[Piece]]) -> list[list[_Run]]:
    """Returns the runs of each row in reading order.

    A single-line row is one run. In a row of several lines, all lines of the first cell come first.

    Args:
        rows: the pieces of each line, top to bottom; left-to-right text.
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
    """Whether two cells overlap horizontally."""
    one, other = list(one), list(other)
    return _left(one) < _right(other) and _left(other) < _right(one)


def _centred(rows: Sequence[list[_Run]]) -> list[list[list[_Run]]]:
    """Groups lines into cells if a cell is vertically centred next to one with more lines. Returns the cells by row."""
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
    """Groups cells that overlap vertically, top to bottom."""
    found: list[list[list[_Run]]] = []
    end = float("-inf")
    for cell in sorted(cells, key=lambda cell: _base(cell[0])):
        if not found or _base(cell[0]) - 0.5 * _size(cell[0]) > end:
            found.append([])
        found[-1].append(cell)
        end = max(end, _base(cell[-1]))
    return found


def _is_row(band: Sequence[list[_Run]]) -> bool:
    """Whether the cells are side by side, have at most four lines, and a line of one is half-way between two lines of
    another.

    A smaller offset may be a shifted column; if all lines are level, each may be a separate row.
    """
    longest = max(band, key=len)
    if len(band) < 2 or not 2 <= len(longest) <= _MOST_LINES or any(_meet(*pair) for pair in combinations(band, 2)):
        return False
    gaps = [(_base(upper), _base(lower)) for upper, lower in pairwise(longest)]
    return any(_half_way(_base(run), gap) for run in chain.from_iterable(band) for gap in gaps)


def _half_way(base: float, gap: tuple[float, float]) -> bool:
    return 0.4 <= (base - gap[0]) / (gap[1] - gap[0]) <= 0.6


def _continued(rows: Sequence[list[list[_Run]]]) -> list[list[_Run]]:
    """Joins a line with the row above if it continues one of its cells."""
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
    """The cell above that a line continues, as the only item; None if it continues none.

    The line must be a single cell in lower case whose first word does not fit into the space after the cell above,
    before the next column. (In a row with a missing value it would fit.)
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

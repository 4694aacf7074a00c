"""Finds ruled tables on a page and the letters in their cells. Does not find tables without rules around their cells.

pdfplumber computes the cells.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cdsframe.corpus.readers.pdf.frames import Box, Frame
from cdsframe.corpus.readers.pdf.letters import Letter

_MOST_RULES = 1500
"""A page with more ruled lines is a drawing. It is not searched for tables, because that would take minutes."""

_BESIDE = 8.0
"""Distance, in font sizes, within which text next to a table continues its lines."""

_NEAR = 2.0
"""Distance, in points, within which cell edges belong to the same row or column."""


@dataclass(slots=True)
class Table:
    """A table: its cells in the frame of 0 degrees, and the number of its first cell among all cells of the page."""

    cells: list[Box]
    first: int


def find_tables(rules: Sequence[Box]) -> list[Table]:
    """The grids that ruled lines form, smallest first. The lines are boxes in the frame of 0 degrees."""
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
    """Assigns letters to the cells of tables (`Letter.cell`); drops tables with text in one row or one column only."""
    if not tables:
        return []
    words: dict[float, list[list[Letter]]] = defaultdict(list)
    for word in _words(letters):
        words[word[0].turn].append(word)
    kept: list[Table] = []
    for table in tables:
        inside: dict[int, list[Letter]] = defaultdict(list)
        for turn, group in words.items():
            for number, word in _inside(group, cells_in(table, turn)):
                inside[number] += word
        filled = [table.cells[number] for number in inside]
        if len(steps(cell[1] for cell in filled)) < 2 or len(steps(cell[0] for cell in filled)) < 2:
            continue
        if max(Counter(round(cell[1] / _NEAR) for cell in filled).values()) < 2:
            continue  # stacked frames, no columns
        if _is_part_of_rows(table, inside, words):
            continue
        for number, cell in inside.items():
            for letter in cell:
                letter.cell = table.first + number
        kept.append(table)
    return kept


def _is_part_of_rows(table: Table, inside: dict[int, list[Letter]], words: dict[float, list[list[Letter]]]) -> bool:
    """Whether most text lines continue outside the grid: it is then only part of a table, such as a shaded column."""
    letters = [letter for cell in inside.values() for letter in cell]
    turn = Counter(letter.turn for letter in letters).most_common(1)[0][0]
    boxes = cells_in(table, turn)
    left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    outside = set()
    for word in words[turn]:
        first, reach = word[0], _BESIDE * word[0].size
        near = left - reach <= word[-1].right <= left + 1 or right - 1 <= first.left <= right + reach
        if near and first.cell < 0 and top < first.base < bottom:
            outside.add(round(first.base))
    bases = {round(letter.base) for letter in letters if letter.turn == turn}
    beside = sum(any(base + step in outside for step in (-1, 0, 1)) for base in bases)
    return beside > 0.5 * len(bases)


def cells_in(table: Table, turn: float) -> list[Box]:
    """The boxes of a table's cells, in coordinates turned so that text at the angle `turn` is level."""
    frame = Frame(turn)
    return [frame.box((left, -bottom, right, -top)) for left, top, right, bottom in table.cells]


def _words(letters: Sequence[Letter]) -> list[list[Letter]]:
    """Groups letters that must be in the same cell even if a rule runs through them."""
    found = [[letters[0]]] if letters else []
    for before, after in pairwise(letters):
        apart = (
            before.space
            or before.turn != after.turn
            or abs(before.base - after.base) > 0.3 * before.size
            or max(after.left - before.right, before.left - after.right) > 0.6 * before.size
        )
        if apart:
            found.append([])
        found[-1].append(after)
    return found


def _inside(words: Iterable[list[Letter]], boxes: Sequence[Box]) -> Iterable[tuple[int, list[Letter]]]:
    """Yields `(number of the box, word)` for each word whose centre is inside a box."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    for word in words:
        x = (min(letter.left for letter in word) + max(letter.right for letter in word)) / 2
        y = (word[0].top + word[0].bottom) / 2
        if word[0].cell < 0 and left <= x <= right and top <= y <= bottom:
            for number, box in enumerate(boxes):
                if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                    yield number, word
                    break


def steps(values: Iterable[float]) -> list[float]:
    """The sorted values, with one value for those within `_NEAR` of each other."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _NEAR:
            found.append(value)
    return found

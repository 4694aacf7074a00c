"""Adds the letters that pdfium skips, as pdfminer reads them. Letters that pdfium finds are never changed.

pdfium drops text objects without width. An object of one letter has no width if its font is not embedded and pdfium's
substitute font lacks it: the `≥` of `Dose ≥ 5 mg`, or a Chinese line written letter by letter.
"""

from __future__ import annotations

import ctypes
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdsframe.corpus.readers.pdf.drawings import SAME, objects, own, times
from cdsframe.corpus.readers.pdf.frames import Frame
from cdsframe.corpus.readers.pdf.letters import Letter, visible_box
from cdsframe.corpus.readers.pdf.second import SecondPage
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_NO_WIDTH = 0.01
"""Points; pdfium's own threshold."""

_CELL = 8.0
"""Points: cell size of the grid in which letters are searched."""

_FIRST_RUN = 500_000
_STEPS_BACK = 20
"""Number of preceding letters that are searched for the neighbour of a skipped letter."""


@dataclass(slots=True)
class Skipped:
    """Start of a text object without width, in PDF user space, and its font size; in points."""

    x: float
    y: float
    size: float


def find_skipped(page: PdfPage) -> list[Skipped]:
    """The text objects without width on the visible page whose font is not embedded. Some of them are blanks."""
    import pypdfium2.raw as raw

    found: list[Skipped] = []
    left, bottom, right, top = visible_box(page)
    edges = [ctypes.c_float() for _ in range(4)]
    size = ctypes.c_float()
    for item, kind, matrix in objects(raw, page.raw, SAME, 0):
        if kind != raw.FPDF_PAGEOBJ_TEXT or not raw.FPDFPageObj_GetBounds(item, *edges):
            continue
        if edges[2].value - edges[0].value >= _NO_WIDTH or raw.FPDFFont_GetIsEmbedded(raw.FPDFTextObj_GetFont(item)):
            continue
        whole = times(own(raw, item), matrix)
        raw.FPDFTextObj_GetFontSize(item, size)
        if left - 1 <= whole[4] <= right + 1 and bottom - 1 <= whole[5] <= top + 1:
            height = abs(size.value) * math.hypot(whole[2], whole[3])
            found.append(Skipped(whole[4], whole[5], max(height, 0.1)))
    return found


def with_skipped(letters: Sequence[Letter], skipped: Sequence[Skipped], second: SecondPage) -> list[Letter]:
    """Inserts the skipped letters into pdfium's letters, each after its predecessor.

    A text object where pdfminer has neither a letter nor a blank becomes an UNKNOWN letter at the end.

    Args:
        second: pdfminer's reading of the page.
    """
    others = second.letters
    places, own_places, blanks = _by_place(others), _by_place(letters), _by_place(second.blanks)
    added: dict[int, Letter] = {}
    lost: list[Letter] = []
    for item in skipped:
        at = _nearest(item, others, places)
        if at is None:
            if _nearest(item, second.blanks, blanks) is None:
                lost.append(_unknown(item, len(lost)))
        elif at not in added and _match(others[at], letters, own_places) is None:
            added |= _object(item, at, others, letters, own_places)
    behind: dict[int, list[Letter]] = defaultdict(list)
    for at, letter in sorted(added.items()):
        behind[_before(at, others, added, letters, own_places)].append(letter)
    found = list(behind[-1])
    for number, letter in enumerate(letters):
        found += [letter, *behind.get(number, ())]
    return found + lost


def _unknown(item: Skipped, number: int) -> Letter:
    edges = (item.x, -item.y - 0.9 * item.size, item.x + 0.1, -item.y + 0.25 * item.size)
    return Letter(UNKNOWN, *edges, -item.y, item.size, 0.0, _FIRST_RUN + number, " ")


def _by_place(letters: Sequence[Letter]) -> dict[tuple[float, int, int], list[int]]:
    found: dict[tuple[float, int, int], list[int]] = defaultdict(list)
    for number, letter in enumerate(letters):
        found[letter.turn, int(letter.left // _CELL), int(letter.base // _CELL)].append(number)
    return found


def _around(places: dict[tuple[float, int, int], list[int]], turn: float, left: float, base: float) -> list[int]:
    column, row = int(left // _CELL), int(base // _CELL)
    return [
        number
        for x in (column - 1, column, column + 1)
        for y in (row - 1, row, row + 1)
        for number in places.get((turn, x, y), ())
    ]


def _nearest(item: Skipped, others: Sequence[Letter], places: dict[tuple[float, int, int], list[int]]) -> int | None:
    """The index of pdfminer's letter at the object's start; None if pdfminer read no letter there.

    pdfminer's positions ignore text rise, so the baseline may differ.
    """
    best: tuple[float, int] | None = None
    for turn in {turn for turn, _, _ in places}:
        left, base = Frame(turn).point(item.x, item.y)
        for number in _around(places, turn, left, base):
            across, down = abs(others[number].left - left), abs(others[number].base - base)
            if across <= min(1.0, 0.2 * item.size) and down <= 0.8 * item.size:
                best = min(best or (math.inf, 0), (across + down, number))
    return best[1] if best else None


def _match(other: Letter, letters: Sequence[Letter], places: dict[tuple[float, int, int], list[int]]) -> int | None:
    """The index of pdfium's letter nearest to the position of `other`, which pdfminer read; None if none is near."""
    best: tuple[float, int] | None = None
    for number in _around(places, other.turn, other.left, other.base):
        letter = letters[number]
        reach = 0.3 * letter.size if letter.text == other.text else 0.1 * letter.size
        across, down = abs(letter.left - other.left), abs(letter.base - other.base)
        if across <= reach and down <= 0.8 * letter.size:
            best = min(best or (math.inf, 0), (across + down, number))
    return best[1] if best else None


def _object(
    item: Skipped,
    at: int,
    others: Sequence[Letter],
    letters: Sequence[Letter],
    places: dict[tuple[float, int, int], list[int]],
) -> dict[int, Letter]:
    """pdfminer's letters of a skipped object by index: one, or several in vertical text."""
    first = others[at]
    base = Frame(first.turn).point(item.x, item.y)[1]
    found: dict[int, Letter] = {}
    for number in range(at, len(others)):
        other = others[number]
        if number > at:
            before = others[number - 1]
            apart = other.turn != first.turn or abs(other.base - first.base) > 0.1 * item.size
            if apart or before.space or first.turn in (0.0, 180.0) or abs(other.left - before.right) > 0.2 * item.size:
                break
            if _match(other, letters, places) is not None:
                break
        top, bottom = base - 0.9 * item.size, base + 0.25 * item.size
        found[number] = replace(other, top=top, bottom=bottom, base=base, size=item.size, run=_FIRST_RUN + at, cell=-1)
    return found


def _before(
    at: int,
    others: Sequence[Letter],
    added: dict[int, Letter],
    letters: Sequence[Letter],
    places: dict[tuple[float, int, int], list[int]],
) -> int:
    """The index of pdfium's letter after which a skipped letter is inserted; -1 for the start."""
    for number in range(at - 1, max(at - 1 - _STEPS_BACK, -1), -1):
        if number in added:
            continue
        match = _match(others[number], letters, places)
        if match is not None:
            if number == at - 1:  # pdfium read the gap of the skipped letter as a blank
                letters[match].space = others[number].space
            return match
    return -1

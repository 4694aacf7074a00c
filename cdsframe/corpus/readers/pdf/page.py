"""Reads a PDF page as lines in reading order and counts the omitted content. Does not compare pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.pdf.cells import table_piece
from cdsframe.corpus.readers.pdf.columns import flows
from cdsframe.corpus.readers.pdf.comparators import with_lines_below
from cdsframe.corpus.readers.pdf.drawings import read_drawings
from cdsframe.corpus.readers.pdf.forms import Overlay, read_overlay, with_values
from cdsframe.corpus.readers.pdf.frames import Box, Frame
from cdsframe.corpus.readers.pdf.letters import Letter, read_letters, visible_box
from cdsframe.corpus.readers.pdf.pieces import Piece, pieces
from cdsframe.corpus.readers.pdf.printed import known, once
from cdsframe.corpus.readers.pdf.rows import Line, lines_of
from cdsframe.corpus.readers.pdf.second import SecondReading, fill
from cdsframe.corpus.readers.pdf.skipped import find_skipped, with_skipped
from cdsframe.corpus.readers.pdf.stacked import with_stacked
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN
from cdsframe.corpus.readers.pdf.tables import find_tables, place

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_SCAN = 0.5
"""A page counts as scanned if pictures cover at least this share of its area."""


@dataclass(slots=True)
class Page:
    """A page's lines in reading order, its comments, and counts of omitted content."""

    lines: list[Line] = field(default_factory=list)
    top: float = 0.0
    """The page's top edge, in points, in the frame of upright text (see `Frame`): the same axis as `Line.base`."""
    bottom: float = 0.0
    """The page's bottom edge on the same axis."""
    overlay: Overlay = field(default_factory=Overlay)
    undecoded: int = 0
    """Number of letters that could not be decoded to Unicode."""
    outside: int = 0
    """Number of words outside the visible page."""
    again: int = 0
    """Number of words that are removed because they repeat a word in the same place."""
    pictures: int = 0
    scanned: bool = False
    """Whether pictures cover at least half of the page (`_SCAN`)."""
    drawn: bool = False
    """Whether the page contains drawn paths or pictures."""
    broken: bool = False
    """Whether the page cannot be read."""


def read_page(document: PdfDocument, number: int, form: Any, second: SecondReading) -> Page:
    """Reads a page of a document. If the page cannot be read, sets `Page.broken`.

    Args:
        number: the page's index from 0.
        form: pdfium's handle of the document's form; None if the document has no form.
        second: the document as pdfminer reads it.
    """
    from pypdfium2 import PdfiumError, raw

    try:
        page = document[number]
    except PdfiumError:
        return read_second(number, second)
    if form:
        raw.FORM_OnAfterLoadPage(page.raw, form)  # required: check boxes have no state otherwise
    try:
        return _read_open(page, number, form, second)
    except PdfiumError:
        return read_second(number, second)
    finally:
        if form:
            raw.FORM_OnBeforeClosePage(page.raw, form)
        page.close()


def read_second(number: int, second: SecondReading) -> Page:
    """Reads a page with pdfminer only. Sets `Page.broken` if pdfminer finds no text on it."""
    read = second.read(number)
    lines, undecoded = lay_out(read.letters, (), read.upright)
    return Page(lines, undecoded=undecoded, broken=not lines)


def _read_open(page: PdfPage, number: int, form: Any, second: SecondReading) -> Page:
    drawings = read_drawings(page)
    drawn = bool(drawings.paths or drawings.pictures)
    found, outside = _letters(page, number, second, drawn)
    letters, again = once(found)
    overlay = read_overlay(page, form, letters)
    upright = float(page.get_rotation() % 360)
    lines, undecoded = lay_out(with_values(letters, overlay), drawings.rules, upright)
    _, top, _, bottom = Frame(upright).box(visible_box(page))
    return Page(
        lines,
        top,
        bottom,
        overlay,
        undecoded,
        outside,
        again,
        drawings.pictures,
        drawings.covered >= _SCAN,
        drawn,
    )


def _letters(page: PdfPage, number: int, second: SecondReading, drawn: bool) -> tuple[list[Letter], int]:
    """Returns the letters of an open page, and the number of words outside the visible page.

    The letters are pdfminer's if pdfium cannot read the page's text; PdfiumError if pdfminer cannot read it either.
    """
    from pypdfium2 import PdfiumError

    try:
        with closing(page.get_textpage()) as text:
            read = read_letters(page, text)
    except PdfiumError:
        if letters := second.read(number).letters:
            return letters, 0
        raise
    found = read.letters
    if skipped := find_skipped(page):
        found = with_skipped(found, skipped, second.read(number))
    return _better(found, number, second, drawn), read.outside


def _better(letters: list[Letter], number: int, second: SecondReading, drawn: bool) -> list[Letter]:
    """Returns pdfium's letters (`letters`), or pdfminer's (`second`).

    pdfminer's are used if pdfium finds none on a page without drawings, or if pdfium leaves some UNKNOWN and pdfminer
    decodes over 2 % more. Before that, pdfminer's letters decode pdfium's UNKNOWN letters where they can (see `fill`).
    """
    if letters and all(letter.text != UNKNOWN for letter in letters):
        return letters
    if not letters:
        return letters if drawn else second.read(number).letters
    other = second.read(number).letters
    fill(letters, other)
    found = [letter for letter in other if letter.text != UNKNOWN]
    return other if len(found) > 1.02 * sum(letter.text != UNKNOWN for letter in letters) else letters


def lay_out(letters: Sequence[Letter], rules: Sequence[Box], upright: float) -> tuple[list[Line], int]:
    """Returns the lines in reading order, and the number of letters that could not be decoded to Unicode.

    Args:
        rules: ruled lines in the frame of 0 degrees.
        upright: the direction, in degrees, of text that is upright on the displayed page.
    """
    kept, undecoded = known(with_lines_below(letters, rules))
    by_turn: dict[float, list[Piece]] = defaultdict(list)
    in_cells: dict[int, list[Letter]] = defaultdict(list)
    tables = place(kept, find_tables(rules))
    for letter in kept:
        if letter.cell >= 0:
            in_cells[letter.cell].append(letter)
    places = {id(letter): number for number, letter in enumerate(kept)}
    for table in tables:
        inside = [letter for cell in range(len(table.cells)) for letter in in_cells.get(table.first + cell, ())]
        order = min(places[id(letter)] for letter in inside)
        turn, piece = table_piece(table, inside, order, _cell_lines)
        by_turn[turn].append(piece)
    for turn, group in _directions(letter for letter in kept if letter.cell < 0):
        frame = Frame(turn)
        lines_here = [frame.box((left, -bottom, right, -top)) for left, top, right, bottom in rules]
        found = pieces(group)
        for piece in found:
            piece.order = places[id(group[piece.order])]  # among all letters of the page, as for the tables
        by_turn[turn] += with_stacked(found, lines_here)
    lines: list[Line] = []
    for turn in sorted(by_turn, key=lambda turn: _rank(turn, upright, by_turn[turn])):
        for flow in flows(by_turn[turn]):
            number = lines[-1].flow + 1 if lines else 0
            for line in lines_of(flow, number):
                line.straight = _slant(turn) <= 5
                line.upright = _slant(turn - upright, 360) <= 5
                lines.append(line)
    return lines, undecoded


def _directions(letters: Iterable[Letter]) -> list[tuple[float, list[Letter]]]:
    groups: dict[float, list[Letter]] = defaultdict(list)
    for letter in letters:
        groups[letter.turn].append(letter)
    return list(groups.items())


def _rank(turn: float, upright: float, pieces: Sequence[Piece]) -> tuple[bool, bool, int]:
    """Sort key of a direction: upright text first, slanted text last; among the others, most letters first."""
    return _slant(turn) > 5, _slant(turn - upright, 360) > 5, -sum(piece.letters for piece in pieces)


def _slant(turn: float, step: float = 90) -> float:
    """Distance of an angle from the nearest multiple of `step`, in degrees."""
    return abs(turn - round(turn / step) * step)


def _cell_lines(letters: Sequence[Letter]) -> list[Line]:
    """A cell's lines in reading order."""
    return [
        line
        for _, group in _directions(letters)
        for flow in flows(with_stacked(pieces(group), ()))
        for line in lines_of(flow)
    ]

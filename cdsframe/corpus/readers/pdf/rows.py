"""Joins pieces into lines from top to bottom and marks superscripts and subscripts. Does not find columns."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cdsframe.corpus.readers.pdf.fractions import SMALL, built
from cdsframe.corpus.readers.pdf.frames import Placed
from cdsframe.corpus.readers.pdf.pieces import Piece, mostly_rtl
from cdsframe.corpus.readers.pdf.wrapped import cells_of
from cdsframe.corpus.readers.scripts import subscript, superscript

_GLUED = 0.12
"""Gap, in font sizes, below which two pieces are one word."""

_SMALLEST_SCRIPT = 0.45
"""Minimum font size of a superscript, as a share of its line's font size; excludes text beside a drop cap."""

_FAR = 3.0
"""Gap, in font sizes, that is too wide within a heading."""

_NUMBERING = re.compile(r"[\w.()§-]{1,8}|(chapter|part|section|appendix|kapitel|abschnitt) \S{1,6}", re.IGNORECASE)

_LONGEST_SCRIPT = 8
"""Maximum letters of a superscript or subscript."""


@dataclass(slots=True)
class Line(Placed):
    """A line, or a whole table (`table`)."""

    table: bool = False
    flow: int = 0
    """Number of the column flow; the lines of a flow follow each other from top to bottom."""
    scattered: bool = False
    """Whether its parts are far apart, as labels in a drawing are; a number followed by a heading does not count."""
    straight: bool = True
    """False for slanted text, such as a watermark."""
    upright: bool = True
    """Whether it is horizontal on the displayed page."""


@dataclass(slots=True)
class _Row:
    base: float
    size: float
    pieces: list[Piece]

    def takes(self, piece: Piece) -> bool:
        """Whether the piece belongs to this line."""
        shift = piece.base - self.base
        if piece.size > SMALL * self.size:
            if abs(shift) <= 0.3 * piece.size:
                return True
            return piece.letters <= 4 and abs(shift) <= 0.6 * self.size and self.touches(piece, 0.15)
        return -0.8 * self.size <= shift <= 0.45 * self.size and (
            abs(shift) <= 0.15 * self.size or self.touches(piece, 0.5, SMALL * self.size)
        )

    def touches(self, piece: Piece, gap: float, least: float = 0.0) -> bool:
        """Whether a piece of this row with a font size above `least` is at most `gap` font sizes from the piece."""
        reach = gap * self.size
        return any(
            other.left - reach <= piece.right and piece.left <= other.right + reach
            for other in self.pieces
            if other.size > least
        )


def lines_of(pieces: Iterable[Piece], flow: int = 0) -> list[Line]:
    """The lines of one column from top to bottom."""
    found: list[Line] = []
    rows: list[_Row] = []
    bases: list[tuple[float, int]] = []  # (baseline, row index), sorted
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.order)):
        if piece.table:
            found.append(_line([piece], flow))
            continue
        near = bases[bisect_left(bases, (piece.base - 60, 0)) : bisect_left(bases, (piece.base + 60, 0))]
        fitting = [rows[number] for _, number in near if rows[number].takes(piece)]
        if fitting:
            min(fitting, key=lambda row: (not row.touches(piece, 0.3), abs(row.base - piece.base))).pieces.append(piece)
        else:
            insort(bases, (piece.base, len(rows)))
            rows.append(_Row(piece.base, piece.size, [piece]))
    rows.sort(key=lambda row: row.base)
    if mostly_rtl(piece for row in rows for piece in row.pieces):
        found += [_line(row.pieces, flow) for row in rows]
    else:
        found += [_lines_as_one([_line(run, flow) for run in runs]) for runs in cells_of([row.pieces for row in rows])]
    return sorted(found, key=lambda line: (line.top if line.table else line.base, line.left))


def _lines_as_one(lines: Sequence[Line]) -> Line:
    """Joins the lines of one row's cells."""
    first = lines[0]
    if len(lines) == 1:
        return first
    return replace(
        first,
        text=" ".join(line.text for line in lines),
        left=min(line.left for line in lines),
        top=min(line.top for line in lines),
        right=max(line.right for line in lines),
        bottom=max(line.bottom for line in lines),
        scattered=True,
    )


def _line(pieces: list[Piece], flow: int) -> Line:
    rtl = mostly_rtl(pieces)
    pieces = sorted(pieces, key=lambda piece: (-piece.right if rtl else piece.left, piece.order))
    size = _main_size(pieces)
    main = [piece for piece in pieces if piece.size == size]
    bases: Counter[float] = Counter()
    for piece in main:
        bases[round(piece.base, 1)] += piece.letters
    base = bases.most_common(1)[0][0]
    text, before = "", None
    for piece in pieces if rtl else built(pieces, base, size):
        text = _joined(text, before, piece, base, size, rtl)
        before = piece
    return Line(
        text,
        min(piece.left for piece in pieces),
        min(piece.top for piece in main),
        max(piece.right for piece in pieces),
        max(piece.bottom for piece in main),
        base,
        size,
        pieces[0].table,
        flow,
        any(_far(before, after, size) for before, after in pairwise(pieces)),
    )


def _main_size(pieces: Sequence[Piece]) -> float:
    """The font size of most letters; the larger size for `10` with the superscript 12, where both have two letters."""
    sizes: Counter[float] = Counter()
    for piece in pieces:
        sizes[piece.size] += piece.letters
    size = sizes.most_common(1)[0][0]
    small = [piece for piece in pieces if piece.size == size]
    larger = [piece for piece in pieces if _SMALLEST_SCRIPT * piece.size <= size <= SMALL * piece.size]
    if larger and all(piece.letters <= _LONGEST_SCRIPT for piece in small):
        main = max(larger, key=lambda piece: (piece.size, piece.letters))
        if all(abs(piece.base - main.base) > 0.06 * main.size for piece in small):
            return main.size
    return size


def _far(before: Piece, after: Piece, size: float) -> bool:
    gap = max(after.left - before.right, before.left - after.right)
    return gap > _FAR * size and not _NUMBERING.fullmatch(before.text)


def _joined(text: str, before: Piece | None, piece: Piece, base: float, size: float, rtl: bool) -> str:
    """Returns the text with a piece of the line appended: as superscript, as subscript, or after a blank if needed."""
    if before is None:
        return piece.text
    if piece.apart:
        return text + (" " if before.spaced or before.text[-1].isalnum() else "") + piece.text
    gap = (before.left - piece.right if rtl else piece.left - before.right) / size
    raised = (base - piece.base) / size
    small = piece.size <= SMALL * size
    if gap < (0.15 if before.spaced else 0.3) and not rtl and piece.letters <= _LONGEST_SCRIPT:
        if (0.15 if small else 0.25) <= raised <= 0.75 and before.base - piece.base > 0.1 * size:
            return text + superscript(text, piece.text)
        if small and -0.5 <= raised <= -0.06 and piece.base - before.base > 0.05 * size:
            return text + subscript(text, piece.text)
    level = abs(before.base - piece.base) <= 0.2 * size or min(before.letters, piece.letters) <= 2
    glued = gap < _GLUED and level and not before.spaced and not _overlaps(before, piece)
    if glued and text[-1:].isdigit() and piece.text[:1].isdigit():
        shift = 0.2 if 0.85 < piece.size / before.size < 1.18 else 0.05
        glued = abs(before.base - piece.base) <= shift * size  # in `10^9` and `5 mg`, these are two numbers
    return text + ("" if glued else " ") + piece.text


def _overlaps(before: Piece, piece: Piece) -> bool:
    """Whether two pieces overlap, so that they cannot be parts of one word."""
    shared = min(before.right, piece.right) - max(before.left, piece.left)
    return shared > 0.3 * min(before.size, piece.size)

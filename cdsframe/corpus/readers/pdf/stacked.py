"""Finds fractions made of two stacked numbers next to a line's text and writes them as `1/2`.

Runs before pieces are joined into lines: the two numbers may lie too far above and below a line to be joined to it.
Does not read larger formulas.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from cdsframe.corpus.readers.pdf.fractions import SMALL
from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.pieces import Piece

_NUMBER = re.compile(r"\d{1,3}(?:[.,]\d{1,2})?")
_BETWEEN = (0.9, 2.4)
"""Range of the distance between the two baselines, in font sizes of the numbers."""

_RAISED, _LOWERED = (0.1, 1.0), (0.1, 1.0)
"""Range of each number's baseline offset from the text's baseline, in font sizes of the text."""

_LOWEST_SMALL = 0.6
"""Maximum offset of a small denominator, in font sizes of the text, if no rule divides the numbers; a footnote number
in the next line is lower."""

_UNEVEN = 0.35
"""Maximum difference of the two offsets of large numbers, in font sizes of the text, if no rule divides them; ordinary
lines are not centred on the text."""

_BESIDE = 0.6
"""Maximum gap to the text, in font sizes of the text."""

_GLUED = 0.12
_LONGER = 0.5
"""Maximum length by which a rule extends beyond the numbers on either side, in font sizes of the numbers."""


def with_stacked(pieces: Sequence[Piece], rules: Sequence[Box]) -> list[Piece]:
    """Replaces two stacked numbers by one fraction piece on the baseline of the text next to them.

    Args:
        pieces: pieces of one direction.
        rules: ruled lines in the frame of this direction.
    """
    by_base = sorted((piece for piece in pieces if not piece.table), key=lambda piece: piece.base)
    bases = [piece.base for piece in by_base]
    level = sorted(rule for rule in rules if rule[3] - rule[1] <= 1)
    lefts = [rule[0] for rule in level]
    joined: dict[int, Piece | None] = {}
    for upper in by_base:
        if id(upper) in joined or not _NUMBER.fullmatch(upper.text):
            continue
        first, last = (upper.base + distance * upper.size for distance in _BETWEEN)
        for lower in by_base[bisect_left(bases, first) : bisect_right(bases, last)]:
            if id(lower) in joined or not _is_above(upper, lower):
                continue
            reach = upper.size * 2
            lines = level[bisect_left(lefts, upper.left - reach) : bisect_right(lefts, upper.right + reach)]
            ruled = any(_divides(rule, upper, lower) for rule in lines)
            row = by_base[bisect_left(bases, upper.base - 1) : bisect_right(bases, lower.base + 1)]
            text = _text_beside(upper, lower, row, ruled)
            if text is not None:
                joined[id(upper)], joined[id(lower)] = _fraction(upper, lower, text), None
                break
    found = (joined.get(id(piece), piece) for piece in pieces)
    return [piece for piece in found if piece is not None]


def _is_above(upper: Piece, lower: Piece) -> bool:
    """Whether two numbers of one size are stacked and centred."""
    centred = abs(upper.left + upper.right - lower.left - lower.right) / 2 <= 0.2 * upper.size
    alike = 0.85 <= lower.size / upper.size <= 1.18
    return bool(centred and alike and _NUMBER.fullmatch(lower.text))


def _divides(rule: Box, upper: Piece, lower: Piece) -> bool:
    """Whether a rule lies between two numbers and is about as long as they are."""
    left, right = min(upper.left, lower.left), max(upper.right, lower.right)
    spare = _LONGER * upper.size
    across = left - spare <= rule[0] <= left + 0.2 * upper.size and right - 0.2 * upper.size <= rule[2] <= right + spare
    return across and upper.base - 0.1 * upper.size <= rule[1] and rule[3] <= lower.base - 0.5 * lower.size


def _text_beside(upper: Piece, lower: Piece, row: Sequence[Piece], ruled: bool) -> Piece | None:
    """The piece next to the fraction that gives its baseline; None if the numbers are not a fraction."""
    others = [piece for piece in row if piece is not upper and piece is not lower]
    if any(_is_in_line(number, piece) for number in (upper, lower) for piece in others):
        return None
    left, right = min(upper.left, lower.left), max(upper.right, lower.right)
    sides: dict[bool, Piece] = {}
    for piece in others:
        gap = max(left - piece.right, piece.left - right)
        if -0.1 * piece.size <= gap <= _BESIDE * piece.size and _is_level(upper, lower, piece, ruled):
            before = piece.right <= left + 0.1 * piece.size
            if before and not ruled and gap < _GLUED * piece.size and not piece.spaced and not piece.text[-1].isdigit():
                return None  # a subscript below an exponent
            sides[before] = piece
    if not sides or (len(sides) < 2 and not ruled and upper.size > SMALL * next(iter(sides.values())).size):
        return None
    return sides.get(True) or sides[False]


def _is_level(upper: Piece, lower: Piece, text: Piece, ruled: bool) -> bool:
    """Whether the text's baseline lies between the two numbers as in a line with a fraction."""
    raised, lowered = (text.base - upper.base) / text.size, (lower.base - text.base) / text.size
    if not (_RAISED[0] <= raised <= _RAISED[1] and _LOWERED[0] <= lowered <= _LOWERED[1]):
        return False
    if ruled:
        return True
    small = upper.size <= SMALL * text.size
    return lowered <= _LOWEST_SMALL if small else abs(raised - lowered) <= _UNEVEN


def _is_in_line(number: Piece, other: Piece) -> bool:
    """Whether a number is on the same line as another piece."""
    gap = max(number.left - other.right, other.left - number.right)
    return abs(number.base - other.base) <= 0.1 * number.size and gap <= number.size


def _fraction(upper: Piece, lower: Piece, text: Piece) -> Piece:
    return replace(
        upper,
        text=f"{upper.text}/{lower.text}",
        left=min(upper.left, lower.left),
        top=text.top,
        right=max(upper.right, lower.right),
        bottom=text.bottom,
        base=text.base,
        size=text.size,
        letters=3,
        spaced=True,
        apart=True,
    )

"""Finds fractions made of small numbers in a line and writes them as `1/2`. Does not join other pieces.

The numerator is raised; a slash and a small denominator follow, or the denominator is below the numerator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cdsframe.corpus.readers.pdf.pieces import Piece

SMALL = 0.85
"""Maximum size of a small piece, as a share of its line's font size."""

_SLASH = r"\s*[/\u2044\u2215]\s*"
_NUMERATOR = re.compile(rf"(\d{{1,3}})({_SLASH})?")
_TAIL = re.compile(rf"({_SLASH})?(\d{{1,3}})?")
_BESIDE = 0.6
"""Maximum gap between the parts of a fraction, in font sizes of the line."""

_MOST_PARTS = 3


def built(pieces: Sequence[Piece], base: float, size: float) -> Iterator[Piece]:
    """Yields the pieces of a line from left to right, each fraction as one piece on the baseline.

    Args:
        base: the line's baseline.
        size: the line's font size.
    """
    at = 0
    while at < len(pieces):
        parts = _fraction(pieces, at, base, size)
        if not parts:
            yield pieces[at]
            at += 1
            continue
        numbers = re.findall(r"\d+", " ".join(part.text for part in parts))
        yield replace(
            parts[-1],
            text="/".join(numbers),
            left=min(part.left for part in parts),
            right=max(part.right for part in parts),
            base=base,
            letters=3,
            apart=True,
        )
        at += len(parts)


def _fraction(pieces: Sequence[Piece], at: int, base: float, size: float) -> list[Piece]:
    """The parts of the fraction that begins with the piece at an index; empty if none does."""
    first = pieces[at]
    raised = (base - first.base) / size
    start = _NUMERATOR.fullmatch(first.text)
    if not start or first.size > SMALL * size or not 0.1 <= raised <= 0.75:
        return []
    if stacked := _stacked(pieces, at, size):
        return stacked
    parts, slash = [first], bool(start[2])
    for piece in pieces[at + 1 : at + _MOST_PARTS]:
        tail = _TAIL.fullmatch(piece.text)
        near = piece.left - parts[-1].right <= _BESIDE * size
        if not tail or not near or not piece.text or (tail[1] and slash):
            return []
        slash = slash or bool(tail[1])
        parts.append(piece)
        if tail[2]:
            lower = piece.size <= SMALL * size and piece.base - first.base > 0.1 * size
            return parts if slash and lower else []
    return []


def _stacked(pieces: Sequence[Piece], at: int, size: float) -> list[Piece]:
    """The numerator at an index and the denominator below it; empty if the two are not a fraction.

    An exponent above a subscript is no fraction: both directly follow a letter, or lie closer together than the two
    parts of a fraction.
    """
    if at + 1 >= len(pieces):
        return []
    first, second = pieces[at : at + 2]
    shared = min(first.right, second.right) - max(first.left, second.left)
    below = (second.base - first.base) / first.size
    alike = 0.85 <= second.size / first.size <= 1.18
    if not re.fullmatch(r"\d{1,3}", second.text) or not alike or not 1.0 <= below <= 2.0:
        return []
    if shared < 0.5 * min(first.right - first.left, second.right - second.left):
        return []
    before = pieces[at - 1] if at else None
    if before and first.left - before.right < 0.12 * size and not before.spaced and not before.text[-1].isdigit():
        return []
    return [first, second]

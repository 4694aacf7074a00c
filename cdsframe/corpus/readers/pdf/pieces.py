"""Joins the letters of one direction into pieces of a line.

The letters of a piece have one baseline and no wide gap. Does not order the pieces on the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cdsframe.corpus.readers.pdf.bidi import in_reading_order, kind, reads_right_to_left
from cdsframe.corpus.readers.pdf.frames import Placed
from cdsframe.corpus.readers.pdf.letters import Letter

WIDE = 0.8
"""Gap, in font sizes, after a space at which a line is cut: it may be the gutter between two columns."""

_APART = 2.0
"""Gap, in font sizes, at which a line is cut even without a space."""


@dataclass(slots=True)
class Piece(Placed):
    """Part of a line, or a whole table (`table`)."""

    order: int
    """Position of the piece in the order of the file."""
    letters: int
    """Number of characters."""
    rtl: int = 0
    """Number of letters in a right-to-left script."""
    table: bool = False
    spaced: bool = False
    """Whether white space follows the piece on its line."""
    apart: bool = False
    """Whether the piece is a fraction, which must not merge with a preceding number or word."""


def pieces(letters: Sequence[Letter]) -> list[Piece]:
    """Joins letters of one direction into pieces."""
    found: list[Piece] = []
    start, rtl = 0, reads_right_to_left(letters)
    for end in range(1, len(letters) + 1):
        if end < len(letters) and _continues(letters[end - 1], letters[end]):
            continue
        places = {id(letter): start + n for n, letter in enumerate(letters[start:end])}
        parts = _cut(letters[start:end])
        found += [_piece(part, rtl, min(places[id(letter)] for letter in part)) for part in parts]
        start = end
    return found


def _continues(before: Letter, after: Letter) -> bool:
    size = min(before.size, after.size)
    return (
        "\n" not in before.space
        and "\r" not in before.space
        and before.cell == after.cell
        and abs(after.base - before.base) <= 0.12 * size
        and after.size <= 1.2 * before.size <= 1.44 * after.size
    )


def _cut(letters: Sequence[Letter]) -> list[list[Letter]]:
    """Splits the letters of one baseline at wide gaps, each part in reading order."""
    rtl = any(is_rtl(letter.text) for letter in letters)
    by_place = sorted(letters, key=lambda letter: letter.left)
    edge, part = by_place[0].right, 0
    parts: dict[int, int] = {}
    spaced = False
    for letter in by_place:
        gap = (letter.left - edge) / letter.size
        if gap > _APART or (gap > WIDE and (rtl or spaced)):
            part += 1
        parts[id(letter)] = part
        if letter.right >= edge:
            edge, spaced = letter.right, bool(letter.space)
    groups: list[list[Letter]] = [[] for _ in range(part + 1)]
    for letter in letters:
        groups[parts[id(letter)]].append(letter)
    return groups if rtl else [_left_to_right(group) for group in groups]


def _left_to_right(letters: list[Letter]) -> list[Letter]:
    """Sorts the letters by position if the file lists them out of order."""
    chunks: list[list[Letter]] = [[letters[0]]]
    for before, after in pairwise(letters):
        if after.left < before.left - 0.5 * before.size:
            chunks.append([])
        chunks[-1].append(after)
    if len(chunks) == 1:
        return letters
    ordered = sorted(letters, key=lambda letter: letter.left)
    if any(before.right - after.left > 0.3 * after.size for before, after in pairwise(ordered)):
        return _one_by_one(chunks)
    for before, after in pairwise(ordered):
        gap = (after.left - before.right) / before.size
        if gap > 0.2 and not before.space:
            before.space = " "
        elif gap < 0.05 and "\n" not in before.space and before.run != after.run:
            before.space = ""
    return ordered


def _one_by_one(chunks: list[list[Letter]]) -> list[Letter]:
    """Returns the letters of texts that are printed over each other: one text after the other."""
    for chunk in chunks:
        chunk[-1].space = chunk[-1].space or " "
    return [letter for chunk in sorted(chunks, key=lambda chunk: chunk[0].left) for letter in chunk]


def _piece(letters: Sequence[Letter], rtl: bool, order: int) -> Piece:
    sizes: Counter[float] = Counter()
    for letter in letters:
        sizes[round(letter.size, 1)] += 1
    if any(is_rtl(letter.text) for letter in letters):
        text = in_reading_order(letters, rtl)
    else:
        text = "".join(letter.text + (" " if letter.space else "") for letter in letters)
    return Piece(
        " ".join(text.split()),
        min(letter.left for letter in letters),
        min(letter.top for letter in letters),
        max(letter.right for letter in letters),
        max(letter.bottom for letter in letters),
        Counter(letter.base for letter in letters).most_common(1)[0][0],
        sizes.most_common(1)[0][0],
        order,
        len(text),
        sum(is_rtl(letter.text) for letter in letters),
        spaced=" " in letters[-1].space,
    )


def is_rtl(text: str) -> bool:
    """Whether the first letter belongs to a right-to-left script."""
    return kind(text) == "R"


def mostly_rtl(pieces: Iterable[Piece]) -> bool:
    """Whether most letters belong to right-to-left scripts."""
    return sum(piece.rtl - piece.letters / 2 for piece in pieces) > 0

"""Puts the pieces of a page into reading order: column after column, but table rows kept together.

A gutter is a vertical gap between two columns. The pieces that cross a gutter divide the page into bands; a band is
split into columns if both sides are running text. Does not split ruled tables: each of them is a single piece here.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from cdsframe.corpus.readers.pdf.pieces import Piece, mostly_rtl

_DEEPEST = 6
_CANDIDATES = 12
_BIN = 1.0
"""Resolution of the gutter search, in points."""

_FIGURE = re.compile(r"[^\w]*(\d[^.)]|\d$|$)|\(\d+(\.\d+)*\)$|(n/?a|nil|none)$", re.IGNORECASE)
"""A number, a dash or sign instead of one, or an equation number `(2.1)`; but not the list numbers `1.` and `1)`."""

_NARROWEST = 0.55
"""Minimum width of a gutter, in font sizes."""


def flows(pieces: Sequence[Piece], depth: int = 0) -> list[list[Piece]]:
    """Splits the pieces into flows in reading order; each flow is read line by line."""
    best: list[tuple[bool, list[Piece]]] = []
    best_score, best_x = 0, 0.0
    if len(pieces) >= 4 and depth < _DEEPEST:
        for x in _gutters(pieces):
            bands = _bands(pieces, x)
            score = sum(_gain(band, x) for splits, band in bands if splits)
            if score > best_score:
                best, best_score, best_x = bands, score, x
    if not best_score:
        return [list(pieces)]
    found: list[list[Piece]] = []
    for splits, band in _merged(best):
        if splits:
            sides = _sides(band, best_x)
            for side in reversed(sides) if mostly_rtl(band) else sides:
                found += flows(side, depth + 1)
        else:
            found += flows(band, depth + 1)
    return found


def _gutters(pieces: Sequence[Piece]) -> list[float]:
    """The x positions that few pieces cross, widest gaps first."""
    start, end = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    width = int((end - start) / _BIN) + 2
    if not 4 <= width <= 100_000:
        return []
    steps = [0] * (width + 1)
    for piece in pieces:
        steps[int((piece.left - start) / _BIN)] += 1
        steps[int((piece.right - start) / _BIN) + 1] -= 1
    covered, count = [], 0
    for step in steps[:width]:
        count += step
        covered.append(count)
    most = max(covered)
    least = max(_NARROWEST * median(piece.size for piece in pieces), 3.0)
    found: dict[float, float] = {}
    for level in (0, 0.05 * most, 0.15 * most, 0.3 * most, 0.6 * most):
        first: int | None = None
        for place, value in enumerate([*covered, most + 1]):
            if value <= level:
                first = place if first is None else first
            elif first is not None:
                if first > 0 and place < width - 1 and (place - first) * _BIN >= least:
                    found.setdefault(start + (first + place) / 2 * _BIN, (place - first) / (1 + level))
                first = None
    return sorted(found, key=lambda x: -found[x])[:_CANDIDATES]


def _bands(pieces: Sequence[Piece], x: float) -> list[tuple[bool, list[Piece]]]:
    """Splits the pieces into bands from top to bottom; True marks a band with columns on both sides of x."""
    bands: list[list[Piece]] = []
    crossing_before: bool | None = None
    for piece in sorted(pieces, key=lambda piece: piece.middle):
        crossing = piece.left < x < piece.right
        if crossing != crossing_before:
            bands.append([])
        bands[-1].append(piece)
        crossing_before = crossing
    return [(not _crosses(band[0], x) and _side_by_side(band, x), band) for band in bands]


def _merged(bands: list[tuple[bool, list[Piece]]]) -> list[tuple[bool, list[Piece]]]:
    """Merges adjacent bands without columns."""
    merged: list[tuple[bool, list[Piece]]] = []
    for splits, band in bands:
        if merged and not splits and not merged[-1][0]:
            merged[-1][1].extend(band)
        else:
            merged.append((splits, list(band)))
    return merged


def _crosses(piece: Piece, x: float) -> bool:
    return piece.left < x < piece.right


def _sides(band: Sequence[Piece], x: float) -> tuple[list[Piece], list[Piece]]:
    return [piece for piece in band if piece.right <= x], [piece for piece in band if piece.right > x]


def _gain(band: Sequence[Piece], x: float) -> int:
    left, right = _sides(band, x)
    return min(len(_bases(left)), len(_bases(right)))


def _side_by_side(band: Sequence[Piece], x: float) -> bool:
    """Whether the two sides are text columns rather than cells of the same rows."""
    left, right = _sides(band, x)
    lines, others = _bases(left), _bases(right)
    size = median(piece.size for piece in band)
    if len(others) < len(lines):
        lines, others, left, right = others, lines, right, left
    if len(lines) < 2:
        return bool(lines) and _is_note(left, lines[0], right, others, size)
    if _is_figures(left) or _is_figures(right):
        return False
    if _aligned(lines, others, size) < 0.6:
        return True
    by_column = _switches(band, x) <= max(2, 0.1 * len(lines))
    prose = _is_prose(left), _is_prose(right)
    if not all(prose):
        return by_column and not any(prose)  # short texts beside long ones are labels or answers
    return by_column or _continues(left) + _continues(right) >= 0.4


def _is_note(note: Sequence[Piece], base: float, text: Sequence[Piece], bases: Sequence[float], size: float) -> bool:
    """Whether a line beside running text is a margin note: it has letters and is level with none of the text's
    lines."""
    letters = sum(map(str.isalpha, "".join(piece.text for piece in note)))
    return letters >= 4 and len(bases) >= 4 and _is_prose(text) and abs(_shift(bases, base)) > 0.12 * size


def _is_figures(pieces: Sequence[Piece]) -> bool:
    """Whether many lines begin with a number or a sign in place of one, as table cells do."""
    first = [_behind_bullet(line) for line in _rows(pieces)]
    return sum(_FIGURE.match(piece.text) is not None for piece in first) >= 0.4 * len(first)


def _behind_bullet(line: Sequence[Piece]) -> Piece:
    """The first piece of a line, or the second if the first is a bullet."""
    ordered = sorted(line, key=lambda piece: piece.left)
    return ordered[not any(map(str.isalnum, ordered[0].text)) and len(ordered) > 1]


def _bases(pieces: Sequence[Piece]) -> list[float]:
    """The sorted baselines of the lines; superscripts are not counted as lines."""
    return [max(line, key=lambda piece: piece.size).base for line in _rows(pieces)]


def _aligned(lines: Sequence[float], others: Sequence[float], size: float) -> float:
    """The share of baselines `lines` that are level with one of the baselines `others`, after a common shift.

    The cells of a row may be shifted against each other. Texts with different leading align only by chance.
    """
    shifts = [shift for base in lines if abs(shift := _shift(others, base)) <= 0.25 * size]
    usual = median(shifts) if shifts else 0.0
    return sum(abs(shift - usual) <= 0.12 * size for shift in shifts) / len(lines)


def _shift(bases: Sequence[float], base: float) -> float:
    """The signed distance from a baseline to the nearest of `bases`."""
    place = bisect_left(bases, base)
    return min((other - base for other in bases[max(place - 1, 0) : place + 1]), key=abs)


def _is_prose(pieces: Sequence[Piece]) -> bool:
    """Whether the lines are long enough for running text."""
    lines = len(_bases(pieces))
    letters = sum(map(str.isalnum, "".join(piece.text for piece in pieces)))
    words = sum(piece.text.count(" ") + 1 for piece in pieces)
    return letters >= 15 * lines and words >= 2.5 * lines


def _switches(band: Sequence[Piece], x: float) -> int:
    """How often the pieces, in the order of the file, change from one side of x to the other."""
    sides = [piece.right <= x for piece in sorted(band, key=lambda piece: piece.order)]
    return sum(before != after for before, after in pairwise(sides))


def _continues(pieces: Sequence[Piece]) -> float:
    """The share of lines after the first that begin in lower case, that is, in the middle of a sentence."""
    rest = _firsts(pieces)[1:]
    return sum(piece.text[0].islower() for piece in rest) / len(rest) if rest else 0.0


def _firsts(pieces: Sequence[Piece]) -> list[Piece]:
    """The leftmost piece of each line."""
    return [min(line, key=lambda piece: piece.left) for line in _rows(pieces)]


def _rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces of each line, top to bottom."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.base):
        if not lines or piece.base - lines[-1][0].base > 0.4 * piece.size:
            lines.append([])
        lines[-1].append(piece)
    return lines

"""Joins the letters of one direction into pieces of a line, and drops letters that are printed twice.

A piece holds letters on one baseline without a wide gap. Does not order pieces on the page.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN

WIDE = 0.8
"""Gap in letter sizes behind a space from which on a line is cut: the gutter of two columns may begin there."""

_APART = 2.0
"""Gap in letter sizes that cuts a line even without a space."""

_GAP = "…"
"""Stands in a word for letters that could not be decoded: `1…5 mg` must not become `15 mg`."""


@dataclass(slots=True)
class Piece:
    """Part of a line, or a whole table (`table`)."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    base: float
    size: float
    order: int
    """Place in the file's own order."""
    letters: int
    rtl: int = 0
    """How many of the letters belong to a right-to-left script."""
    table: bool = False
    spaced: bool = False
    """Whether white space follows it on its line."""

    @property
    def middle(self) -> float:
        """Of its height."""
        return (self.top + self.bottom) / 2


def once(letters: list[Letter]) -> tuple[list[Letter], int]:
    """The letters without those that are printed again almost in the same place, as fake bold and shadows are; and how
    many words those are."""
    kept = _once_by_letter(_once_by_run(letters))
    places = {id(letter) for letter in kept}
    words, inside = 0, False
    for letter in letters:
        gone = id(letter) not in places
        words += gone and not inside
        inside = gone and not letter.space
    return kept, words


def _once_by_run(letters: list[Letter]) -> list[Letter]:
    """Drops a text object that repeats another one, moved by a fraction of a letter."""
    runs: dict[int, list[Letter]] = defaultdict(list)
    for letter in letters:
        runs[letter.run].append(letter)
    seen: dict[tuple[str, float], list[Letter]] = defaultdict(list)
    dropped: set[int] = set()
    for number, run in runs.items():
        text, first = "".join(letter.text for letter in run), run[0]
        if len(run) < 2:
            continue
        same = seen[text, first.turn]
        if any(_near(first, other, 0.25 * first.size, 0.25 * first.size) for other in same):
            dropped.add(number)
        same.append(first)
    return _without(letters, [letter.run in dropped for letter in letters]) if dropped else letters


def _once_by_letter(letters: list[Letter]) -> list[Letter]:
    seen: dict[tuple[str, float, int, int], list[Letter]] = defaultdict(list)
    marks = []
    last: Letter | None = None
    for letter in letters:
        step = max(letter.size, 1.0)
        column, row = int(letter.left // step), int(letter.base // step)
        near = (
            other
            for x in (column - 1, column, column + 1)
            for y in (row - 1, row, row + 1)
            for other in seen.get((letter.text, letter.turn, x, y), ())
        )
        width = letter.right - letter.left
        marks.append(
            letter.text != UNKNOWN
            and any(
                not (other is last and other.run == letter.run)  # the two letters of a ligature share a place
                and _near(
                    letter,
                    other,
                    min((0.05 if other.run == letter.run else 0.2) * letter.size, 0.5 * width),
                    0.2 * step,
                )
                for other in near
            )
        )
        seen[letter.text, letter.turn, column, row].append(letter)
        last = letter
    return _without(letters, marks) if any(marks) else letters


def _near(one: Letter, other: Letter, across: float, down: float) -> bool:
    alike = 0.9 * other.size <= one.size <= 1.1 * other.size
    return alike and abs(one.left - other.left) <= across and abs(one.base - other.base) <= down


def _without(letters: Sequence[Letter], dropped: Sequence[bool]) -> list[Letter]:
    """The letters that are not marked; the white space behind a marked one stays."""
    kept: list[Letter] = []
    for letter, drop in zip(letters, dropped, strict=True):
        if not drop:
            kept.append(letter)
        elif kept and letter.space and not kept[-1].space:
            kept[-1].space = letter.space
    return kept


def known(letters: list[Letter]) -> tuple[list[Letter], int]:
    """The letters that have a Unicode meaning, and how many have none; inside a word `…` takes their place."""
    kept: list[Letter] = []
    lost = 0
    pending = False  # unknown letters stand right behind the last kept one
    for letter in letters:
        if letter.text == UNKNOWN:
            lost += 1
            if kept and letter.run != kept[-1].run and not kept[-1].space:
                kept[-1].space = " "
            pending = bool(kept) and not kept[-1].space
            if pending and letter.space:
                kept[-1].space, pending = letter.space, False
            continue
        if pending and kept[-1].text[-1].isalnum() and letter.text[0].isalnum():
            kept[-1].text += _GAP
        pending = False
        kept.append(letter)
    return kept, lost


def pieces(letters: Sequence[Letter]) -> list[Piece]:
    """The pieces of letters of one direction."""
    found: list[Piece] = []
    start = 0
    for end in range(1, len(letters) + 1):
        if end < len(letters) and _continues(letters[end - 1], letters[end]):
            continue
        places = {id(letter): start + n for n, letter in enumerate(letters[start:end])}
        parts = _cut(letters[start:end])
        found += [_piece(part, min(places[id(letter)] for letter in part)) for part in parts]
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
    """Letters of one baseline, cut at wide gaps, each part in reading order."""
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
    return [_spaced(group) for group in groups] if rtl else [_left_to_right(group) for group in groups]


def _spaced(letters: list[Letter]) -> list[Letter]:
    """Letters of a right-to-left line, with white space where its direction changes and the page shows a gap."""
    runs: list[list[Letter]] = []
    for letter in letters:
        if not runs or is_rtl(letter.text) != is_rtl(runs[-1][0].text):
            runs.append([])
        runs[-1].append(letter)
    for before, after in pairwise(runs):
        left, right = min(letter.left for letter in before), max(letter.right for letter in before)
        gap = max(min(letter.left for letter in after) - right, left - max(letter.right for letter in after))
        if gap > 0.15 * before[-1].size and not before[-1].space:
            before[-1].space = " "
    return letters


def _left_to_right(letters: list[Letter]) -> list[Letter]:
    """Letters that the file writes out of order, by place; others as they are."""
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
    """Texts printed over each other, each whole."""
    for chunk in chunks:
        chunk[-1].space = chunk[-1].space or " "
    return [letter for chunk in sorted(chunks, key=lambda chunk: chunk[0].left) for letter in chunk]


def _piece(letters: Sequence[Letter], order: int) -> Piece:
    sizes: Counter[float] = Counter()
    for letter in letters:
        sizes[round(letter.size, 1)] += 1
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
    return unicodedata.bidirectional(text[0]) in ("R", "AL")


def mostly_rtl(pieces: Iterable[Piece]) -> bool:
    """Whether most letters belong to right-to-left scripts."""
    return sum(piece.rtl - piece.letters / 2 for piece in pieces) > 0

"""Cleans the letters of a page: removes letters that are printed twice, and letters that could not be decoded.

Does not join letters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN

_GAP = "…"
"""Replaces undecoded letters inside a word: `1…5 mg` must not become `15 mg`."""


def once(letters: list[Letter]) -> tuple[list[Letter], int]:
    """Removes letters printed again in almost the same place (fake bold, shadows).

    Returns the remaining letters and the number of removed words.
    """
    kept = _once_by_letter(_once_by_run(letters))
    places = {id(letter) for letter in kept}
    words, inside = 0, False
    for letter in letters:
        gone = id(letter) not in places
        words += gone and not inside
        inside = gone and not letter.space
    return kept, words


def _once_by_run(letters: list[Letter]) -> list[Letter]:
    """Removes a text object that repeats another one, shifted by a fraction of a letter."""
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
    return without(letters, [letter.run in dropped for letter in letters]) if dropped else letters


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
                not (other is last and other.run == letter.run)  # the letters of a ligature share a position
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
    return without(letters, marks) if any(marks) else letters


def _near(one: Letter, other: Letter, across: float, down: float) -> bool:
    alike = 0.9 * other.size <= one.size <= 1.1 * other.size
    return alike and abs(one.left - other.left) <= across and abs(one.base - other.base) <= down


def without(letters: Sequence[Letter], dropped: Sequence[bool]) -> list[Letter]:
    """Removes the letters whose `dropped` is True; keeps the white space after them."""
    kept: list[Letter] = []
    for letter, drop in zip(letters, dropped, strict=True):
        if not drop:
            kept.append(letter)
        elif kept and letter.space and not kept[-1].space:
            kept[-1].space = letter.space
    return kept


def known(letters: list[Letter]) -> tuple[list[Letter], int]:
    """Returns the decoded letters and the number of undecoded ones, which `…` replaces inside a word."""
    kept: list[Letter] = []
    lost = 0
    pending = False  # undecoded letters directly follow the last kept letter
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

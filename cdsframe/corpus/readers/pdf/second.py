"""Reads PDF pages with pdfminer if pdfium fails: letters that pdfium cannot decode, files that pdfium cannot open.

On 1,024 public files, pdfium was at least as good as pdfminer in everything else, in a twentieth of the time.
"""

from __future__ import annotations

import io
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.pdf.frames import Frame, straight
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN, decoded

if TYPE_CHECKING:
    from pdfplumber.pdf import PDF

_NEAR = 1.0
"""Points within which the letters of both readings match."""

_SPACE = 0.2
"""Gap, in font sizes, that separates words."""


class SecondReading:
    """Opens the file at first use. A file that pdfminer cannot read yields no letters."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pdf: PDF | None = None
        self._broken = False

    def close(self) -> None:
        """Frees the memory. (pdfplumber's `close` would read every page first.)"""
        self._pdf, self._broken = None, True

    @property
    def pages(self) -> int:
        """The number of pages that pdfminer finds; 0 if it cannot read the file."""
        pdf = self._opened()
        if pdf is None:
            return 0
        try:
            return len(pdf.pages)
        except Exception:  # noqa: BLE001 (broken files make the library raise arbitrary errors)
            return 0

    def letters(self, number: int) -> list[Letter]:
        """The letters of a page, including UNKNOWN letters."""
        pdf = self._opened()
        if pdf is None:
            return []
        try:
            page = pdf.pages[number]
            letters = [_letter(char, run) for run, char in enumerate(page.chars)]
            page.close()
        except Exception:  # noqa: BLE001 (as above)
            return []
        return _spaced(letters)

    def _opened(self) -> PDF | None:
        import pdfplumber

        if self._pdf is None and not self._broken:
            logging.getLogger("pdfminer").setLevel(
                logging.ERROR
            )  # its warnings do not name the file; this reader reports omissions
            try:
                self._pdf = pdfplumber.open(io.BytesIO(self._data))
            except Exception:  # noqa: BLE001 (as above)
                self._broken = True
        return self._pdf


def fill(letters: Sequence[Letter], others: Sequence[Letter]) -> None:
    """Decodes UNKNOWN letters for which the other reading has a decoded letter at the same position."""
    by_place: dict[tuple[int, int], list[Letter]] = defaultdict(list)
    for other in others:
        if other.text != UNKNOWN:
            by_place[int(other.left // 4), int(other.base // 4)].append(other)
    used: set[int] = set()
    for letter in letters:
        if letter.text != UNKNOWN:
            continue
        column, row = int(letter.left // 4), int(letter.base // 4)
        near = [
            other
            for x in (column - 1, column, column + 1)
            for y in (row - 1, row, row + 1)
            for other in by_place.get((x, y), ())
            if id(other) not in used
            and other.turn == letter.turn
            and abs(other.left - letter.left) + abs(other.base - letter.base) < 2 * _NEAR
        ]
        if near:
            best = min(near, key=lambda other: abs(other.left - letter.left))
            letter.text = best.text
            used.add(id(best))


def _letter(char: dict[str, Any], run: int) -> Letter:
    """Converts a pdfplumber character, whose matrix is in the file's axes."""
    a, b, _, _, x, y = char["matrix"]
    turn = straight(math.degrees(math.atan2(b, a)) % 360)
    text = char["text"]
    shown = "".join(decoded(letter, char["fontname"]) for letter in text) if text and "(cid:" not in text else UNKNOWN
    size = max(abs(char["size"]), 0.1)
    width = char["adv"] * math.hypot(a, b) if char.get("adv") else char["x1"] - char["x0"]
    left, base = Frame(turn).point(x, y)
    return Letter(
        UNKNOWN if UNKNOWN in shown else shown,
        *(left, base - 0.9 * size, left + max(width, 0.1), base + 0.25 * size, base),
        *(size, turn, run),
    )


def _spaced(letters: list[Letter]) -> list[Letter]:
    """Removes blanks; stores white space in the letter that ends a word or a line."""
    kept: list[Letter] = []
    for letter in letters:
        if not letter.text.strip():
            if kept:
                kept[-1].space = " "
            continue
        if kept and kept[-1].turn == letter.turn:
            before = kept[-1]
            if abs(letter.base - before.base) > 0.5 * before.size:
                before.space += "\n"
            elif letter.left - before.right > _SPACE * letter.size:
                before.space += " "
        letter.text = letter.text.strip()
        kept.append(letter)
    return kept

"""Reads PDF pages with pdfminer if pdfium fails: letters that pdfium skips or cannot decode, files that it
cannot open.

On 1,024 public files, pdfium was at least as good as pdfminer in everything else, in a twentieth of the time.
"""

from __future__ import annotations

import io
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.pdf.drawings import Matrix, times
from cdsframe.corpus.readers.pdf.frames import Frame, straight
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN, decoded

if TYPE_CHECKING:
    from pdfminer.pdfpage import PDFPage
    from pdfplumber.pdf import PDF

_NEAR = 1.0
"""Points: letters of both readings match if their distances in x and y add up to less than twice this."""

_SPACE = 0.2
"""Gap, in font sizes, that separates words."""


@dataclass(slots=True)
class SecondPage:
    """A page as pdfminer reads it."""

    letters: list[Letter] = field(default_factory=list)
    blanks: list[Letter] = field(default_factory=list)
    upright: float = 0.0
    """The direction, in degrees, of text that is upright on the displayed page."""


class SecondReading:
    """pdfminer's reading of a file, opened at first use. A page that pdfminer cannot read has no letters."""

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

    def read(self, number: int) -> SecondPage:
        """The letters of a page, including UNKNOWN letters, at their positions in PDF user space (see `frames`)."""
        pdf = self._opened()
        if pdf is None:
            return SecondPage()
        try:
            page = pdf.pages[number]
            matrix = _to_user_space(page.page_obj)
            letters = [_letter(char, run, matrix) for run, char in enumerate(page.chars)]
            upright = float(page.page_obj.rotate)
            page.close()
        except Exception:  # noqa: BLE001 (as above)
            return SecondPage()
        blanks = [letter for letter in letters if not letter.text.strip()]
        return SecondPage(_spaced(letters), blanks, upright)

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
    """Decodes those UNKNOWN `letters` at whose position the other reading has a decoded letter."""
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


def _to_user_space(page: PDFPage) -> Matrix:
    """The matrix from pdfminer's coordinates to PDF user space.

    pdfminer rotates the page as it is displayed and moves the corner of its media box to (0, 0).
    """
    left, bottom, right, top = page.mediabox
    turned: dict[int, Matrix] = {
        90: (0, 1, -1, 0, right, bottom),
        180: (-1, 0, 0, -1, right, top),
        270: (0, -1, 1, 0, left, top),
    }
    return turned.get(page.rotate, (1, 0, 0, 1, left, bottom))


def _letter(char: dict[str, Any], run: int, to_user_space: Matrix) -> Letter:
    """Converts a pdfplumber character to a letter in PDF user space."""
    a, b, _, _, x, y = times(char["matrix"], to_user_space)
    turn = straight(math.degrees(math.atan2(b, a)) % 360)
    text = char["text"]
    shown = "".join(decoded(letter, char["fontname"]) for letter in text) if text and "(cid:" not in text else UNKNOWN
    size = max(_size(char), 0.1)
    width = char["adv"] * math.hypot(a, b) if char.get("adv") else char["x1"] - char["x0"]
    left, base = Frame(turn).point(x, y)
    return Letter(
        UNKNOWN if UNKNOWN in shown else shown,
        *(left, base - 0.9 * size, left + max(width, 0.1), base + 0.25 * size, base),
        *(size, turn, run),
    )


def _size(char: dict[str, Any]) -> float:
    """The font size in points. pdfplumber's `size` is the height of the letter's box: wrong if the text is turned."""
    a, b, c, d, _, _ = char["matrix"]
    size: float = char["size"]
    if size == char["height"] and abs(d) >= abs(c) > 0:
        size = (size - abs(b * char["adv"])) * math.hypot(c, d) / abs(d)
    elif size == char["height"] and abs(c) > abs(d):
        size = (char["width"] - abs(a * char["adv"])) * math.hypot(c, d) / abs(c)
    return abs(size)  # of vertical fonts, `size` is the width of the box


def _spaced(letters: list[Letter]) -> list[Letter]:
    """Removes blanks; stores white space in `Letter.space` of the letter that ends a word or a line."""
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

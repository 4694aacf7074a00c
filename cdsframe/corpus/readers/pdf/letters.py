"""Reads the letters of a PDF page with pdfium, with position, size and direction. Does not order or join them.

pdfium decodes the fonts and finds spaces between words by letter size. A letter that its font does not map to Unicode
gets the text UNKNOWN. `bidi` puts right-to-left text into reading order.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from cdsframe.corpus.readers.pdf.frames import Box, Frame, Placed, straight
from cdsframe.corpus.readers.pdf.symbols import UNKNOWN, decoded

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

_HYPHENS = (0x02, 0xFFFE)
"""Codes that pdfium returns for a hyphen at the end of a line."""


@dataclass(slots=True)
class Letter(Placed):
    """A letter. `text` has several characters for a ligature, and is the whole value for a form field."""

    turn: float
    """Direction of the text in PDF user space, in degrees counter-clockwise."""
    run: int
    """Number of the text object that contains the letter."""
    space: str = ""
    """White space or a line break after it."""
    cell: int = -1
    """Number of its table cell; -1 outside tables."""


@dataclass(slots=True)
class PageLetters:
    """The letters in pdfium's order, and the number of words outside the visible page."""

    letters: list[Letter] = field(default_factory=list)
    outside: int = 0


@dataclass(slots=True)
class _Run:
    """Properties shared by all letters of a text object."""

    number: int
    turn: float
    size: float
    font: str


def read_letters(page: PdfPage, text: PdfTextPage) -> PageLetters:
    """The letters inside the visible part of a page, including UNKNOWN letters."""
    reading = _Reading(page, text)
    for index in range(text.count_chars()):
        reading.read(index)
    _upright_columns(reading.found.letters)
    return reading.found


def visible_box(page: PdfPage) -> Box:
    """The visible part of the page in PDF user space: its crop box within its media box."""
    crop, media = _ordered(page.get_cropbox()), _ordered(page.get_mediabox())
    box = (max(crop[0], media[0]), max(crop[1], media[1]), min(crop[2], media[2]), min(crop[3], media[3]))
    return box if box[0] < box[2] and box[1] < box[3] else media


def _ordered(box: Box) -> Box:
    """Orders the corners of a box: files list them in any order."""
    return min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])


class _Reading:
    """One pass over the characters of a page."""

    def __init__(self, page: PdfPage, text: PdfTextPage) -> None:
        import pypdfium2.raw as raw

        self._raw, self._handle, self._visible = raw, text.raw, visible_box(page)
        self._box, self._matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._runs: dict[int, _Run] = {}
        self._last: Letter | None = None
        self._away = False
        self._half = 0
        self.found = PageLetters()

    def read(self, index: int) -> None:
        """Appends the character to the letters, or its white space to the preceding letter."""
        raw, handle, box = self._raw, self._handle, self._box
        code = raw.FPDFText_GetUnicode(handle, index)
        if 0xD800 <= code < 0xDC00:
            self._half = code
            return
        if 0xDC00 <= code < 0xE000 and self._half:
            code = 0x10000 + ((self._half - 0xD800) << 10) + code - 0xDC00
        self._half = 0
        hyphen = code in _HYPHENS and (code == 0xFFFE or raw.FPDFText_IsHyphen(handle, index) == 1)
        written = chr(code) if 0 < code < 0x110000 else UNKNOWN
        if written.isspace() and code not in (0x1C, 0x1D, 0x1E, 0x1F):
            if self._last is not None:
                self._last.space += written if raw.FPDFText_IsGenerated(handle, index) == 1 else " "
            self._away = False
            return
        raw.FPDFText_GetLooseCharBox(handle, index, box)
        raw.FPDFText_GetCharOrigin(handle, index, self._x, self._y)
        if not self._is_visible():
            self.found.outside += not self._away
            self._away = True
            return
        self._away = False
        run = self._run(index)
        if hyphen:
            shown = "-"
        elif raw.FPDFText_HasUnicodeMapError(handle, index) == 1:
            shown = UNKNOWN
        else:
            shown = decoded(written, run.font)
        frame = Frame(run.turn)
        edges = frame.box((box.left, box.bottom, box.right, box.top))
        base = frame.point(self._x.value, self._y.value)[1]
        self._last = Letter(shown, *edges, base, run.size, run.turn, run.number, "\n" if hyphen else "")
        self.found.letters.append(self._last)

    def _is_visible(self) -> bool:
        across, down = (self._box.left + self._box.right) / 2, (self._box.bottom + self._box.top) / 2
        left, bottom, right, top = self._visible
        return bool(left - 1 <= across <= right + 1 and bottom - 1 <= down <= top + 1)

    def _run(self, index: int) -> _Run:
        pointer = self._raw.FPDFText_GetTextObject(self._handle, index)
        key = ctypes.addressof(pointer.contents) if pointer else 0
        run = self._runs.get(key)
        if run is None:
            self._raw.FPDFText_GetMatrix(self._handle, index, self._matrix)
            given, matrix = self._raw.FPDFText_GetFontSize(self._handle, index), self._matrix
            sign = -1.0 if given < 0 else 1.0
            turn = math.degrees(math.atan2(matrix.b * sign, matrix.a * sign)) % 360
            size = abs(given) * math.hypot(matrix.c, matrix.d)
            height = max(self._box.top - self._box.bottom, self._box.right - self._box.left)
            if not 0.3 * height <= size <= 3 * height:  # a Type 3 font defines its own units
                size = 0.85 * height
            run = self._runs[key] = _Run(len(self._runs), straight(turn), max(size, 0.1), self._font(index))
        return run

    def _font(self, index: int) -> str:
        buffer, flags = ctypes.create_string_buffer(128), ctypes.c_int()
        length = self._raw.FPDFText_GetFontInfo(self._handle, index, buffer, 128, flags)
        return buffer.value.decode("latin-1") if 0 < length <= 128 else ""


def _upright_columns(letters: list[Letter]) -> None:
    """Sets the direction of vertical East Asian text, whose upright letters follow downwards, to 270 degrees."""
    start = 0
    for end in range(1, len(letters) + 1):
        if end < len(letters) and letters[end].run == letters[start].run:
            continue
        part, start = letters[start:end], end
        if len(part) < 2 or part[0].turn != 0.0:
            continue
        steps = [(after.left - before.left, after.base - before.base) for before, after in pairwise(part)]
        if all(abs(x) < 0.3 * part[0].size and y > 0.4 * part[0].size for x, y in steps):
            for letter in part:
                _lay_down(letter)


def _lay_down(letter: Letter) -> None:
    """Converts a letter from the frame of 0 degrees, in which y grows downwards, to the frame of 270 degrees."""
    left, top, right, bottom = letter.left, letter.top, letter.right, letter.bottom
    letter.left, letter.right, letter.top, letter.bottom = top, bottom, -right, -left
    letter.base, letter.turn = letter.bottom, 270.0

"""Extracts the ruled lines of a PDF page and counts its pictures. Does not look for tables among the lines."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.letters import visible_box

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_MOST_OBJECTS = 20_000
"""Maximum number of objects of a page that are examined; a page with more is a drawing."""

_DEEPEST = 8
"""Maximum nesting of forms (form XObjects)."""

_STRAIGHT = 0.5
"""Maximum slant of a ruled line, in points."""

_SMALLEST = 24.0
"""Points: a narrower or lower picture is a bullet or a rule and does not count."""

Matrix = tuple[float, float, float, float, float, float]
SAME: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(slots=True)
class Drawings:
    """Ruled lines `(left, top, right, bottom)` in the frame of 0 degrees, and counts of paths and pictures."""

    rules: list[Box] = field(default_factory=list)
    paths: int = 0
    pictures: int = 0
    covered: float = 0.0
    """The sum of the pictures' shares of the page's area."""


def read_drawings(page: PdfPage) -> Drawings:
    """The ruled lines and pictures of a page."""
    import pypdfium2.raw as raw

    found = Drawings()
    left, bottom, right, top = visible_box(page)
    for number, (item, kind, matrix) in enumerate(objects(raw, page.raw, SAME, 0)):
        if number >= _MOST_OBJECTS:
            break
        if kind == raw.FPDF_PAGEOBJ_PATH:
            found.paths += 1
            found.rules += _rules(raw, item, matrix)
        elif kind == raw.FPDF_PAGEOBJ_IMAGE:
            width, height = _extent(raw, item, matrix)
            if min(width, height) >= _SMALLEST:
                found.pictures += 1
                found.covered += width * height / max((right - left) * (top - bottom), 1.0)
    return found


def objects(raw: Any, parent: Any, matrix: Matrix, depth: int) -> Iterator[tuple[Any, int, Matrix]]:
    """Yields `(object, type, matrix)` for the objects on a page, also inside form XObjects, except those forms.

    The matrix converts from the coordinates of the enclosing form to PDF user space.
    """
    inside = depth > 0
    count = (raw.FPDFFormObj_CountObjects if inside else raw.FPDFPage_CountObjects)(parent)
    get = raw.FPDFFormObj_GetObject if inside else raw.FPDFPage_GetObject
    for number in range(count):
        item = get(parent, number)
        kind = raw.FPDFPageObj_GetType(item)
        if kind != raw.FPDF_PAGEOBJ_FORM:
            yield item, kind, matrix
        elif depth < _DEEPEST:
            yield from objects(raw, item, times(own(raw, item), matrix), depth + 1)


def own(raw: Any, item: Any) -> Matrix:
    matrix = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(item, matrix):
        return SAME
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def times(one: Matrix, two: Matrix) -> Matrix:
    """The matrix that applies `one`, then `two`."""
    a, b, c, d, e, f = one
    return (
        *(a * two[0] + b * two[2], a * two[1] + b * two[3]),
        *(c * two[0] + d * two[2], c * two[1] + d * two[3]),
        *(e * two[0] + f * two[2] + two[4], e * two[1] + f * two[3] + two[5]),
    )


def _rules(raw: Any, path: Any, matrix: Matrix) -> list[Box]:
    """The horizontal and vertical lines of a drawn path, in the frame of 0 degrees."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path, fill, stroke)
    count = raw.FPDFPath_CountSegments(path)
    if not (fill.value or stroke.value) or not 2 <= count <= 200:
        return []
    whole = times(own(raw, path), matrix)
    found: list[Box] = []
    first = last = (0.0, 0.0)
    x, y = ctypes.c_float(), ctypes.c_float()
    for number in range(count):
        segment = raw.FPDFPath_GetPathSegment(path, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            x.value * whole[0] + y.value * whole[2] + whole[4],
            -(x.value * whole[1] + y.value * whole[3] + whole[5]),
        )
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            found += _rule(last, point)
        if raw.FPDFPathSegment_GetClose(segment):
            found += _rule(point, first)
        last = point
    return found


def _rule(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    (x0, x1), (y0, y1) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    if min(x1 - x0, y1 - y0) > _STRAIGHT or max(x1 - x0, y1 - y0) < 1:
        return []
    return [(x0, y0, x1, y1)]


def _extent(raw: Any, item: Any, matrix: Matrix) -> tuple[float, float]:
    """Width and height of a picture in points: the unit square transformed by its matrix."""
    a, b, c, d, _, _ = times(own(raw, item), matrix)
    return abs(a) + abs(c), abs(b) + abs(d)

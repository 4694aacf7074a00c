"""Coordinates on a PDF page: PDF user space, the frame of a text direction, and text with a position.

PDF user space is the coordinate system of the file: y grows upwards, and the page's rotation is not applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""In points: `(left, bottom, right, top)` in PDF user space, or `(left, top, right, bottom)` in a `Frame`."""

_SLANT = 1.0
"""Degrees: a direction that differs less from a multiple of 90 is rounded to that multiple."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The coordinate system of a text direction, into which points of PDF user space are rotated.

    x grows in the direction of the text, y grows from line to line. The frame of 0 degrees only turns the y axis round.
    """

    turn: float
    """The direction in PDF user space, in degrees counter-clockwise."""

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Converts a point of PDF user space to this frame."""
        cos, sin = _QUARTERS.get(self.turn) or (math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn)))
        return x * cos + y * sin, x * sin - y * cos

    def box(self, box: Box) -> Box:
        """The smallest box in this frame that contains a box of PDF user space."""
        corners = [self.point(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        across, down = [x for x, _ in corners], [y for _, y in corners]
        return min(across), min(down), max(across), max(down)


_QUARTERS = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}


def straight(turn: float) -> float:
    """The angle in degrees, rounded to a multiple of 90 if it is within `_SLANT` of one, else to one decimal."""
    quarter = round(turn / 90) * 90
    return float(quarter % 360) if abs(turn - quarter) <= _SLANT else round(turn, 1)


@dataclass(slots=True)
class Placed:
    """A text with its position in the frame of its direction (see `Frame`), in points."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    base: float
    """The y coordinate of the baseline."""
    size: float
    """The most frequent font size of its letters, in points."""

    @property
    def middle(self) -> float:
        """Half-way between top and bottom."""
        return (self.top + self.bottom) / 2

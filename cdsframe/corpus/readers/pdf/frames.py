"""Coordinates on a PDF page: the file's axes, the frame of a text direction, and text with a position."""

from __future__ import annotations

import math
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""`(left, bottom, right, top)` in the file's axes, or `(left, top, right, bottom)` in a direction's frame; points."""

_SLANT = 1.0
"""Maximum deviation, in degrees, from a multiple of 90 that is ignored."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rotates points of the file's axes into the frame of a text direction: text runs right, lines run down."""

    turn: float

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Transforms a point of the page."""
        cos, sin = _QUARTERS.get(self.turn) or (math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn)))
        return x * cos + y * sin, x * sin - y * cos

    def box(self, box: Box) -> Box:
        """The smallest box in this frame that contains a box of the page."""
        corners = [self.point(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        across, down = [x for x, _ in corners], [y for _, y in corners]
        return min(across), min(down), max(across), max(down)


_QUARTERS = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}


def straight(turn: float) -> float:
    """The angle, rounded to a multiple of 90 if it is close to one."""
    quarter = round(turn / 90) * 90
    return float(quarter % 360) if abs(turn - quarter) <= _SLANT else round(turn, 1)


@dataclass(slots=True)
class Placed:
    """Text in the frame of its direction, in points: text runs to the right, lines go down."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    base: float
    """The baseline, on the same axis as `top`."""
    size: float
    """The most frequent font size of its letters."""

    @property
    def middle(self) -> float:
        """Half-way between top and bottom."""
        return (self.top + self.bottom) / 2

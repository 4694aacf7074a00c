"""Text with its place on a page: what letters, pieces of lines and lines have in common. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass


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
    """The font size of most of its letters."""

    @property
    def middle(self) -> float:
        """Half-way between top and bottom."""
        return (self.top + self.bottom) / 2

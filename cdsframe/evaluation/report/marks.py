"""Draws the elements of the plots as SVG text: axes, points, intervals, labels.

Colours are CSS classes, so that a plot has the colours of a light, dark or printed page. Plots are 360 units wide, the
width of a phone, and grow little on wider screens, so that their text stays legible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cdsframe.evaluation.report.numbers import unpadded

WIDTH = 360


def mark(tag: str, style: str, text: str = "", **attributes: float | str) -> str:
    """An SVG element. Escapes text and attributes; `_` in the name of an attribute is written `-`."""
    written = {"class": style} | {name.replace("_", "-"): _written(value) for name, value in attributes.items()}
    inside = "".join(f' {name}="{escape(value)}"' for name, value in written.items() if value)
    return f"<{tag}{inside}>{escape(text)}</{tag}>" if text else f"<{tag}{inside}/>"


def svg(height: float, title: str, marks: Sequence[str]) -> str:
    """The picture. `title`: what a screen reader says instead of it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">' + "".join(marks) + "</svg>"
    )


@dataclass(frozen=True, slots=True)
class PlotScale:
    """Maps values from `low` to `high` to places from `start` to `end`. Values outside are moved to the edge."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * (inside - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Three to seven round values between `low` and `high`."""
        span = self.high - self.low
        magnitude = 10.0 ** math.floor(math.log10(span))
        step = next(magnitude * factor for factor in (0.2, 0.5, 1, 2) if span / (magnitude * factor) <= 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def tick_text(value: float) -> str:
    """`0`, `.25`, `1,200`."""
    return f"{value:,.0f}" if value == 0 or abs(value) >= 100 else unpadded(f"{value:.3g}")


def axis_below(scale: PlotScale, y: float, title: str, top: float | None = None) -> list[str]:
    """A horizontal axis at `y` with its ticks and title; with `top`, lines up to there."""
    found = [mark("line", "axis", x1=scale.start, x2=scale.end, y1=y, y2=y)]
    for value in scale.ticks():
        x = scale.place(value)
        if top is not None:
            found.append(mark("line", "grid", x1=x, x2=x, y1=top, y2=y))
        found.append(mark("text", "soft middle", tick_text(value), x=x, y=y + 14))
    return [*found, mark("text", "soft middle", title, x=(scale.start + scale.end) / 2, y=y + 29)]


def axis_left(scale: PlotScale, left: float, right: float, title: str) -> list[str]:
    """A vertical axis: lines from `left` to `right`, ticks, and the title above."""
    found = [mark("text", "soft", title, x=2, y=scale.end - 8)]
    for value in scale.ticks():
        y = scale.place(value)
        found.append(mark("line", "grid", x1=left, x2=right, y1=y, y2=y))
        found.append(mark("text", "soft end", tick_text(value), x=left - 5, y=y + 4))
    return found


def whisker(style: str, x: float, top: float, bottom: float) -> str:
    """A vertical interval."""
    return mark("line", f"range {style}", x1=x, x2=x, y1=top, y2=bottom)


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"

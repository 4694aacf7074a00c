"""The plots of the reports as SVG: intervals, parts of a whole, curves, histograms, points.

Equal data give equal text. Does not compute anything but places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdsframe.evaluation.report.marks import (
    WIDTH,
    PlotScale,
    axis_below,
    axis_left,
    mark,
    svg,
    tick_text,
    whisker,
)
from cdsframe.evaluation.report.numbers import shortened, unpadded
from cdsframe.evaluation.statistics import Interval

_LABEL = 58
"""Number of characters that fit into the width of a plot."""


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A point with an interval of its height, at `x`; `name` is written beside it."""

    x: float
    y: Interval
    name: str = ""


def forest(
    title: str,
    rows: Sequence[tuple[str, Interval]],
    axis: str,
    zero: float | None = None,
    margin: float | None = None,
) -> str:
    """One interval below the other, each under its label.

    With `zero`, a line where there is no difference, and an axis as wide as the intervals; with `margin`, a dashed line
    there. Without, the axis goes from 0 to 1.
    """
    scale = PlotScale(0, 1, 4, 248)
    if zero is not None:
        ends = [
            zero,
            *(bound for _, one in rows for bound in (one.low, one.high)),
            *([] if margin is None else [margin]),
        ]
        room = max(0.05 * (max(ends) - min(ends)), 0.005)
        scale = PlotScale(min(ends) - room, max(ends) + room, 4, 232)
    bottom = 8 + 34 * len(rows)
    marks = axis_below(scale, bottom, axis, top=4)
    for value, style in ((zero, "zero"), (margin, "margin")):
        if value is not None:
            marks.append(mark("line", style, x1=scale.place(value), x2=scale.place(value), y1=4, y2=bottom))
    for number, (name, one) in enumerate(rows):
        y = 8 + 34 * number
        sign = "" if zero is None else "+"
        figures = unpadded(f"{one.value:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]")
        marks += [
            mark("text", "", shortened(name, _LABEL), x=0, y=y + 10),
            mark("line", "range s1", x1=scale.place(one.low), x2=scale.place(one.high), y1=y + 21, y2=y + 21),
            mark("circle", "point s1", cx=scale.place(one.value), cy=y + 21, r=4),
            mark("text", "soft end", figures, x=WIDTH - 2, y=y + 25),
        ]
    return svg(bottom + 36, title, marks)


def parts(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """A bar for each row, divided into its parts: `(label, [(CSS class, share of the bar)])`."""
    marks = []
    for number, (name, shares) in enumerate(rows):
        y, x = 4 + 36 * number, 0.0
        marks.append(mark("text", "", shortened(name, _LABEL), x=0, y=y + 10))
        for style, value in shares:
            width = WIDTH * value
            if value > 0:
                marks.append(mark("rect", f"part {style}", x=x, y=y + 15, width=width, height=13))
            x += width
    return svg(8 + 36 * len(rows), title, marks)


def curves(title: str, series: Sequence[tuple[str, Sequence[PlotPoint]]], axis: str, height: str) -> str:
    """Lines through points with intervals: `(CSS class, points)`; both axes begin at 0, the vertical one ends at 1."""
    highest = max(point.x for _, points in series for point in points)
    across, up = PlotScale(0, highest + 0.5, 36, WIDTH - 8), PlotScale(0, 1, 210, 24)
    marks = [*axis_left(up, 36, WIDTH - 8, height), *axis_below(across, 210, axis)]
    for number, (style, points) in enumerate(series):
        places = [(across.place(point.x) + 4 * number, point) for point in points]
        line = " ".join(f"{x:.1f},{up.place(point.y.value):.1f}" for x, point in places)
        marks.append(mark("polyline", f"curve {style}", points=line))
        for x, point in places:
            marks.append(whisker(style, x, up.place(point.y.high), up.place(point.y.low)))
            marks.append(mark("circle", f"point {style}", cx=x, cy=up.place(point.y.value), r=3.5))
    return svg(244, title, marks)


def reliability(title: str, points: Sequence[PlotPoint]) -> str:
    """Share of right answers against stated probability, with the diagonal on which they are equal."""
    across, up = PlotScale(0, 1, 36, WIDTH - 12), PlotScale(0, 1, 330, 24)
    marks = [
        *axis_left(up, 36, WIDTH - 12, "share of right answers"),
        *axis_below(across, 330, "probability that the answers state"),
        mark("line", "zero", x1=across.place(0), y1=up.place(0), x2=across.place(1), y2=up.place(1)),
    ]
    for point in points:
        x = across.place(point.x)
        marks.append(whisker("s1", x, up.place(point.y.high), up.place(point.y.low)))
        marks.append(mark("circle", "point s1", cx=x, cy=up.place(point.y.value), r=4.5))
    return svg(364, title, marks)


def scatter(title: str, points: Sequence[PlotPoint], axis: str, height: str) -> str:
    """Points with their intervals and short names; both axes begin at 0, the vertical one ends at 1."""
    across = PlotScale(0, max(point.x for point in points) * 1.08 or 1, 36, WIDTH - 12)
    up = PlotScale(0, 1, 250, 24)
    marks = [*axis_left(up, 36, WIDTH - 12, height), *axis_below(across, 250, axis)]
    for point in points:
        x, y = across.place(point.x), up.place(point.y.value)
        marks += [
            whisker("s1", x, up.place(point.y.high), up.place(point.y.low)),
            mark("circle", "point s1", cx=x, cy=y, r=4),
            mark("text", "name", point.name, x=x + 6, y=y - 5),
        ]
    return svg(284, title, marks)


def histogram(title: str, counts: Sequence[int], top: float, axis: str) -> str:
    """Bars of equal width from 0 to `top`; the last one holds larger values too."""
    across, up = PlotScale(0, top or 1, 8, WIDTH - 12), PlotScale(0, max(counts), 110, 20)
    wide = (across.end - across.start) / len(counts)
    marks = axis_below(across, 110, axis)
    for number, count in enumerate(counts):
        y = up.place(count)
        if count:
            marks.append(mark("rect", "bar", x=8 + wide * number, y=y, width=wide - 1, height=110 - y))
    highest = counts.index(max(counts))
    marks.append(mark("text", "soft middle", tick_text(max(counts)), x=8 + wide * (highest + 0.5), y=15))
    return svg(144, title, marks)

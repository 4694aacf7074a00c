"""Writes numbers and intervals as words and cells of a table. Does not estimate anything but shares."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from cdsframe.evaluation.statistics import Interval, interval
from cdsframe.types import JsonObject, Metrics


def share(values: Sequence[float], rows: Sequence[JsonObject]) -> Interval:
    """The mean of one value between 0 and 1 of each row, with its interval over the rows' groups."""
    return interval(values, [str(row.get("group", "")) for row in rows])


def bounded(found: Interval) -> str:
    """`.43 [.33, .58]`."""
    return unpadded(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")


def percent(found: Interval) -> str:
    """`43 % [33, 58]`."""
    return f"{100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def unpadded(text: str) -> str:
    """The text with `.5` for `0.5`, and with a minus for a hyphen before a number."""
    return re.sub(r"-(?=[\d.])", "−", re.sub(r"(?<!\d)0\.", ".", text))


def metric(metrics: Metrics, name: str) -> Interval | None:
    """A metric with its interval; None if it is missing or has no interval."""
    low, high = metrics.get(f"{name}/ci_low"), metrics.get(f"{name}/ci_high")
    if name not in metrics or low is None or high is None:
        return None
    return Interval(metrics[name], low, high)


def metric_text(metrics: Metrics, name: str) -> str:
    """A metric as `.43 [.33, .58]`, without bounds if it has none; "" if it is missing."""
    if name not in metrics:
        return ""
    found = metric(metrics, name)
    return quantity(metrics[name]) if found is None else bounded(found)


def quantity(value: float) -> str:
    """A count or a cost: `12`, `1,234`, `.43`, `12.1`."""
    if not math.isfinite(value):
        return "not a number"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return unpadded(f"{value:.2f}") if abs(value) < 10 else f"{value:.1f}"


def counted(number: int, noun: str) -> str:
    """`1 question`, `2 questions`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shortened(text: str, most: int) -> str:
    """The text, cut after `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"

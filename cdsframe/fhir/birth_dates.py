"""Builds regular expressions for a date in digits, or with the month as a word. Does not parse dates in texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cdsframe.fhir.patterns import Pattern

_MONTHS = (
    "j[aä]n|ene|gen", "f[eé][bv]", "m[aä]r|maa|mrt", "a[pvb]r", "ma[yigj]|mei", "jun|juin|giu", "jul|juil|lug",
    "aug|ao[uû]|ago", "se[pt]", "o[ck]t|out|ott", "nov", "d[eéi][czc]",
)  # fmt: skip
"""First letters of each month's name in English, German, French, Spanish, Italian, Dutch and Portuguese."""
_SIGN = r"\s?[-./_]\s?"
_ANY = r"[\s,./_\-]{0,3}(?:(?:of|de|del)\s)?"
_ORDINAL = r"(?:st|nd|rd|th|er|[.ºª])?"


def date_patterns(date: Any) -> Iterator[Pattern]:
    """Yields patterns that match a FHIR date in text, in upper or lower case, with day and month in either order.

    Args:
        date: `2024-03-01` or `2024-03`. For any other value, such as a year alone, yields nothing.
    """
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])(?:-(\d\d))?", date) if isinstance(date, str) else None
    if found is None:
        return
    year, month, day = found[1], found[2], found[3]
    name = rf"(?:{_MONTHS[int(month) - 1]})[^\W\d_]{{0,7}}\.?"
    if day is None:
        forms = [rf"{year}{_SIGN}{month}", rf"{month}{_SIGN}{year}", rf"{name}{_ANY}{year}"]
    else:
        d, m = rf"0?{int(day)}", rf"0?{int(month)}"
        forms = [
            rf"{year}{_SIGN}{m}{_SIGN}{d}(?:T[\d:.]+(?:Z|[+-][\d:]+)?)?",
            rf"{year}\s?{month}\s?{day}",
            *(rf"{one}{_SIGN}{other}{_SIGN}{year}" for one, other in ((d, m), (m, d))),
            *(rf"{one}\s?{other}\s?{year}" for one, other in ((day, month), (month, day))),
            *(rf"{one}{_SIGN}{other}{_SIGN}{year[2:]}" for one, other in ((day, month), (month, day))),
            rf"{d}{_ORDINAL}{_ANY}{name}{_ANY}{year}",
            rf"{name}{_ANY}{d}{_ORDINAL}{_ANY}{year}",
            rf"{year}{_ANY}{name}{_ANY}{d}(?:st|nd|rd|th)?",
            rf"{year}年\s?{m}月\s?{d}日",
        ]
    letters = "".join(stem[0] for stem in _MONTHS[int(month) - 1].split("|"))
    for form in forms:
        if form.startswith("("):
            yield Pattern(letters, rf"(?i:(?<![^\W\d_]){form}(?!\d))")
        else:
            yield Pattern("0123456789", rf"(?i:(?<!\d){form}(?!\d))")

"""Page headers and footers that repeat from page to page: the first stays, the others are left out and counted.

A line repeats where its words stand in the same place on several pages and its numbers are the same or count the pages.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cdsframe.corpus.readers.pdf.page import Page
from cdsframe.corpus.readers.pdf.rows import Line

_FEWEST = 3
"""Pages on which a line must stand."""

_MARGIN = 0.15
"""Share of the page's height at its top and bottom in which headers and footers stand."""

_NEAR = 4.0
"""Points by which the place may differ."""

_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class _Seen:
    page: int
    line: Line


def drop_repeated(pages: Sequence[Page]) -> int:
    """Takes repeated headers and footers out of the pages. Returns how many words they have."""
    if len(pages) < _FEWEST:
        return 0
    groups: dict[tuple[str, int, bool], list[_Seen]] = defaultdict(list)
    for number, page in enumerate(pages):
        for line in page.lines:
            if not line.table and len(line.text) <= 300 and (_in_margin(line, page) or not line.upright):
                place = round(line.base / _NEAR)
                groups[_NUMBER.sub("#", line.text), place, line.upright].append(_Seen(number, line))
    repeated: set[int] = set()
    for seen in groups.values():
        if len({item.page for item in seen}) >= _FEWEST and _counts(seen):
            repeated.update(id(item.line) for item in seen)
    first = {id(min(seen, key=lambda item: item.page).line) for seen in groups.values()}
    words = 0
    for page in pages:
        edge = _at_edges(page, repeated)
        gone = {id(line) for line in page.lines if id(line) in edge and id(line) not in first}
        words += sum(len(line.text.split()) for line in page.lines if id(line) in gone)
        page.lines = [line for line in page.lines if id(line) not in gone]
    return words


def _in_margin(line: Line, page: Page) -> bool:
    margin = _MARGIN * (page.bottom - page.top)
    return line.upright and not page.top + margin < line.base < page.bottom - margin


def _counts(seen: Sequence[_Seen]) -> bool:
    """Whether each number of the line is the same on all pages, or grows with the page's number."""
    numbers = [[int(number) for number in _NUMBER.findall(item.line.text)[:20]] for item in seen]
    for column in zip(*numbers, strict=True):
        offsets = {number - item.page for number, item in zip(column, seen, strict=True)}
        if len(set(column)) > 1 and len(offsets) > 1:
            return False
    return True


def _at_edges(page: Page, repeated: set[int]) -> set[int]:
    """The repeated lines with no other line between them and the page's edge."""
    level = sorted((line for line in page.lines if line.upright), key=lambda line: line.base)
    found = {id(line) for line in page.lines if not line.upright and id(line) in repeated}
    for lines in (level, level[::-1]):
        for line in lines:
            if id(line) not in repeated:
                break
            found.add(id(line))
    return found

"""Removes page headers and footers that repeat from page to page: keeps the first occurrence, counts the others.

A line repeats if its words occur in the same place on several pages and its numbers are equal or grow with the pages. A
line with a dose, or with a word such as "never", is always kept: it may belong to that page's drug.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cdsframe.corpus.readers.pdf.page import Page
from cdsframe.corpus.readers.pdf.rows import Line
from cdsframe.text.units import unit_behind

_FEWEST = 3
"""Minimum number of pages on which a repeated line occurs."""

_MARGIN = 0.15
"""Share of the page's height, at top and bottom, in which headers and footers are expected."""

_NEAR = 4.0
"""Points: grid size within which positions count as equal."""

_NUMBER = re.compile(r"\d+")

_PAGE_NUMBER = re.compile(
    r"\b(?:page|pages|pg|p|seite|s|blatt|pagina|página|pág|sida|side|sivu|strona|str)\b[.:]?\s*(\d+)"
    r"|^\W*(\d+)\s*(?:(?:of|/|von|de|di|sur|av|af|van|z)\s*\d+)?\W*$"
    r"|^(\d+)\s*[|·•]|[|·•]\s*(\d+)(?:\s*/\s*\d+)?$",
    re.IGNORECASE,
)
"""A number that may be a page number. Does not match `Step 1` and `Give 1 mg`."""

_AFTER_DIGIT = re.compile(r"(?<=\d)\s*")
_MORE_UNITS = re.compile(
    r"‰|°|(?:c[gl]|nmol|eq|ie|times|doses?|stunden?|tage?n?|wochen?|tabletten?|tropfen)\b", re.IGNORECASE
)
"""What makes a number a dose besides the units of `cdsframe.text.units`."""

_WARNS = re.compile(
    r"\b(?:not|no|never|don't|contra-?indicat\w*|avoid\w*|stop|must|only|maximum|max|minimum|dose|doses|dosage|daily|once|"
    r"twice|hourly|allerg\w*|pregnan\w*|warning|caution|danger|nicht|nie|niemals|kein\w*|kontraindiziert|nur|dosis|"
    r"täglich|jamais|ne|pas|contre-indiqu\w*|nunca|contraindicad\w*|mai|non|controindicat\w*)\b",
    re.IGNORECASE,
)
"""Words that may make a line an instruction: keeping a repeated line costs less than losing an instruction."""


@dataclass(slots=True)
class _Occurrence:
    page: int
    line: Line


def drop_repeated(pages: Sequence[Page]) -> int:
    """Removes repeated headers and footers from the pages. Returns the number of removed words."""
    if len(pages) < _FEWEST:
        return 0
    groups: dict[tuple[str, int, bool], list[_Occurrence]] = defaultdict(list)
    for number, page in enumerate(pages):
        for line in page.lines:
            if not line.table and len(line.text) <= 300 and (_in_margin(line, page) or not line.upright):
                place = round(line.base / _NEAR)
                groups[_NUMBER.sub("#", line.text), place, line.upright].append(_Occurrence(number, line))
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


def _counts(seen: Sequence[_Occurrence]) -> bool:
    """Whether a line with these occurrences may be removed.

    None of them may contain a dose or a word such as "never". Their numbers must be equal, except for at most one page
    number that grows with the pages.
    """
    if any(_has_dose(item.line.text) or _WARNS.search(item.line.text) for item in seen):
        return False
    numbers = [[int(number) for number in _NUMBER.findall(item.line.text)] for item in seen]
    changing = [place for place, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if not changing:
        return True
    if len(changing) > 1 or len({row[changing[0]] - item.page for row, item in zip(numbers, seen, strict=True)}) > 1:
        return False
    return all(_is_page_number(item.line.text, changing[0]) for item in seen)


def _has_dose(text: str) -> bool:
    ends = [found.end() for found in _AFTER_DIGIT.finditer(text)]
    return any(unit_behind(text, end)[0] or _MORE_UNITS.match(text, end) for end in ends)


def _is_page_number(text: str, place: int) -> bool:
    """Whether the line's number at this index is written as a page number."""
    start = [found.start() for found in _NUMBER.finditer(text)][place]
    return any(match.start(match.lastindex or 0) == start for match in _PAGE_NUMBER.finditer(text))


def _at_edges(page: Page, repeated: set[int]) -> set[int]:
    """The ids of the repeated lines in the page's margins.

    These are repeated lines that are turned, and those from the top or bottom of the page to the first line that is not
    repeated.
    """
    level = sorted((line for line in page.lines if line.upright), key=lambda line: line.base)
    found = {id(line) for line in page.lines if not line.upright and id(line) in repeated}
    for lines in (level, level[::-1]):
        for line in lines:
            if id(line) not in repeated:
                break
            found.add(id(line))
    return found

"""Turns a PDF's lines into headings and paragraphs and finds its title. Uses only the font size to find headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from cdsframe.corpus.readers.pdf.page import Page
from cdsframe.corpus.readers.pdf.rows import Line
from cdsframe.text.blocks import Block

_LONGEST_LINE = 120
"""Characters: a longer line is a paragraph regardless of its size."""

_LONGEST_HEADING = 300
"""Maximum characters of a heading of several lines."""

_ABOVE_TITLE = 400
"""Number of characters at the top of the first page in which the title is searched; a letterhead may precede it."""

_LARGER = 1.15
"""Minimum ratio of a heading's font size to the body's."""

_NUMBERED = re.compile(r"(?:\d+(?:\.\d+)*[.)]?|[A-Z][.)]|[•▪➢–-])\s")
"""The start of a numbered heading or list item. Such a line does not continue the line above."""

_UNFINISHED = re.compile(
    r"(a|an|and|as|at|by|for|from|in|into|of|on|or|the|to|with|without|d(er|ie|as)|und|von|für|mit|bei|im|zu[rm]|de|la"
    r"|le|les|d[ue]s?|et|en|pour|avec|sans|el|l[ao]s|y|con|sin|para|il|lo|gli|per|di)",
    re.IGNORECASE,
)
"""Words at the end of a heading that show that it continues on the next line."""


def blocks_of(pages: Sequence[Page]) -> tuple[list[Block], str]:
    """Returns the document's blocks and a title: its largest line near the top, or "" without a large line there.

    Without headings, each page begins with a heading such as "Page 2".
    """
    merged = [_merged(page.lines, _body(pages)) for page in pages]
    levels = _levels(merged, _body(pages))
    step = _usual_step(merged)
    if levels:
        blocks = [
            block for lines, page in zip(merged, pages, strict=True) for block in _page(lines, page, levels, step)
        ]
        return _flowing(blocks), _largest(merged, _body(pages))
    blocks = []
    for number, (lines, page) in enumerate(zip(merged, pages, strict=True), start=1):
        blocks += [Block(f"Page {number}", 1), *_page(lines, page, {}, step)]
    return blocks, _largest(merged, _body(pages))


def _size(line: Line) -> float:
    """The font size rounded to half points, so that nearly equal sizes match."""
    return round(2 * line.size) / 2


def _body(pages: Sequence[Page]) -> float:
    """The font size of most letters, in points; 0 without letters."""
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            if not line.table and line.straight:
                weights[_size(line)] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def _is_large(line: Line, body: float) -> bool:
    return 0 < _LARGER * body <= line.size and _may_head(line)


def _may_head(line: Line) -> bool:
    """Whether a line qualifies as a heading apart from its size."""
    plain = line.upright and not line.table and not line.scattered
    return plain and len(line.text) <= _LONGEST_HEADING and any(map(str.isalpha, line.text))


def _merged(lines: Sequence[Line], body: float) -> list[Line]:
    """Joins the lines of headings that take several lines."""
    found: list[Line] = []
    right = max((line.right for line in lines if line.upright), default=0.0)
    for line in lines:
        last = found[-1] if found else None
        if (
            last is not None
            and _is_large(last, body)
            and _is_large(line, body)
            and _size(last) == _size(line)
            and last.flow == line.flow
            and 0 < line.base - last.base <= 1.5 * line.size
            and len(last.text) + len(line.text) < _LONGEST_HEADING
            and len(line.text) <= _LONGEST_LINE
            and _wraps(last, line, right)
        ):
            found[-1] = replace(
                last,
                text=f"{last.text} {line.text}",
                base=line.base,
                left=min(last.left, line.left),
                right=line.right,
            )
        else:
            found.append(line)
    return found


def _wraps(before: Line, after: Line, right: float) -> bool:
    """Whether a heading continues on the next line.

    True if one of these holds: the next line begins in lower case; this line ends in a word such as "of" or a sign such
    as `,`; both lines are centred; the next word did not fit on this line. `right`: the right edge of the page's text.
    """
    if _NUMBERED.match(after.text):
        return False
    if after.text[0].islower() or before.text[-1] in "-–,:&(/" or _UNFINISHED.fullmatch(before.text.split()[-1]):
        return True
    centred = abs(before.left + before.right - after.left - after.right) < after.size
    if centred and abs(before.left - after.left) > after.size:
        return True
    word = (after.right - after.left) * len(after.text.split()[0]) / len(after.text)
    return before.right + word + 0.3 * after.size > right


def _levels(pages: Sequence[Sequence[Line]], body: float) -> dict[float, int]:
    """Font size -> heading level; empty if more than 30 % of the lines are large."""
    large = [_size(line) for lines in pages for line in lines if _is_large(line, body)]
    if len(large) > 0.3 * sum(map(len, pages)):
        return {}
    return {size: min(level, 9) for level, size in enumerate(sorted(set(large), reverse=True), start=1)}


def _largest(pages: Sequence[Sequence[Line]], body: float) -> str:
    """The first of the largest lines near the top of the first page with text; "" without a large line."""
    lines = next((lines for lines in pages if lines), ())
    top: list[Line] = []
    passed = 0
    for line in lines:
        if _is_large(line, body) and sum(map(str.isalpha, line.text)) >= 3:
            top.append(line)
        passed += len(line.text)
        if passed > _ABOVE_TITLE:
            break
    return max(top, key=_size).text if top else ""


def _usual_step(pages: Sequence[Sequence[Line]]) -> float:
    """The median distance between the baselines of consecutive lines, in font sizes."""
    steps = [
        (after.base - before.base) / before.size
        for lines in pages
        for before, after in pairwise(lines)
        if before.flow == after.flow and _size(before) == _size(after) and after.base > before.base
    ]
    return median(steps) if steps else 1.2


def _page(lines: Sequence[Line], page: Page, levels: dict[float, int], step: float) -> Iterator[Block]:
    """A page's headings and paragraphs, followed by its comments."""
    paragraph: list[Line] = []
    for line in lines:
        level = levels.get(_size(line), 0) if _may_head(line) else 0
        heading = level > 0
        if heading or line.table or (paragraph and _breaks(paragraph[-1], line, step)):
            yield Block("\n".join(item.text for item in paragraph))
            paragraph = []
        if heading or line.table:
            yield Block(line.text, level if heading else 0)
        else:
            paragraph.append(line)
    yield Block("\n".join(item.text for item in paragraph))
    yield from (Block(f"Note: {note}") for note in page.overlay.notes)


def _breaks(before: Line, after: Line, step: float) -> bool:
    """Whether a paragraph ends between two lines."""
    if before.straight != after.straight or before.upright != after.upright:
        return True
    if before.flow != after.flow:
        return not _sentence_continues(before.text, after.text)
    return after.base - before.base > 1.5 * step * before.size


def _sentence_continues(before: str, after: str) -> bool:
    """Whether a sentence continues across a column or page break."""
    return before.endswith("-") or (after[0].islower() and before[-1] not in ".:;!?")


def _flowing(blocks: Sequence[Block]) -> list[Block]:
    """Joins paragraphs that continue on the next page."""
    found: list[Block] = []
    for block in (block for block in blocks if block.text):
        if found and not found[-1].level and not block.level and "|" not in found[-1].text:
            last = found[-1].text
            if _sentence_continues(last, block.text) and last[-1].isalpha() | (last[-1] in "-,") and len(last) < 20_000:
                found[-1] = Block(f"{last}\n{block.text}")
                continue
        found.append(block)
    return found

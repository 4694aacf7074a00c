"""Replaces characters whose meaning depends on their formatting: underlined comparators and characters in symbol fonts.

Uses elements and inline styles. Does not apply style sheets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from cdsframe.corpus.readers.html.lines import INLINE
from cdsframe.corpus.readers.html.tree import NEVER_SHOWN, Following, Node
from cdsframe.corpus.readers.scripts import UNDERLINED, without_lines
from cdsframe.corpus.readers.symbol_fonts import is_symbol_font, sign
from cdsframe.types import Omission

_LINE = re.compile(r"text-decoration(?:-line)?\s*:[^;]*underline", re.IGNORECASE)
_BORDER = re.compile(r"border-bottom(?:-style)?\s*:[^;]*(?:solid|double)", re.IGNORECASE)
_LINE_NAMES = frozenset(("underline", "underlined", "text-underline", "text-decoration-underline"))
_FAMILY = re.compile(
    r"(?:^|;)\s*(?:font-family\s*:|font\s*:[^;]*?\d[\w.%]*(?:\s*/\s*[\w.%]+)?\s)\s*([^;,]+)", re.IGNORECASE
)
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_ICON = re.compile(r"icon|glyph|(?:^|\s)(?:fa[srlbd]?|bi|mdi|ti|material-symbols\S*)(?:\s|$)", re.IGNORECASE)
"""Class names of elements that show an icon as a character of an icon font."""

_FEW = 3
"""Maximum ASCII characters of a text in a symbol font. A longer text is prose in a wrong font and keeps its letters."""


class _Text(NamedTuple):
    parent: Node
    place: int
    """Index among the parent's children."""
    text: str
    underlined: bool
    font: str


def read_signs(root: Node) -> list[Omission]:
    """Replaces underlined comparators and symbol-font characters. Returns counts of unknown symbols and of icons."""
    lost: Counter[bool] = Counter()
    for run in _runs(root):
        shown = [_in_font(run, place, lost) for place in range(len(run))]
        if any(item.underlined for item in run):
            shown = _above_lines(run, shown)
        for item, text in zip(run, shown, strict=True):
            if text != item.text:
                item.parent.children[item.place] = _like(item.parent.children[item.place], text)
    return [
        Omission("symbols without a Unicode meaning", lost[True], text=True),
        Omission("icons", lost[False], text=False),
    ]


def _runs(root: Node) -> Iterator[list[_Text]]:
    """Yields runs of texts with their underline and font; an element that is not inline starts and ends a run."""
    run: list[_Text] = []
    revised = any(node.tag == "del" for node in root.descendants())
    stack: list[tuple[Node, int, bool, str]] = [(root, 0, False, "")]
    while stack:
        parent, place, underlined, font = stack.pop()
        if place == len(parent.children):
            if parent.tag not in INLINE:
                yield run
                run = []
            continue
        stack.append((parent, place + 1, underlined, font))
        item = parent.children[place]
        if isinstance(item, str):
            run.append(_Text(parent, place, item, underlined, font))
        elif not item.out and item.tag not in NEVER_SHOWN:
            if item.tag not in INLINE:
                yield run
                run = []
            stack.append((item, 0, underlined or _is_underlined(item, revised), _font(item) or font))


def _is_underlined(node: Node, revised: bool) -> bool:
    """Whether an element is underlined. With attributes, or in a page with `del` (`revised`), `ins` marks a change."""
    if node.tag == "u":
        return True
    if node.tag == "ins" and not revised and not node.attributes:
        return True
    style = node.get("style")
    if _LINE.search(style) or (node.tag in INLINE and _BORDER.search(style)):
        return True
    return not _LINE_NAMES.isdisjoint(node.get("class").lower().split())


def _font(node: Node) -> str:
    """The font that an element sets; "" if it sets none."""
    families = _FAMILY.findall(node.get("style")) or ([node.get("face")] if node.tag == "font" else [])
    return families[-1].split(",")[0].strip(" \"'") if families else ""


def _in_font(run: list[_Text], place: int, lost: Counter[bool]) -> str:
    """The text at an index as its font displays it. Unknown symbols become blanks, counted in `lost` (False: icons)."""
    item = run[place]
    symbols = is_symbol_font(item.font)
    if not symbols and not _PRIVATE.search(item.text):
        return item.text
    few = len([letter for letter in item.text if letter.isascii() and not letter.isspace()]) <= _FEW
    shown = []
    for letter in item.text:
        known: str | None = letter
        if _PRIVATE.match(letter) or (symbols and not letter.isspace() and (few or not letter.isascii())):
            known = sign(ord(letter), item.font)
        lost[symbols or not _ICON.search(item.parent.get("class"))] += known is None
        shown.append(" " if known is None else known)
    return "".join(shown)


def _above_lines(run: list[_Text], shown: list[str]) -> list[str]:
    """The texts of a run with underlined comparators replaced. Each text keeps its length."""
    parts = []
    for underlined, group in groupby(zip(run, shown, strict=True), lambda pair: pair[0].underlined):
        parts.append((UNDERLINED if underlined else "", "".join(text for _, text in group)))
    whole = "".join(text for _, text in without_lines(parts))
    found, position = [], 0
    for text in shown:
        found.append(whole[position : position + len(text)])
        position += len(text)
    return found


def _like(before: Node | str, text: str) -> str:
    """Returns the text as a node that replaces `before`; it keeps the `front` of `before`."""
    after = Following(text)
    if isinstance(before, Following) and hasattr(before, "front"):
        after.front = before.front
    return after

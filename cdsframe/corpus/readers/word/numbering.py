"""Computes the number or bullet that Word shows before a paragraph from the numbering definitions. Reads no text.

Counts as Word does: lists with a common definition share counters, a level restarts after a higher one, and
`startOverride` restarts a level at its first paragraph in a list. A bullet is "-" unless it contains a word. Unknown
number formats are written as digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cdsframe.corpus.readers.symbol_fonts import is_symbol_font
from cdsframe.corpus.readers.word.names import attribute, child, flag, name, number, value
from cdsframe.corpus.readers.word.styles import Styles

_ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
          (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))  # fmt: skip
_LEVELS = 9
BULLET = "-"
"""Replaces every bullet that is not a word."""
_WORD = re.compile(r"[^\W\d_]{2}")
"""Two letters make a word; a single letter is a sign of a symbol font (`o`, `l`)."""


@dataclass(frozen=True, slots=True)
class _Level:
    start: int
    format: str
    text: str
    restart: int
    legal: bool


class Numbering:
    """The lists of a file. Call `label` once per paragraph, in order: each call advances counters.

    `root` is the root element of the numbering part; None if the file has none.
    """

    def __init__(self, root: Any, styles: Styles) -> None:
        items = list(root) if root is not None else []
        self._styles = styles
        self._abstract = {attribute(item, "abstractNumId"): item for item in items if name(item) == "w:abstractNum"}
        self._lists = {attribute(item, "numId"): item for item in items if name(item) == "w:num"}
        self._counters: dict[str, dict[int, int]] = {}
        self._of_styles: dict[str, tuple[str, int]] = {}
        self._begun: set[tuple[str, int]] = set()

    def label(self, properties: Any) -> str:
        """The number or bullet of the next paragraph, whose properties (`w:pPr`) these are; "" if it has none."""
        id_, depth = self._place(properties)
        if id_ not in self._lists or not 0 <= depth < _LEVELS:
            return ""
        definition = self._definition(id_)
        levels = {n: level for n in range(depth + 1) if (level := self._level(id_, n)) is not None}
        if depth not in levels:
            return ""
        self._count(id_, attribute(definition, "abstractNumId") or "", depth, levels[depth])
        counters = self._counters[attribute(definition, "abstractNumId") or ""]
        level = levels[depth]
        if level.format == "bullet":
            return level.text.strip() if _WORD.search(level.text) else BULLET
        text = level.text
        for n in reversed(range(depth + 1)):
            if (shown := levels.get(n)) is not None:
                format_ = "decimal" if level.legal and shown.format != "none" else shown.format
                text = text.replace(f"%{n + 1}", written(counters.setdefault(n, shown.start), format_))
        return text.strip()

    def _count(self, id_: str, key: str, depth: int, level: _Level) -> None:
        counters = self._counters.setdefault(key, {})
        override = number(self._override(id_, depth), "w:startOverride")
        if override is not None and (id_, depth) not in self._begun:
            counters[depth] = override
        else:
            counters[depth] = counters[depth] + 1 if depth in counters else level.start
        self._begun.add((id_, depth))
        for deeper in [n for n in counters if n > depth]:
            below = self._level(id_, deeper)
            if below is None or depth < below.restart:
                del counters[deeper]

    def _place(self, properties: Any) -> tuple[str, int]:
        """The list id and the depth (from 0) of a paragraph, from its own properties or its style."""
        own = child(properties, "w:numPr")
        id_, depth = value(own, "w:numId"), number(own, "w:ilvl")
        if id_ is None:
            style_id = self._styles.style_of(properties)
            if style_id not in self._of_styles:
                self._of_styles[style_id] = self._place_of_style(style_id)
            id_, usual = self._of_styles[style_id]
            depth = usual if depth is None else depth
        return id_, depth or 0

    def _place_of_style(self, style_id: str) -> tuple[str, int]:
        for style in self._styles.chain(style_id):
            inherited = child(style, "w:pPr", "w:numPr")
            if inherited is None or (id_ := value(inherited, "w:numId")) is None:
                continue
            linked = self._depth_of(id_, {style_id, attribute(style, "styleId") or ""})
            return id_, (number(inherited, "w:ilvl") or 0) if linked is None else linked
        return "", 0

    def _depth_of(self, id_: str, styles: set[str]) -> int | None:
        """The depth (from 0) of the list's level that names one of these paragraph styles; None if no level does."""
        for item in self._definition(id_) if id_ in self._lists else ():
            if name(item) == "w:lvl" and value(item, "w:pStyle") in styles:
                return int(attribute(item, "ilvl") or 0)
        return None

    def _definition(self, id_: str, hops: int = 3) -> Any:
        """A list's abstract definition. If it links to a numbering style, that style's (at most `hops` links)."""
        found = self._abstract.get(value(self._lists.get(id_), "w:abstractNumId"))
        link = value(found, "w:numStyleLink") if found is not None else None
        for style in self._styles.chain(link) if hops else ():
            target = value(style, "w:pPr", "w:numPr", "w:numId")
            if target in self._lists:
                return self._definition(str(target), hops - 1)
        return found if found is not None else _EMPTY

    def _override(self, id_: str, depth: int) -> Any:
        overrides = (item for item in self._lists[id_] if name(item) == "w:lvlOverride")
        return next((item for item in overrides if attribute(item, "ilvl") == str(depth)), None)

    def _level(self, id_: str, depth: int) -> _Level | None:
        found = child(self._override(id_, depth), "w:lvl")
        if found is None:
            levels = (item for item in self._definition(id_) if name(item) == "w:lvl")
            found = next((item for item in levels if attribute(item, "ilvl") == str(depth)), None)
        if found is None:
            return None
        other = value(found, "mc:AlternateContent", "mc:Fallback", "w:numFmt")
        format_ = value(found, "w:numFmt") or other or "decimal"
        font = child(found, "w:rPr", "w:rFonts")
        signs = font is not None and is_symbol_font(attribute(font, "ascii") or attribute(font, "hAnsi") or "")
        start, restart = number(found, "w:start"), number(found, "w:lvlRestart")
        return _Level(
            start=0 if start is None else start,
            format=format_,
            text="" if signs and format_ == "bullet" else value(found, "w:lvlText") or "",
            restart=depth if restart is None else restart,
            legal=bool(flag(found, "w:isLgl")),
        )


class _Nothing(tuple[Any, ...]):
    attrib: dict[str, str] = {}  # noqa: RUF012 (never written)


_EMPTY = _Nothing()
"""A missing definition: no levels, no attributes."""


def written(count: int, format_: str) -> str:
    """A number in one of Word's formats; digits for an unknown format, "" for "none" and "bullet"."""
    if format_ in ("none", "bullet"):
        return ""
    if format_ in ("upperLetter", "lowerLetter") and count > 0:
        letters = chr(ord("A") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letters if format_ == "upperLetter" else letters.lower()
    if format_ in ("upperRoman", "lowerRoman") and 0 < count < 10_000:
        text = ""
        for size, letters in _ROMAN:
            text += letters * (count // size)
            count %= size
        return text if format_ == "upperRoman" else text.lower()
    if format_ == "decimalZero":
        return f"{count:02d}"
    if format_ == "ordinal":
        ending = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
        return f"{count}{ending}"
    if format_.startswith("decimalEnclosedCircle") and 0 < count <= 20:
        return chr(0x2460 + count - 1)
    return str(count)

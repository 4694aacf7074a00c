"""Resolves the styles of a Word file for a paragraph or run: outline level, title, hidden, struck out, superscript.

A paragraph is a heading by its own outline level, or by the first style in its chain (`basedOn`) that has an outline
level or a heading's name in a common language. Reads no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cdsframe.corpus.readers.word.names import attribute, child, flag, name, number, value

_HEADING = re.compile(
    r"(?:heading|berschrift|überschrift|titre|título|titulo|titolo|encabezado|intestazione|kop|rubrik|overskrift|"
    r"otsikko|nagłówek|nagwek|nadpis|címsor|cmsor|başlık|balk|заголовок|标题|標題|見出し|제목) ?([1-9])",
    re.IGNORECASE,
)
_TITLES = frozenset(
    (
        "title", "titel", "titre", "título", "titulo", "titolo", "tytuł", "otsikko", "název", "cím", "название",
        "标题", "標題", "表題", "제목", "rubrik", "tittel",
    )
)  # fmt: skip
_BODY = 9
_RAISED = 4
"""Minimum offset from the baseline, in half-points, at which text counts as superscript or subscript."""
_LINES = frozenset(("single", "words", "double", "thick"))
"""Word's underline types that count as underlining; dotted and wavy lines are annotations."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a run is displayed. `script` is "superscript", "subscript" or ""."""

    hidden: bool = False
    struck: bool = False
    script: str = ""
    font: str = ""
    """Font of ASCII characters; "" if not set."""
    high_font: str = ""
    """Font of other characters; "" if not set."""
    underline: str = ""
    """Word's underline type, such as "single" or "none"; "" if not set."""

    @property
    def is_underlined(self) -> bool:
        """Whether the run has an underline that is not an annotation."""
        return self.underline in _LINES


class Styles:
    """The styles of a file. `root` is the root element of its styles part; None if it has none."""

    def __init__(self, root: Any) -> None:
        items = [item for item in (root if root is not None else ()) if name(item) == "w:style"]
        self._by_id = {attribute(item, "styleId") or "": item for item in items}
        self._default = next(
            (
                attribute(item, "styleId") or ""
                for item in items
                if attribute(item, "type") == "paragraph" and attribute(item, "default") in ("1", "true", "on")
            ),
            "",
        )
        self._formats: dict[tuple[str, str], Format] = {}
        self._levels: dict[str, int] = {}
        self._titles: dict[str, bool] = {}

    def chain(self, id_: str | None) -> Iterator[Any]:
        """The style and its base styles, nearest first."""
        seen = set()
        while id_ in self._by_id and id_ not in seen:
            seen.add(id_)
            style = self._by_id[id_]
            yield style
            id_ = value(style, "w:basedOn")

    def style_of(self, properties: Any) -> str:
        """The id of the paragraph's style, or of the default paragraph style."""
        return value(properties, "w:pStyle") or self._default

    def level(self, properties: Any) -> int:
        """A paragraph's outline level, 1 to 9; 0 for body text."""
        own = number(properties, "w:outlineLvl")
        if own is not None:
            return own + 1 if 0 <= own < _BODY else 0
        id_ = self.style_of(properties)
        if id_ not in self._levels:
            self._levels[id_] = self._level_of(id_)
        return self._levels[id_]

    def _level_of(self, id_: str) -> int:
        for style in self.chain(id_):
            outline = number(style, "w:pPr", "w:outlineLvl")
            if outline is not None:
                return outline + 1 if 0 <= outline < _BODY else 0
            if match := _HEADING.fullmatch(value(style, "w:name") or ""):
                return int(match[1])
        match = None if id_ in self._by_id else _HEADING.fullmatch(id_)
        return int(match[1]) if match else 0

    def is_title(self, properties: Any) -> bool:
        """Whether a paragraph has the style Title or one based on it."""
        id_ = self.style_of(properties)
        if id_ not in self._titles:
            self._titles[id_] = self._names_title(id_)
        return self._titles[id_]

    def _names_title(self, id_: str) -> bool:
        if id_ not in self._by_id:
            return id_.casefold() in _TITLES
        for style in self.chain(id_):
            label = (value(style, "w:name") or "").casefold()
            if label in _TITLES:
                return True
            if "subtitle" in label or _HEADING.fullmatch(label):
                return False
        return False

    def format(self, run: Any, paragraph_style: str) -> Format:
        """How a run is displayed. `run`: its `w:rPr` element, or None; `paragraph_style`: its paragraph's style id."""
        character_style = value(run, "w:rStyle") or ""
        key = character_style, paragraph_style
        if key not in self._formats:
            self._formats[key] = self._of_styles(*key)
        return _over(self._formats[key], run) if run is not None and len(run) else self._formats[key]

    def _of_styles(self, character: str, paragraph: str) -> Format:
        below = [self._of_chain(paragraph), self._of_chain(character)]
        # Toggle properties of a paragraph's and a character's style cancel each other (ECMA-376, 17.7.3).
        return Format(
            hidden=below[0].hidden != below[1].hidden,
            struck=below[0].struck != below[1].struck,
            script=below[1].script or below[0].script,
            font=below[1].font or below[0].font,
            high_font=below[1].high_font or below[0].high_font,
            underline=below[1].underline or below[0].underline,
        )

    def _of_chain(self, id_: str) -> Format:
        shown = Format()
        for style in reversed(list(self.chain(id_))):
            shown = _over(shown, child(style, "w:rPr"))
        return shown


def _over(shown: Format, properties: Any) -> Format:
    """Returns the format, changed by the properties (`w:rPr`) of a style or run."""
    if properties is None:
        return shown
    hidden, struck = flag(properties, "w:vanish"), flag(properties, "w:strike")
    double = flag(properties, "w:dstrike")
    if double is not None:
        struck = double or bool(struck)
    script, raised = value(properties, "w:vertAlign"), number(properties, "w:position") or 0
    if script is None and abs(raised) >= _RAISED:
        script = "superscript" if raised > 0 else "subscript"
    fonts = child(properties, "w:rFonts")
    font, high = (attribute(fonts, "ascii"), attribute(fonts, "hAnsi")) if fonts is not None else (None, None)
    return Format(
        shown.hidden if hidden is None else hidden,
        shown.struck if struck is None else struck,
        shown.script if script is None else script if script in ("superscript", "subscript") else "",
        font or high or shown.font,
        high or font or shown.high_font,
        value(properties, "w:u") or shown.underline,
    )

"""Reads the text of one paragraph of a Word file: all visible runs, however deeply they are nested.

Omits and counts deleted, struck-out and hidden text, placeholders of empty form fields, and pictures. Returns text
boxes and diagrams for the caller to read. Does not read headers, footers and comments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cdsframe.corpus.readers.scripts import FORMULA, UNDERLINED, joined, without_lines
from cdsframe.corpus.readers.symbol_fonts import is_symbol_font, sign
from cdsframe.corpus.readers.word.fields import Fields, drawn_symbol, form_value, is_drawn, shown_words
from cdsframe.corpus.readers.word.formulas import is_built, linear
from cdsframe.corpus.readers.word.names import TEXTS, attribute, child, flag, name, texts
from cdsframe.corpus.readers.word.styles import Format, Styles

_PROPERTIES = frozenset(
    (
        "w:pPr", "w:rPr", "w:sectPr", "w:tblPr", "w:tblPrEx", "w:tblGrid", "w:trPr", "w:tcPr", "w:sdtPr",
        "w:sdtEndPr", "w:customXmlPr", "w:smartTagPr", "w:delText", "w:delInstrText", "w:footnoteRef",
        "w:endnoteRef", "w:annotationRef", "w:separator", "w:continuationSeparator",
    )
)  # fmt: skip
_BREAKS = {
    "w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-", "w:softHyphen": "",
}  # fmt: skip
_PICTURES = frozenset(("pic:pic", "v:imagedata"))

_PRIVATE = re.compile("[\ue000-\uf8ff]")

NOTE = "note"


@dataclass
class Pieces:
    """A paragraph: its text as parts `(kind, text)` (see `readers.scripts.joined`), and its text boxes and diagrams."""

    parts: list[tuple[str, str]] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)

    def text(self, notes: bool = True) -> str:
        """Joins the parts; superscripts and subscripts keep their meaning. `notes`: include footnotes and endnotes."""
        shown = [
            (script, f" ({text})" if script == NOTE else text) for script, text in self.parts if notes or script != NOTE
        ]
        return joined(_merged(without_lines(_merged(shown))))

    @property
    def notes(self) -> list[str]:
        """The footnotes and endnotes of this paragraph."""
        return [text for script, text in self.parts if script == NOTE]


def _merged(parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merges adjacent parts of one kind, except formulas and notes."""
    merged: list[tuple[str, str]] = []
    for script, text in parts:
        if merged and merged[-1][0] == script and script not in (FORMULA, NOTE):
            merged[-1] = script, merged[-1][1] + text
        else:
            merged.append((script, text))
    return merged


class Reader:
    """Reads the paragraphs of one part in order. `seen` is the number of text elements read or counted as omitted.

    Args:
        root: the part's root element.
        styles: the file's styles.
        note: returns the text of a footnote or endnote for its reference element.
        omitted: counts of omitted parts by `(reason, whether visible text is lost)`; the reader adds to them.
    """

    def __init__(
        self, root: Any, styles: Styles, note: Callable[[Any], str], omitted: Counter[tuple[str, bool]]
    ) -> None:
        self._styles, self._note, self._omitted = styles, note, omitted
        self._fields = Fields(root)
        self._style = ""
        self.seen = 0

    def paragraph(self, element: Any) -> Pieces:
        """The text of a paragraph, or of a run outside a paragraph."""
        pieces = Pieces()
        self._style = self._styles.style_of(child(element, "w:pPr"))
        if name(element) == "w:p":
            self._walk(element, Format(), pieces)
        else:
            self._read(element, name(element), Format(), pieces)
        return pieces

    def leave_out(self, element: Any, reason: str, text: bool = False) -> None:
        """Counts an omitted element by its reason, if it contains text. `text`: whether visible text is lost."""
        found = texts(element)
        self.seen += found
        if found or any(name(item) == "w:delText" and (item.text or "").strip() for item in element.iter()):
            self._omitted[reason, text] += 1

    def choice(self, element: Any) -> Any:
        """The branch of an `mc:AlternateContent` that is read; the others are alternatives with the same content."""
        branches = [item for item in element if name(item) in ("mc:Choice", "mc:Fallback")]
        best = next((item for item in branches if texts(item)), branches[0] if branches else None)
        self.seen += sum(texts(item) for item in branches if item is not best)
        return best

    def is_placeholder(self, element: Any) -> bool:
        """Whether a content control is empty and shows its placeholder prompt."""
        return bool(flag(element, "w:sdtPr", "w:showingPlcHdr"))

    def _walk(self, element: Any, format_: Format, out: Pieces) -> None:
        for item in element:
            self._read(item, name(item), format_, out)

    def _read(self, item: Any, tag: str, format_: Format, out: Pieces) -> None:
        if tag in _PROPERTIES or not tag:
            return
        if tag == "w:r":
            self._walk(item, self._styles.format(child(item, "w:rPr"), self._style), out)
        elif tag in TEXTS:
            self._letters(item, format_, out)
        elif tag in _BREAKS:
            self._emit(_BREAKS[tag], format_, out)
        elif tag in ("w:del", "w:moveFrom"):
            self.leave_out(item, "deleted passages (tracked changes)")
        elif tag == "w:txbxContent":
            self._box(item, format_, out)
        elif tag == "w:sym":
            self._symbol(item, format_, out)
        elif tag == "w:fldChar":
            self._field(item, format_, out)
        elif tag == "w:instrText":
            self._fields.instruct(item.text or "")
        elif tag in ("w:footnoteReference", "w:endnoteReference"):
            if self._fields.shown and not format_.hidden and (text := self._note(item)):
                out.parts.append((NOTE, text))
        elif tag == "mc:AlternateContent":
            if (branch := self.choice(item)) is not None:
                self._walk(branch, format_, out)
        elif tag == "m:oMath":
            self.seen += texts(item)
            self._emit(linear(item), replace(format_, script=FORMULA) if is_built(item) else format_, out)
            if item.getnext() is not None and name(item.getparent()) == "m:oMathPara":
                self._emit("\n", format_, out)  # one line per formula
        elif tag == "w:ruby":
            self._ruby(item, format_, out)
        elif tag == "w:sdt" and self.is_placeholder(item):
            self.leave_out(item, "prompts of empty form fields")
        else:
            self._drawn(item, tag, format_, out)

    def _drawn(self, item: Any, tag: str, format_: Format, out: Pieces) -> None:
        """Reads the content of any other element; counts pictures and embedded objects."""
        if tag in _PICTURES:
            self._omitted["pictures", False] += 1
        elif tag == "w:object":
            self._omitted["embedded objects", False] += 1
        elif tag in ("c:chart", "dgm:relIds"):
            out.boxes.append(item)
        elif tag == "v:textpath" and attribute(item, "string"):
            self._emit(f" {attribute(item, 'string')} ", format_, out)
        elif tag == "w:fldSimple" and not texts(item):
            self._unresolved(attribute(item, "instr") or "", format_, out)
        elif tag == "w:subDoc":
            self._omitted["embedded documents that cannot be read", True] += 1
        self._walk(item, format_, out)
        if tag in ("a:p", "w:p"):
            self._emit("\n", format_, out)

    def _emit(self, text: str, format_: Format, out: Pieces) -> None:
        if self._fields.shown and not format_.hidden and not (format_.struck and text.strip()):
            out.parts.append((format_.script or UNDERLINED * format_.is_underlined, text))

    def _letters(self, item: Any, format_: Format, out: Pieces) -> None:
        text = (item.text or "").replace("\n", " ").replace("\r", " ")
        if text.strip():
            self.seen += 1
            if not self._fields.shown:
                self._fields.instruct(text)
                self._omitted["parts of field instructions", False] += 1
            elif format_.hidden or format_.struck:
                self._omitted["hidden passages" if format_.hidden else "struck-out passages", False] += 1
        if is_symbol_font(format_.font) or is_symbol_font(format_.high_font) or _PRIVATE.search(text):
            fonts = format_.font, format_.high_font
            text = "".join(self._sign(ord(letter), fonts[not letter.isascii()]) for letter in text)
        self._emit(text, format_, out)

    def _symbol(self, item: Any, format_: Format, out: Pieces) -> None:
        try:
            code = int(attribute(item, "char") or "", 16)
        except ValueError:
            code = 0
        self._emit(self._sign(code, attribute(item, "font") or ""), format_, out)

    def _sign(self, code: int, font: str) -> str:
        shown = sign(code, font)
        if shown is None:
            self._omitted["symbols without a Unicode meaning", True] += 1
        return " " if shown is None else shown

    def _field(self, item: Any, format_: Format, out: Pieces) -> None:
        if shown := form_value(item):
            self._emit(shown, format_, out)
        self._unresolved(self._fields.mark(item) or "", format_, out)

    def _unresolved(self, instruction: str, format_: Format, out: Pieces) -> None:
        """Handles a field without a result: reads the text that Word would show, or counts the field."""
        if symbol := drawn_symbol(instruction):
            self._emit(symbol, format_, out)
        elif is_drawn(instruction):
            self._omitted["fields that Word draws (EQ, SYMBOL, AUTONUM)", True] += 1
        elif words := shown_words(instruction):
            self._fields.instruct(words)
            self._emit(words, format_, out)

    def _box(self, item: Any, format_: Format, out: Pieces) -> None:
        if format_.hidden:
            self.leave_out(item, "hidden passages")
        else:
            out.boxes.append(item)

    def _ruby(self, item: Any, format_: Format, out: Pieces) -> None:
        base, above = child(item, "w:rubyBase"), child(item, "w:rt")
        if base is not None:
            self._walk(base, format_, out)
        if above is not None and texts(above):
            self._emit("(", format_, out)
            self._walk(above, format_, out)
            self._emit(")", format_, out)

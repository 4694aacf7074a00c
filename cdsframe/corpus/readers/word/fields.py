"""Separates field instructions from the field results that a reader sees. Does not update fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cdsframe.corpus.readers.symbol_fonts import is_symbol_font, sign
from cdsframe.corpus.readers.word.names import TEXTS, attribute, child, flag, name, number, value

_DRAWN = frozenset(
    (
        "EQ", "SYMBOL", "AUTONUM", "AUTONUMLGL", "AUTONUMOUT", "LISTNUM", "BIDIOUTLINE", "BARCODE", "DISPLAYBARCODE",
        "MERGEBARCODE",
    )
)  # fmt: skip
"""Fields that Word draws or numbers according to their instruction."""
_SHOWN = re.compile(
    r'\s*(?:(?:MACROBUTTON|GOTOBUTTON)\s+(?:"[^"]*"|\S+)|(QUOTE))(?:\s+(.*))?', re.DOTALL | re.IGNORECASE
)
"""Fields that show words of their instruction: QUOTE all, a button those after its macro or bookmark."""
_SYMBOL = re.compile(r'\s*SYMBOL\s+"?(\d+|0x[0-9a-f]+)"?\s(?:.*\s)?\\f\s*"?([^"\\]+)"?.*', re.DOTALL | re.IGNORECASE)
_SHOWING = ("w:sym", "w:drawing", "w:pict", "w:object", "w:ffData", "w:footnoteReference", "w:endnoteReference")
"""Elements without text that are visible in a field's result."""

_SWITCH = re.compile(r"\\[*#@]\s*(?:\"[^\"]*\"|\S+)|\\!")
_QUOTED = re.compile(r'\\(["\\])|"')


@dataclass
class _Open:
    begin: Any
    instruction: list[str] = field(default_factory=list)
    result: bool = False


class Fields:
    """The fields that are open at the current position. A field without an end is ignored: its text stays visible."""

    def __init__(self, root: Any) -> None:
        self._open: list[_Open] = []
        self._begins, self._filled = _begins(root)

    @property
    def shown(self) -> bool:
        """Whether text at the current position is visible."""
        return all(item.result for item in self._open)

    def mark(self, element: Any) -> str | None:
        """Processes a `w:fldChar`, which begins a field, separates its instruction from its result, or ends it.

        Returns the instruction (`PAGEREF _Toc1`) at the end of a field that shows no result; None otherwise.
        """
        begin = self._begins.get(element)
        if begin is None:
            return None
        if begin is element:
            self._open.append(_Open(begin))
            return None
        place = next((n for n, item in enumerate(self._open) if item.begin is begin), None)
        if place is None:
            return None  # the element that begins the field was deleted
        del self._open[place + 1 :]
        if attribute(element, "fldCharType") == "separate":
            self._open[place].result = True
            return None
        last = self._open.pop()
        return None if last.result and begin in self._filled else "".join(last.instruction)

    def instruct(self, text: str) -> None:
        """Extends the instruction of the innermost open field whose result has not begun; does nothing without one."""
        inner = next((item for item in reversed(self._open) if not item.result), None)
        if inner is not None:
            inner.instruction.append(text)


def is_drawn(instruction: str) -> bool:
    """Whether Word draws the field from its instruction, so that the file does not contain its text."""
    return next(iter(instruction.split()), "").upper() in _DRAWN


def drawn_symbol(instruction: str) -> str:
    """The sign of a SYMBOL field in a known symbol font; "" for other fields and unknown signs."""
    found = _SYMBOL.fullmatch(instruction)
    if found is None or not is_symbol_font(font := found[2].strip()):
        return ""
    return sign(int(found[1], 0) if found[1].lower().startswith("0x") else int(found[1]), font) or ""


def shown_words(instruction: str) -> str:
    """The words of a field's instruction that Word shows instead of the field, as for MACROBUTTON; "" if none."""
    found = _SHOWN.fullmatch(instruction)
    if found is None:
        return ""
    words = (found[2] or "").rstrip()
    # Only QUOTE has quotation marks and switches; a button shows the rest of the instruction.
    return _QUOTED.sub(lambda mark: mark[1] or "", _SWITCH.sub("", words).rstrip()) if found[1] else words


def form_value(element: Any) -> str:
    """The text of a form field (`w:ffData` in `w:fldChar`): ☒ or ☐, or the chosen entry of a list; else ""."""
    data = child(element, "w:ffData")
    box, choice = child(data, "w:checkBox"), child(data, "w:ddList")
    if box is not None:
        checked = flag(box, "w:checked")
        return "☒" if (flag(box, "w:default") if checked is None else checked) else "☐"
    if choice is not None:
        entries = [attribute(item, "val") or "" for item in choice if name(item) == "w:listEntry"]
        chosen = number(choice, "w:result")
        if chosen is None:
            chosen = int(value(choice, "w:default") or 0)
        return entries[chosen] if 0 <= chosen < len(entries) else ""
    return ""


def _begins(root: Any) -> tuple[dict[Any, Any], set[Any]]:
    """Returns two values about complete fields, whose beginnings, separators and ends are `w:fldChar` marks.

    The first maps each mark to the mark that begins its field. The second is the set of marks that begin a field with a
    visible result.
    """
    found: dict[Any, Any] = {}
    filled: set[Any] = set()
    stack: list[list[Any]] = []
    results: list[bool] = []
    for element in root.iter():
        tag = name(element)
        if stack and (tag in _SHOWING or (tag in TEXTS and (element.text or "").strip())):
            filled.update(marks[0] for marks, result in zip(stack, results, strict=True) if result)
        if tag != "w:fldChar":
            continue
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            stack.append([element])
            results.append(False)
        elif stack:
            stack[-1].append(element)
            results[-1] = True
            if kind == "end":
                marks = stack.pop()
                results.pop()
                found.update(dict.fromkeys(marks, marks[0]))
    return found, filled

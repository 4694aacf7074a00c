"""Fields of a Word file: which text is an instruction and which is the result that a reader sees. Updates no field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cdsframe.corpus.readers.word.names import attribute, child, flag, name, number, value

_DRAWN = ("EQ", "SYMBOL")
"""Fields that Word draws from their instruction."""


@dataclass
class _Open:
    instruction: list[str] = field(default_factory=list)
    result: bool = False


class Fields:
    """The open fields at a place of a story. A field without an end is no field: its text stays visible."""

    def __init__(self, root: Any) -> None:
        self._open: list[_Open] = []
        self._marks = _complete(root)

    @property
    def shown(self) -> bool:
        """Whether text at this place is visible."""
        return all(item.result for item in self._open)

    def mark(self, element: Any) -> str | None:
        """Passes a `w:fldChar`. Returns the instruction's first word where the field ends without a result."""
        kind = attribute(element, "fldCharType")
        if element not in self._marks:
            return None
        if kind == "begin":
            self._open.append(_Open())
        elif kind == "separate" and self._open:
            self._open[-1].result = True
        elif kind == "end" and self._open:
            last = self._open.pop()
            return None if last.result else next(iter("".join(last.instruction).split()), "").upper()
        return None

    def instruct(self, text: str) -> None:
        """Passes a part of an instruction."""
        if self._open:
            self._open[-1].instruction.append(text)


def is_drawn(kind: str) -> bool:
    """Whether Word draws a field of this kind from its instruction, so that its text is not in the file."""
    return kind in _DRAWN


def form_value(element: Any) -> str:
    """What a form field (`w:ffData` below `w:fldChar`) shows without a result: a tick box, or a chosen entry."""
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


def _complete(root: Any) -> set[Any]:
    """The marks of fields that have both a begin and an end."""
    marks: set[Any] = set()
    stack: list[list[Any]] = []
    for element in root.iter():
        if name(element) != "w:fldChar":
            continue
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            stack.append([element])
        elif stack:
            stack[-1].append(element)
            if kind == "end":
                marks.update(stack.pop())
    return marks

"""Writes a formula (Office Math) on one line: fractions with `/`, powers with `^`, indices with `_`.

Does not evaluate it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cdsframe.corpus.readers.word.names import child, name, value

_BRACKETED = re.compile(r"\([^()]*\)")


def linear(element: Any) -> str:
    """The formula as one line. Of an element without a rule (`_RULES`), the parts are written in order."""
    shown, last = "", ""
    for text, tag in _written(element):
        if text and shown and (last or tag) and _is_apart(shown, text, last, tag):
            shown += " "
        shown, last = shown + text, tag if text else last
    return shown


def is_built(element: Any) -> bool:
    """Whether a formula contains a structure, such as a power. Callers must separate it from a number that follows."""
    return any(name(item) in _RULES for item in element.iter())


def _written(element: Any) -> Iterator[tuple[str, str]]:
    """Yields `(text, structure)` for each part of a formula; structure: its element (`m:f`, a fraction), or ""."""
    tag = name(element)
    if tag in _RULES:
        yield _RULES[tag](element), tag
    elif tag in ("m:t", "w:t"):
        yield element.text or "", ""
    elif not tag.endswith("Pr") and tag not in ("w:del", "w:moveFrom", "w:delText"):
        for item in element:
            yield from _written(item)


def _is_apart(before: str, after: str, last: str, tag: str) -> bool:
    """Whether a blank must keep two texts from merging. `last` and `tag` name the structures of the two."""
    if last and before[-1].isalpha() and after[0].isalpha():
        return True
    return before[-1].isalnum() and (after[0].isdigit() or (tag in ("m:sPre", "m:rad") and after[0] in "^_"))


def _part(element: Any, local: str) -> str:
    found = child(element, f"m:{local}")
    return "" if found is None else linear(found).strip()


def _group(text: str) -> str:
    """The text as one operand: in brackets if it has several parts and no enclosing brackets."""
    single = len(text) < 2 or text.replace(".", "").replace(",", "").isalnum()
    return text if single or _BRACKETED.fullmatch(text) else f"({text})"


def _fraction(element: Any) -> str:
    above, below = _group(_part(element, "num")), _group(_part(element, "den"))
    return f"({above} over {below})" if value(element, "m:fPr", "m:type") == "noBar" else f"{above}/{below}"


def _script(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    marks = (f"_{_group(below)}" if below else "") + (f"^{_group(above)}" if above else "")
    base = _part(element, "e")
    return f"{marks}{base}" if name(element) == "m:sPre" else _group(base) + marks


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    return (f"^{_group(degree)}" if degree else "") + f"√({_part(element, 'e')})"


def _sum(element: Any) -> str:
    sign = value(element, "m:naryPr", "m:chr") or "∫"
    below, above = _part(element, "sub"), _part(element, "sup")
    return sign + (f"_({below})" if below else "") + (f"^({above})" if above else "") + f" {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    marks = [value(element, "m:dPr", f"m:{local}") for local in ("begChr", "sepChr", "endChr")]
    begin, between, end = (mark if mark is not None else usual for mark, usual in zip(marks, "(|)", strict=True))
    return begin + between.join(linear(item).strip() for item in element if name(item) == "m:e") + end


def _function(element: Any) -> str:
    return f"{_part(element, 'fName')} {_part(element, 'e')}"


def _limit(element: Any) -> str:
    mark = "_" if name(element) == "m:limLow" else "^"
    return f"{_part(element, 'e')}{mark}({_part(element, 'lim')})"


def _matrix(element: Any) -> str:
    rows = (item for item in element if name(item) == "m:mr")
    return "[" + "; ".join(", ".join(linear(cell).strip() for cell in row if name(cell) == "m:e") for row in rows) + "]"


def _lines(element: Any) -> str:
    return "; ".join(linear(item).strip() for item in element if name(item) == "m:e")


def _accent(element: Any) -> str:
    mark = value(element, "m:accPr", "m:chr") if name(element) == "m:acc" else "\u0305"
    return _part(element, "e") + (mark or "\u0302")


_RULES: dict[str, Callable[[Any], str]] = {
    "m:f": _fraction,
    "m:sSup": _script,
    "m:sSub": _script,
    "m:sSubSup": _script,
    "m:sPre": _script,
    "m:rad": _root,
    "m:nary": _sum,
    "m:d": _delimited,
    "m:func": _function,
    "m:limLow": _limit,
    "m:limUpp": _limit,
    "m:m": _matrix,
    "m:eqArr": _lines,
    "m:acc": _accent,
    "m:bar": _accent,
}

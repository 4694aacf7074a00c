"""Writes superscripts and subscripts as plain text without changing the meaning of numbers. Reads no file format.

`10<sup>9</sup>/L` becomes `10^9/L`, never `109/L`; `H<sub>2</sub>O` becomes `H2O`; `5 mg<sup>2</sup>` becomes `5 mg^2`.
Leading and trailing blanks of a superscript or subscript are kept outside `^…` and `_…`. `1<sup>1</sup>/<sub>2</sub>`
is a fraction, `1 1/2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WITH_LINE = {"<": "≤", ">": "≥", "+": "±"}
"""Sign -> its meaning when it is underlined."""
SUPERSCRIPT, SUBSCRIPT, FORMULA = "superscript", "subscript", "formula"
UNDERLINED = "underlined"

_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "ère", "ème", "º", "ª", "™", "®", "©", "°"))
"""Superscripts that may follow the number or word without `^`: their position carries no meaning."""
_BLANKS = " \u00a0\u2007\u2009\u202f"
_SLASHES = "/\u2044\u2215"
_OVER = re.compile(rf"\s*[{_SLASHES}]\s*")
_NUMERATOR = re.compile(rf"\d+\s*(?P<slash>[{_SLASHES}])?")
_DIGIT = re.compile(r"[.,]?\d")


def with_line_below(text: str, after: str) -> str:
    """Replaces a sign that alone is underlined: `<` by `≤`, `>` by `≥`, `+` before a number by `±`."""
    written = text.strip()
    if written not in _WITH_LINE or (written == "+" and not after.lstrip(_BLANKS)[:1].isdigit()):
        return text
    return text.replace(written, _WITH_LINE[written])


def superscript(before: str, text: str) -> str:
    """Returns the superscript in the form in which it is appended to the preceding text, with its leading and trailing
    blanks.

    Args:
        before: the preceding text; its last characters decide on the form.
        text: the superscript.
    """
    lead, inner, trail = _parts(text)
    if not inner or not before or (before[-1].isspace() and not before.rstrip(_BLANKS)[-1:].isdigit()):
        return text
    if inner.casefold() in _ORDINALS and before[-1].isalnum():
        return text
    return f"{lead}^{_operand(inner)}{trail}"


def subscript(before: str, text: str) -> str:
    """Returns the subscript as it is appended to the preceding text: `_` separates it from a digit."""
    lead, inner, trail = _parts(text)
    if not inner or lead or not before or not before[-1].isdigit() or not inner[0].isalnum():
        return text
    return f"_{_operand(inner)}{trail}"


def numerator(before: str, text: str) -> str:
    """Returns the numerator of a fraction, with a blank that separates it from a whole number before it."""
    apart = before and (before[-1].isalnum() or before[-1] in ").,")
    return (" " if apart else "") + text.strip()


def apart(written: str, after: str) -> str:
    """Returns a blank if a number directly follows a superscript, subscript or formula (`10^9` and `5 mg`), else ""."""
    return " " if written[-1:].isalnum() and _DIGIT.match(after) else ""


def joined(parts: Sequence[tuple[str, str]]) -> str:
    """Joins parts `(kind, text)` in order.

    Args:
        parts: `kind` is SUPERSCRIPT, SUBSCRIPT, FORMULA (already linear text) or any other value. Adjacent
            superscripts, and adjacent subscripts, must be merged into one part.
    """
    shown, last = "", ""
    for place, (kind, text) in enumerate(parts):
        if not text:
            continue
        if kind == SUPERSCRIPT and _is_numerator(parts, place):
            text = numerator(shown, text)
        elif kind == SUPERSCRIPT:
            text = superscript(shown, text)
        elif kind == SUBSCRIPT:
            text = subscript(shown, text)
        elif last in (SUPERSCRIPT, SUBSCRIPT, FORMULA) or kind == FORMULA:
            text = apart(shown, text) + text
        if _is_over(parts, place):
            text = text.translate(dict.fromkeys(map(ord, _SLASHES), "/"))
        shown, last = shown + text, kind
    return shown


def without_lines(parts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Replaces each underlined comparator or `+` by its meaning (`≤`, `≥`, `±`) and sets the kind of UNDERLINED parts
    to "".

    A sign next to another underlined part is left unchanged: it belongs to underlined words.
    """
    found = []
    for place, (kind, text) in enumerate(parts):
        if kind == UNDERLINED:
            alone = all(_beside(parts, place, step)[0] != UNDERLINED for step in (-1, 1))
            text = with_line_below(text, _beside(parts, place, 1)[1]) if alone else text
            kind = ""
        found.append((kind, text))
    return found


def _beside(parts: Sequence[tuple[str, str]], place: int, step: int) -> tuple[str, str]:
    """The nearest part before or after an index that is not blank; `("", "")` if there is none."""
    place += step
    while 0 <= place < len(parts) and not parts[place][1].strip():
        place += step
    return parts[place] if 0 <= place < len(parts) else ("", "")


def _parts(text: str) -> tuple[str, str, str]:
    """Splits a text into leading blanks, content and trailing blanks."""
    inner = text.strip()
    if not inner:
        return text, "", ""
    start = text.index(inner)
    return text[:start], inner, text[start + len(inner) :]


def _operand(inner: str) -> str:
    compound = any(character.isspace() or character in _SLASHES for character in inner)
    return f"({inner})" if compound else inner


def _is_numerator(parts: Sequence[tuple[str, str]], place: int) -> bool:
    """Whether a superscript is a numerator: before a slash and a subscript, or before a fraction slash (U+2044)."""
    found = _NUMERATOR.fullmatch(parts[place][1].strip())
    kind, after = parts[place + 1] if place + 1 < len(parts) else ("", "")
    if found is None or not after:
        return False
    if found["slash"]:
        return kind == SUBSCRIPT and after.strip()[:1].isdigit()
    if kind == SUBSCRIPT:
        return after.strip()[:1] in tuple(_SLASHES)
    if _OVER.fullmatch(after):
        return "\u2044" in after or any(kind == SUBSCRIPT for kind, _ in parts[place + 2 : place + 3])
    return after.lstrip(_BLANKS)[:1] == "\u2044"


def _is_over(parts: Sequence[tuple[str, str]], place: int) -> bool:
    """Whether a part contains the slash of a fraction."""
    near = range(max(0, place - 1), place + 1)
    return any(parts[n][0] == SUPERSCRIPT and _is_numerator(parts, n) for n in near)

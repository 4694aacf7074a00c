"""Writes superscripts and subscripts as plain text that keeps their meaning. Does not read any format.

`10<sup>9</sup>/L` is `10^9/L`, never `109/L`; `H<sub>2</sub>O` is `H2O`; `5 mg<sup>2</sup>` is `5 mg^2`. Blanks at the
ends of a script stay outside its mark. `1<sup>1</sup>/<sub>2</sub>` is a fraction, `1 1/2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WITH_LINE = {"<": "≤", ">": "≥", "+": "±"}
"""The meaning of a sign with a line of its own below it."""
SUPERSCRIPT, SUBSCRIPT, FORMULA = "superscript", "subscript", "formula"
UNDERLINED = "underlined"

_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "ère", "ème", "º", "ª", "™", "®", "©", "°"))
"""Superscripts that belong to the number or word before them and change no meaning when set on the line."""
_BLANKS = " \u00a0\u2007\u2009\u202f"
_SLASHES = "/\u2044\u2215"
_OVER = re.compile(rf"\s*[{_SLASHES}]\s*")
_NUMERATOR = re.compile(rf"\d+\s*(?P<slash>[{_SLASHES}])?")
_DIGIT = re.compile(r"[.,]?\d")


def with_line_below(text: str, after: str) -> str:
    """A text that is underlined and whose neighbours are not: `<` is `≤`, `>` is `≥`, `+` before a number is `±`."""
    written = text.strip()
    if written not in _WITH_LINE or (written == "+" and not after.lstrip(_BLANKS)[:1].isdigit()):
        return text
    return text.replace(written, _WITH_LINE[written])


def superscript(before: str, text: str) -> str:
    """The superscript as it is appended to the text before it, with the blanks at its ends.

    Args:
        before: the text in front; its last letters decide.
        text: the superscript's own text.
    """
    lead, inner, trail = _parts(text)
    if not inner or not before or (before[-1].isspace() and not before.rstrip(_BLANKS)[-1:].isdigit()):
        return text
    if inner.casefold() in _ORDINALS and before[-1].isalnum():
        return text
    return f"{lead}^{_operand(inner)}{trail}"


def subscript(before: str, text: str) -> str:
    """The subscript as it is appended to the text before it. Behind a digit a mark keeps the two numbers apart."""
    lead, inner, trail = _parts(text)
    if not inner or lead or not before or not before[-1].isdigit() or not inner[0].isalnum():
        return text
    return f"_{_operand(inner)}{trail}"


def numerator(before: str, text: str) -> str:
    """A superscript above a built fraction's slash, apart from the whole number before it."""
    apart = before and (before[-1].isalnum() or before[-1] in ").,")
    return (" " if apart else "") + text.strip()


def apart(written: str, after: str) -> str:
    """A blank where a number follows a script or formula directly (`10^9` and `5 mg`); else an empty text."""
    return " " if written[-1:].isalnum() and _DIGIT.match(after) else ""


def joined(parts: Sequence[tuple[str, str]]) -> str:
    """The text of parts `(kind, text)` in their order.

    Args:
        parts: `kind` is SUPERSCRIPT, SUBSCRIPT, FORMULA (text that is written on one line already) or any other.
            Neighbours of one kind are one part.
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
    """The parts `(kind, text)` with the meaning of each sign that stands alone above a line.

    A sign with an underlined part beside it belongs to underlined words. UNDERLINED parts get the kind "".
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
    """The nearest part before or behind a place that is not blank."""
    place += step
    while 0 <= place < len(parts) and not parts[place][1].strip():
        place += step
    return parts[place] if 0 <= place < len(parts) else ("", "")


def _parts(text: str) -> tuple[str, str, str]:
    """The blanks in front of a text, the text, and the blanks behind it."""
    inner = text.strip()
    if not inner:
        return text, "", ""
    start = text.index(inner)
    return text[:start], inner, text[start + len(inner) :]


def _operand(inner: str) -> str:
    compound = any(character.isspace() or character in _SLASHES for character in inner)
    return f"({inner})" if compound else inner


def _is_numerator(parts: Sequence[tuple[str, str]], place: int) -> bool:
    """Whether a superscript is a number above a slash and a subscript, or above a fraction slash (U+2044)."""
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
    """Whether a part holds the slash of a built fraction."""
    near = range(max(0, place - 1), place + 1)
    return any(parts[n][0] == SUPERSCRIPT and _is_numerator(parts, n) for n in near)

"""Writes superscripts and subscripts as plain text without changing the meaning of numbers. Reads no file format.

`10<sup>9</sup>/L` becomes `10^9/L`, never `109/L`; `H<sub>2</sub>O` becomes `H2O`; `5 mg<sup>2</sup>` becomes `5 mg^2`.
Leading and trailing blanks of a superscript or subscript are kept outside `^…` and `_…`. `1<sup>1</sup>/<sub>2</sub>`
becomes the fraction `1 1/2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WITH_LINE = {"<": "≤", ">": "≥", "+": "±"}
"""Sign -> the sign that it stands for if it is underlined."""
SUPERSCRIPT, SUBSCRIPT, FORMULA = "superscript", "subscript", "formula"
UNDERLINED = "underlined"

_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "ère", "ème", "º", "ª", "™", "®", "©", "°"))
"""Superscripts that are written without `^` after a letter or digit (`1st`): their position carries no meaning."""
_BLANKS = " \u00a0\u2007\u2009\u202f"
_SLASHES = "/\u2044\u2215"
_OVER = re.compile(rf"\s*[{_SLASHES}]\s*")
_NUMERATOR = re.compile(rf"\d+\s*(?P<slash>[{_SLASHES}])?")
_DIGIT = re.compile(r"[.,]?\d")


def with_line_below(text: str, after: str) -> str:
    """Replaces an underlined sign by its meaning: `<` by `≤`, `>` by `≥`, `+` before a number by `±`.

    Args:
        text: the underlined text; returned unchanged if it is not one of these signs.
        after: the text that follows.
    """
    written = text.strip()
    if written not in _WITH_LINE or (written == "+" and not after.lstrip(_BLANKS)[:1].isdigit()):
        return text
    return text.replace(written, _WITH_LINE[written])


def superscript(before: str, text: str) -> str:
    """Returns a superscript as plain text to append to the preceding text: `^9`, or unchanged (`st` after `1`).

    Args:
        before: the preceding text. Its last characters decide whether `^` is needed.
        text: the superscript; its leading and trailing blanks are kept.
    """
    lead, inner, trail = _parts(text)
    if not inner or not before or (before[-1].isspace() and not before.rstrip(_BLANKS)[-1:].isdigit()):
        return text
    if inner.casefold() in _ORDINALS and before[-1].isalnum():
        return text
    return f"{lead}^{_operand(inner)}{trail}"


def subscript(before: str, text: str) -> str:
    """Returns a subscript as plain text to append to the text `before`: `_2` after a digit, else unchanged."""
    lead, inner, trail = _parts(text)
    if not inner or lead or not before or not before[-1].isdigit() or not inner[0].isalnum():
        return text
    return f"_{_operand(inner)}{trail}"


def numerator(before: str, text: str) -> str:
    """Returns a fraction's numerator to append to the text `before`; a blank separates it from a number or word."""
    apart = before and (before[-1].isalnum() or before[-1] in ").,")
    return (" " if apart else "") + text.strip()


def apart(written: str, after: str) -> str:
    """Returns " " if the number that begins `after` would merge with `written` (`10^9` and `5 mg`), else "".

    Call it at the border between a superscript, subscript or formula and other text.
    """
    return " " if written[-1:].isalnum() and _DIGIT.match(after) else ""


def joined(parts: Sequence[tuple[str, str]]) -> str:
    """Joins the parts of a text into plain text.

    Args:
        parts: `(kind, text)` in order. `kind` is SUPERSCRIPT, SUBSCRIPT or FORMULA (written on one line already); any
            other value means ordinary text. Adjacent superscripts, and adjacent subscripts, must be merged into one
            part.
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
    """Replaces each UNDERLINED part that is a comparator or `+` by its meaning (`≤`, `≥`, `±`). Sets the kind of all
    UNDERLINED parts to "".

    A sign is left unchanged if the nearest part before or after it that is not blank is underlined too: the sign then
    belongs to underlined words.
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
    """The nearest part that is not blank, before (`step` -1) or after (`step` 1) an index; else `("", "")`."""
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
    """Whether the superscript at an index is a numerator: digits, then `/` and a subscript, or `⁄` (U+2044)."""
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
    """Whether the part at an index is a numerator or directly follows one, and so may contain the fraction's slash."""
    near = range(max(0, place - 1), place + 1)
    return any(parts[n][0] == SUPERSCRIPT and _is_numerator(parts, n) for n in near)

"""Computes the reading order of a line with right-to-left text from the positions of its letters.

Inverts Unicode's bidirectional algorithm for common text: left-to-right words and numbers keep their order. pdfium's
own order reverses `mg/kg` and the parts of an Arabic ligature. Does not shape letters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.text.units import unit_behind

_RTL, _LTR, _NUMBER, _ARABIC_NUMBER, _OTHER = "R", "L", "N", "A", "-"
_KINDS = {"R": _RTL, "AL": _RTL, "L": _LTR, "EN": _NUMBER, "AN": _ARABIC_NUMBER}
_SEPARATORS = {_NUMBER: ".,:/+-", _ARABIC_NUMBER: ".,:/\u066b\u066c"}
_SIGNS = "%\u066a\u2030°€$£"
"""Signs that belong to the number before or after them."""

_BRACKETS = ("()", "[]", "{}")
_MORE_UNITS = frozenset(("ie", "dose", "nm", "nmol"))
"""Units besides those of `cdsframe.text.units`."""

_NAMES = ("C", "F")
"""Degrees, but more often a name: vitamin C 500."""

_Item = tuple[str, str]
"""(text, kind)."""


def kind(text: str) -> str:
    """A letter's kind: right-to-left, left-to-right, number, other."""
    return _KINDS.get(unicodedata.bidirectional(text[0]), _OTHER)


def reads_right_to_left(letters: Sequence[Letter]) -> bool:
    """Whether most letters with a direction belong to right-to-left scripts."""
    kinds = [kind(letter.text) for letter in letters]
    return kinds.count(_RTL) > kinds.count(_LTR)


def in_reading_order(letters: Sequence[Letter], rtl: bool) -> str:
    """The text of a line in reading order.

    Args:
        rtl: whether the line belongs to right-to-left text. If False, a line that begins and ends with right-to-left
            letters is still read from the right.
    """
    items = _visual(letters)
    strong = [item[1] for item in items if item[1] in (_RTL, _LTR)]
    rtl = rtl or strong[0] == strong[-1] == _RTL
    return _bracketed(_from_right(items) if rtl else _from_left(items))


def _bracketed(text: str) -> str:
    """Turns the brackets of right-to-left text so that each pair opens before it closes; pdfium turns only some."""
    for pair in _BRACKETS:
        places = [n for n, letter in enumerate(text) if letter in pair]
        if len(places) % 2 == 0:
            for n, place in enumerate(places):
                text = text[:place] + pair[n % 2] + text[place + 1 :]
    return text


def _from_left(items: Sequence[_Item]) -> str:
    """Reads the items from the left, but right-to-left spans among them from the right."""
    text, start = "", 0
    places = [n for n, item in enumerate(items) if item[1] == _RTL]
    while places:
        first = last = places.pop(0)
        while places and not any(item[1] == _LTR for item in items[last : places[0]]):
            last = places.pop(0)
        text += "".join(item[0] for item in items[start:first]) + _from_right(items[first : last + 1])
        start = last + 1
    return text + "".join(item[0] for item in items[start:])


def _visual(letters: Sequence[Letter]) -> list[_Item]:
    """The line's items from left to right: a letter with its combining marks, or a blank."""
    clusters: list[list[Letter]] = []
    for letter in letters:
        last = clusters[-1] if clusters else None
        mark = unicodedata.category(letter.text[0]) == "Mn"
        if last and last[0].run == letter.run and last[0].left == letter.left and last[0].right == letter.right:
            last.insert(0 if kind(letter.text) == _RTL and not mark else len(last), letter)  # parts of a ligature
        elif mark and last and last[0].left - 1 <= (letter.left + letter.right) / 2 <= last[0].right + 1:
            last.append(letter)
        else:
            clusters.append([letter])
    clusters.sort(key=lambda cluster: (cluster[0].left + cluster[0].right) / 2)
    items: list[_Item] = []
    spaced = {frozenset((id(one), id(two))) for one, two in pairwise(letters) if one.space}
    for before, after in pairwise([None, *clusters]):
        if after is None:
            continue
        if before is not None:
            gap = (after[0].left - before[0].right) / after[0].size
            said = any(letter.space for letter in (*before, *after))
            turns = kind(before[0].text) != kind(after[0].text)
            if gap > (0.1 if said else 0.15 if turns else 0.25) or frozenset((id(before[0]), id(after[0]))) in spaced:
                items.append((" ", _OTHER))
        items.append(("".join(letter.text for letter in after), kind(after[0].text)))
    return items


def _from_right(items: Sequence[_Item]) -> str:
    """Reads the items from the right, but left-to-right spans and numbers among them from the left."""
    text, end = "", len(items)
    while end:
        start = end - 1
        if items[start][1] in (_RTL, _OTHER) and not _is_sign(items, start):
            text += items[start][0]
            end = start
            continue
        while (joined := _joins(items, start, end)) < start:
            start = joined
        text += "".join(item[0] for item in items[start:end])
        end = start
    return text


def _joins(items: Sequence[_Item], start: int, end: int) -> int:
    """The new start of the span `start` to `end` after joining the item to its left; `start` if nothing joins."""
    left = start - 1
    if left < 0:
        return start
    here, there = items[start], items[left]
    if there[1] in (_LTR, _NUMBER, _ARABIC_NUMBER) or _is_sign(items, left):
        return left
    beyond = left
    while beyond >= 0 and items[beyond][1] == _OTHER:
        beyond -= 1
    if beyond < 0 or items[beyond][1] == _RTL:
        return start
    between = "".join(item[0] for item in items[beyond + 1 : start])
    if here[1] in (_NUMBER, _ARABIC_NUMBER) and items[beyond][1] == here[1]:
        return beyond if len(between) == 1 and between in _SEPARATORS[here[1]] else start
    if here[1] == _LTR:
        return beyond
    alone = all(item[1] != _LTR for item in items[start:end])
    return start if alone and _is_unit(_word(items, beyond)) else beyond


def _word(items: Sequence[_Item], end: int) -> str:
    """The word that ends at an index."""
    start = end
    while start > 0 and not items[start - 1][0].isspace() and items[start - 1][1] != _RTL:
        start -= 1
    return "".join(item[0] for item in items[start : end + 1])


def _is_unit(word: str) -> bool:
    """Whether the word is a unit, such as mg/kg. A unit on the left of a number is read after it."""
    if word in _NAMES:
        return False
    return all(
        part.lower() in _MORE_UNITS or (part and unit_behind(part, 0)[1] == len(part)) for part in word.split("/")
    )


def _is_sign(items: Sequence[_Item], place: int) -> bool:
    """Whether the item is a sign such as % next to a number."""
    beside = [items[n][1] for n in (place - 1, place + 1) if 0 <= n < len(items)]
    return items[place][0] in _SIGNS and any(kind in (_NUMBER, _ARABIC_NUMBER) for kind in beside)

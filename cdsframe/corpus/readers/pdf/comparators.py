"""Reads signs made of two marks: `<` with a line below it is `≤`, `=` with a stroke through it is `≠`.

The line below is a drawn line or an underscore printed over the sign. Ignores lines that are wider than the sign.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.pdf.printed import without
from cdsframe.corpus.readers.scripts import with_line_below

_BELOW = 0.35
"""Largest distance of the line below the sign's baseline, in font sizes."""
_APART = 0.2
"""Largest distance between the ends of the line and of the sign, in font sizes."""
_OVERPRINTED = {("<", "_"): "≤", (">", "_"): "≥", ("+", "_"): "±", ("=", "/"): "≠"}
"""(sign, mark) -> meaning."""


def with_lines_below(letters: Sequence[Letter], rules: Sequence[Box]) -> list[Letter]:
    """Replaces signs made of two marks by `≤`, `≥`, `±` or `≠`.

    A drawn line (one of `rules`, in the frame of 0 degrees) counts only if it is directly below a sign of direction 0
    and as wide as the sign.
    """
    level = [rule for rule in rules if rule[3] - rule[1] <= 1]
    found = _overprinted(letters)
    for place, letter in enumerate(found):
        after = found[place + 1].text if place + 1 < len(found) else ""
        meant = with_line_below(letter.text, after)
        if meant != letter.text and not letter.turn and any(_stands_on(letter, rule) for rule in level):
            found[place] = replace(letter, text=meant)
    return found


def _stands_on(letter: Letter, rule: Box) -> bool:
    """Whether a line lies directly below a sign and is as wide as the sign."""
    left, top, right, bottom = rule
    near = _APART * letter.size
    ends = abs(left - letter.left) <= near and abs(right - letter.right) <= near
    return ends and -0.1 * letter.size <= top - letter.base and bottom - letter.base <= _BELOW * letter.size


def _overprinted(letters: Sequence[Letter]) -> list[Letter]:
    """Replaces each sign with a mark printed over it by its meaning, and removes the mark."""
    signs = {sign for sign, _ in _OVERPRINTED}
    marks = sorted((letter.left, place) for place, letter in enumerate(letters) if _is_mark(letters, place))
    lefts = [left for left, _ in marks]
    found = list(letters)
    gone = [False] * len(found)
    for place, letter in enumerate(letters if marks else ()):
        if letter.text not in signs:
            continue
        near = marks[bisect_left(lefts, letter.left - letter.size) : bisect_right(lefts, letter.right)]
        for _, other in near:
            meant = _OVERPRINTED.get((letter.text, letters[other].text))
            if meant and not gone[other] and _is_over(letters[other], letter):
                found[place], gone[other] = replace(letter, text=meant), True
                break
    return without(found, gone) if any(gone) else found


def _is_mark(letters: Sequence[Letter], place: int) -> bool:
    """Whether the letter at an index is a slash or a single underscore. Several underscores are a line to write on."""
    text = letters[place].text
    beside = {letter.text for letter in (*letters[max(0, place - 1) : place], *letters[place + 1 : place + 2])}
    return text == "/" or (text == "_" and "_" not in beside)


def _is_over(mark: Letter, sign: Letter) -> bool:
    """Whether a mark is printed over a sign: centred, not wider, and on or slightly below its baseline."""
    centred = abs(mark.left + mark.right - sign.left - sign.right) / 2 <= _APART * sign.size
    inside = mark.right - mark.left <= sign.right - sign.left + _APART * sign.size
    level = -0.1 * sign.size <= mark.base - sign.base <= _BELOW * sign.size
    return mark.turn == sign.turn and centred and inside and level

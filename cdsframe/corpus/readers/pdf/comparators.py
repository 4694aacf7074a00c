"""Reads `<` and `>` with a line of their own below them as `≤` and `≥`. Does not look at underlined text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.scripts import OR_EQUAL

_BELOW = 0.35
"""How far below the sign's baseline the line may be, in sizes of the sign."""
_APART = 0.2
"""How far the line's ends may be from the sign's, in sizes of the sign: what is longer underlines words."""


def with_lines_below(letters: Sequence[Letter], rules: Sequence[Box]) -> list[Letter]:
    """The letters, each upright comparator that stands on a ruled line of its own width with the line's meaning."""
    level = [rule for rule in rules if rule[3] - rule[1] <= 1]
    return [
        replace(letter, text=OR_EQUAL[letter.text])
        if letter.text in OR_EQUAL and not letter.turn and any(_stands_on(letter, rule) for rule in level)
        else letter
        for letter in letters
    ]


def _stands_on(letter: Letter, rule: Box) -> bool:
    left, top, right, bottom = rule
    near = _APART * letter.size
    ends = abs(left - letter.left) <= near and abs(right - letter.right) <= near
    return ends and -0.1 * letter.size <= top - letter.base and bottom - letter.base <= _BELOW * letter.size

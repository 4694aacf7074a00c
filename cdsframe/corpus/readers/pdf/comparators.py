"""Reads `<` and `>` with a short line drawn below them as `≤` and `≥`. Ignores lines that are wider than the sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdsframe.corpus.readers.pdf.frames import Box
from cdsframe.corpus.readers.pdf.letters import Letter
from cdsframe.corpus.readers.scripts import OR_EQUAL

_BELOW = 0.35
"""Largest distance of the line below the sign's baseline, in font sizes."""
_APART = 0.2
"""Largest distance between the ends of the line and of the sign, in font sizes."""


def with_lines_below(letters: Sequence[Letter], rules: Sequence[Box]) -> list[Letter]:
    """Returns the letters, with `≤` or `≥` for each upright comparator above a line as wide as the sign."""
    level = [rule for rule in rules if rule[3] - rule[1] <= 1]
    return [
        replace(letter, text=OR_EQUAL[letter.text])
        if letter.text in OR_EQUAL and not letter.turn and any(_stands_on(letter, rule) for rule in level)
        else letter
        for letter in letters
    ]


def _stands_on(letter: Letter, rule: Box) -> bool:
    """Whether a line lies directly below a sign and is as wide as the sign."""
    left, top, right, bottom = rule
    near = _APART * letter.size
    ends = abs(left - letter.left) <= near and abs(right - letter.right) <= near
    return ends and -0.1 * letter.size <= top - letter.base and bottom - letter.base <= _BELOW * letter.size

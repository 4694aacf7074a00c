"""A text's words, for comparing texts: in lower case, without the plural's s."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_STOP = """a an the of in on at to for and or is are was were be been by with as it its this that what which who whom
how when where why do does did should must may can will would has have had from if than then there any"""
_STOP_WORDS = frozenset(_STOP.split())


def words(text: str) -> list[str]:
    """All of them, in their order."""
    return [_singular(word) for word in _WORD.findall(text.casefold())]


def meaningful(text: str) -> set[str]:
    """Those that carry meaning."""
    return {word for word in words(text) if word not in _STOP_WORDS}


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

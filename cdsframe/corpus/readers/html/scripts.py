"""Finds out whether a page's text stands in its scripts, which a browser would run. Does not read that text."""

from __future__ import annotations

import html
import re

from cdsframe.corpus.readers.html.tree import Node
from cdsframe.types import Omission

_STRING = re.compile(r'"((?:[^"\\\n]|\\.){100,})"')
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)")
_TAG = re.compile(r"<[^>]*>")
_CODE = re.compile(r"[{}=;_|\\$#]|https?:|\w\(")
_MOST_CODE = 0.01
"""Signs of code for each letter of prose."""

_SAME = 40
"""Letters by which a sentence is found in the page."""


def in_scripts(root: Node, text: str) -> tuple[Omission, ...]:
    """An omission where scripts hold more prose than the page's own text, which is not that text again."""
    letters = sum(map(str.isalnum, text))
    own = "".join("".join(root.texts()).split())
    words = found = 0
    for node in root.descendants():
        if node.tag != "script":
            continue
        for string in _STRING.findall("".join(child for child in node.children if isinstance(child, str))):
            prose = _prose(string)
            begin = "".join(prose.split())[:_SAME]
            if prose and begin not in own:
                words, found = words + len(prose.split()), found + sum(map(str.isalnum, prose))
    if found <= letters:
        return ()
    return (Omission("words that scripts hold and the page does not show", words, text=True),)


def _prose(string: str) -> str:
    """The words of a script's string; empty where it is code, data or a list of names."""
    plain = _ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else {"n": " ", "t": " "}.get(found[2], found[2]), string
    )
    words = " ".join(_TAG.sub(" ", html.unescape(plain)).split())
    if words.count(" ") < 12 or not re.search(r"[.!?。！？।]", words):
        return ""
    return "" if len(_CODE.findall(words)) > _MOST_CODE * len(words) else words

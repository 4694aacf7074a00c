"""Counts words that only the scripts of a page contain and that a browser may show. Does not add them to the text.

Counts strings that a script writes into the page, templates inside scripts, and every string that reads like prose.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from cdsframe.corpus.readers.html.tree import Node
from cdsframe.types import Omission

_STRING = re.compile(r"""(?s)"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`""")
_LONG = re.compile(r'"((?:[^"\\\n]|\\.){100,})"')
"""A long string; found even if quotation marks before it are not paired."""

_WRITES = re.compile(r"\bdocument\s*\.\s*write(?:ln)?\s*\(\s*\Z")
_CONTINUES = re.compile(r"[\s+,\w.]*")
_BEFORE = 60
"""Characters before a string that are searched for `document.write(`."""

_TEMPLATES = re.compile(r".*\b(?:template|tmpl|handlebars|mustache|ejs|hogan|underscore|html)\b")
"""Values of a script's `type` attribute that mean a template for a part of the page."""

_ESCAPE = re.compile(r"\\u\{?([0-9a-fA-F]{4,5})\}?|\\x([0-9a-fA-F]{2})|\\(.)", re.DOTALL)
_TAG = re.compile(r"<[^>]*>|\{\{[^}]*\}\}|\$\{[^}]*\}|<%|%>")
_CODE = re.compile(r"[{}=;_|\\$#]|https?:|\w\(")
_MOST_CODE = 0.01
"""Maximum share of code characters (`_CODE`) in prose."""

_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_WORDS = 3
"""Minimum number of words in prose."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_LEAST_UNSPACED = 6
"""Minimum number of characters in prose of a writing system without spaces, such as Chinese or Thai."""

_BEGINS = re.compile(r"[\W\d_]*[^\Wa-z\d_]")
_ENDS = re.compile(r"[.!?。！？।](?:\s|$)")
_SAME = 40
"""Number of first letters and digits of a text that are compared to find the text in the page."""

_KEY = 8
_PLACES = 50
"""Maximum number of page positions stored per key (`_KEY` characters); texts at later positions are not found."""


def in_scripts(root: Node, text: str) -> tuple[Omission, ...]:
    """Counts the words that scripts write into the page, and other prose in scripts, unless the page contains them too.

    The other prose counts as lost text if it has more letters and digits than `text`, the text read from the page.
    """
    letters = sum(map(str.isalnum, text))
    scripts = [node for node in root.descendants() if node.tag == "script" and node.children]
    page = _Page(root if scripts else Node("html", {}, None))
    written = words = found = 0
    for prose, is_written in (item for node in scripts for item in _texts(node)):
        if not page.is_new(prose):
            continue
        if is_written:
            written += len(prose.split())
        else:
            words += len(prose.split())
            found += sum(map(str.isalnum, prose))
    items = (
        Omission("words that scripts write into the page", written, text=True),
        Omission("words that scripts hold and the page does not show", words, text=found > letters),
    )
    return tuple(item for item in items if item.count)


class _Page:
    """Finds a text in a page by its first characters, in time independent of the page's size."""

    def __init__(self, root: Node) -> None:
        words = re.findall(r"\w+", " ".join(root.texts()))
        self._letters = "".join(words)
        self._places: dict[str, list[int]] = {}
        self._seen: set[str] = set()
        place = 0
        for word in words:
            places = self._places.setdefault(self._letters[place : place + _KEY], [])
            if len(places) < _PLACES:
                places.append(place)
            place += len(word)

    def is_new(self, text: str) -> bool:
        """Whether a text has letters or digits, is not in the page, and was not the text of an earlier call."""
        begin = "".join(re.findall(r"\w+", text))[:_SAME]
        if not begin or begin in self._seen:
            return False
        self._seen.add(begin)
        if len(begin) < _KEY:
            return begin not in self._letters
        return not any(self._letters.startswith(begin, place) for place in self._places.get(begin[:_KEY], ()))


def _texts(node: Node) -> Iterator[tuple[str, bool]]:
    """Yields `(text, whether the script writes it into the page)` for each string of a script.

    The text is "" for a string that is code or data, such as a selector.
    """
    code = "".join(child for child in node.children if isinstance(child, str))
    kind = node.get("type").strip().lower()
    if _TEMPLATES.match(kind):
        yield _plain(code), False
        return
    for string in _LONG.findall(code):
        yield _prose(string), False
    if "ld+json" in kind:
        return  # metadata about the page, which no browser shows
    last, writes = 0, False
    for match in _STRING.finditer(code):
        continued = writes and _CONTINUES.fullmatch(code, last, match.start())
        writes = bool(continued or _WRITES.search(code, max(0, match.start() - _BEFORE), match.start()))
        last = match.end()
        string = next(group for group in match.groups() if group is not None)
        yield (_plain(_unescaped(string)), True) if writes else (_prose(string), False)


def _unescaped(string: str) -> str:
    """Decodes the escapes of a script's string."""

    def letter(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else {"n": " ", "t": " ", "\n": ""}.get(found[3], found[3])

    return _ESCAPE.sub(letter, string)


def _plain(text: str) -> str:
    """The words of an HTML fragment, without tags and template placeholders."""
    return " ".join(_TAG.sub(" ", html.unescape(text)).split())


def _prose(string: str) -> str:
    """The words of a script's string; "" if it is code, data or a list of names."""
    words = _plain(_unescaped(string))
    unspaced = len(_UNSPACED.findall(words)) >= _LEAST_UNSPACED
    if not unspaced and sum(len(word) > 1 for word in _WORD.findall(words)) < _WORDS:
        return ""
    if not (unspaced or _BEGINS.match(words) or _ENDS.search(words)):
        return ""
    return "" if len(_CODE.findall(words)) > _MOST_CODE * len(words) else words

"""Finds the tags, comments and CDATA sections of a web page's source in linear time.

Does not repair the source (see `source`) or parse it (see `tree`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BEGIN = re.compile(r"<(?:!--|!\[CDATA\[|(?P<end>/?)(?P<name>[a-z][^\s/>]*))", re.IGNORECASE)
_REST = re.compile(r"(?:=\s*\"[^\"]*\"|=\s*'[^']*'|[^>])*+>")
"""The rest of a tag after its name. A quoted value may contain `>`."""

_COMMENT_END = re.compile("--!?>")
_CDATA_END = re.compile(r"\]\]>")


class Ahead:
    """Searches one text from increasing positions in linear time: caches each pattern's next match."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[re.Pattern[str], tuple[int, re.Match[str] | None]] = {}

    def search(self, pattern: re.Pattern[str], position: int) -> re.Match[str] | None:
        """Returns the pattern's first match at or after the position; None without a match."""
        searched, found = self._found.get(pattern, (len(self._text) + 1, None))
        if position < searched or (found is not None and found.start() < position):
            found = pattern.search(self._text, position)
            self._found[pattern] = position, found
        return found


class HtmlToken(NamedTuple):
    """A tag, a comment or a CDATA section; `name` is empty for comments and CDATA."""

    start: int
    end: int
    name: str = ""
    """The tag's name in lower case."""
    closing: bool = False
    """Whether the token is an end tag."""
    open: bool = False
    """Whether the token is an unclosed comment; `end` is then after the next `>`, or the end of the text."""
    cdata: str | None = None
    """The content of a CDATA section."""


class HtmlTokenizer:
    """Finds the tokens of one source; `ahead` searches the same source."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.ahead = Ahead(text)
        self._quotes = True  # False once quotation marks hide the end of a tag; then tags end at the next `>`

    def next(self, position: int) -> HtmlToken | None:
        """Returns the first token at or after the position, or None. Positions must not decrease from call to call."""
        while begin := _BEGIN.search(self._text, position):
            start, position = begin.span()
            if begin["name"]:
                end = self._end_of_tag(position)
                if end:
                    return HtmlToken(start, end, begin["name"].lower(), bool(begin["end"]))
                comment = self._text.find("<!--", start)  # no `>` follows: only an unclosed comment can come next
                return HtmlToken(comment, len(self._text), open=True) if comment >= 0 else None
            if begin[0] == "<!--":
                closed = self.ahead.search(_COMMENT_END, position)
                if closed:
                    return HtmlToken(start, closed.end())
                return HtmlToken(start, self._text.find(">", position) + 1 or len(self._text), open=True)
            closed = self.ahead.search(_CDATA_END, position)
            if closed:
                return HtmlToken(start, closed.end(), cdata=self._text[position : closed.start()])
        return None

    def _end_of_tag(self, position: int) -> int:
        """Returns the position after the tag whose name ends at `position`; 0 if no `>` follows."""
        if self._quotes:
            found = _REST.match(self._text, position)
            if found:
                return found.end()
            self._quotes = False
        return self._text.find(">", position) + 1

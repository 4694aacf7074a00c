"""Finds the tags, comments and CDATA sections of a web page's source in time that is linear in its length.

Does not repair the source (`source` does) nor parse it (`tree` does).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BEGIN = re.compile(r"<(?:!--|!\[CDATA\[|(?P<end>/?)(?P<name>[a-z][^\s/>]*))", re.IGNORECASE)
_REST = re.compile(r"(?:=\s*\"[^\"]*\"|=\s*'[^']*'|[^>])*+>")
"""A tag behind its name. A quoted value may contain `>`."""

_COMMENT_END = re.compile("--!?>")
_CDATA_END = re.compile(r"\]\]>")


class Ahead:
    """Searches of one text whose start moves forward. Keeps each pattern's next match, so that no part of the text is
    searched twice for the same pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[re.Pattern[str], tuple[int, re.Match[str] | None]] = {}

    def search(self, pattern: re.Pattern[str], position: int) -> re.Match[str] | None:
        """The first match at or behind the position."""
        searched, found = self._found.get(pattern, (len(self._text) + 1, None))
        if position < searched or (found is not None and found.start() < position):
            found = pattern.search(self._text, position)
            self._found[pattern] = position, found
        return found


class Token(NamedTuple):
    """A tag, a comment or a CDATA section; `name` is empty for the last two."""

    start: int
    end: int
    name: str = ""
    """In lower case."""
    closing: bool = False
    """Whether it is an end tag."""
    open: bool = False
    """Whether it is a comment without its end; `end` is then behind the next `>`, or the end of the text."""
    cdata: str | None = None
    """The content of a CDATA section."""


class Tokens:
    """The tokens of one source; `ahead` searches the same source."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.ahead = Ahead(text)
        self._quotes = True  # False from the first tag that has no end if its quotation marks count

    def next(self, position: int) -> Token | None:
        """The first token at or behind the position; positions do not decrease."""
        while begin := _BEGIN.search(self._text, position):
            start, position = begin.span()
            if begin["name"]:
                end = self._end_of_tag(position)
                if end:
                    return Token(start, end, begin["name"].lower(), bool(begin["end"]))
                comment = self._text.find("<!--", start)  # no tag has an end any more
                return Token(comment, len(self._text), open=True) if comment >= 0 else None
            if begin[0] == "<!--":
                closed = self.ahead.search(_COMMENT_END, position)
                if closed:
                    return Token(start, closed.end())
                return Token(start, self._text.find(">", position) + 1 or len(self._text), open=True)
            closed = self.ahead.search(_CDATA_END, position)
            if closed:
                return Token(start, closed.end(), cdata=self._text[position : closed.start()])
        return None

    def _end_of_tag(self, position: int) -> int:
        """Where a tag ends whose name ends at the position; 0 without a `>` behind it."""
        if self._quotes:
            found = _REST.match(self._text, position)
            if found:
                return found.end()
            self._quotes = False
        return self._text.find(">", position) + 1

"""Reads plain text and Markdown with YAML front matter. Does not render Markdown: the text keeps its markup."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from cdsframe.corpus.encodings import Decoded, decode
from cdsframe.corpus.fields import metadata_text
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.readers.scripts import SUBSCRIPT, SUPERSCRIPT, joined
from cdsframe.text.blocks import Path, descend
from cdsframe.types import STANDARD_FIELDS, Omission, Section

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?![ \t]*\n)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-->|<!--->|<!--.*?-->", re.DOTALL)
_RAISED = re.compile(r"</?(su[pb])\b[^>]*>", re.IGNORECASE)


def read_text(data: bytes, limit: int) -> Parsed:
    """Reads plain text as one section."""
    decoded = _decode(data)
    text = decoded.text.strip()
    parsed = with_sections(text, (Section((), 0, len(text)),) if text else (), omitted=decoded.omitted)
    return replace(parsed, remark=decoded.remark)


def read_markdown(data: bytes, limit: int, known_fields: Sequence[str] = STANDARD_FIELDS) -> Parsed:
    """Reads Markdown: the text is the source without HTML comments; headings outside lists and quotes open sections.

    Args:
        known_fields: metadata fields. A block at the top is front matter only if it has one of them, `id` or `title`.
    """
    decoded = _decode(data)
    front, body = _front_matter(decoded.text, ("id", "title", *known_fields))
    text, sections, comments = _sections(body)
    omitted = (
        Omission("comments", comments, text=False),
        Omission("comments that are not closed, kept as text", int(_is_open(text)), text=False),
        *decoded.omitted,
    )
    return replace(with_sections(text, sections, omitted=omitted), front=front, remark=decoded.remark)


def _is_open(text: str) -> bool:
    """Whether a line opens an HTML comment that is never closed."""
    last = text.rfind("-->")
    return bool(re.search(r"^ {0,3}<!--(?!-?>)", text[last + 3 if last >= 0 else 0 :], re.MULTILINE))


def _sections(source: str) -> tuple[str, tuple[Section, ...], int]:
    """Returns the text without comments and without blanks at its ends, its sections, and the number of comments."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.disable("inline")  # inline markup is parsed for headings only
    tokens = parser.parse(source)
    starts = [0]
    for row in source.split("\n"):
        starts.append(starts[-1] + len(row) + 1)
    comments = list(_comments(parser, source, tokens, starts))
    kept = _Kept(source, comments)
    sections: list[Section] = []
    path: Path = ()
    start, unused = 0, None  # `unused`: start of the last heading while it has no text below it

    def close(end: int, level: int) -> None:
        heading = tuple(heading for _, heading in path)
        begin = start if kept.text[start:end].strip() else unused
        if begin is not None and (begin == start or level <= path[-1][0]) and kept.text[begin:end].strip():
            sections.append(Section(heading, begin, end))

    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            begin, end = (kept.place(min(starts[row], len(source))) for row in token.map)
            level = int(token.tag[1])
            close(begin, level)
            heading = _heading(parser, tokens[number + 1].content)
            start, unused = end, begin
            path = descend(path, level, heading) if heading else path
            unused = begin if heading else None
    close(len(kept.text), 0)
    return kept.stripped(sections)


class _Kept:
    """A source text with some spans removed; maps offsets of the source to offsets of the result."""

    def __init__(self, source: str, spans: list[tuple[int, int]]) -> None:
        self._spans = spans
        self._starts = [start for start, _ in spans]
        self._removed = list(accumulate((end - start for start, end in spans), initial=0))
        """Total characters in the first 0, 1, 2, … removed spans."""
        places = [0, *(place for span in spans for place in span), len(source)]
        self.text = "".join(source[a:b] for a, b in zip(places[::2], places[1::2], strict=True))

    def place(self, place: int) -> int:
        """Maps an offset in the source to one in `text`; an offset inside a removed span maps to the span's place."""
        count = bisect_left(self._starts, place)
        beyond = max(0, self._spans[count - 1][1] - place) if count else 0  # removed characters after the offset
        return place - self._removed[count] + beyond

    def stripped(self, sections: list[Section]) -> tuple[str, tuple[Section, ...], int]:
        """Returns the text without blanks at its ends, the sections moved with it, and how many spans were removed."""
        text = self.text.strip()
        shift = self.text.find(text) if text else 0
        inside = (Section(s.heading, max(0, s.start - shift), min(len(text), s.end - shift)) for s in sections if text)
        return text, tuple(inside), len(self._spans)


def _comments(parser: MarkdownIt, source: str, tokens: list[Token], starts: list[int]) -> Iterator[tuple[int, int]]:
    """Yields `(start, end)` in the source for each HTML comment outside code. Rendered Markdown does not show them."""
    done = 0
    for token in tokens:
        if token.type not in ("html_block", "inline") or not token.map or "<!--" not in token.content:
            continue
        position, end = max(done, starts[token.map[0]]), min(starts[token.map[1]], len(source))
        if token.type == "html_block":
            for found in _COMMENT.finditer(source, position, end):
                yield found.span()
                done = found.end()
            continue
        parser.core.ruler.enable("inline")
        children = parser.parseInline(token.content)[0].children or ()
        parser.core.ruler.disable("inline")
        for child in children:
            content = child.content.split("\n")[0]
            place = source.find(content, position, end) if content else -1
            if place < 0:
                continue
            position = place + len(content)
            if child.type == "html_inline" and content.startswith("<!--"):
                comment = _COMMENT.match(source, place, end)
                if comment:
                    yield comment.span()
                    done = position = comment.end()


def _heading(parser: MarkdownIt, content: str) -> str:
    """A heading's words without markup."""
    parser.core.ruler.enable("inline")
    tokens = parser.parseInline(content)
    parser.core.ruler.disable("inline")
    parts: list[tuple[str, str]] = []
    kind = ""
    for child in (tokens[0].children if tokens else None) or ():
        if child.type == "html_inline":
            mark = _RAISED.fullmatch(child.content)
            raised = "" if not mark or child.content.startswith("</") else mark[1].lower()
            kind = {"sup": SUPERSCRIPT, "sub": SUBSCRIPT}.get(raised, "")
            parts += [("", " ")] if child.content.lower().startswith("<br") else []
        else:
            parts.append((kind, " " if child.type in ("softbreak", "hardbreak") else child.content))
    return " ".join(joined(parts).split())


def _front_matter(text: str, known: Sequence[str]) -> tuple[dict[str, str], str]:
    """Parses the YAML between two `---` lines at the top. Returns its values (see `Parsed.front`) and the rest.

    A block without any known key is treated as text between two horizontal rules. Raises Refused if a block with a
    known key is not YAML, or if a known key occurs twice.
    """
    import yaml

    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        values = yaml.load(found[1], Loader=yaml.BaseLoader)  # noqa: S506 (BaseLoader only creates strings)
    except (yaml.YAMLError, RecursionError, ValueError):
        if re.search(rf"^(?:{'|'.join(map(re.escape, known))})[ \t]*:", found[1], re.MULTILINE):
            raise Refused("has front matter that is not YAML") from None
        return {}, text
    if not isinstance(values, dict) or not any(key in known for key in values):
        return {}, text
    node = yaml.compose(found[1], Loader=yaml.BaseLoader)
    names = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    if twice := [key for key in known if names.count(key) > 1]:
        raise Refused(f"has front matter with two values for {twice[0]}; remove one of them")
    front = {str(key): metadata_text(value) for key, value in values.items() if value}
    return front, text[found.end() :]


def _decode(data: bytes) -> Decoded:
    try:
        return decode(data)
    except ValueError as error:
        raise Refused(str(error)) from None

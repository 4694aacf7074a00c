"""Plain text and Markdown with its YAML front matter. Does not render Markdown: the text is the file's own."""

from __future__ import annotations

import re

from cdsframe.corpus.encodings import decode
from cdsframe.corpus.readers.parsed import Parsed, Refused, with_sections
from cdsframe.corpus.records import Path, descend
from cdsframe.types import Section

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_LONGEST_HEADING = 1000
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


def read_text(data: bytes, limit: int) -> Parsed:
    """Plain text: one section."""
    text, guessed = _decode(data)
    text = text.strip()
    if not text:
        raise Refused("has no text")
    return Parsed(text, (Section((), 0, len(text)),), guessed=guessed)


def read_markdown(data: bytes, limit: int) -> Parsed:
    """Markdown: the text is the file's own, stripped at both ends; a `#` line opens a section (not in fenced code)."""
    whole, guessed = _decode(data)
    front, text = _front_matter(whole)
    parsed = with_sections(text, tuple(_sections(text)))
    return Parsed(parsed.text, parsed.sections, front=front, guessed=guessed)


def _sections(text: str) -> list[Section]:
    sections: list[Section] = []
    path: Path = ()
    position = start = 0
    fence: str | None = None

    def close(end: int) -> None:
        if text[start:end].strip():
            sections.append(Section(tuple(heading for _, heading in path), start, end))

    for line in text.splitlines(keepends=True):
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else None if fence == mark[1] else fence
        heading = _HEADING.match(line.rstrip("\n")) if fence is None and len(line) <= _LONGEST_HEADING else None
        if heading:
            close(position)
            path = descend(path, len(heading[1]), heading[2])
            start = position + len(line)
        position += len(line)
    close(position)
    return sections


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    """The YAML between two lines `---` at the top, all values as text, and the stripped text behind it."""
    import yaml

    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text.strip()
    try:
        values = yaml.load(found[1], Loader=yaml.BaseLoader)  # noqa: S506 (the base loader makes only text)
    except (yaml.YAMLError, RecursionError):
        raise Refused("has front matter that is not YAML") from None
    if not isinstance(values, dict):
        raise Refused("has front matter that is not a mapping")
    lists = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    front = {str(key): value.strip() for key, value in lists.items() if isinstance(value, str)}
    return front, text[found.end() :].strip()


def _decode(data: bytes) -> tuple[str, str | None]:
    try:
        return decode(data)
    except ValueError as error:
        raise Refused(str(error)) from None

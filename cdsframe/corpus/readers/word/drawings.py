"""Reads the text and numbers of charts and SmartArt diagrams, which are separate parts of the file. Reads no images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cdsframe.corpus.readers.word.names import attribute, name


def diagram_lines(root: Any) -> Iterator[str]:
    """The text of each point of a diagram's data part, in file order."""
    for point in root.iter():
        if name(point) == "dgm:pt" and (text := _text(point, ("a:t",))):
            yield text


def chart_lines(root: Any) -> Iterator[str]:
    """A chart's titles, then its values as a table: a line per category, a column per series."""
    for title in root.iter():
        if name(title) == "c:title" and (text := _text(title, ("a:t", "c:v"))):
            yield text
    series = [item for item in root.iter() if name(item) == "c:ser"]
    names = [_text(part, ("c:v", "a:t")) for item in series for part in item if name(part) == "c:tx"]
    if any(names):
        yield " | ".join(["", *names]).strip()
    columns = [_points(item, ("c:val", "c:yVal", "c:bubbleSize")) for item in series]
    categories: dict[int, str] = {}
    for item in series:
        categories |= {key: text for key, text in _points(item, ("c:cat", "c:xVal")).items() if key not in categories}
    for key in sorted({*categories, *(key for column in columns for key in column)}):
        yield " | ".join([categories.get(key, ""), *(column.get(key, "") for column in columns)])


def _points(series: Any, parts: tuple[str, ...]) -> dict[int, str]:
    """The values that the file stores for a series, by index; values of several of the `parts` are joined."""
    found: dict[int, str] = {}
    for part in series:
        if name(part) not in parts:
            continue
        for point in part.iter():
            if name(point) == "c:pt" and (text := _text(point, ("c:v",))):
                key = int(attribute(point, "idx") or 0)
                found[key] = f"{found[key]} {text}" if key in found else text
    return found


def _text(element: Any, tags: tuple[str, ...]) -> str:
    lines: list[str] = []
    for item in element.iter():
        if name(item) in tags and item.text:
            lines.append(item.text)
        elif name(item) in ("a:p", "a:br"):
            lines.append(" ")
    return " ".join("".join(lines).split())

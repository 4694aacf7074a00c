"""What a report consists of: sections of texts, tables, plots, cases and commands. Knows neither HTML nor Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReportText:
    """A paragraph. `strong`: its first words, which are emphasised."""

    text: str
    strong: str = ""


@dataclass(frozen=True, slots=True)
class ReportCode:
    """Text that is kept as it is, such as a command."""

    text: str


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of texts; the first cell of a row is its heading.

    Attributes:
        left: number of first columns that hold words; the others hold numbers, which are aligned to the right.
        folded: HTML shows only the caption until the reader opens it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    folded: bool = False


@dataclass(frozen=True, slots=True)
class ReportPlot:
    """An inline SVG (escaped already). Markdown omits it: a table beside it holds the same figures.

    `legend`: CSS class -> what has its colour.
    """

    title: str
    svg: str
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """A passage of a case: its place, its title and headings, how it was used, and its text."""

    heading: str
    marks: Sequence[str]
    text: str


@dataclass(frozen=True, slots=True)
class ReportCase:
    """One question in full: what went wrong, labelled lines, and the passages."""

    title: str
    kind: str
    lines: Sequence[tuple[str, str]]
    passages: Sequence[ShownPassage]


ReportBlock = ReportText | ReportCode | ReportTable | ReportPlot | ReportCase


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A section under its heading. `reading`: one sentence on how to read it."""

    anchor: str
    title: str
    reading: str
    blocks: Sequence[ReportBlock]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A whole report. `under`: lines below the title."""

    title: str
    under: Sequence[str]
    sections: Sequence[ReportSection] = field(default=())

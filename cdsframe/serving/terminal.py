"""Shows hits and an answer in a terminal. What it shows is untrusted: brackets and control characters stay text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdsframe.types import Answer, Hit

if TYPE_CHECKING:
    from rich.console import Console

_LEVELS = {"supported": "green", "high": "green", "partly supported": "yellow", "medium": "yellow"}


def show_hits(hits: Sequence[Hit], console: Console | None = None) -> None:
    """A table of what was found: rank, title and heading, score, and what each leg said (its rank and score)."""
    from rich.table import Table
    from rich.text import Text

    console = console or _console()
    if not hits:
        console.print("No passages were searched or found.", style="dim")
        return
    table = Table(title="Passages", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in ("#", "Passage", "Score", "Legs"):
        table.add_column(heading, justify="right" if heading in "#Score" else "left", overflow="fold")
    for hit in hits:
        legs = ", ".join(f"{leg} {part.rank} ({part.score:.2f})" for leg, part in hit.parts.items())
        table.add_row(str(hit.rank), Text(_name(hit)), f"{hit.score:.3f}", legs)
    console.print(table)


def show_answer(answer: Answer, console: Console | None = None) -> None:
    """The answer, the spans it rests on, and how sure it is."""
    from rich.panel import Panel
    from rich.text import Text

    console = console or _console()
    word, probability = answer.confidence.word, answer.confidence.probability
    confidence = word if probability is None else f"{word}, {probability:.0%}"
    title = f"confidence: {confidence}"
    console.print(
        Panel(Text(_plain(answer.text)), title=title, title_align="left", border_style=_LEVELS.get(word, "red"))
    )
    for citation in answer.citations:
        passage = citation.passage
        span = passage.text[citation.start - passage.start : citation.end - passage.start]
        console.print(Text(f"[{citation.number}] {_plain(passage.title)} ({passage.document_id})", style="bold"))
        console.print(Text(f"    {_plain(' '.join(span.split()))}"))
    if answer.removed:
        console.print(f"{answer.removed} marker(s) that name no passage were taken out.", style="dim")
    console.print(f"{answer.timings['total']:.1f} s. Not a medical device: read the passages.", style="dim")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False)


def _name(hit: Hit) -> str:
    return _plain(" > ".join([hit.passage.title or hit.passage.document_id, *hit.passage.heading]))


def _plain(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else " " for letter in text)

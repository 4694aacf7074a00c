"""Shows hits and an answer in a terminal. What it shows is untrusted: brackets and control characters stay text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdsframe.citations import supports
from cdsframe.context.words import meaningful, places
from cdsframe.text.printable import plain
from cdsframe.types import Answer, Hit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_SNIPPET = 320
"""Characters of a passage that are shown below its title."""

_LEVELS = {"supported": "green", "high": "green", "partly supported": "yellow", "medium": "yellow"}


def show_hits(hits: Sequence[Hit], question: str, console: Console | None = None, reason: str = "") -> None:
    """What was found: rank, title and heading path, score, what each leg said of it (its rank and score), and the part
    of the passage with most of the question's words, which are underlined. Where nothing was searched, the reason."""
    from rich.padding import Padding
    from rich.text import Text

    console = console or _console()
    if not hits:
        said = Text(plain(reason), "yellow") if reason else Text("No passages were searched or found.", "dim")
        console.print(said)
        return
    for hit in hits:
        console.print(Text.assemble((f"{hit.rank:>2}  ", "bold"), (_name(hit), "bold"), f"  {hit.score:.3f}"))
        legs = "   ".join(f"{leg} {part.rank} ({part.score:.2f})" for leg, part in hit.parts.items())
        console.print(Padding.indent(Text(legs, style="cyan"), 4))
        console.print(Padding.indent(_snippet(hit.passage.text, question), 4))


def _snippet(text: str, question: str) -> Text:
    """At most about `_SNIPPET` characters of the passage, where most different words of the question stand."""
    from rich.text import Text

    flat = " ".join(plain(text).split())
    asked = meaningful(question)
    found = [(begin, end, word) for begin, end, word in places(flat) if word in asked]

    def worth(start: int) -> int:
        return len({word for begin, end, word in found if start <= begin and end <= start + _SNIPPET})

    first = max((begin for begin, _, _ in found), key=lambda begin: (worth(begin), -begin), default=0)
    first = max(0, min(first - _SNIPPET // 8, len(flat) - _SNIPPET))
    start = flat.rfind(" ", 0, first) + 1
    end = len(flat) if start + _SNIPPET >= len(flat) else flat.rfind(" ", start + 1, start + _SNIPPET + 1)
    end = end if end > start else start + _SNIPPET
    shown = Text("…" if start else "").append(flat[start:end]).append("…" if end < len(flat) else "")
    for begin, stop, _ in found:
        if start <= begin and stop <= end:
            shown.stylize("bold underline", begin - start + bool(start), stop - start + bool(start))
    return shown


def show_answer(answer: Answer, console: Console | None = None) -> None:
    """The answer, the sentences that support it, and how sure it is."""
    from rich.panel import Panel
    from rich.text import Text

    console = console or _console()
    word, probability = answer.confidence.word, answer.confidence.probability
    confidence = word if probability is None else f"{word}, {probability:.0%}"
    title = f"confidence: {confidence}"
    console.print(
        Panel(Text(plain(answer.text)), title=title, title_align="left", border_style=_LEVELS.get(word, "red"))
    )
    for citation in answer.citations:
        passage = citation.passage
        span = passage.text[citation.start - passage.start : citation.end - passage.start]
        console.print(Text(f"[{citation.number}] {plain(f'{passage.title} ({passage.document_id})')}", style="bold"))
        if supports(citation):
            console.print(Text(f"    {plain(' '.join(span.split()))}"))
        else:
            console.print("    No sentence of this passage says what the answer says: read the passage.", style="dim")
    if answer.removed:
        console.print(f"{answer.removed} marker(s) that name no passage were taken out.", style="dim")
    console.print(f"{answer.timings['total']:.1f} s. Not a medical device: read the passages.", style="dim")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False)


def _name(hit: Hit) -> str:
    return plain(" > ".join([hit.passage.title or hit.passage.document_id, *hit.passage.heading]))

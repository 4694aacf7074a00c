"""Checks an answer's markers (`[1]`, `[1, 2]`, `[1][2]`) against the passages that the prompt showed.

The support of a statement is lexical: the share of its words that a few neighbouring sentences of the passage hold, and
none at all where its polarity, a bound, a frequency or an amount differs from theirs. It does not judge entailment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cdsframe.claims.agreement import compare
from cdsframe.claims.clauses import Part, clauses, fragment
from cdsframe.markers import clean, find, finished
from cdsframe.search_form import search_words
from cdsframe.types import Citation, Passage

_DIVIDED = r"(?<=[^\W\d_][-\u2010\u00ad\u0002\ufffe])\r?\n[^\S\n]*(?=[^\W\d_A-Z])"
"""The end of a line that divides a word, behind a hyphen in one of its forms."""
_SENTENCE_END = re.compile(rf"(?<=[.!?])\s+(?=[^a-z\s])|(?!{_DIVIDED})\n+")
_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|%|[^\W\d_]+")
SUPPORTED, WORTH = 1.0, 0.5
"""Minimum support for a whole statement (SUPPORTED) and for part of it (WORTH)."""
_UNCOMPARED = 0.9
"""The most support of a statement with a sentence that has no word to compare, such as "Yes."."""
_WIDEST = 3
"""Maximum number of neighbouring sentences in a supporting span."""

_STOP = """a an the of in on at to for and or is are was were be been by with as it its this that these those from
should must may can will has have had do does not than then there which who when if per into about over under"""
_COUNT = "one two three four five six seven eight nine ten eleven twelve"
_STOP_WORDS = frozenset(_STOP.split())
_COUNTS = {word: str(number) for number, word in enumerate(_COUNT.split(), start=1)}


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer's text without the markers that name no shown passage, and the citations of the other markers."""

    text: str
    citations: tuple[Citation, ...]
    statements: int
    """Number of statements into which the markers divide the text."""
    cited: int
    """Number of statements that cite a passage."""
    removed: int
    supports: tuple[tuple[float, ...], ...] = ()
    """For each statement with citations, the support by each cited passage, in [0, 1]."""


def supports(citation: Citation) -> bool:
    """Whether the cited span supports its statement, so that it may be marked as its evidence."""
    return citation.support >= SUPPORTED


def check(text: str, passages: Sequence[Passage], question: str = "") -> Checked:
    """Checks a text against the passages shown, numbered from 1; removes a marker that the end of the text cuts off.

    The question only breaks ties: of two spans with equal support, the span with more words of the question wins.
    """
    cleaned, removed = clean(text, len(passages))
    cleaned = finished(cleaned)
    found = list(statements(cleaned, len(passages)))
    cited = [
        [
            Citation(number, passages[number - 1], *support(statement, passages[number - 1], question))
            for number in numbers
        ]
        for statement, numbers in found
        if numbers
    ]
    supports = tuple(tuple(citation.support for citation in group) for group in cited)
    citations = tuple(citation for group in cited for citation in group)
    return Checked(cleaned, citations, len(found), len(cited), removed, supports)


def statements(text: str, shown: int = 99) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields `(statement, numbers it cites)`. Markers follow their statement, unless the text begins with one."""
    groups: list[tuple[int, int, tuple[int, ...]]] = []
    for marker in find(text, shown):
        if groups and groups[-1][1] == marker.start:
            start, _, numbers = groups.pop()
            groups.append((start, marker.end, numbers + marker.numbers))
        else:
            groups.append((marker.start, marker.end, marker.numbers))
    ends = [start for start, _, _ in groups] + [len(text)]
    starts = [0] + [end for _, end, _ in groups]
    cited = [tuple(dict.fromkeys(numbers)) for _, _, numbers in groups]
    if groups and not terms(text[: ends[0]]):
        starts, ends = starts[1:], ends[1:]
    else:
        cited.append(())
    for start, end, numbers in zip(starts, ends, cited, strict=True):
        statement = text[start:end].strip(" \n.,;:")
        if terms(statement):
            yield statement, numbers


def support(statement: str, passage: Passage, question: str = "") -> tuple[int, int, float]:
    """Returns `(start, end, support)`: the span of the source document with the highest support, in [0, 1].

    Words of the passage's title and heading count neither way, since the prompt shows them too. Where no sentence
    supports the statement, or each that does contradicts it, the span is the whole passage and the support 0.
    """
    said = [clause for start, end in _sentences(statement) for clause in clauses(statement[start:end])]
    elsewhere = {part.key for first, last in _sentences(passage.text) for part in _words(passage.text[first:last])}
    known = {part.key for part in _words(" ".join((passage.title, *passage.heading)))}
    asked, form = terms(question), fragment(statement)
    best = (0.0, 0, 0, 0)
    span = (passage.start, passage.end)
    for start, end, sentences in _windows(passage.text):
        agreement = compare(
            said, [clauses(passage.text[first:last]) for first, last in sentences], known, elsewhere - known, form
        )
        if agreement.contradicted:
            continue
        rank = (agreement.share, -len(sentences), len(asked & terms(passage.text[start:end])), -start)
        if rank[0] > 0 and rank > best:
            best, span = rank, (passage.start + start, passage.start + end)
    single = _by_single_sentences(statement, passage, known, elsewhere - known, form)
    return *span, min(best[0], max(single, WORTH))


def _by_single_sentences(
    statement: str, passage: Passage, known: set[str], elsewhere: set[str], form: Literal["", "amount", "phrase"]
) -> float:
    """The lowest support that a sentence of the statement has from one sentence of the passage.

    Words of several sentences can make a statement that none of them makes: a condition of one, an order of another.
    Such a statement is supported in part at most.
    """
    text = [[clauses(passage.text[first:last])] for first, last in _sentences(passage.text)]
    lowest = 1.0
    for start, end in _sentences(statement):
        said = clauses(statement[start:end])
        if not any(said):
            lowest = min(lowest, _UNCOMPARED)
            continue
        found = (compare([*said], sentence, known, elsewhere, form) for sentence in text)
        lowest = min(lowest, max((one.share for one in found if not one.contradicted), default=0.0))
    return lowest


def terms(text: str) -> set[str]:
    """The words and numbers of a text that carry meaning, in one spelling."""
    return {token for token in _tokens(text) if token not in _STOP_WORDS}


def _tokens(text: str) -> list[str]:
    folded = search_words(text, question=True).casefold().replace("μg", "mcg").replace("microgram", "mcg")
    return [_spell(token) for token in _TOKEN.findall(folded)]


def _spell(token: str) -> str:
    if token[0].isdecimal():
        number = token.replace(",", "")
        return (number.rstrip("0").rstrip(".") if "." in number else number).lstrip("0") or "0"
    if len(token) > 3 and token.endswith("s") and not token.endswith("ss"):
        token = token[:-1]
    return _COUNTS.get(token, token)


def _words(text: str) -> Iterator[Part]:
    return (part for clause in clauses(text) for part in clause if part.kind == "word")


def _sentences(text: str) -> list[tuple[int, int]]:
    """Where a text's sentences start and end."""
    found, position = [], 0
    for end in [*_SENTENCE_END.finditer(text), None]:
        stop = end.start() if end else len(text)
        if text[position:stop].strip():
            found.append((position, stop))
        position = end.end() if end else stop
    return found


def _windows(text: str) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Spans of one sentence, of two neighbouring ones, and so on: `(start, end, sentences)`."""
    sentences = _sentences(text)
    for size in range(1, min(_WIDEST, len(sentences)) + 1):
        for first in range(len(sentences) - size + 1):
            chosen = sentences[first : first + size]
            yield chosen[0][0], chosen[-1][1], chosen

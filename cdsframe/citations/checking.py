"""Checks an answer's markers (`[1]`, `[1, 2]`, `[1][2]`) against the passages that the prompt showed.

Support is lexical: the share of a statement's words that a few neighbouring sentences of the passage contain, or 0 if
polarity, a bound, a frequency or an amount differs. Does not judge entailment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cdsframe.citations.agreement import compare
from cdsframe.citations.clauses import Clause, Part, clauses, fragment
from cdsframe.text.markers import clean, find, finished
from cdsframe.text.search_form import search_words
from cdsframe.text.sentences import divides_words, sentences, words_of
from cdsframe.text.stopwords import FUNCTION_WORDS
from cdsframe.types import Citation, Passage

_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|%|[^\W\d_]+")
SUPPORTED, WORTH = 1.0, 0.5
"""Minimum support for a whole statement (SUPPORTED) and for part of it (WORTH)."""
_UNCOMPARED = 0.9
"""Maximum support of a statement with a sentence that has no word to compare, such as "Yes."."""
_WIDEST = 3
"""Maximum number of neighbouring sentences in a supporting span."""

_COUNT = "one two three four five six seven eight nine ten eleven twelve"
_COUNTS = {word: str(number) for number, word in enumerate(_COUNT.split(), start=1)}


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer's text without markers of passages that were not shown, and the citations of the other markers."""

    text: str
    citations: tuple[Citation, ...]
    statements: int
    """Number of statements into which the markers divide the text."""
    cited: int
    """Number of statements that cite a passage."""
    removed: int
    """Number of marker numbers removed from the text."""
    supports: tuple[tuple[float, ...], ...] = ()
    """For each statement with citations, the support by each cited passage, in [0, 1]."""


def supports(citation: Citation) -> bool:
    """Whether the cited span supports the whole statement. Readers are shown only such spans as evidence."""
    return citation.support >= SUPPORTED


def check(text: str, passages: Sequence[Passage], question: str = "") -> Checked:
    """Checks a text against the passages shown, numbered from 1; removes an incomplete citation marker at its end.

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
    """Yields `(statement, numbers of the passages that it cites)`.

    Markers follow their statement. If the text begins with a marker, every marker precedes its statement.
    """
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

    A word that the span lacks is not counted if the passage's title or heading has it, since the prompt shows them too.
    If no sentence supports the statement without contradicting it, the span is the whole passage and the support 0.
    """
    readings = (True, False) if divides_words(passage.text) or divides_words(statement) else (True,)
    return max((_support(statement, passage, question, joined) for joined in readings), key=lambda found: found[2])


def _support(statement: str, passage: Passage, question: str, join_divided: bool) -> tuple[int, int, float]:
    """As `support`. `join_divided`: whether words that a line's end divides are read without their hyphen."""
    stated = [clauses(words_of(statement, one, join_divided=join_divided)) for one in sentences(statement)]
    found = sentences(passage.text)
    text = [clauses(words_of(passage.text, one, join_divided=join_divided)) for one in found]
    if not statement.rstrip().endswith("?"):  # a question in the passage states nothing
        text = [
            () if passage.text[: one.end].endswith("?") else sentence for one, sentence in zip(found, text, strict=True)
        ]
    elsewhere = {part.key for sentence in text for part in _words(sentence)}
    known = {part.key for part in _words(clauses(" ".join((passage.title, *passage.heading))))}
    asked, form = terms(question), fragment(statement)
    whole = [clause for sentence in stated for clause in sentence]
    best = (0.0, 0, 0, 0)
    span = (passage.start, passage.end)
    for first, last in _windows(len(found)):
        start, end = found[first].start, found[last].end
        agreement = compare(whole, text[first : last + 1], known, elsewhere - known, form)
        if agreement.contradicted:
            continue
        rank = (agreement.share, first - last, len(asked & terms(passage.text[start:end])), -start)
        if rank[0] > 0 and rank > best:
            best, span = rank, (passage.start + start, passage.start + end)
    single = _by_single_sentences(stated, text, known, elsewhere - known, form)
    return *span, min(best[0], max(single, WORTH))


def _by_single_sentences(
    stated: Sequence[Sequence[Clause]],
    text: Sequence[Sequence[Clause]],
    known: set[str],
    elsewhere: set[str],
    form: Literal["", "amount", "phrase"],
) -> float:
    """Returns, over the statement's sentences, the lowest of their best supports by a single sentence of the passage.

    Words of several sentences can form a statement that none of them makes (a condition of one, an order of another).
    The caller limits the support of a statement to `WORTH`, or to the returned value if that is higher.
    """
    lowest = 1.0
    for sentence in stated:
        if not any(sentence):
            lowest = min(lowest, _UNCOMPARED)
            continue
        found = (compare(sentence, [one], known, elsewhere, form) for one in text)
        lowest = min(lowest, max((one.share for one in found if not one.contradicted), default=0.0))
    return lowest


def terms(text: str) -> set[str]:
    """Returns the words and numbers of a text without stop words, normalised in spelling."""
    return {token for token in _tokens(text) if token not in FUNCTION_WORDS}


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


def _words(sentence: Sequence[Clause]) -> Iterator[Part]:
    return (part for clause in sentence for part in clause if part.kind == "word")


def _windows(count: int) -> Iterator[tuple[int, int]]:
    """Yields the first and last index of each span of one sentence, then of two neighbouring ones, and so on."""
    for size in range(1, min(_WIDEST, count) + 1):
        for first in range(count - size + 1):
            yield first, first + size - 1

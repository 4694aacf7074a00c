"""Checks an answer's markers (`[1]`, `[1, 2]`, `[1][2]`) against the passages that the prompt showed.

The support of a statement is lexical: the share of its words that a few neighbouring sentences of the passage hold, and
none at all where one of its numbers (or a number's unit) is not among theirs. It does not judge entailment.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdsframe.search_form import search_words
from cdsframe.types import Citation, Passage

_NUMBERS = r"\d{1,3}(?:\s*[,;]\s*\d{1,3})*"
_MARKER = re.compile(rf"(\s*)\[\s*({_NUMBERS})\s*\]")
_MARKERS = re.compile(rf"(?:\s*\[\s*{_NUMBERS}\s*\])+")
_UNFINISHED = re.compile(r"\s*(\[[\d\s,;\[]*)?$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|\n+")
_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|%|[^\W\d_]+")
_WIDEST = 3
"""Neighbouring sentences that a supporting span has at most."""

_STOP = """a an the of in on at to for and or is are was were be been by with as it its this that these those from
should must may can will has have had do does not than then there which who when if per into about over under"""
_COUNT = "one two three four five six seven eight nine ten eleven twelve"
_UNIT = """mg mcg g kg ng ml l dl mmol mol meq iu unit kpa mmhg cm mm m % second minute hour day week month year
bpm joule j puff tablet capsule drop dose time"""
_STOP_WORDS, _UNITS = frozenset(_STOP.split()), frozenset(_UNIT.split())
_COUNTS = {word: str(number) for number, word in enumerate(_COUNT.split(), start=1)}


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer's text without the markers that name no shown passage, and what the others cite."""

    text: str
    citations: tuple[Citation, ...]
    statements: int
    """Into how many statements the markers divide the text."""
    cited: int
    """How many of them cite a passage."""
    removed: int


def check(text: str, passages: Sequence[Passage], question: str = "") -> Checked:
    """Checks a text against the passages shown, numbered from 1; a marker that the text's end cuts off goes too.

    The question only breaks ties: of two spans that support a statement alike, the one about the question is taken.
    """
    cleaned, removed = clean(text, len(passages))
    cleaned = settled(cleaned)
    found = list(statements(cleaned))
    citations = tuple(
        Citation(number, passages[number - 1], *support(statement, passages[number - 1], question))
        for statement, numbers in found
        for number in numbers
    )
    return Checked(cleaned, citations, len(found), sum(bool(numbers) for _, numbers in found), removed)


def clean(text: str, shown: int) -> tuple[str, int]:
    """The text without the markers above `shown`, and how many were taken out.

    Taking one out can make another of what stood around it (`[[9]8]`), so it goes on until none is left.
    """
    removed = 0

    def keep(marker: re.Match[str]) -> str:
        nonlocal removed
        numbers = [int(number) for number in re.findall(r"\d+", marker[2])]
        good = [number for number in numbers if 1 <= number <= shown]
        removed += len(numbers) - len(good)
        return f"{marker[1]}[{', '.join(map(str, good))}]" if good else ""

    while (cleaned := _MARKER.sub(keep, text).strip()) != text:
        text = cleaned
    return text, removed


def unmarked(text: str) -> str:
    """The text without any markers."""
    return _MARKER.sub("", text).strip()


def settled(text: str) -> str:
    """The part of an unfinished, clean text that no later piece can turn into a marker."""
    end = _UNFINISHED.search(text)
    return text[: end.start()] if end else text


def statements(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields `(statement, numbers it cites)`. Markers follow their statement, unless the text begins with one."""
    groups = list(_MARKERS.finditer(text))
    ends = [group.start() for group in groups] + [len(text)]
    starts = [0] + [group.end() for group in groups]
    numbers = [tuple(dict.fromkeys(int(number) for number in re.findall(r"\d+", group[0]))) for group in groups]
    if groups and not terms(text[: ends[0]]):
        starts, ends = starts[1:], ends[1:]
    else:
        numbers.append(())
    for start, end, cited in zip(starts, ends, numbers, strict=True):
        statement = text[start:end].strip(" \n.,;:")
        if terms(statement):
            yield statement, cited


def support(statement: str, passage: Passage, question: str = "") -> tuple[int, int, float]:
    """The span of the source document that supports a statement best, and by how much, in [0, 1].

    Words of the passage's title and heading count neither way, since the prompt shows them too; where no sentence
    supports the statement, the span is the whole passage and the support 0.
    """
    wanted, amounts = terms(statement), quantities(statement)
    wanted = (wanted - terms(" ".join((passage.title, *passage.heading)))) | set(amounts) or wanted
    asked = terms(question)
    best = (0.0, 0, 0, 0)
    span = (passage.start, passage.end)
    for start, end, size in _windows(passage.text):
        stretch = passage.text[start:end]
        found = terms(stretch)
        if not wanted or not _agree(amounts, quantities(stretch)):
            continue
        rank = (len(wanted & found) / len(wanted), -size, len(asked & found), -start)
        if rank[0] > 0 and rank > best:
            best, span = rank, (passage.start + start, passage.start + end)
    return *span, best[0]


def terms(text: str) -> set[str]:
    """The words and numbers of a text that carry meaning, in one spelling."""
    return {token for token in _tokens(text) if token not in _STOP_WORDS}


def quantities(text: str) -> dict[str, set[str]]:
    """Each number of a text with the units that follow it there ('' where none does)."""
    found: dict[str, set[str]] = defaultdict(set)
    tokens = _tokens(text)
    for token, follower in zip(tokens, [*tokens[1:], ""], strict=False):
        if token[0].isdecimal():
            found[token].add(follower if follower in _UNITS else "")
    return dict(found)


def _agree(wanted: dict[str, set[str]], found: dict[str, set[str]]) -> bool:
    """Whether every number is there, with its unit where both sides name one ("2 to 4 mg" names it for 4 only)."""
    return all(
        number in found and all(not unit or unit in found[number] or "" in found[number] for unit in units)
        for number, units in wanted.items()
    )


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


def _windows(text: str) -> Iterator[tuple[int, int, int]]:
    """Spans of one sentence, of two neighbouring ones, and so on: `(start, end, number of sentences)`."""
    sentences, position = [], 0
    for end in [*_SENTENCE_END.finditer(text), None]:
        stop = end.start() if end else len(text)
        if text[position:stop].strip():
            sentences.append((position, stop))
        position = end.end() if end else stop
    for size in range(1, min(_WIDEST, len(sentences)) + 1):
        for first in range(len(sentences) - size + 1):
            yield sentences[first][0], sentences[first + size - 1][1], size

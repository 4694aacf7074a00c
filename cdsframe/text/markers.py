"""Finds the markers of an answer (`[1]`, `[1, 2]`, `[1][2]`) and distinguishes them from other numbers in brackets.

A bracket with a unit behind it is an amount ("[136, 145] mmol/L", "[2] mg"), and so are a number that no passage can
have (145) and an interval behind a word such as "range". Does not judge what a marker cites (see `cdsframe.citations`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdsframe.text.units import may_become, unit_behind

_NUMBERS = r"\d{1,3}(?:\s*[,;]\s*\d{1,3})*"
_MARKER = re.compile(rf"(?<!\s)(\s*)\[\s*({_NUMBERS})\s*\]")
_ONLY = re.compile(rf"\[\s*{_NUMBERS}\s*\]")
_CUT_OFF = re.compile(r"[\d\s,;\[]*")
"""Characters of a marker whose end is missing, and of the white space before it."""
_BEHIND = re.compile(r"[^\S\n]*+(?P<words>[^\n.,;:!?()\[\]]{0,32})")
"""Words behind a text's last marker that may become a unit. Punctuation ends them."""
_HIGHEST = 99
"""Maximum number of passages in a prompt; a higher number in brackets is a value."""
_BEFORE = 64
"""Characters before a bracket in which an amount or the word "range" is searched."""
_INTERVAL = re.compile(
    r"\b(?:ranges?|intervals?|limits?|between|CI|normal|reference|values?|within|targets?|goals?|INR|pH)"
    r"(?:\s+(?:of|is|are|was|were|from))?\s*[:=(]?\s*$",
    re.I,
)
_AMOUNT = re.compile(r"\d\s*[^\s\d\[\]]{0,10}$")
_COMPARATOR = re.compile(r"[<>≤≥=±]\s*$")
_NO_UNIT = re.compile(r"\s*(?:(?:a|an|per)\b|days?\s+and\s+nights?\b|[A-Za-zµμ]\b(?!/))", re.I)
"""Words behind a marker that `unit_behind` could take for a unit: "[1] a day", "[1] day and night", "[1] C …"."""
_LETTERS = re.compile(r"\s*[glL]\b(?![.’'])")


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker in a text: where it starts (with the white space before it) and ends, and the numbers it names."""

    start: int
    end: int
    numbers: tuple[int, ...]


def find(text: str, shown: int = _HIGHEST) -> list[Marker]:
    """Returns the markers of a text. `shown`: number of passages in the prompt."""
    found = []
    for match in _MARKER.finditer(text):
        numbers = tuple(int(number) for number in re.findall(r"\d+", match[2]))
        if not _is_value(text, match.start(), match.end(), numbers, shown):
            found.append(Marker(match.start(), match.end(), numbers))
    return found


def is_amount(text: str, start: int, end: int) -> bool:
    """Whether a bracket at `[start, end)` is an amount: a unit follows, and no amount precedes ("5 mg [1] tablets")."""
    first = max(0, start - _BEFORE)
    if _AMOUNT.search(text, first, start) and not _COMPARATOR.search(text, first, start):
        return False
    if _NO_UNIT.match(text, end) and not _LETTERS.match(text, end):
        return False
    line = text[end : end + 64].partition("\n")[0]
    return bool(unit_behind(line, 0)[0]) or re.match(r"\s*/\s*\[", line) is not None


def clean(text: str, shown: int) -> tuple[str, int]:
    """Removes marker numbers above `shown`. Returns the text and how many numbers were removed.

    Removing a marker can form another one (`[[9]8]`), so the removal repeats until the text stays the same.
    """
    text, removed = text.strip(), 0
    while (step := _without_unknown(text, shown))[0] != text:
        text, removed = step[0], removed + step[1]
    return text, removed


def settled(text: str, shown: int) -> str:
    """Returns the start of a streamed text that no later piece can change, without markers above `shown`.

    Args:
        text: what has been generated so far.
        shown: number of passages in the prompt.
    """
    while True:
        while (shorter := _decided(finished(text)).strip()) != text:
            text = shorter
        shorter, _ = _without_unknown(text, shown)
        if shorter == text:
            return text
        text = shorter


def finished(text: str) -> str:
    """Removes an incomplete marker from the end of the text."""
    cut_off = _CUT_OFF.match(text[::-1])
    opening = text.find("[", len(text) - (cut_off.end() if cut_off else 0))
    return (text if opening < 0 else text[:opening]).rstrip()


def unmarked(text: str, shown: int = _HIGHEST) -> str:
    """Removes all markers."""
    for marker in reversed(find(text, shown)):
        text = text[: marker.start] + text[marker.end :]
    return text.strip()


def _without_unknown(text: str, shown: int) -> tuple[str, int]:
    removed = 0
    for marker in reversed(find(text, shown)):
        good = [number for number in marker.numbers if 1 <= number <= shown]
        removed += len(marker.numbers) - len(good)
        before = re.match(r"\s*", text[marker.start : marker.end])
        kept = f"{before[0] if before else ''}[{', '.join(map(str, good))}]" if good else ""
        text = text[: marker.start] + kept + text[marker.end :]
    return text.strip(), removed


def _decided(text: str) -> str:
    """Drops a final marker that following words could turn into an amount."""
    closing = text.rfind("]")
    opening = text.rfind("[", 0, closing + 1)
    end = _BEHIND.fullmatch(text, closing + 1)
    if opening < 0 or end is None or not _ONLY.fullmatch(text, opening, closing + 1):
        return text
    behind = end["words"].removeprefix("/").lstrip()
    open_end = may_become(behind) or any(start.startswith(behind) for start in ("day and night", "days and nights"))
    return text[:opening].rstrip() if open_end else text


def _is_value(text: str, start: int, end: int, numbers: tuple[int, ...], shown: int) -> bool:
    if max(numbers) > max(_HIGHEST, shown) or is_amount(text, start, end):
        return True
    rising = len(numbers) == 2 and numbers[0] < numbers[1]
    return rising and numbers[1] > shown and _INTERVAL.search(text, max(0, start - _BEFORE), start) is not None

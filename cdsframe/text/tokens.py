"""Reads an answer into tokens in which numbers, signs, comparators, units and letters-as-names keep their meaning.

Lower-cases, drops articles and sentence punctuation as SQuAD's normalisation does (Rajpurkar et al. 2016, arXiv
1606.05250). Does not judge meaning: "half a gram" and "500 mg" stay two texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from cdsframe.text.markers import is_amount
from cdsframe.text.units import unit_behind

_COMPARATORS = {
    "<": "less than|fewer than|lower than|below",
    ">": "more than|greater than|higher than|above",
    "≥": "at least|no less than|not less than|no earlier than|not earlier than|a minimum of",
    "≤": "at most|no more than|not more than|no later than|not later than|up to|a maximum of",
}
_BEHIND = {"≥": "or (?:more|above|higher|greater|over|longer)", "≤": "or (?:less|below|lower|fewer|under|shorter)"}
_SIGNS = {"+/-": "±", "<=": "≤", "=<": "≤", ">=": "≥", "=>": "≥"}

_list = re.compile(r"\S+").findall
_ONES = _list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_WORDED = {
    **{word: str(number) for number, word in enumerate(_ONES)},
    **{word: str(number) for word, number in _TENS.items()},
    **{f"{ten}-{_ONES[one]}": str(number + one) for ten, number in _TENS.items() for one in range(1, 10)},
}
_NAMED_BY_LETTER = frozenset(
    _list(
        "appendix bay block blood category class clinic coenzyme factor form grade group haemophilia hemophilia "
        "hepatitis immunoglobulin influenza level list option part plan protein room schedule section stage step table "
        "theatre tier type vitamin ward wing zone"
    )
)
"""Nouns that a letter follows as a name, so that the "a" behind them is no article, even in lower case."""
_MONTHS = _list("january february march april may june july august september october november december")

_MARKER = re.compile(r"(?<!\s)\s*\[\d+(?:\s*[,;-]\s*\d+)*\]")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FROM_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_THOUSANDS = re.compile(r"(?<![\w.,/:-])\d{1,3}(?:[ \u00a0\u2009\u202f'’]\d{3})+(?![\d/:]|[.,-]\d)")
"""A number whose thousands are set apart: "12 500", "12'500"."""
_MIXED = re.compile(r"(?<![\w.,/:-])(\d{1,3}) ([1-9])/([2-9])(?![\w/:]|[.,]\d)")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣-", "-"))
_MONTH = "(?P<month>" + "|".join(f"{month[:3]}(?:{month[3:]})?" for month in _MONTHS) + r")\.?"
_DATES = (
    re.compile(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH},? (?P<year>\d{{4}})\b", re.I),
    re.compile(rf"\b{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year>\d{{4}})\b", re.I),
)
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_TOKEN = re.compile(
    rf"""(?P<date>\b\d{{4}}-\d\d-\d\d\b)
    |(?P<power>(?<![\w.])10[\^*][+-]?\d+)
    |(?P<joined>(?<![\w.])\d+(?:[/:]\d[\d,]*(?:\.\d+)?)+(?![\w]))
    |(?P<number>(?<![A-Za-z0-9_.)])[+-]?{_PLAIN}|{_PLAIN})
    |(?P<worded>\b(?:{"|".join(sorted(_WORDED, key=len, reverse=True))})\b)
    |(?P<sign>\+/-|<=|>=|=<|=>|[<>≤≥±~])
    |(?P<code>[^\W\d_][^\W_]*\d(?:\.\d+)+)
    |(?P<word>[^\W\d_][^\W_]*(?:['’][^\W_]+)*(?:\+|(?<![^\W_]{{3}})-)?(?![^\W_])|[^\W_]+)
    |(?P<symbol>[%°&-])""",
    re.X | re.I,
)
_NUMBERS = ("date", "power", "joined", "number", "worded")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a sign, or a number with the unit behind it ("" where there is none)."""

    text: str
    kind: str
    unit: str = ""


def strip_markers(text: str) -> str:
    """The text without its citation markers `[1]`, `[1, 2]`; an amount in brackets ("[136, 145] mmol/L") stays."""
    return _MARKER.sub(lambda found: found[0] if is_amount(text, found.start(), found.end()) else "", text)


def read(text: str) -> list[Token]:
    """The text's tokens in order, ranges joined, articles and sentence punctuation left out."""
    return [token for token in _join_ranges(_scan(_prepare(text))) if token.kind != "symbol"]


def _prepare(text: str) -> str:
    """One spelling for what Unicode, dates and words spell in several ways."""
    text = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_FROM_SUPERSCRIPT), text)
    text = re.sub("(?<=\\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = unicodedata.normalize("NFKC", text).translate(_DASHES).replace("⁄", "/").replace("×", " x ")
    text = re.sub(r"(?<=\d)\s?x\s?(?=10[\^*])", " x ", " ".join(strip_markers(text).split()), flags=re.I)
    text = _MIXED.sub(_decimal, text)
    for pattern in _DATES:
        text = pattern.sub(_iso_date, text)
    for sign, words in _COMPARATORS.items():
        text = re.sub(rf"\b(?:{words})\s+(?=[+-]?[.\d])", sign, text, flags=re.I)
    return text


def _decimal(found: re.Match[str]) -> str:
    """A whole number with a fraction as a decimal: "1 1/2" is "1.5"; as it stands where it is none, as in "1 4/3"."""
    whole, above, below = map(int, found.groups())
    return found[0] if above >= below else f"{whole + above / below:.3f}".rstrip("0")


def _iso_date(found: re.Match[str]) -> str:
    month = next(n for n, name in enumerate(_MONTHS, start=1) if name.startswith(found["month"].lower()[:3]))
    return f"{found['year']}-{month:02}-{int(found['day']):02}"


def _scan(text: str) -> Iterator[Token]:
    position, previous = 0, ""
    while found := _TOKEN.search(text, position):
        kind, raw, position = str(found.lastgroup), found[0], found.end()
        if kind in _NUMBERS:
            unit, end = unit_behind(text, position) if kind != "date" else ("", position)
            letters = re.compile(r"[^\W_]*").match(text, position)
            if kind == "number" and not unit and letters is not None and letters[0]:  # "4B", "5th"
                position = letters.end()
                yield Token((raw + letters[0]).lower(), "word")
                continue
            comparator, position = _comparator_behind(text, end)
            if comparator:
                yield Token(comparator, "sign")
            yield Token(_number(raw, kind), "number", unit)
        elif kind == "sign":
            yield Token(_SIGNS.get(raw, raw), "sign")
        elif kind == "symbol":
            yield Token("and" if raw == "&" else raw, "word" if raw in "%&" else "symbol")
        elif not _is_article(text, found, previous):
            yield Token(raw.lower().replace("'", "").replace("’", ""), "word")
        previous = raw.lower()


def _comparator_behind(text: str, position: int) -> tuple[str, int]:
    """The sign of "… or more" and "… or less" behind a quantity, and where it ends."""
    for sign, words in _BEHIND.items():
        if found := re.compile(rf"\s{words}\b", re.I).match(text, position):
            return sign, found.end()
    return "", position


def _number(raw: str, kind: str) -> str:
    """One spelling for one value: 1,000 = 1000, 7.0 = 7, .5 = 0.5; a leading zero is a code's and stays."""
    if kind == "worded":
        return _WORDED[raw.lower()]
    raw = raw.replace(",", "")
    if kind == "power":
        return raw.replace("*", "^").replace("+", "")
    if kind != "number" or re.match(r"[+-]?0\d", raw):
        return raw
    return format(Decimal(raw).normalize() + 0, "f")


def _join_ranges(found: Iterator[Token]) -> list[Token]:
    """Makes "2-4 mg", "2 to 4 mg", "between 2 and 4 mg" and "2 mg to 4 mg" one number with one unit."""
    joined: list[Token] = []
    for token in found:
        before = [earlier.text for earlier in joined[-3:]]
        between = len(before) == 3 and before[0] == "between" and before[2] == "and"
        if (
            token.kind == "number"
            and len(joined) > 1
            and joined[-2].kind == "number"
            and joined[-2].unit in ("", token.unit)
            and (before[-1] in ("-", "to") or between)
        ):
            joined[-3 if between else -2 :] = [Token(f"{joined[-2].text}-{token.text}", "number", token.unit)]
        else:
            joined.append(token)
    return joined


def _is_article(text: str, found: re.Match[str], previous: str) -> bool:
    """Whether a word is an article, and not a letter that names something (hepatitis A, ward A, A positive)."""
    raw = found[0]
    if raw in ("the", "The", "an", "An"):
        return True
    if raw not in ("a", "A") or previous in _NAMED_BY_LETTER:
        return False
    follows = re.match(r"\s+[\"'(]?(?!positive\b|negative\b)[A-Za-z]", text[found.end() : found.end() + 16])
    opens = re.search(r"(^|[.!?:])\s*[\"'(]?$", text[max(0, found.start() - 3) : found.start()]) is not None
    return follows is not None and (raw == "a" or opens)

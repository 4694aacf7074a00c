"""Tokenises an answer and keeps the meaning of numbers, signs, comparators, units and letters used as names.

Lower-cases and drops articles and sentence punctuation, as SQuAD's normalisation does (Rajpurkar et al. 2016, arXiv
1606.05250). Does not compare meaning: "half a gram" and "500 mg" have different tokens.
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
"""Nouns that a letter can name ("hepatitis A"): an "a" after them is no article, even in lower case."""
_MONTHS = _list("january february march april may june july august september october november december")

_MARKER = re.compile(r"(?<!\s)\s*\[\d+(?:\s*[,;-]\s*\d+)*\]")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FROM_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_THOUSANDS = re.compile(r"(?<![\w.,/:-])\d{1,3}(?:[ \u00a0\u2009\u202f'’]\d{3})+(?![\d/:]|[.,-]\d)")
"""A number with separated thousands: "12 500", "12'500"."""
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
class TextToken:
    """A word, a sign, or a number with its unit ("" if none). `kind`: `word`, `sign`, `symbol` or `number`."""

    text: str
    kind: str
    unit: str = ""


def strip_markers(text: str) -> str:
    """Removes citation markers (`[1]`, `[1, 2]`), but not amounts in brackets ("[136, 145] mmol/L")."""
    return _MARKER.sub(lambda found: found[0] if is_amount(text, found.start(), found.end()) else "", text)


def read(text: str) -> list[TextToken]:
    """Returns the text's tokens in order, each range as one number, without articles and sentence punctuation."""
    return [token for token in _join_ranges(_scan(_prepare(text))) if token.kind != "symbol"]


def _prepare(text: str) -> str:
    """Normalises Unicode characters, thousands, fractions, dates and comparators to one spelling."""
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
    """Converts a mixed number to a decimal ("1 1/2" to "1.5"); returns other text unchanged ("1 4/3")."""
    whole, above, below = map(int, found.groups())
    return found[0] if above >= below else f"{whole + above / below:.3f}".rstrip("0")


def _iso_date(found: re.Match[str]) -> str:
    month = next(n for n, name in enumerate(_MONTHS, start=1) if name.startswith(found["month"].lower()[:3]))
    return f"{found['year']}-{month:02}-{int(found['day']):02}"


def _scan(text: str) -> Iterator[TextToken]:
    position, previous = 0, ""
    while found := _TOKEN.search(text, position):
        kind, raw, position = str(found.lastgroup), found[0], found.end()
        if kind in _NUMBERS:
            unit, end = unit_behind(text, position) if kind != "date" else ("", position)
            letters = re.compile(r"[^\W_]*").match(text, position)
            if kind == "number" and not unit and letters is not None and letters[0]:  # "4B", "5th"
                position = letters.end()
                yield TextToken((raw + letters[0]).lower(), "word")
                continue
            comparator, position = _comparator_behind(text, end)
            if comparator:
                yield TextToken(comparator, "sign")
            yield TextToken(_number(raw, kind), "number", unit)
        elif kind == "sign":
            yield TextToken(_SIGNS.get(raw, raw), "sign")
        elif kind == "symbol":
            yield TextToken("and" if raw == "&" else raw, "word" if raw in "%&" else "symbol")
        elif not _is_article(text, found, previous):
            yield TextToken(raw.lower().replace("'", "").replace("’", ""), "word")
        previous = raw.lower()


def _comparator_behind(text: str, position: int) -> tuple[str, int]:
    """Returns the sign for "… or more" or "… or less" after a quantity, and where it ends; "" if neither follows."""
    for sign, words in _BEHIND.items():
        if found := re.compile(rf"\s{words}\b", re.I).match(text, position):
            return sign, found.end()
    return "", position


def _number(raw: str, kind: str) -> str:
    """Normalises a number: 1,000 to 1000, 7.0 to 7, .5 to 0.5; keeps leading zeros, which codes have."""
    if kind == "worded":
        return _WORDED[raw.lower()]
    raw = raw.replace(",", "")
    if kind == "power":
        return raw.replace("*", "^").replace("+", "")
    if kind != "number" or re.match(r"[+-]?0\d", raw):
        return raw
    return format(Decimal(raw).normalize() + 0, "f")


def _join_ranges(found: Iterator[TextToken]) -> list[TextToken]:
    """Makes "2-4 mg", "2 to 4 mg", "between 2 and 4 mg" and "2 mg to 4 mg" one number with one unit."""
    joined: list[TextToken] = []
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
            joined[-3 if between else -2 :] = [TextToken(f"{joined[-2].text}-{token.text}", "number", token.unit)]
        else:
            joined.append(token)
    return joined


def _is_article(text: str, found: re.Match[str], previous: str) -> bool:
    """Whether a word is an article, not a letter used as a name (hepatitis A, ward A, A positive)."""
    raw = found[0]
    if raw in ("the", "The", "an", "An"):
        return True
    if raw not in ("a", "A") or previous in _NAMED_BY_LETTER:
        return False
    follows = re.match(r"\s+[\"'(]?(?!positive\b|negative\b)[A-Za-z]", text[found.end() : found.end() + 16])
    opens = re.search(r"(^|[.!?:])\s*[\"'(]?$", text[max(0, found.start() - 3) : found.start()]) is not None
    return follows is not None and (raw == "a" or opens)

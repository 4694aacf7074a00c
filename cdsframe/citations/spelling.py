"""Normalises frequencies, comparisons and contractions in a sentence for `cdsframe.text.tokens.read`.

"b.d.", "twice a day" and "every 12 hours" become one frequency; "no more than" becomes "≤". Does not split a sentence.
"""

from __future__ import annotations

import re
from fractions import Fraction

from cdsframe.citations.words import listed

_CONTRACTED = [(r"\bcan['’]?t\b|\bcannot\b", "can not"), (r"\bwon['’]t\b", "will not"), (r"n['’]t\b", " not")]
_ABBREVIATED = [
    (r"\b(?:o\.?d|q\.?d)\b\.?", "once daily"),
    (r"\b(?:b\.?d|b\.?i\.?d)\b\.?", "twice daily"),
    (r"\b(?:t\.?d\.?s|t\.?i\.?d)\b\.?", "three times daily"),
    (r"\b(?:q\.?d\.?s|q\.?i\.?d)\b\.?", "four times daily"),
    (r"\bq(\d+)h\b", r"every \1 hours"),
    (r"\bonce\b", "1 times"),
    (r"\btwice\b", "2 times"),
    (r"\bthrice\b", "3 times"),
    (r"\bper cent\b", "%"),
    (r"\bno one\b", "nobody"),
    (r"\bday (?:and|or) night\b", "always"),
    (r"\b(?:rather than|instead of|in place of)\b", "insteadof"),
    (r"\bfree (?:of|from)\b", "freeof"),
    (r"\bminus (?=\d)", "-"),
    (r"\ba second\b", "another"),
]
_DAYS = {"hour": "1/24", "day": "1", "week": "7", "month": "30", "year": "365", "minute": "1/1440", "fortnight": "14"}
_COUNT = r"(?P<count>\d{1,9}|one|two|three|four|five|six|seven|eight|nine|ten|twelve)"
_PERIOD = r"(?P<period>minute|hour|day|week|fortnight|month|year)"
_ADVERB = r"(?P<adverb>hourly|daily|nightly|weekly|fortnightly|monthly|yearly|annually)"
_EACH = r"(?:a|an|per|each|every|in a|in each|in one|in any)"
_OVER_PERIOD = _PERIOD.replace("period", "over")
_FREQUENCIES = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"\b{_COUNT}\s+(?:times?|doses)(?:,?\s+{_EACH}\s+{_PERIOD}\b|[\s-]*{_ADVERB}\b|\s*/\s*{_OVER_PERIOD}\b)",
        rf"\bevery\s+(?P<other>other|second|alternate)\s+{_PERIOD}\b|\b(?P<alternate>alternate)\s+{_OVER_PERIOD}s\b",
        rf"\bevery\s+{_COUNT}\s+{_PERIOD}s?\b",
        rf"\b{_COUNT}[\s-]+{_ADVERB}\b",
        rf"\b(?:every|each)\s+{_PERIOD}\b|\b(?:a|per|in one|in any|in each)\s+(?P<over>day|week|month|year|night)\b|"
        r"/(?:day|d)\b",
        rf"\b{_ADVERB}\b",
    )
]
_NUMBERS = {
    word: n for n, word in enumerate(listed("zero one two three four five six seven eight nine ten eleven twelve"))
}

_LESS = r"(?:less|fewer|lower|smaller|shorter|younger|earlier|sooner|lighter|slower)"
_MORE = r"(?:more|greater|higher|larger|longer|older|later|heavier|bigger|faster)"
_NO = (
    r"(?:no|not|never|nor|cannot|without)"
    r"(?:\s+(?:be|go|goes|going|rise|rises|fall|falls|drop|drops|to|given|run|by|let))*"
)
_OVER = r"(?:above|over|beyond|past|exceed(?:s|ed|ing)?)"
_AMOUNT = r"(?<!\d)(?<!\d[.,/])(\d[\d.,/]{0,30}(?:\s?[^\s\d,;.]{1,40}){0,2}?)"
"""A number and up to two words. Starts at a number's first digit and is bounded, so that the search is linear."""
_NOTHING = r"(?!\s+(?:than\b|the\b|an?\b|\d))"
"""No second amount may follow "or more"."""
_NO_AMOUNT_BEHIND = r"(?!\s*(?:\d|freq|one\b|two\b|three\b|four\b|five\b|six\b|a\b|an\b))"
"""No amount may follow "5 mg at most": "at most" would refer to it."""
_COMPARED = [
    (rf"{_AMOUNT},?\s+(?:at\s+(?:the\s+)?(?:very\s+)?most|maximum)\b{_NO_AMOUNT_BEHIND}", r"≤ \1"),
    (rf"{_AMOUNT},?\s+(?:at\s+(?:the\s+)?(?:very\s+)?least|minimum)\b{_NO_AMOUNT_BEHIND}", r"≥ \1"),
    (rf"\b{_NO}\s+(?:{_MORE}(?:\s+often|\s+frequently)?\s+than|{_OVER})\b", "≤"),
    (rf"\b{_NO}\s+(?:{_LESS}(?:\s+often|\s+frequently)?\s+than|below|under)\b", "≥"),
    (r"\bat\s+(?:the\s+)?least\b|\b(?:a\s+)?minimum\s+of\b|\bupwards?\s+of\b|>=|=>", "≥"),
    (r"\bat\s+(?:the\s+|the\s+very\s+)?most\b|\bup\s+to\b|\b(?:a\s+)?maximum\s+of\b|<=|=<", "≤"),
    (rf"\b{_MORE}\s+than\b|\bin\s+excess\s+of\b", ">"),
    (rf"\b{_LESS}\s+than\b", "<"),
    (
        rf"{_AMOUNT}\s+(?:or|and)\s+(?:{_MORE}|above|over|beyond|upwards?)\b{_NOTHING}",
        r"≥ \1",
    ),
    (
        rf"{_AMOUNT}\s+(?:or|and)\s+(?:{_LESS}|below|under)\b{_NOTHING}",
        r"≤ \1",
    ),
]


def spelled_out(text: str) -> str:
    text = re.sub(r"\[\s*(\d[\d.]*)\s*[,;]\s*(\d[\d.]*)\s*\]", r"\1 to \2", text)
    text = re.sub(r"[\[\]]", " ", text)  # brackets around amounts; markers are removed earlier
    for pattern, plain in (*_CONTRACTED, *_ABBREVIATED):
        text = re.sub(pattern, plain, text, flags=re.I)
    for frequency in _FREQUENCIES:
        text = frequency.sub(_frequency, text)
    for pattern, sign in _COMPARED:
        text = re.sub(pattern, f" {sign} " if len(sign) == 1 else sign, text, flags=re.I)
    return text


def _frequency(found: re.Match[str]) -> str:
    """Writes a frequency as a word with the numbers of events and of days: "freq3x1" is three times in one day."""
    groups = {name: value and value.lower() for name, value in found.groupdict().items()}
    count, lower = groups.get("count"), found[0].lower()
    number = (_NUMBERS.get(count) or int(count)) if count else 1
    adverb = groups.get("adverb")
    unit = groups.get("period") or groups.get("over") or "day"
    if adverb:
        unit = {"daily": "day", "nightly": "day", "annually": "year"}.get(adverb, adverb.removesuffix("ly"))
    days = Fraction(_DAYS["day" if unit == "night" else unit])
    if groups.get("other") or groups.get("alternate"):
        rate = 1 / (2 * days)
    elif count and number and (lower.startswith("every") or (adverb and "time" not in lower and "dose" not in lower)):
        rate = 1 / (number * days)
    else:
        rate = number / days
    return f" freq{rate.numerator}x{rate.denominator} "

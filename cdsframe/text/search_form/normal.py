"""Normalises texts that Unicode can encode in several ways. Does not change the value of a number.

NFKC (Unicode Standard Annex 15), except for characters whose compatibility form would merge two numbers or words
(10⁹, 1½, 2①, Aspirin™). Also removes invisible characters, unifies hyphens, quotes, spaces and digits, and joins words
that a line's end divides.
"""

from __future__ import annotations

import re
from unicodedata import decimal, normalize, numeric

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20dd-\u20e0"
    "\u20e2-\u20e4\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
"""Invisible characters: soft hyphens, joiners, direction marks, variation selectors, byte order marks."""

_DIVIDED = re.compile("(?<=[^\\W\\d_])[\u00ad\x02\ufffe](?:[^\\S\\n]*\\n\\s*)?")
"""A hyphen inserted at a line's end: the soft hyphen, and the characters that PDFium writes for it."""
_READ_AS_NOT = re.compile("(?<=[^\\W\\d_])¬[^\\S\\n]*\\n\\s*")
"""The character ¬, which OCR writes for a hyphen at a line's end."""
_REMOVED = re.compile(f"[{_INVISIBLE}]+")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_LINES = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")

_HYPHENS = "\u2010\u2011\u2043\u058a\u05be\u1400\u1806\ufe63\uff0d"
_DASHES = "\u2012-\u2015\u2212\u2e3a\u2e3b\ufe58\ufe31\ufe32\u2e17"
_DASH_AT_END = re.compile(f"[{_DASHES}][^\\S\\n]*\\n\\s*")
_SAME = {
    "-": _HYPHENS + "\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\ufe58\u2e17",
    "'": "\u2018-\u201b\u2032\u2035\u02b9\u02bb-\u02bd\u02c8\u055a\u05f3\ua78c\uff07\u00b4`\u1fbd\u1fbf",
    '"': "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u05f4\u301d\u301e\u301f\uff02",
    "/": "\u2044\u2215",
    ":": "\u2236\ua789",
    "~": "\u223c\u301c\uff5e",
    "°": "\u00ba\u00aa\u02da",
    ".": "\u066b",
    ",": "\u066c",
    "%": "\u066a",
    " ": "\u00a8\u00af\u00b8\u02d8\u02d9\u02db\u02dc\u02dd\u037a\u0384\u0385\u1fc0\u1fc1\u1fcd-\u1fcf\u1fdd-\u1fdf"
    "\u1fed\u1fee\u1ffd\u1ffe\u2017\u203e\u309b\u309c\ufe49-\ufe4f\uffe3\u1680\u2122\u2120",
    "": "\u0640",
    "(\u0635)": "\ufdfa",
}
"""Replacement -> characters that it replaces: ASCII equivalents; a blank for spacing accents, which NFKC would put on
the next letter; nothing for tatweel; the abbreviation of the blessing of the Prophet for the character that NFKC would
write as four words."""


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for written, same in _SAME.items():
        for first, last in re.findall("(.)(?:-(.))?", same, re.DOTALL):
            table |= dict.fromkeys(range(ord(first), ord(last or first) + 1), written)
    return table


_TABLE = _table()

_SUPERSCRIPT = "\u00b2\u00b3\u00b9\u2070\u2071\u2074-\u207f\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1d61\u1d78\u1d9b-\u1dbf"
_SUBSCRIPT = "\u2080-\u208e\u2090-\u209c\u1d62-\u1d6a\u2c7c"
_VULGAR = "\u00bc-\u00be\u2150-\u215f\u2189"
_ENCLOSED = (
    "\u2460-\u2473\u2488-\u249b\u24b6-\u24ff\u2776-\u2793\u3248-\u324f\u3251-\u325f\u32b1-\u32bf\u32c0-\u32cb"
    "\u3358-\u3370\u33e0-\u33fe\u2116\U0001f100-\U0001f169"
)
"""Numbers and letters in circles and squares, with full stops, with a day or hour sign; the sign №."""
_NUMBERS = re.compile(f"[{_SUPERSCRIPT}{_SUBSCRIPT}{_VULGAR}{_ENCLOSED}]")
_BUILT_FRACTION = re.compile("([\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+)[\u2044\u2215/]([\u2080-\u2089]+)(?=(\\d?))")
_RAISED = re.compile(f"([^\\s{_SUPERSCRIPT}]?)([{_SUPERSCRIPT}]+)(?=(\\w?))")
_LOWERED = re.compile(f"([^\\s{_SUBSCRIPT}]?)([{_SUBSCRIPT}]+)(?=(\\w?))")
_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re"))

_OTHER_DIGIT = re.compile("(?![0-9])\\d")
_DECIMAL_DOT = re.compile("(?<=\\d)\u00b7(?=\\d)")
_AM = {"\u0e33": "\u0e4d([\u0e48-\u0e4b]*)\u0e32", "\u0eb3": "\u0ecd([\u0ec8-\u0ecb]*)\u0eb2"}
"""The vowel "am" of Thai and Lao -> its two parts, which a tone mark may separate."""

_AT_LINE_END = re.compile("(?<=[^\\W_])-[^\\S\\n]*\\n\\s*(?=[^\\W_])")
_SUSPENDED = re.compile(r"(?:and|or|to|und|oder|bzw|bis|et|ou|y|o|e|en|of)\b", re.IGNORECASE)
"""Words after a suspended hyphen: "pre- and postoperative"."""


def search_form(text: str) -> str:
    """Returns the form of a text for embedding, reranking, counting and comparing. Idempotent.

    A word hyphenated at a line's end is joined without the hyphen if a lower-case letter follows; after a single letter
    and elsewhere it keeps the hyphen. "hyper-\\ntension" becomes "hypertension", "10-\\n20 mg" "10-20 mg", "T-\\ncell"
    "T-cell".
    """
    form = normal(text)
    return _AT_LINE_END.sub(_joined, form) if "\n" in form else form


def normal(text: str) -> str:
    """Returns the normal form. Does not join words hyphenated at a line's end: `search_words` writes both spellings."""
    text = _CONTROL.sub(" ", _DIVIDED.sub("", _LINES.sub("\n", text)))
    if text.isascii():
        return text.replace("`", "'")
    text = _DASH_AT_END.sub("- ", _REMOVED.sub("", text))
    if _NUMBERS.search(text):
        text = _numbers(text)
    text = normalize("NFC", text.translate(_TABLE))
    text = normalize("NFKC", _READ_AS_NOT.sub("", text)).translate(_TABLE)
    text = _OTHER_DIGIT.sub(lambda found: str(decimal(found[0])), text)
    text = _DECIMAL_DOT.sub(".", text)
    text = re.sub("\u0e40\u0e40+", "\u0e41", text)  # Thai: two "e" typed for "ae"
    for vowel, halves in _AM.items():
        text = re.sub(halves, f"\\1{vowel}", text)
    return normalize("NFC", _REMOVED.sub("", text))


def _joined(found: re.Match[str]) -> str:
    """Returns the replacement of a hyphen at a line's end."""
    text, start, end = found.string, found.start(), found.end()
    if _SUSPENDED.match(text, end):
        return "- "
    before, behind = text[max(0, start - 2) : start], text[end : end + 2]
    if (
        not before.isalpha() or len(before) == 1
    ):  # after a single letter the hyphen is part of a name: T-cell, N-acetyl, β-blocker
        return "-"
    return "" if behind[0].islower() or (before.isupper() and behind.isupper()) else "-"


def _numbers(text: str) -> str:
    """Separates numbers and letters whose compatibility form would merge with their neighbours."""
    text = _BUILT_FRACTION.sub(_built_fraction, text)
    text = re.sub(f"(?<=[\\w.,])(?=[{_VULGAR}])|(?<=[{_VULGAR}])(?=\\w)", " ", text)
    text = re.sub(f"[{_ENCLOSED}]", _enclosed, text)
    text = _LOWERED.sub(_lowered, text)
    return _RAISED.sub(_raised, text)


def _built_fraction(found: re.Match[str]) -> str:
    apart = " " if found.string[: found.start()][-1:].isalnum() else ""
    return f"{apart}{normalize('NFKC', found[1])}/{normalize('NFKC', found[2])}{' ' if found[3] else ''}"


def _enclosed(found: re.Match[str]) -> str:
    plain = normalize("NFKC", found[0])
    if plain != found[0]:
        return f" {plain} "
    value = numeric(plain, None)
    return plain if value is None else f" {int(value)} "


def _raised(found: re.Match[str]) -> str:
    before, inner, behind = found[1], normalize("NFKC", found[2]), found[3]
    if not any(map(str.isalnum, inner)) or (before.isalnum() and inner.casefold() in _ORDINALS):
        return before + inner
    if before.isalnum() or before in (")", "]"):
        return f"{before}^{inner}{_apart(inner, behind)}"
    return f"{before}{' ' if before else ''}{inner}{' ' if behind else ''}"  # a footnote's number


def _lowered(found: re.Match[str]) -> str:
    before, inner = found[1], normalize("NFKC", found[2])
    mark = "_" if before.isdigit() and inner[0].isalnum() else ""
    return f"{before}{mark}{inner}{_apart(inner, found[3])}"


def _apart(inner: str, behind: str) -> str:
    """Returns a blank between two digits, else ""."""
    return " " if inner[-1].isdigit() and behind.isdigit() else ""

"""Prepares the words of documents and questions for an engine's tokenizer.

Beyond the normal form, removes accents, vowel signs and letter variants that people omit, adds the second spelling of
words that have two, and splits scripts without spaces into n-grams. Models read only the normal form.
"""

from __future__ import annotations

import re
from unicodedata import normalize

from cdsframe.text.search_form.normal import normal
from cdsframe.text.search_form.scripts import coded

_ARABIC = "\u0620-\u065f\u066e-\u06d3\u06d5-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"
_HALF_JOINED = re.compile(f"(?<![{_ARABIC}])[{_ARABIC}]++(?:\u200c[{_ARABIC}]++)+")
"""A word of Persian, Urdu or Kurdish whose parts a zero-width non-joiner separates."""

_DIVIDED = re.compile(r"(?<!\w)\w++(?:-[^\S\n]*\n\s*\w++)+")
_DIVISION = re.compile(r"-\s+")
_UNIT = 2
"""Maximum letters of a unit or an element; a superscript after a longer word may be a footnote's number."""
_RAISED = re.compile(r"(?<!\w)(\w++)\^\(?([+-]?\w+)")

_ACCENTED = re.compile("([A-Za-z\u00c0-\u024f\u0370-\u03ff\u1e00-\u1fff])[\u0300-\u036f]+")
_VOWEL_SIGNS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]"
)
"""Vowel signs of Hebrew and Arabic, which are usually omitted."""

_LETTERS = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
        "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ħ": "h", "Ħ": "H", "ı": "i", "ς": "σ",
        "ё": "е", "Ё": "Е", "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ۀ": "ه", "ة": "ه",
        "ہ": "ه", "ھ": "ه", "ؤ": "و", "ئ": "ي",
    }
)  # fmt: skip
"""Letter variants, as in Lucene's ASCII folding and its normalisation of Arabic and Persian."""


def search_words(text: str, *, question: bool = False) -> str:
    """Returns the words of a document's or a question's text for the tokenizer of any engine.

    Scripts without spaces are written as n-grams of letters: of all lengths (1 to 2 or 3) for a document, only of the
    largest possible length for a question, so that a question does not match single letters of other words.
    """
    text = normal(_both_of_half_joined(text))
    if "\n" in text:
        text = _DIVIDED.sub(_both_of_divided, text)
    if "^" in text:
        text = _RAISED.sub(lambda found: _both_of_raised(found, question), text)
    text = text.replace("_", " ")
    return text if text.isascii() else coded(_folded(text), question)


def _folded(text: str) -> str:
    text = _ACCENTED.sub(r"\1", normalize("NFD", text))
    return normalize("NFC", _VOWEL_SIGNS.sub("", text)).translate(_LETTERS)


def _both_of_half_joined(text: str) -> str:
    if "\u200c" not in text:
        return text
    return _HALF_JOINED.sub(lambda word: " ".join(word[0].replace("\u200c", between) for between in ("", " ")), text)


def _both_of_raised(found: re.Match[str], question: bool) -> str:
    """Writes "m^2" as "m^2 m2", but never 10^9 as 109. A question gets only "m2", so that it does not search "2"."""
    base, exponent = found[1], found[2]
    if base[-1].isdigit() and not exponent[0].isalpha():
        return found[0]
    joined = f"{base}{exponent} "
    return joined if question and len(base) <= _UNIT else f"{found[0]} {joined}"


def _both_of_divided(found: re.Match[str]) -> str:
    """Writes a word divided at line ends in two spellings: with its hyphens, and without those that follow a letter."""
    parts = _DIVISION.split(found[0])
    joined = parts[0]
    for part in parts[1:]:
        joined += part if joined[-1].isalpha() else f"-{part}"
    return " ".join(dict.fromkeys(("-".join(parts), joined)))

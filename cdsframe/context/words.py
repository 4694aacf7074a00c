"""Words of a text for comparison: search form, lower case, without plural s. Does not stem otherwise."""

from __future__ import annotations

import re

from cdsframe.text.search_form import MARKS, UNSPACED, grams, search_words
from cdsframe.text.stopwords import FUNCTION_WORDS, QUESTION_WORDS

_WORD = re.compile(rf"[\w{MARKS}]+(?:[.,]\d+)*")
_STOP_WORDS = FUNCTION_WORDS | QUESTION_WORDS

_UNSEEN = "\u00ad\u200b-\u200d\u2060\ufeff"
"""Invisible characters that may occur within a word."""
_SHOWN = re.compile(
    rf"(?P<unspaced>[{UNSPACED}]+)|[^\W\d_{UNSPACED}][^\W{UNSPACED}]*-\s+[^\W\d_{UNSPACED}]+|(?:[^\W{UNSPACED}]|[{MARKS}{_UNSEEN}])+"
)
"""A run of a script without spaces, a word divided at a line end, or a word."""


def words(text: str) -> list[str]:
    """All words in order; for scripts without spaces, the n-grams that `search_words` makes of a question."""
    return [_singular(word) for word in _WORD.findall(search_words(text, question=True).casefold())]


def meaningful(text: str) -> set[str]:
    """The words without stop words."""
    return {word for word in words(text) if word not in _STOP_WORDS}


def places(text: str) -> list[tuple[int, int, str]]:
    """`(start, end, word)` of the words without stop words; character offsets in the text as shown."""
    found = []
    for run in _SHOWN.finditer(text):
        spans = grams(run[0]) if run["unspaced"] else [(0, len(run[0]))]
        for start, end in spans:
            shown = run[0][start:end].replace("- ", "-\n")
            found += [(run.start() + start, run.start() + end, word) for word in sorted(meaningful(shown))]
    return found


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

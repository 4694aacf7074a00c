"""Extractive summaries by SumBasic (Nenkova and Vanderwende 2005, MSR-TR-2005-101).

Among the sentences with the most probable word of the text, selects the one with the highest mean word probability,
then squares the probabilities of its words so that the next sentence adds something new. Writes no new text and
needs no model.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from statistics import fmean

from cdsframe.text.search_form import search_words
from cdsframe.text.sentences import sentences
from cdsframe.text.stopwords import FUNCTION_WORDS, QUESTION_WORDS

_WORD = re.compile(r"[^\W\d_]{3,}")

_STOP_WORDS = FUNCTION_WORDS | QUESTION_WORDS


def summary(text: str, count: int) -> str:
    """The `count` most central sentences in text order; the whole text if it has no more."""
    pieces = [text[one.start : one.end] for one in sentences(text)]
    if len(pieces) <= count:
        return text
    read = [search_words(piece, question=True).casefold() for piece in pieces]
    contents = [[word for word in _WORD.findall(piece) if word not in _STOP_WORDS] for piece in read]
    times = Counter(word for words in contents for word in words)
    weight = {word: number / times.total() for word, number in times.items()}
    left, taken = {number: words for number, words in enumerate(contents) if words}, list[int]()
    while left and len(taken) < count:
        heaviest = max((word for words in left.values() for word in words), key=weight.__getitem__)
        among = [number for number, words in left.items() if heaviest in words]
        best = max(among, key=lambda number: fmean(weight[word] for word in left[number]))
        taken.append(best)
        for word in set(left.pop(best)):
            weight[word] **= 2
    others = (number for number in range(len(pieces)) if number not in taken)  # used if too few have content words
    return " ".join(pieces[number] for number in sorted([*taken, *islice(others, count - len(taken))]))

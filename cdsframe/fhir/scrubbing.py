"""Removes names, addresses, telephone numbers and identifiers of persons from free text.

Searches for the values that the patient's resources hold (see `identifying`). Does not find a name in another spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from cdsframe.fhir.datatypes import plain
from cdsframe.fhir.identifying import name_patterns, number_patterns, several_words_pattern, word_pattern, words
from cdsframe.fhir.patterns import compiled

REMOVED = "[removed]"


class Scrubber:
    """Replaces names, addresses, telephone numbers and identifiers of persons by `[removed]`.

    Args:
        persons: Patient and RelatedPerson resources, valid or not. None if the patient is unknown: then any free text
            may hold the name, so that all free text is removed and counted.
        birth_date: the patient's birth date, which `date` removes from values; "" if it is unknown.
        keep: whether to return all texts unchanged.
    """

    def __init__(self, persons: Iterable[Mapping[str, Any]] | None, birth_date: str, keep: bool) -> None:
        self._unknown = persons is None and not keep
        self._birth_date = "" if keep or len(birth_date) < len("2000-01") else birth_date
        known = [] if keep or persons is None else list(persons)
        # E-mail addresses come first, because they may begin with a whole name.
        whole = [*chain(*map(number_patterns, known), *map(name_patterns, known))]
        longest_first = sorted({word for person in known for word in words(person)}, key=len, reverse=True)
        single = [word for word in longest_first if word.isalpha()]
        others = [word_pattern(word) for word in longest_first if not word.isalpha()]
        self._free = compiled([*whole, *map(word_pattern, longest_first)])
        self._coded = compiled([*whole, *others, *([several_words_pattern(single)] if single else ())])
        self.withheld = 0

    def coded(self, text: str) -> str:
        """Removes whole names, telephone numbers, identifiers and addresses from the display of a code.

        Keeps a single word of a name, because it may be a medical term (Parkinson's disease).
        """
        return _without(self._coded, plain(text))

    def free(self, text: str) -> str:
        """Removes identifying text. If the patient is unknown, removes the whole text and counts it in `withheld`."""
        text = plain(text)
        if self._unknown and text:
            self.withheld += 1
            return REMOVED
        return _without(self._free, text)

    def date(self, text: str) -> str:
        """Removes the patient's birth date if it is the whole text, such as an answer to a question."""
        return REMOVED if self._birth_date and text.partition(" ")[0] == self._birth_date else text


def _without(found: re.Pattern[str] | None, text: str) -> str:
    return found.sub(REMOVED, unicodedata.normalize("NFC", text)) if found else text

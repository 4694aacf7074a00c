"""Removes identifying text from free text: names, addresses, numbers and identifiers of the patient's resources.

Matches the values of the resources (see `identifying`). Does not find a name that is spelt otherwise.
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
    """Removes the values that name persons.

    Args:
        persons: Patient and RelatedPerson resources, valid or not; None where the patient is unknown: then no free
            text can be known to be without a name, and all of it is removed and counted.
        birth_date: the patient's, which is removed from values too; "" where it is unknown.
        keep: change nothing.
    """

    def __init__(self, persons: Iterable[Mapping[str, Any]] | None, birth_date: str, keep: bool) -> None:
        self._unknown = persons is None and not keep
        self._birth_date = "" if keep or len(birth_date) < len("2000-01") else birth_date
        known = [] if keep or persons is None else list(persons)
        # An e-mail address may begin with a whole name: it comes first.
        whole = [*chain(*map(number_patterns, known), *map(name_patterns, known))]
        longest_first = sorted({word for person in known for word in words(person)}, key=len, reverse=True)
        single = [word for word in longest_first if word.isalpha()]
        others = [word_pattern(word) for word in longest_first if not word.isalpha()]
        self._free = compiled([*whole, *map(word_pattern, longest_first)])
        self._coded = compiled([*whole, *others, *([several_words_pattern(single)] if single else ())])
        self.withheld = 0

    def coded(self, text: str) -> str:
        """The display of a code, without whole names, numbers and addresses of persons.

        One word of a name stays, for it may be a medical term: the Parkinson of Parkinson's disease.
        """
        return _without(self._coded, plain(text))

    def free(self, text: str) -> str:
        """The text without what names a person; `withheld` counts the texts of unknown patients."""
        text = plain(text)
        if self._unknown and text:
            self.withheld += 1
            return REMOVED
        return _without(self._free, text)

    def date(self, text: str) -> str:
        """A date or time that is a value, such as an answer; the patient's birth date is removed."""
        return REMOVED if self._birth_date and text.partition(" ")[0] == self._birth_date else text


def _without(found: re.Pattern[str] | None, text: str) -> str:
    return found.sub(REMOVED, unicodedata.normalize("NFC", text)) if found else text

"""Removes identifying text from free text: names, addresses, numbers and identifiers of the patient's resources.

Matches literal values, with other capitals and separators too. Does not find a name that is spelt otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REMOVED = "[removed]"
_DIGITS = 6
"""A number of so many digits or more is also found with other separators between them."""
_SHORT = 3
"""A number of so few digits names nobody, and may be a dose."""
_URLS = ("mothersMaidenName", "birthPlace", "own-name", "own-prefix", "partner-name")
"""Extensions of a patient that name somebody, by the last part of their address."""


class Scrubber:
    """Removes the values that name persons.

    Args:
        persons: Patient and RelatedPerson resources, valid or not; None where the patient is unknown: then no free
            text can be known to be without a name, and all of it is removed and counted.
        keep: change nothing.
    """

    def __init__(self, persons: Iterable[Mapping[str, Any]] | None, keep: bool) -> None:
        self._unknown = persons is None and not keep
        values = {} if keep or persons is None else dict.fromkeys(v for person in persons for v in _values(person))
        longest_first = sorted(values, key=len, reverse=True)
        patterns = "|".join(map(_pattern, longest_first))
        self._found = re.compile(rf"(?<!\w)(?:{patterns})(?!\w)") if patterns else None
        self._named = _of_codes(longest_first)
        self.withheld = 0

    def coded(self, text: str) -> str:
        """What a code displays, without whole names, numbers and addresses of persons.

        One word of a name stays, for it may be a medical term: the Parkinson of Parkinson's disease.
        """
        text = plain(text)
        return self._named.sub(REMOVED, unicodedata.normalize("NFC", text)) if self._named else text

    def free(self, text: str) -> str:
        """The text without what names a person; `withheld` counts the texts of unknown patients."""
        text = plain(text)
        if self._unknown and text:
            self.withheld += 1
            return REMOVED
        return self._found.sub(REMOVED, unicodedata.normalize("NFC", text)) if self._found else text


def plain(text: str) -> str:
    """One line, without zero-width spaces."""
    return " ".join(text.replace("\u200b", "").split())


def _pattern(value: str) -> str:
    value = unicodedata.normalize("NFC", plain(value))
    digits = sum(character.isdigit() for character in value)
    if digits >= _DIGITS:
        letters = [re.escape(character) for character in value if character.isalnum()]
        return r"\+?\(?" * value.startswith(("+", "(")) + r"[\s().\-/]{0,3}".join(letters)
    return "|".join(map(re.escape, dict.fromkeys((value, value.upper(), value.title()))))


def _of_codes(values: list[str]) -> re.Pattern[str] | None:
    """Finds two or more words of names side by side, and values of several words or with digits."""
    words = "|".join(_pattern(value) for value in values if value.isalpha())
    patterns = [_pattern(value) for value in values if not value.isalpha()]
    patterns += [rf"(?:{words})(?:[\s,.]{{1,3}}(?:{words}))+"] if words else []
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)") if patterns else None


def _values(person: Mapping[str, Any]) -> Iterator[str]:
    """What names a person; single letters are too common. A resource that is not valid is read as far as it can be."""
    yield from filter(_telling, _strings(person))


def _strings(person: Mapping[str, Any]) -> Iterator[Any]:
    for name in _objects(person.get("name")):
        for part in (name.get("family"), name.get("text"), *_list(name.get("given"))):
            yield part
            words = re.findall(r"\w+", part) if isinstance(part, str) else []
            if len(words) > 1:  # a double name may be used in parts, but not its "de" or "van"
                yield from (word for word in words if len(word) > 2 and word[0].isupper())
    for address in _objects(person.get("address")):
        yield from (address.get("text"), *_list(address.get("line")), address.get("city"), address.get("district"))
        if isinstance(code := address.get("postalCode"), str):
            yield from (code, "".join(code.split()), code.partition("-")[0])
    for item in (*_objects(person.get("telecom")), *_objects(person.get("identifier"))):
        yield item.get("value")
    yield person.get("birthDate")
    for contact in _objects(person.get("contact")):
        yield from _strings(contact)
    for extension in _objects(person.get("extension")):
        if str(extension.get("url", "")).rpartition("/")[2] in _URLS:
            yield extension.get("valueString")
            yield from _strings({"address": extension.get("valueAddress")})


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _telling(value: Any) -> bool:
    return isinstance(value, str) and len(value.strip()) > (_SHORT if value.strip().isdigit() else 1)

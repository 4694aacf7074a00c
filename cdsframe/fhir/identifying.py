"""Regular expressions that match what identifies a person: names, addresses, numbers, birth dates. Changes no text.

A whole name (given and family name, in any order) and a number match in any case. A lone name matches only as it is
written, in capitals or capitalised: in lower case it may be a common word (may, rose).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from cdsframe.fhir.birth_dates import date_patterns
from cdsframe.fhir.datatypes import plain
from cdsframe.fhir.patterns import Pattern
from cdsframe.fhir.phones import DIGITS, GAP, phone_pattern

_BETWEEN = r"[\s,._\-]{1,3}"
"""Separates the words of a name or an address."""
_SHORT = 3
"""A number of so few digits names nobody, and may be a dose."""
_LONG_CODE, _LONG_LINE = 5, 9
"""Letters from which on an identifier, and a line of an address, match in any case. `unit 5` may belong to a dose."""
_LONG_NAME = 8
"""Letters from which on given and family name written as one word match in any case: `An Gina` is not `angina`."""
_URLS = ("mothersMaidenName", "birthPlace", "own-name", "own-prefix", "partner-name")
"""Extensions of a patient that name somebody, by the last part of their address."""


def number_patterns(person: Mapping[str, Any]) -> Iterator[Pattern]:
    """Patterns of a person's numbers, identifiers, e-mail and street addresses, and birth date.

    Args:
        person: a Patient or a RelatedPerson; also one that is not valid.
    """
    for human in (person, *_objects(person.get("contact"))):
        for item in _objects(human.get("telecom")):
            yield from (phone_pattern(value) or _number(value) for value in _telling(item.get("value")))
    for item in _objects(person.get("identifier")):
        yield from map(_number, _telling(item.get("value")))
    for address in _addresses(person):
        for line in (address.get("text"), *_list(address.get("line"))):
            yield from (_line(value, _LONG_LINE) for value in _telling(line))
        for code in _telling(address.get("postalCode")):
            forms = (code, "".join(code.split()), code.partition("-")[0])
            yield from (_number(value) for form in forms for value in _telling(form))
    yield from date_patterns(person.get("birthDate"))


def name_patterns(person: Mapping[str, Any]) -> Iterator[Pattern]:
    """Patterns of the whole names of a person and of the person's contacts."""
    for human in (person, *_objects(person.get("contact"))):
        yield from _whole_names(human)


def words(person: Mapping[str, Any]) -> Iterator[str]:
    """A person's names and places as they are written, double names also in parts."""
    for human in (person, *_objects(person.get("contact"))):
        for name in _objects(human.get("name")):
            for part in (name.get("family"), name.get("text"), *_list(name.get("given"))):
                yield from _telling(part)
                yield from _parts(part)
    for address in _addresses(person):
        yield from (value for key in ("city", "district") for value in _telling(address.get(key)))
    for extension in _named_extensions(person):
        yield from _telling(extension.get("valueString"))


def word_pattern(word: str) -> Pattern:
    """Matches a word as it is written, in capitals and capitalised."""
    return _bounded(word[0], _any_word([word]))


def several_words_pattern(found: Sequence[str]) -> Pattern:
    """Matches two or more of the words side by side."""
    one = _any_word(found)
    return _bounded("".join(word[0] for word in found), rf"(?:{one})(?:{_BETWEEN}(?:{one}))+")


def _any_word(found: Iterable[str]) -> str:
    """Matches each word as it is written, in capitals and capitalised."""
    return "|".join(map(_literal, dict.fromkeys(form for word in found for form in (word, word.upper(), word.title()))))


def _bounded(first: str, pattern: str) -> Pattern:
    """The pattern where no letter or digit adjoins it. An underscore may."""
    return Pattern(first, rf"(?<![^\W_])(?:{pattern})(?![^\W_])")


def _whole_names(human: Mapping[str, Any]) -> Iterator[Pattern]:
    """Given and family names of a person side by side, in any order; also written as one word."""
    given, family = (sorted(names, key=lambda name: (-len(name), name)) for names in _given_and_family(human))
    first, last = ("|".join(map(_literal, names)) for names in (given, family))
    initials = rf"(?:(?:{first}|[^\W\d_]){_BETWEEN})*"
    forms = [(name, rf"{_literal(name)}{_BETWEEN}{initials}(?:{last})") for name in given if family]
    forms += [(name, rf"{_literal(name)}(?:{_BETWEEN}(?:{first}))+") for name in family if given]
    yield from (Pattern(name[0], rf"(?i:(?<![^\W\d_]){form}(?![^\W\d_]))") for name, form in forms)
    for one, other in product(given, family):
        yield from (_glued(one, other), _glued(other, one))


def _glued(start: str, end: str) -> Pattern:
    """Two names written as one word: in any case if that is long, else as in `AdaLovelace`."""
    joined = start + end
    if joined.lower() == joined.upper():  # a script without capitals; Chinese and Japanese have no spaces either
        return Pattern(start[0], re.escape(joined))
    if len(joined) >= _LONG_NAME:
        return Pattern(start[0], rf"(?i:(?<![^\W\d_]){_literal(joined)}(?![^\W\d_]))")
    forms = {start.title() + end.title(), *([joined] if end[0].isupper() and not joined.isupper() else ())}
    return Pattern(start[0], rf"(?<![^\W\d_])(?:{'|'.join(map(_literal, sorted(forms)))})(?![^\W\d_])")


def _given_and_family(human: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """A person's given and family names, also in parts; of a `text` alone, the last word counts as family name."""
    given: set[str] = set()
    family: set[str] = set()
    for name in _objects(human.get("name")):
        given.update(value for part in _list(name.get("given")) for value in (*_name(part), *_parts(part)))
        family.update((*_name(name.get("family")), *_parts(name.get("family"))))
        for text in _telling(name.get("text")) if not name.get("family") else ():
            before, comma, behind = text.partition(",")
            found = behind.split() + before.split() if comma else text.split()
            last = len(before.split()) if comma else 1
            given.update(value for word in found[:-last] for value in _name(word))
            family.update(value for word in found[-last:] for value in _name(word))
    return given, family


def _number(value: str) -> Pattern:
    """Matches an identifier: a long number with other separators too, any other as `_line` does."""
    letters = [character for character in value if character.isalnum()]
    if sum(character.isdigit() for character in letters) < DIGITS:
        return _line(value, _LONG_CODE)
    signs = re.escape("".join(sorted({character for character in value if not character.isalnum()} - {" "})))
    gap = GAP.replace("[", f"[{signs}")
    start = r"(?<!\d)" if letters[0].isdigit() else r"(?<![^\W_])"
    end = r"(?!\d)" if letters[-1].isdigit() else r"(?![^\W_])"
    return Pattern(letters[0], rf"(?i:{start}{gap.join(map(re.escape, letters))}{end})")


def _line(value: str, long: int) -> Pattern:
    """Matches a text with a digit or `@` in any case, and with other separators, if it has at least `long` letters."""
    if len(value) >= long and re.search(r"[\d@]", value):
        found = _bounded(value[0], _BETWEEN.join(map(_literal, re.split(r"[\s,]+", value))))
        return found._replace(text=f"(?i:{found.text})")
    return word_pattern(value)


def _literal(text: str) -> str:
    """Matches a text literally, with either apostrophe."""
    return re.sub("['\u2019]", "['\u2019]", re.escape(text))


def _parts(value: Any) -> list[str]:
    """The words of a double name, which may be used alone; not its "de" or "van"."""
    found = re.findall(r"\w+", _normal(value)) if isinstance(value, str) else []
    return [word for word in found if len(word) > 2 and word[0].isupper()] if len(found) > 1 else []


def _telling(value: Any) -> Iterator[str]:
    """The value if it is a text that may name a person: single letters and short numbers are too common."""
    text = _normal(value) if isinstance(value, str) else ""
    if len(text) > (_SHORT if text.isdigit() else 1):
        yield text


def _name(value: Any) -> Iterator[str]:
    """The value if it may be a part of a whole name, as a single letter is in scripts without capitals."""
    text = _normal(value) if isinstance(value, str) else ""
    if len(text) == 1 and text.isalpha() and text.lower() == text.upper():
        yield text
    yield from _telling(text)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", plain(text))


def _addresses(person: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The addresses of a person, of the person's contacts, and in extensions."""
    for human in (person, *_objects(person.get("contact"))):
        yield from _objects(human.get("address"))
    for extension in _named_extensions(person):
        yield from _objects(extension.get("valueAddress"))


def _named_extensions(person: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for extension in _objects(person.get("extension")):
        if str(extension.get("url", "")).rpartition("/")[2] in _URLS:
            yield extension


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

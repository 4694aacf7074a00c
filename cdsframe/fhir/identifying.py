"""Builds regular expressions for a person's names, addresses, telephone numbers, identifiers and birth date.

A whole name (given and family name, in any order) and a long number match in upper and lower case. A single name
matches only as the resource writes it, in capitals or capitalised: in lower case it may be a common word (may, rose).
Does not change texts.
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
"""A number with at most this many digits is ignored: it identifies nobody and may be a dose."""
_LONG_CODE, _LONG_LINE = 5, 9
"""Minimum characters of an identifier and of an address line to match in upper and lower case. `unit 5` may be part of
a dose."""
_LONG_NAME = 8
"""Minimum characters of a whole name without separators to match in upper and lower case. The name `An Gina` must not
match `angina`."""
_URLS = ("mothersMaidenName", "birthPlace", "own-name", "own-prefix", "partner-name")
"""Extensions of a patient that hold names or addresses, by the last part of their URL."""


def number_patterns(person: Mapping[str, Any]) -> Iterator[Pattern]:
    """Yields patterns for a person's telephone numbers, identifiers, e-mail and street addresses, and birth date.

    Args:
        person: a Patient or a RelatedPerson, valid or not.
    """
    for human in (person, *_objects(person.get("contact"))):
        for item in _objects(human.get("telecom")):
            yield from (phone_pattern(value) or _number(value) for value in _identifying(item.get("value")))
    for item in _objects(person.get("identifier")):
        yield from map(_number, _identifying(item.get("value")))
    for address in _addresses(person):
        for line in (address.get("text"), *_list(address.get("line"))):
            yield from (_line(value, _LONG_LINE) for value in _identifying(line))
        for code in _identifying(address.get("postalCode")):
            forms = (code, "".join(code.split()), code.partition("-")[0])
            yield from (_number(value) for form in forms for value in _identifying(form))
    yield from date_patterns(person.get("birthDate"))


def name_patterns(person: Mapping[str, Any]) -> Iterator[Pattern]:
    """Yields patterns for the whole names of a person and of the person's contacts."""
    for human in (person, *_objects(person.get("contact"))):
        yield from _whole_names(human)


def words(person: Mapping[str, Any]) -> Iterator[str]:
    """Yields a person's names, cities and districts as the resource writes them, and the parts of double names."""
    for human in (person, *_objects(person.get("contact"))):
        for name in _objects(human.get("name")):
            for part in (name.get("family"), name.get("text"), *_list(name.get("given"))):
                yield from _identifying(part)
                yield from _parts(part)
    for address in _addresses(person):
        yield from (value for key in ("city", "district") for value in _identifying(address.get(key)))
    for extension in _named_extensions(person):
        yield from _identifying(extension.get("valueString"))


def word_pattern(word: str) -> Pattern:
    """Returns a pattern that matches a word as the resource writes it, in capitals and capitalised."""
    return _bounded(word[0], _any_word([word]))


def several_words_pattern(found: Sequence[str]) -> Pattern:
    """Returns a pattern for two or more words in a row, each of which is in `found`."""
    one = _any_word(found)
    return _bounded("".join(word[0] for word in found), rf"(?:{one})(?:{_BETWEEN}(?:{one}))+")


def _any_word(found: Iterable[str]) -> str:
    """Returns a regular expression for each word as the resource writes it, in capitals and capitalised."""
    return "|".join(map(_literal, dict.fromkeys(form for word in found for form in (word, word.upper(), word.title()))))


def _bounded(first: str, pattern: str) -> Pattern:
    """Returns a pattern that matches only between characters other than letters and digits. Underscores may adjoin."""
    return Pattern(first, rf"(?<![^\W_])(?:{pattern})(?![^\W_])")


def _whole_names(human: Mapping[str, Any]) -> Iterator[Pattern]:
    """Yields patterns for given and family names in any order, with or without separators."""
    given, family = (sorted(names, key=lambda name: (-len(name), name)) for names in _given_and_family(human))
    first, last = ("|".join(map(_literal, names)) for names in (given, family))
    initials = rf"(?:(?:{first}|[^\W\d_]){_BETWEEN})*"
    forms = [(name, rf"{_literal(name)}{_BETWEEN}{initials}(?:{last})") for name in given if family]
    forms += [(name, rf"{_literal(name)}(?:{_BETWEEN}(?:{first}))+") for name in family if given]
    yield from (Pattern(name[0], rf"(?i:(?<![^\W\d_]){form}(?![^\W\d_]))") for name, form in forms)
    for one, other in product(given, family):
        yield from (_glued(one, other), _glued(other, one))


def _glued(start: str, end: str) -> Pattern:
    """Returns a pattern for two names without a separator: in any letter case if long, else only as `AdaLovelace`."""
    joined = start + end
    if joined.lower() == joined.upper():  # a script without capitals; Chinese and Japanese have no spaces either
        return Pattern(start[0], re.escape(joined))
    if len(joined) >= _LONG_NAME:
        return Pattern(start[0], rf"(?i:(?<![^\W\d_]){_literal(joined)}(?![^\W\d_]))")
    forms = {start.title() + end.title(), *([joined] if end[0].isupper() and not joined.isupper() else ())}
    return Pattern(start[0], rf"(?<![^\W\d_])(?:{'|'.join(map(_literal, sorted(forms)))})(?![^\W\d_])")


def _given_and_family(human: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Returns a person's given and family names, and their parts. Splits a name that has only a `text`."""
    given: set[str] = set()
    family: set[str] = set()
    for name in _objects(human.get("name")):
        given.update(value for part in _list(name.get("given")) for value in (*_name(part), *_parts(part)))
        family.update((*_name(name.get("family")), *_parts(name.get("family"))))
        for text in _identifying(name.get("text")) if not name.get("family") else ():
            before, comma, behind = text.partition(",")
            found = behind.split() + before.split() if comma else text.split()
            last = len(before.split()) if comma else 1
            given.update(value for word in found[:-last] for value in _name(word))
            family.update(value for word in found[-last:] for value in _name(word))
    return given, family


def _number(value: str) -> Pattern:
    """Returns a pattern for an identifier. With at least `DIGITS` digits, it matches with any separators; with fewer,
    it matches like a line (see `_line`)."""
    letters = [character for character in value if character.isalnum()]
    if sum(character.isdigit() for character in letters) < DIGITS:
        return _line(value, _LONG_CODE)
    signs = re.escape("".join(sorted({character for character in value if not character.isalnum()} - {" "})))
    gap = GAP.replace("[", f"[{signs}")
    start = r"(?<!\d)" if letters[0].isdigit() else r"(?<![^\W_])"
    end = r"(?!\d)" if letters[-1].isdigit() else r"(?![^\W_])"
    return Pattern(letters[0], rf"(?i:{start}{gap.join(map(re.escape, letters))}{end})")


def _line(value: str, long: int) -> Pattern:
    """Returns a pattern for a line of text.

    A line with a digit or `@` and at least `long` characters matches in upper and lower case and with any separators.
    Any other line matches like a word (see `word_pattern`).
    """
    if len(value) >= long and re.search(r"[\d@]", value):
        found = _bounded(value[0], _BETWEEN.join(map(_literal, re.split(r"[\s,]+", value))))
        return found._replace(text=f"(?i:{found.text})")
    return word_pattern(value)


def _literal(text: str) -> str:
    """Returns a regular expression for a literal text. Either form of an apostrophe matches."""
    return re.sub("['\u2019]", "['\u2019]", re.escape(text))


def _parts(value: Any) -> list[str]:
    """Returns the words of a double name, because a text may use one of them alone. Omits particles ("de", "van")."""
    found = re.findall(r"\w+", _normal(value)) if isinstance(value, str) else []
    return [word for word in found if len(word) > 2 and word[0].isupper()] if len(found) > 1 else []


def _identifying(value: Any) -> Iterator[str]:
    """Yields the value if it may identify a person. Single letters and short numbers are too common."""
    text = _normal(value) if isinstance(value, str) else ""
    if len(text) > (_SHORT if text.isdigit() else 1):
        yield text


def _name(value: Any) -> Iterator[str]:
    """Yields the value if it may be part of a whole name. In scripts without capitals, that may be a single letter."""
    text = _normal(value) if isinstance(value, str) else ""
    if len(text) == 1 and text.isalpha() and text.lower() == text.upper():
        yield text
    yield from _identifying(text)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", plain(text))


def _addresses(person: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the addresses of a person and of the person's contacts, and those in extensions."""
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

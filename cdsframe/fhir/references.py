"""References between the resources of a FHIR R4 bundle, by FHIR's grammar (https://hl7.org/fhir/R4/references.html).

A reference leads to a resource by `fullUrl` and by type and id alike, or to nothing: it is never matched by a part of
its text. Does not follow references out of the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

Resource = Mapping[str, Any]

_LITERAL = re.compile(
    r"(?P<base>[a-z][a-z0-9+.\-]*://.*/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)
_CONDITION = re.compile(r"(?:[a-z][a-z0-9+.\-]*://.*/)?(?P<type>[A-Z][A-Za-z]+)\?(?P<query>.+)")


@dataclass(frozen=True, slots=True)
class Literal:
    """A parsed literal reference `[base]Type/id[/_history/version]`; `base` is "" where it is relative."""

    base: str
    type: str
    id: str
    version: str

    @property
    def url(self) -> str:
        """The reference without its version."""
        return f"{self.base}{self.type}/{self.id}"


def literal(reference: str) -> Literal | None:
    """The parts of a literal reference; None where it is of another kind."""
    match = _LITERAL.fullmatch(reference)
    if match is None:
        return None
    return Literal(match["base"] or "", match["type"], match["id"], match["version"] or "")


def kind_of(reference: Resource) -> str:
    """How a reference names its target, in words for a report."""
    text = reference.get("reference")
    if not isinstance(text, str) or not text:
        return "by an identifier" if reference.get("identifier") else "by no reference"
    if text.startswith("#"):
        return "as a contained resource"
    if text.startswith("urn:"):
        return "by a urn"
    if _CONDITION.fullmatch(text):
        return "by a search"
    return "by a reference" if literal(text) else "by a reference that FHIR's grammar does not have"


@dataclass(slots=True)
class Entry:
    """A resource of a bundle with the place where it stands."""

    number: int
    url: str
    resource: Resource
    """Also one that is not valid, whose references must still lead to it."""
    valid: bool = True

    @property
    def type(self) -> str:
        return str(self.resource.get("resourceType", ""))

    @property
    def id(self) -> str:
        """The resource's id; "" where it has none."""
        id_ = self.resource.get("id")
        return id_ if isinstance(id_, str) else ""

    @property
    def base(self) -> str:
        """The server's address in `fullUrl`; "" where that is no address of a resource."""
        found = literal(self.url)
        return found.base if found else ""


class References:
    """Finds the resources of one bundle by reference."""

    def __init__(self, entries: list[Entry]) -> None:
        self._by_url: dict[str, list[Entry]] = {}
        self._by_id: dict[tuple[str, str], list[Entry]] = {}
        self._by_identifier: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            found = literal(entry.url)
            if url := found.url if found else entry.url:
                self._by_url.setdefault(url, []).append(entry)
            if entry.id:
                self._by_id.setdefault((entry.type, entry.id), []).append(entry)
            if entry.type == "Patient":
                for key in _identifiers(entry.resource):
                    self._by_identifier.setdefault(key, []).append(entry)

    def target(self, reference: Resource, holder: Entry | None) -> Entry | None:
        """The entry that a reference names; None where it leads out of the bundle, or to more than one resource.

        Args:
            reference: a Reference.
            holder: the entry in which it stands: a relative reference continues the base of its `fullUrl`.
        """
        return self._only(self._candidates(reference, holder))

    def is_ambiguous(self, reference: Resource, holder: Entry | None) -> bool:
        """Whether several different resources of the bundle have the name that a reference gives."""
        return bool(self._candidates(reference, holder)) and self.target(reference, holder) is None

    def _candidates(self, reference: Resource, holder: Entry | None) -> list[Entry]:
        text = reference.get("reference")
        if not isinstance(text, str) or not text:
            return self.identified(reference.get("identifier"))
        if condition := _CONDITION.fullmatch(text):
            return self._searched(condition["type"], condition["query"])
        named = literal(text)
        if named is None:
            return self._by_url.get(text, [])
        base = named.base or (holder.base if holder else "")
        candidates = self._by_url.get(f"{base}{named.type}/{named.id}", []) if base else []
        if not candidates:
            same = self._by_id.get((named.type, named.id), [])
            # An entry with an address of another server is another resource, whatever its id.
            candidates = [entry for entry in same if not (base and entry.base) or entry.base == base]
        return candidates

    @staticmethod
    def _only(entries: list[Entry]) -> Entry | None:
        """The only resource of several entries; None where they are different ones."""
        if not entries or any(entry.resource != entries[0].resource for entry in entries):
            return None
        return entries[0]

    def identified(self, identifier: Any) -> list[Entry]:
        """The patients who have an identifier, by its system and its value."""
        key = _identifier(identifier)
        return self._by_identifier.get(key, []) if key else []

    def _searched(self, type_: str, query: str) -> list[Entry]:
        """The patients that a search by one identifier with its system finds."""
        terms = parse_qs(query)
        system, bar, value = next(iter(terms.get("identifier", ())), "").partition("|")
        if type_ != "Patient" or len(terms) != 1 or len(terms.get("identifier", ())) != 1 or not bar:
            return []
        return self.identified({"system": system, "value": value})


def _identifiers(resource: Resource) -> set[tuple[str, str]]:
    """The identifiers of a resource that have a system and a value."""
    items = resource.get("identifier", ())
    return {key for item in items if (key := _identifier(item))} if isinstance(items, list) else set()


def _identifier(item: Any) -> tuple[str, str] | None:
    """An identifier's system and value; None where it lacks one of them."""
    if not isinstance(item, Mapping):
        return None
    system, value = item.get("system"), item.get("value")
    return (system, value) if isinstance(system, str) and isinstance(value, str) and system and value else None


def contradicts(identifier: Any, target: Entry) -> bool:
    """Whether a resource has identifiers of an identifier's system, and all of them have other values."""
    key = _identifier(identifier)
    same = {found for found in _identifiers(target.resource) if key and found[0] == key[0]}
    return bool(same) and key not in same


def entered_in_error(resource: Resource) -> bool:
    """Whether a resource says that it should not exist."""
    status = resource.get("verificationStatus")
    codings = status.get("coding", ()) if isinstance(status, Mapping) else ()
    stated = {resource.get("status"), status if isinstance(status, str) else None}
    return "entered-in-error" in stated | {coding.get("code") for coding in codings}

"""Resolves references between the resources of a FHIR R4 bundle (https://hl7.org/fhir/R4/references.html).

Looks up a reference by `fullUrl`, else by type and id. Never matches a part of a reference's text. Does not follow
references out of the bundle.
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
    """A parsed literal reference `[base]Type/id[/_history/version]`; `base` is "" if it is relative."""

    base: str
    type: str
    id: str
    version: str

    @property
    def url(self) -> str:
        """The reference without its version."""
        return f"{self.base}{self.type}/{self.id}"


def literal(reference: str) -> Literal | None:
    """Parses a literal reference; returns None for any other kind of reference."""
    match = _LITERAL.fullmatch(reference)
    if match is None:
        return None
    return Literal(match["base"] or "", match["type"], match["id"], match["version"] or "")


def kind_of(reference: Resource) -> str:
    """Returns how a reference names its target, as a phrase for a report."""
    text = reference.get("reference")
    if not isinstance(text, str) or not text:
        return "by an identifier" if reference.get("identifier") else "by no reference"
    if text.startswith("#"):
        return "as a contained resource"
    if text.startswith("urn:"):
        return "by a urn"
    if _CONDITION.fullmatch(text):
        return "by a search"
    return "by a reference" if literal(text) else "by a reference that FHIR's grammar does not allow"


@dataclass(slots=True)
class Entry:
    """A resource of a bundle, with its number in the bundle and its `fullUrl`."""

    number: int
    url: str
    resource: Resource
    """May be invalid: references to it must still resolve."""
    valid: bool = True

    @property
    def type(self) -> str:
        return str(self.resource.get("resourceType", ""))

    @property
    def id(self) -> str:
        """The resource's id; "" if it has none."""
        id_ = self.resource.get("id")
        return id_ if isinstance(id_, str) else ""

    @property
    def base(self) -> str:
        """The server's address in `fullUrl`; "" if `fullUrl` is not the address of a resource."""
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
        """Resolves a reference; returns None if no resource or more than one resource of the bundle matches.

        Args:
            reference: a Reference.
            holder: the entry that contains it. A relative reference is resolved against the base of its `fullUrl`.
        """
        return self._only(self._candidates(reference, holder))

    def is_ambiguous(self, reference: Resource, holder: Entry | None) -> bool:
        """Whether a reference matches several different resources of the bundle."""
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
            # The same id on another server is another resource.
            candidates = [entry for entry in same if not (base and entry.base) or entry.base == base]
        return candidates

    @staticmethod
    def _only(entries: list[Entry]) -> Entry | None:
        """Returns the first entry if all hold the same resource, else None."""
        if not entries or any(entry.resource != entries[0].resource for entry in entries):
            return None
        return entries[0]

    def identified(self, identifier: Any) -> list[Entry]:
        """Returns the patients with an identifier of the same system and value."""
        key = _identifier(identifier)
        return self._by_identifier.get(key, []) if key else []

    def _searched(self, type_: str, query: str) -> list[Entry]:
        """Returns the patients that a search by one identifier and its system finds."""
        terms = parse_qs(query)
        system, bar, value = next(iter(terms.get("identifier", ())), "").partition("|")
        if type_ != "Patient" or len(terms) != 1 or len(terms.get("identifier", ())) != 1 or not bar:
            return []
        return self.identified({"system": system, "value": value})


def _identifiers(resource: Resource) -> set[tuple[str, str]]:
    """Returns the identifiers of a resource that have a system and a value."""
    items = resource.get("identifier", ())
    return {key for item in items if (key := _identifier(item))} if isinstance(items, list) else set()


def _identifier(item: Any) -> tuple[str, str] | None:
    """Returns an identifier's system and value; None if it lacks one of them."""
    if not isinstance(item, Mapping):
        return None
    system, value = item.get("system"), item.get("value")
    return (system, value) if isinstance(system, str) and isinstance(value, str) and system and value else None


def contradicts(identifier: Any, target: Entry) -> bool:
    """Whether the target has identifiers of the same system, but none with this value."""
    key = _identifier(identifier)
    same = {found for found in _identifiers(target.resource) if key and found[0] == key[0]}
    return bool(same) and key not in same


def entered_in_error(resource: Resource) -> bool:
    """Whether a resource's status is `entered-in-error`."""
    status = resource.get("verificationStatus")
    codings = status.get("coding", ()) if isinstance(status, Mapping) else ()
    stated = {resource.get("status"), status if isinstance(status, str) else None}
    return "entered-in-error" in stated | {coding.get("code") for coding in codings}

"""Writes FHIR R4 elements as text: amounts, codes, times, dosages, references, and any other element.

An element without a specific rule is written part by part, each part under its name, so that no value is lost. Elements
in `LEFT_OUT` are omitted and counted. Expects valid resources.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from cdsframe.fhir.datatypes import CHOICE, INSTANT, amount, label_of, narrative_text, period, plain
from cdsframe.fhir.dosage import dosage_text, timing_text
from cdsframe.fhir.references import Resource
from cdsframe.fhir.scrubbing import Scrubber

STAFF = "references to staff, places and encounters"
OUTSIDE = "references without a name to resources that are not in the bundle"
OF_OTHERS = "references to resources of another or an unknown patient (their names are not written)"
TECHNICAL = "identifiers, versions and other technical elements"
LEFT_OUT = {
    **dict.fromkeys(
        (
            "performer", "requester", "recorder", "asserter", "author", "participant", "informationSource", "encounter",
            "location", "organization", "custodian", "serviceProvider", "managingOrganization", "careManager", "team",
            "generalPractitioner", "enterer", "informant", "witness", "contributor", "sender", "recipient", "owner",
            "authenticator", "operator", "authority", "actor", "resultsInterpreter", "performerFunction", "assessor",
            "manufacturer", "attester", "detector", "assigner", "receiver", "destination", "dispenser", "prescriber",
            "collector", "authorReference", "authorString", "expressedBy", "interpreter", "member", "careTeam",
        ),
        STAFF,
    ),
    **dict.fromkeys(
        (
            "identifier", "meta", "groupIdentifier", "instantiatesCanonical", "instantiatesUri", "implicitRules",
            "language", "masterIdentifier", "linkId", "sequence", "accession", "requisition", "questionnaire", "uid",
            "definition", "endpoint", "versionId", "accessionIdentifier", "insurance", "claim", "serialNumber",
            "lotNumber", "deviceIdentifier", "eventHistory", "relevantHistory", "account", "udiCarrier",
            "distinctIdentifier",
        ),
        TECHNICAL,
    ),
}  # fmt: skip
"""Element that is omitted everywhere -> the reason under which it is counted."""
_STRUCTURE = ("resourceType", "id", "subject", "patient", "contained", "fhir_comments")
PEOPLE = ("Practitioner", "PractitionerRole", "Organization", "RelatedPerson", "Location", "Encounter", "CareTeam",
           "Patient", "Group", "HealthcareService", "EpisodeOfCare", "Account", "Coverage")  # fmt: skip
_UNNAMED = ("summary", "code", "value", "text", "concept", "content", "attachment", "outcomeCodeableConcept", "repeat")
"""Elements that are written without their name, which adds nothing to the value."""
_DATE = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?|\d\d:\d\d:\d\d")
_CODES = frozenset(
    (
        "status", "intent", "priority", "criticality", "severity", "category", "type", "lifecycleStatus", "docStatus",
        "kind", "mode", "use", "onsetCode", "dayOfWeek", "when", "code", "action", "eye", "base",
    )
)  # fmt: skip
"""Elements whose strings are codes of FHIR, not free text."""
_CODE = re.compile(r"[A-Za-z][\w\-]*")


class Values:
    """Writes values of resources as text.

    Args:
        scrubber: removes identifying text.
        name: `(reference, holder)` -> the name of the resource to which the reference leads. None if the resource is
            not in the bundle; "" if its name must not be written, which `name` has counted.
        left_out: counts the omitted parts by reason.
    """

    def __init__(
        self, scrubber: Scrubber, name: Callable[[Resource, Resource], str | None], left_out: Counter[str]
    ) -> None:
        self.free, self._coded, self._date = scrubber.free, scrubber.coded, scrubber.date
        self._name, self.left_out = name, left_out
        self._rules: list[tuple[frozenset[str], frozenset[str], Callable[[Resource, Resource], str]]] = [
            (frozenset(needed.split()), frozenset(f"{needed} {others}".split()), write)
            for needed, others, write in (
                ("coding", "text", self.concept),
                ("code display", "system version userSelected", self.concept),
                ("value", "comparator unit system code currency", lambda v, _: amount(v)),
                ("low high", "", lambda v, _: amount(v)),
                ("numerator denominator", "", lambda v, _: amount(v)),
                ("start end", "", lambda v, _: period(v)),
                ("reference display identifier", "type", self.named),
                ("repeat event", "code", self.timing),
                ("time authorString authorReference", "text", self.note),
                ("origin", "period factor lowerLimit upperLimit dimensions data", self.samples),
                ("contentType url data", "language size hash title creation", self.attachment),
                ("div", "status", lambda v, _: self.narrative(v)),
            )
        ]
        """For each data type: elements of which at least one is required, all its elements, and its method."""

    def word(self, value: Any, holder: Resource) -> str:
        """Returns any value as text; "" if it is empty."""
        if isinstance(value, list):
            return ", ".join(dict.fromkeys(filter(None, (self.word(item, holder) for item in value))))
        if not isinstance(value, Mapping):
            return amount(value) if not isinstance(value, str) else self.text(value)
        keys = {key for key in value if key not in ("id", "extension") and not key.startswith("_")}
        added = self.extensions(value, holder)
        for needed, allowed, write in self._rules:
            plain_code = isinstance(value.get("code", ""), str) or "event" in allowed
            if keys & needed and keys <= allowed and plain_code:
                return " ".join(filter(None, (write(value, holder), added)))
        return ", ".join(filter(None, (*self.parts(value, holder), added)))

    def text(self, text: str, key: str = "") -> str:
        """Returns a string: an instant to the minute, a code unchanged, anything else without identifying text."""
        if instant := INSTANT.fullmatch(text):
            return f"{instant[1]} {instant[2]}"
        code = _DATE.fullmatch(text) or (key in _CODES and _CODE.fullmatch(text))
        return text if code else self.free(text)

    def element(self, key: str, item: Any, holder: Resource) -> str:
        """Returns the value of the element `key` as text."""
        if isinstance(item, str) and CHOICE.sub("", key) == "value":
            return self._date(self.text(item))
        items = item if isinstance(item, list) else [item]
        if key in _CODES and all(isinstance(part, str) for part in items):
            return ", ".join(self.text(part, key) for part in items)
        return self.word(item, holder)

    def parts(self, value: Resource, holder: Resource, skip: Sequence[str] = ()) -> Iterator[str]:
        """Yields every element of an object under its name, except those in `skip`."""
        for key, item in value.items():
            if key in skip or key in _STRUCTURE or key == "extension" or key.startswith("_") or item is None:
                continue
            if reason := LEFT_OUT.get(key):
                self.left_out[reason] += len(item) if isinstance(item, list) else 1
            elif shown := self.element(key, item, holder):
                label = label_of(key)
                yield shown if key in _UNNAMED or CHOICE.sub("", key) in _UNNAMED else f"{label} {shown}"

    def extensions(self, value: Resource, holder: Resource) -> str:
        """Returns the extensions of an object and of its primitive elements, each under the last part of its URL."""
        found = []
        for key, item in value.items():
            holders = item if isinstance(item, list) else [item]
            if key == "extension" or key.startswith("_"):
                nested = [holders] if key == "extension" else [(x or {}).get("extension", ()) for x in holders]
                for extension in (x for group in nested for x in group):
                    shown = self.extensions(extension, holder) if extension.get("extension") else ""
                    shown = shown or ", ".join(self.parts(extension, holder, ("url",)))
                    name = label_of(re.split("[/:]", str(extension.get("url", "")).rstrip("/"))[-1])
                    of = "" if key == "extension" else f"{label_of(key[1:])} "
                    found.append(f"{of}{name} {shown}".strip())
        return f"[{'; '.join(found)}]" if found else ""

    def concept(self, value: Resource, holder: Resource) -> str:
        """Returns a concept's text, else its first display, else its code; then, in brackets, displays that differ."""
        codings = [item for item in (*value.get("coding", ()), value) if isinstance(item, Mapping)]
        displays = [plain(item["display"]) for item in codings if item.get("display")]
        text = plain(value.get("text") or "")
        text = self.free(text) if text not in displays else self._coded(text)
        displays = [self._coded(display) for display in displays]
        text = text or next(iter(displays), "") or next((str(c["code"]) for c in codings if c.get("code")), "")
        others = (shown for shown in dict.fromkeys(displays) if shown.casefold() not in text.casefold())
        return text + "".join(f" ({shown})" for shown in others)

    def named(self, value: Resource, holder: Resource) -> str:
        """Returns the name of the resource that the reference `value` in `holder` points to.

        Returns "" for persons and places and counts them: their names are withheld.
        """
        text = str(value.get("reference", ""))
        kind = value.get("type") or next((t for t in re.split(r"[/?]", text) if t[:1].isupper() and t.isalpha()), "")
        if kind in PEOPLE:
            self.left_out[STAFF] += 1
            return ""
        found = self._name(value, holder)
        if found is None:
            display = self.free(value.get("display") or "")
            self.left_out[OUTSIDE] += not display
            return display
        return found

    def note(self, value: Resource, holder: Resource) -> str:
        """Returns an annotation's text without its author, and counts the author among the omitted parts."""
        self.left_out[STAFF] += sum(1 for key in ("authorString", "authorReference") if key in value)
        return self.free(value.get("text") or "")

    def samples(self, value: Resource, holder: Resource) -> str:
        """Returns the origin of a waveform, and counts its data among the omitted parts."""
        self.left_out["waveforms"] += 1
        return f"waveform from {amount(value['origin'])}"

    def attachment(self, value: Resource, holder: Resource) -> str:
        """Returns an attachment's title without its content, and counts the content among the omitted parts."""
        self.left_out["attachments"] += 1
        return self.free(value.get("title") or "")

    def narrative(self, value: Resource) -> str:
        """Returns a narrative's text without identifying text."""
        return self.free(narrative_text(str(value.get("div", ""))))

    def timing(self, timing: Resource, holder: Resource) -> str:
        """Returns a timing as text."""
        repeat = self.extensions(timing.get("repeat") or {}, holder)
        return ", ".join(filter(None, (timing_text(timing, partial(self.word, holder=holder)), repeat)))

    def dosages(self, dosages: Sequence[Resource], holder: Resource) -> Iterator[str]:
        """Yields each dosage as text. Dosages that follow one another begin with `step N`."""
        in_steps = len({item.get("sequence") for item in dosages}) > 1
        for item in dosages:
            text = dosage_text(item, partial(self.word, holder=holder), self.free)
            text = ", ".join(filter(None, (text, self.extensions(item, holder))))
            if "sequence" in item and not in_steps:
                self.left_out[TECHNICAL] += 1
            elif "sequence" in item:
                text = f"step {item['sequence']}: {text}"
            if text:
                yield text

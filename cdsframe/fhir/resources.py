"""Renders FHIR R4 resources as lines of text: date, name, codes, value, details. Expects valid resources.

Writes each element or counts it as omitted: an element without a specific rule is written under its own name. Writes no
names of persons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cdsframe.fhir.datatypes import amount, codes, label_of
from cdsframe.fhir.dates import When, when_of
from cdsframe.fhir.references import Entry, References, Resource, entered_in_error, literal
from cdsframe.fhir.scrubbing import Scrubber
from cdsframe.fhir.subjects import contained
from cdsframe.fhir.values import LEFT_OUT, OF_OTHERS, PEOPLE, STAFF, Values

_NAMES_OF_OTHERS = "names of persons other than the patient whom a resource is about"
_NARRATIVES = "narratives that repeat the elements of their resource"
_REPEATED = "dates that repeat the date of their resource"
_NAMES = (
    "code", "vaccineCode", "medicationCodeableConcept", "medicationReference", "title", "description", "relationship",
    "type", "procedureCode", "device", "deviceName", "codeCodeableConcept", "event", "policyRule", "lensSpecification",
    "category", "class",
)  # fmt: skip
"""Elements that name a resource. The first one present is used."""
_LABELS = {
    "status": "",
    "lifecycleStatus": "",
    "clinicalStatus": "",
    "verificationStatus": "",
    "achievementStatus": "",
    "class": "",
    "criticality": "criticality ",
    "severity": "severity ",
    "bodySite": "at ",
    "interpretation": "",
    "statusReason": "because of ",
    "reasonCode": "for ",
    "reasonReference": "for ",
    "addresses": "for ",
    "outcome": "outcome ",
    "result": "results ",
    "conclusion": "conclusion ",
    "conclusionCode": "conclusion ",
    "onsetAge": "onset at ",
    "onsetRange": "onset at ",
    "abatementAge": "until the age of ",
    "abatementRange": "until the age of ",
}
"""Elements that follow a resource's name and value first, in this order, each with the words before it."""
_VALUES = ("referenceRange", "component", "dataAbsentReason")
_STRUCTURE = ("resourceType", "id", "subject", "patient", "contained", "text", "extension", "fhir_comments")
_WHOLE = {"coding", "text", "reference", "display", "identifier"}
"""Elements by which a concept or a reference is recognised."""
_ORDERED = ("order", "original-order")
"""Values of `intent` that add nothing to the resource's type. Others are written: a plan is not an order."""


class Renderer:
    """Renders the resources of one patient as lines.

    Args:
        references: finds the resources of the bundle.
        is_of_another: `(resource, entry)` -> whether the resource may be about another patient.
        scrubber: removes identifying text.
        left_out: counts the omitted parts by reason.
    """

    def __init__(
        self,
        references: References,
        is_of_another: Callable[[Resource, Entry], bool],
        scrubber: Scrubber,
        left_out: Counter[str],
    ) -> None:
        self._references, self._is_of_another, self._left_out = references, is_of_another, left_out
        self._entry: Entry | None = None
        self._values = Values(scrubber, self._target_name, left_out)

    def line(self, entry: Entry) -> tuple[str, str, str]:
        """Returns `(date, codes, line)` of a resource. The line is `DATE: NAME (SYSTEM CODE) = VALUE; details`."""
        self._entry, resource = entry, entry.resource
        used: set[str] = set()
        when = when_of(resource, used)
        name, code = self._name(resource, used)
        about = self._about(resource.get("focus"), resource)
        used.add("focus")
        values = [
            text for part in (resource, *resource.get("component", ())) if (text := self._value(part, resource, used))
        ]
        head = f"{when.begin}: " if when.begin else ""
        head += name + (f" ({code})" if code else "") + about + (f" = {', '.join(values)}" if values else "")
        details = list(self._details(resource, when, used))
        vague = name.startswith("an unnamed ") or not any(resource.get(key) for key in _NAMES[:-2])
        details += self._narrative(resource, needed=vague and not values)
        return when.begin or when.end, code, "; ".join([head, *details])

    def _found(self, reference: Resource, holder: Resource) -> Entry | None:
        """Returns the resource to which a reference leads, contained in `holder` or in the bundle; None without one."""
        name, entry = str(reference.get("reference", "")), self._entry
        if name.startswith("#") and entry is not None:
            item = contained(holder, name)
            inner = None if item is None else {**item, "contained": holder["contained"]}
            return None if inner is None else Entry(entry.number, entry.url, inner)
        return self._references.target(reference, entry)

    def _leads_to_another(self, reference: Resource, holder: Resource) -> bool:
        """Whether a reference leads to a resource about another or an unknown patient."""
        found = self._found(reference, holder)
        return found is not None and self._is_of_another(found.resource, found)

    def _target(self, reference: Resource, holder: Resource) -> Resource | None:
        """Resolves a reference to a valid resource; returns None if it is missing, invalid or about another patient."""
        found = self._found(reference, holder)
        if found is None or not found.valid or self._is_of_another(found.resource, found):
            return None
        return found.resource

    def _target_name(self, reference: Resource, holder: Resource) -> str | None:
        """Returns the name of the resource to which a reference leads.

        Returns None if the bundle has no such valid resource, and "" if its name must not be written.
        """
        if self._leads_to_another(reference, holder):
            self._left_out[OF_OTHERS] += 1
            return ""
        target = self._target(reference, holder)
        if target is None:
            return None
        if target.get("resourceType") in PEOPLE:
            self._left_out[STAFF] += 1
            return ""
        name = self._name(target, set(), follow=False)[0] + self._about(target.get("focus"), target)
        return f"{name} (entered in error)" if entered_in_error(target) else name

    def _about(self, focus: Any, resource: Resource) -> str:
        """Returns ` (about …)` if the `focus` is not the resource's subject, else ""."""
        items = focus if isinstance(focus, list) else [focus] if focus else []
        subject = resource.get("subject") or {}
        shown = dict.fromkeys(self._other(item, resource) for item in items if not self._same(item, subject, resource))
        return f" (about {', '.join(shown)})" if shown else ""

    def _same(self, reference: Resource, other: Resource, holder: Resource) -> bool:
        """Whether two references lead to the same resource."""
        if reference.get("reference") and reference["reference"] == other.get("reference"):
            return True
        target = self._target(reference, holder)
        return target is not None and target == self._target(other, holder)

    def _other(self, reference: Resource, holder: Resource) -> str:
        """Returns the name of a `focus`; of a person or place, only the type, and counts the name as omitted."""
        target, named = self._target(reference, holder), literal(str(reference.get("reference", "")))
        found = self._found(reference, holder)
        kind = str((found and found.type) or (named and named.type) or reference.get("type") or "")
        if kind not in PEOPLE and self._leads_to_another(reference, holder):
            self._left_out[OF_OTHERS] += 1
            return f"{label_of(kind)} of another patient"
        if kind and kind not in PEOPLE:
            name = self._target_name(reference, holder) if target and not target.get("focus") else None
            return name or self._values.free(reference.get("display") or "") or label_of(kind)
        self._left_out[_NAMES_OF_OTHERS] += bool(reference.get("display"))
        return "another patient" if kind == "Patient" else f"{label_of(kind) or 'another subject'}, not the patient"

    def _name(self, resource: Resource, used: set[str], follow: bool = True) -> tuple[str, str]:
        """Returns a resource's name and codes. Adds the element that holds them to `used`."""
        for key in _NAMES:
            whole = resource.get(key)
            value = whole[0] if isinstance(whole, list) and whole else whole
            if not value:
                continue
            only = whole is value or not whole or len(whole) == 1
            if isinstance(value, Mapping) and "reference" in value:
                if self._leads_to_another(value, resource):
                    used |= {key} if only else set()
                    self._left_out[OF_OTHERS] += only
                    continue
                target = self._target(value, resource) if follow else None
                if target is not None:
                    used.add(key)
                    found, code = self._name(target, set(), follow=False)
                    return found + self._medication(target), code
                text = self._values.free(value.get("display") or "")
            else:
                text = self._values.element(key, value, resource)
            if text:
                used |= {key} if only else set()
                return text, codes(value) if isinstance(value, Mapping) else ""
        kind = str(resource.get("resourceType", "resource"))
        noun = "medication" if kind.startswith("Medication") else label_of(kind)
        return f"an unnamed {noun}", ""

    def _medication(self, target: Resource) -> str:
        """Returns the form and ingredients of a Medication, which gets no separate line; "" for other resources."""
        if target.get("resourceType") != "Medication":
            return ""
        skip = ("code", "text", *(("status",) if target.get("status") == "active" else ()))
        parts = [*self._values.parts(target, target, skip), self._values.extensions(target, target)]
        shown = ", ".join(filter(None, parts))
        return f" [{shown}]" if shown else ""

    def _value(self, part: Resource, whole: Resource, used: set[str]) -> str:
        """Returns the value of an observation, or the name and value of one of its components."""
        write = self._values.word
        key = next((key for key in part if key.startswith("value") and not key.startswith("valueSet")), None)
        reason = write(part.get("dataAbsentReason"), whole)
        text = "" if key is None else self._values.element(key, part[key], whole)
        text = f"{text} (no value: {reason})" if text and reason else f"no value ({reason})" if reason else text
        ranges = ", ".join(filter(None, (self._range(item, whole) for item in part.get("referenceRange", ()))))
        if part is whole:
            used.update(_VALUES, (key,) if key else ())
            return f"{text} (reference {ranges})".strip() if ranges else text
        inner = ", ".join(filter(None, (text and f"{text}{f' (reference {ranges})' * bool(ranges)}",
                                        "" if text or not ranges else f"(reference {ranges})",
                                        write(part.get("interpretation"), whole),
                                        self._values.extensions(part, whole))))  # fmt: skip
        return f"{write(part['code'], whole)} {inner}".strip()

    def _range(self, item: Resource, whole: Resource) -> str:
        """Returns a reference range, with the persons and conditions to which it applies."""
        skip = ("low", "high", "modifierExtension")
        parts = [amount(item) if "low" in item or "high" in item else "", *self._values.parts(item, whole, skip)]
        return " ".join(filter(None, (*parts, self._values.extensions(item, whole))))

    def _details(self, resource: Resource, when: When, used: set[str]) -> Iterator[str]:
        if resource.get("doNotPerform"):
            yield "not to be done"
        used.add("doNotPerform")
        used |= {"intent"} if resource.get("intent") in _ORDERED else set()
        for key, before in _LABELS.items():
            if key in resource and key not in used and (text := self._values.element(key, resource[key], resource)):
                yield before + text
        if when.end:
            yield f"until {when.end}"
        rest = [key for key in resource if key not in used and key not in _LABELS and key not in _STRUCTURE]
        for key in sorted(rest, key=lambda key: key == "note"):
            if when.repeated_by(key, resource[key]):
                self._left_out[_REPEATED] += 1
            else:
                yield from self._element(key, resource[key], resource)
        if added := self._values.extensions(resource, resource):
            yield added

    def _element(self, key: str, value: Any, resource: Resource) -> Iterator[str]:
        """Yields a top-level element that has no fixed place in the line, or counts it as omitted."""
        items = value if isinstance(value, list) else [value]
        if key.startswith("_") or value is None:
            return
        referenced = all(isinstance(item, Mapping) and ("reference" in item or "display" in item) for item in items)
        if (reason := LEFT_OUT.get(key)) or (key in ("context", "source", "sourceReference") and referenced):
            self._left_out[reason or LEFT_OUT["encounter"]] += len(items)
        elif key in ("dosage", "dosageInstruction"):
            yield from self._values.dosages(items, resource)
        elif key == "note":
            yield from (f"note: {self._values.note(item, resource)}" for item in items)
        elif key == "reaction":
            yield from filter(None, (self._reaction(item, resource) for item in items))
        elif key == "item" and resource["resourceType"] == "QuestionnaireResponse":
            yield from (answer for item in items for answer in self._answers(item, resource))
        elif key == "section" and resource["resourceType"] == "Composition":
            yield from (text for item in items for text in self._section(item, resource))
        else:
            # Each of several objects becomes a separate detail.
            apart = len(items) > 1 and all(isinstance(item, Mapping) and not set(item) & _WHOLE for item in items)
            for item in items if apart else [value]:
                if text := self._values.element(key, item, resource):
                    label = label_of(key)
                    yield text if label in ("condition", "series", "content") else f"{label} {text}"

    def _reaction(self, item: Resource, resource: Resource) -> str:
        shown = self._values.word(item.get("manifestation"), resource)
        others = self._values.parts(item, resource, ("manifestation", "severity", "modifierExtension"))
        parts = [f"reaction {shown}" if shown else "", str(item.get("severity", "")), *others]
        return ", ".join(filter(None, (*parts, self._values.extensions(item, resource))))

    def _answers(self, item: Resource, resource: Resource) -> Iterator[str]:
        """Yields the answers to a questionnaire's item and to the items below it."""
        question = self._values.free(item.get("text") or "")
        for answer in item.get("answer", ()):
            shown = ", ".join(self._values.parts(answer, resource, ("item",)))
            yield f"{question}: {shown}" if question else shown
            for below in answer.get("item", ()):
                yield from self._answers(below, resource)
        if question and not item.get("answer"):
            yield question
        for below in item.get("item", ()):
            yield from self._answers(below, resource)

    def _section(self, item: Resource, resource: Resource) -> Iterator[str]:
        """Yields a composition's section with its narrative.

        The entries of a section are resources with their own lines. For a section with entries, yields nothing and
        counts the narrative as omitted.
        """
        title = self._values.free(item.get("title") or "") or self._values.word(item.get("code"), resource)
        title += self._about(item.get("focus"), resource)
        narrative = item.get("text") or {}
        if narrative and not item.get("entry"):
            yield f"{title}: {self._values.narrative(narrative)}".strip(": ")
        elif reason := self._values.word(item.get("emptyReason"), resource):
            yield f"{title}: no entries ({reason})"
        elif narrative:
            self._left_out[_NARRATIVES] += 1
        for below in item.get("section", ()):
            yield from self._section(below, resource)

    def _narrative(self, resource: Resource, needed: bool) -> Sequence[str]:
        """Returns the narrative if it adds to the elements or if they say nothing (`needed`); else counts it as
        omitted."""
        narrative = resource.get("text") or {}
        if needed or narrative.get("status") == "additional":
            shown = self._values.narrative(narrative)
            return [f"narrative: {shown}"] if shown else []
        self._left_out[_NARRATIVES] += bool(narrative)
        return []

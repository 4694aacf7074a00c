"""FHIR R4 resources as lines of text: what, with its codes, its value, when and how. Resources were validated before.

Does not render narratives and attachments, and names no person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Resource = Mapping[str, Any]

_SYSTEMS = {
    "http://snomed.info/sct": "SNOMED",
    "http://loinc.org": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "ICD-10-GM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "CPT",
    "http://www.whocc.no/atc": "ATC",
    "http://unitsofmeasure.org": "UCUM",
}
_NAMES = (
    "code", "vaccineCode", "medicationCodeableConcept", "medicationReference", "title", "description", "relationship",
    "type", "procedureCode", "device", "category",
)  # fmt: skip
"""Where a resource says what it is, the first that it has."""
_DATES = (
    "onset", "effective", "performed", "occurrence", "authoredOn", "started", "startDate", "whenHandedOver", "period",
    "assertedDate", "recordedDate", "recordedOn", "issued", "date", "created",
)  # fmt: skip
"""When it happened, the first that it has; those of several types end in DateTime or Period."""
_WORDS = {
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
}
"""What is told of a resource behind its name and value, in this order, with the word before it."""


class Teller:
    """Turns resources into lines. Free text loses the literal values in `private`."""

    def __init__(self, known: Mapping[str, Resource], private: Sequence[str]) -> None:
        self._known = known
        longest_first = sorted(private, key=len, reverse=True)
        self._private = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)") if private else None

    def line(self, resource: Resource) -> tuple[str, str, str]:
        """`(date, codes, line)` of a resource: `DATE: NAME (SYSTEM CODE) = VALUE; details`."""
        date, end = _dates(resource)
        name, codes = self._name(resource)
        values = [text for part in (resource, *resource.get("component", ())) if (text := self._value(part, resource))]
        head = f"{date}: " if date else ""
        head += name + (f" ({codes})" if codes else "") + (f" = {', '.join(values)}" if values else "")
        return date, codes, "; ".join([head, *self._details(resource, end)])

    def _target(self, reference: Resource, holder: Resource) -> Resource | None:
        """The resource that a reference names: contained in its holder, or in the bundle."""
        name = str(reference.get("reference", ""))
        if name.startswith("#"):
            return next((item for item in holder.get("contained", ()) if item.get("id") == name[1:]), None)
        return self._known.get(name)

    def _name(self, resource: Resource, follow: bool = True) -> tuple[str, str]:
        for key in _NAMES:
            value = resource.get(key)
            value = value[0] if isinstance(value, list) else value
            if isinstance(value, str):
                return self._free(value), ""
            if value and "reference" in value:
                target = self._target(value, resource) if follow else None
                return self._name(target, follow=False) if target else (plain(value.get("display", "")), "")
            if value and (text := word(value)):
                return (self._free(text) if not value.get("coding") else text), _codes(value)
        return str(resource.get("resourceType", "")), ""

    def _value(self, part: Resource, whole: Resource) -> str:
        """An observation's value, a component's with its name."""
        key = next((key for key in part if key.startswith("value") and not key.startswith("valueSet")), None)
        if key is None:
            reason = word(part.get("dataAbsentReason"))
            text = f"no value ({reason})" if reason else ""
        elif key in ("valueString", "valueMarkdown"):
            text = self._free(part[key])
        else:
            text = _amount(part[key])
        ranges = [_amount(item) or str(item.get("text", "")) for item in part.get("referenceRange", ())]
        text += f" (reference {', '.join(filter(None, ranges))})" if text and any(ranges) else ""
        return text if part is whole or not text else f"{word(part['code'])} {text}"

    def _details(self, resource: Resource, end: str) -> Iterator[str]:
        if resource.get("doNotPerform"):
            yield "not to be done"
        for key, before in _WORDS.items():
            value = resource.get(key)
            items = value if isinstance(value, list) else [value]
            words = filter(None, (self._word_of(item, resource) for item in items))
            if text := ", ".join(dict.fromkeys(words)):
                yield before + (self._free(text) if key == "conclusion" else text)
        if end:
            yield f"until {end}"
        for dosage in (*resource.get("dosageInstruction", ()), *_listed(resource.get("dosage"))):
            if text := self._free(_dosage(dosage)):
                yield text
        for reaction in resource.get("reaction", ()):
            shown = ", ".join(filter(None, map(word, reaction.get("manifestation", ()))))
            if shown:
                yield f"reaction {shown}" + (f", {reaction['severity']}" if reaction.get("severity") else "")
        for series in resource.get("series", ()):
            yield f"{word(series.get('modality'))} {word(series.get('bodySite'))}".strip()
        activities = [word(item.get("detail", {}).get("code")) for item in resource.get("activity", ())]
        if any(activities):
            yield "activities " + ", ".join(filter(None, activities))
        for item in resource.get("condition", ()) if resource["resourceType"] == "FamilyMemberHistory" else ():
            yield word(item.get("code"))
        for note in resource.get("note", ()):
            yield "note: " + self._free(note["text"])

    def _word_of(self, item: Any, holder: Resource) -> str:
        if isinstance(item, Mapping) and ("reference" in item or set(item) <= {"display", "type"}):
            target = self._target(item, holder)
            return self._name(target, follow=False)[0] if target else plain(item.get("display", ""))
        return word(item)

    def _free(self, text: str) -> str:
        text = plain(text)
        return self._private.sub("[removed]", text) if self._private else text


def plain(text: str) -> str:
    return " ".join(text.replace("\u200b", "").split())


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value] if value else []


def word(value: Any, *, code: bool = False) -> str:
    """A code, or a CodeableConcept's or Coding's text: what it displays, else its code (or first, with `code`)."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, Mapping):
        return plain(value) if isinstance(value, str) else ""
    codings = [*value.get("coding", ()), value]
    if code and (found := next((coding["code"] for coding in codings if coding.get("code")), None)):
        return str(found)
    shown = value.get("text") or next((coding["display"] for coding in codings if coding.get("display")), None)
    return plain(shown or next((coding["code"] for coding in codings if coding.get("code")), ""))


def _codes(concept: Resource) -> str:
    found = [
        f"{_SYSTEMS.get(coding['system'], re.split('[/:]', coding['system'].rstrip('/'))[-1])} {coding['code']}"
        for coding in concept.get("coding", ())
        if coding.get("system") and coding.get("code")
    ]
    return ", ".join(dict.fromkeys(found))


def _dates(resource: Resource) -> tuple[str, str]:
    """The days on which it began and ended, as far as it says."""
    begin = end = ""
    for key in _DATES:
        for value in (resource.get(f"{key}DateTime"), resource.get(f"{key}Period"), resource.get(key)):
            if isinstance(value, Mapping):
                begin, end = begin or str(value.get("start", ""))[:10], end or str(value.get("end", ""))[:10]
            elif isinstance(value, str):
                begin = begin or value[:10]
    over = resource.get("abatementDateTime") or (resource.get("abatementPeriod") or {}).get("end") or ""
    end = str(over)[:10] or end
    return begin, "" if end == begin else end


def _amount(value: Any) -> str:
    """A quantity, range, ratio, concept or plain value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else str(value)
    if not isinstance(value, Mapping):
        return plain(str(value))
    if "low" in value or "high" in value:
        low, high = _amount(value.get("low", {})), _amount(value.get("high", {}))
        return f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}"
    if "numerator" in value:
        return f"{_amount(value['numerator'])} / {_amount(value.get('denominator', {}))}"
    if "value" in value:
        unit = value.get("unit") or value.get("code") or ""
        return f"{value.get('comparator', '')}{_amount(value['value'])} {unit}".strip()
    if "start" in value or "end" in value:
        return f"{value.get('start', '')} to {value.get('end', '')}"
    return word(value)


_UNITS = {"s": "second", "min": "minute", "h": "hour", "d": "day", "wk": "week", "mo": "month", "a": "year"}


def _dosage(dosage: Resource) -> str:
    """A dosage instruction's own text, or its dose, timing, route and conditions."""
    if dosage.get("text"):
        return str(dosage["text"])
    doses = [_amount(rate.get("doseQuantity") or rate.get("doseRange") or {}) for rate in dosage.get("doseAndRate", ())]
    doses += [_amount(dosage[key]) for key in ("dose", "rateQuantity") if key in dosage]
    parts = [f"dose {dose}" for dose in doses if dose]
    repeat = dosage.get("timing", {}).get("repeat", {})
    if "frequency" in repeat and "period" in repeat:
        unit, period = _UNITS.get(repeat.get("periodUnit", ""), ""), _amount(repeat["period"])
        parts.append(f"{repeat['frequency']} times every {period} {unit}{'' if period == '1' else 's'}")
    parts.append(word(dosage.get("timing", {}).get("code")))
    parts.append(word(dosage.get("route")))
    parts += ["as needed"] if dosage.get("asNeededBoolean") else []
    needed = word(dosage.get("asNeededCodeableConcept"))
    parts += [f"as needed for {needed}"] if needed else []
    parts += map(word, dosage.get("additionalInstruction", ()))
    return ", ".join(filter(None, parts))

"""One patient's FHIR R4 resources as a readable document: a section for each type, a line for each resource.

Resources were validated before. Billing, scheduling and attachments are left out, and so is, unless wanted, what names
the patient; free text loses the patient's names, addresses, numbers and identifiers where it repeats them literally.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cdsframe.corpus.records import Block, assemble
from cdsframe.corpus.resources import Resource, Teller, plain, word
from cdsframe.types import Document

SECTIONS = {
    "AllergyIntolerance": "Allergies",
    "Condition": "Conditions",
    "MedicationStatement": "Medications",
    "MedicationRequest": "Medications",
    "MedicationAdministration": "Medications",
    "MedicationDispense": "Medications",
    "Observation": "Observations",
    "DiagnosticReport": "Diagnostic reports",
    "ImagingStudy": "Imaging",
    "Procedure": "Procedures",
    "Immunization": "Immunizations",
    "Encounter": "Encounters",
    "CarePlan": "Care plans",
    "Goal": "Goals",
    "ServiceRequest": "Orders",
    "FamilyMemberHistory": "Family history",
    "ClinicalImpression": "Impressions",
    "RiskAssessment": "Risks",
    "DeviceUseStatement": "Devices",
    "DocumentReference": "Documents",
}
"""The types that are read, with their sections, in the order of the record."""


def document_of(
    id_: str,
    patient: Resource | None,
    resources: Sequence[Resource],
    known: Mapping[str, Resource],
    *,
    source: str,
    demographics: bool,
) -> Document:
    """The record of one patient; lines are ordered by date, then by code. `metadata["date"]` is the latest event's.

    Args:
        id_: the Patient's id.
        patient: None where the bundle does not hold it.
        resources: of the types in SECTIONS.
        known: the bundle's resources by the references that name them.
        source: the file's name.
        demographics: also tell who it is.
    """
    person = patient or {}
    teller = Teller(known, () if demographics else tuple(_private(person)))
    groups: dict[str, list[tuple[str, str, str]]] = {heading: [] for heading in SECTIONS.values()}
    for resource in resources:
        if (
            word(resource.get("status")) != "entered-in-error"
            and word(resource.get("verificationStatus"), code=True) != "entered-in-error"
        ):
            groups[SECTIONS[resource["resourceType"]]].append(teller.line(resource))
    blocks = [Block("Patient", 1), Block("\n".join(_about(person, demographics)))] if person else []
    for heading, lines in groups.items():
        if lines:
            blocks += [Block(heading, 1), Block("\n".join(line for _, _, line in sorted(lines)))]
    text, sections = assemble(blocks)
    dates = [date for lines in groups.values() for date, _, _ in lines if date]
    metadata = {"kind": "patient record", "patient": id_, "source": source} | ({"date": max(dates)} if dates else {})
    return Document(id_, _title(person, demographics), text, sections, metadata)


def _full_name(person: Resource) -> str:
    name: Resource = next(iter(person.get("name", ())), {})
    return plain(name.get("text") or " ".join([*name.get("given", ()), name.get("family", "")]))


def _title(person: Resource, demographics: bool) -> str:
    known = [person.get("gender", ""), f"born {person['birthDate'][:4]}" if person.get("birthDate") else ""]
    name = _full_name(person) if demographics else ""
    return "Patient record" + (f" of {name}" if name else "") + (f" ({', '.join(filter(None, known))})" * any(known))


def _about(person: Resource, demographics: bool) -> Iterator[str]:
    """Gender, year of birth and death; with `demographics` also who it is."""
    if demographics:
        yield f"Name: {_full_name(person)}"
        yield f"Born: {person.get('birthDate', 'unknown')}"
        for address in person.get("address", ()):
            parts = [*address.get("line", ()), address.get("postalCode"), address.get("city"), address.get("country")]
            yield "Address: " + plain(address.get("text") or ", ".join(filter(None, parts)))
        yield from (f"{item.get('system', 'contact')}: {item.get('value', '')}" for item in person.get("telecom", ()))
        for item in person.get("identifier", ()):
            yield f"Identifier: {item.get('value', '')} ({word(item.get('type')) or item.get('system', '')})"
    elif person.get("birthDate"):
        yield f"Born in {person['birthDate'][:4]}"
    yield f"Gender: {person.get('gender', 'unknown')}"
    if dead := person.get("deceasedDateTime") or person.get("deceasedBoolean"):
        yield "Deceased" + (f" {dead[:10]}" if isinstance(dead, str) else "")


def _private(person: Resource) -> Iterable[str]:
    """What names the patient: names, lines of addresses, numbers, identifiers; single letters are too common."""
    for name in person.get("name", ()):
        yield from (part for part in (name.get("family"), name.get("text"), *name.get("given", ())) if _telling(part))
    for address in person.get("address", ()):
        yield from (part for part in (address.get("text"), *address.get("line", ())) if _telling(part))
    for item in (*person.get("telecom", ()), *person.get("identifier", ())):
        if _telling(item.get("value")):
            yield item["value"]


def _telling(value: str | None) -> bool:
    return isinstance(value, str) and len(value) > 1

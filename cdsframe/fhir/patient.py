"""Builds one patient's document from FHIR R4 resources: a section for each type, a line for each resource.

Expects valid resources of the types in SECTIONS; other types (billing, scheduling) have no section. Omits names,
addresses, telephone numbers and identifiers of the patient unless `demographics` is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdsframe.fhir.datatypes import plain
from cdsframe.fhir.references import Entry, Resource
from cdsframe.fhir.resources import Renderer
from cdsframe.text.blocks import Block, assemble
from cdsframe.types import Document

SECTIONS = {
    "Flag": "Alerts",
    "Consent": "Consents and directives",
    "AllergyIntolerance": "Allergies",
    "AdverseEvent": "Adverse events",
    "DetectedIssue": "Detected issues",
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
    "Device": "Devices",
    "DeviceRequest": "Devices",
    "ImmunizationEvaluation": "Immunizations",
    "ImmunizationRecommendation": "Immunizations",
    "NutritionOrder": "Nutrition",
    "VisionPrescription": "Vision",
    "Specimen": "Specimens",
    "BodyStructure": "Body structures",
    "EpisodeOfCare": "Episodes of care",
    "QuestionnaireResponse": "Questionnaires",
    "Communication": "Communications",
    "CommunicationRequest": "Communications",
    "Media": "Media",
    "Composition": "Documents",
    "DocumentReference": "Documents",
}
"""Resource type -> heading of its section, in the order of the document."""


def document_of(
    id_: str,
    patient: Resource | None,
    entries: Sequence[Entry],
    renderer: Renderer,
    *,
    source: str,
    demographics: bool,
) -> Document:
    """Returns one patient's document. Lines are sorted by date, then by code. `metadata["date"]` is the latest date.

    Args:
        id_: the document's id.
        patient: the Patient; None if the bundle has no valid one.
        entries: resources of the types in SECTIONS, without those entered in error.
        renderer: renders each resource as a line.
        source: the file's name.
        demographics: whether to write names, birth date, addresses, telephone numbers and identifiers of the patient.
    """
    person = patient or {}
    groups: dict[str, list[tuple[str, str, str]]] = {heading: [] for heading in SECTIONS.values()}
    for entry in entries:
        groups[SECTIONS[entry.type]].append(renderer.line(entry))
    blocks = [Block("Patient", 1), Block("\n".join(_about(person, demographics)))] if person else []
    for heading, lines in groups.items():
        if lines:
            blocks += [Block(heading, 1), Block("\n".join(line for _, _, line in sorted(lines)))]
    text, sections = assemble(blocks)
    dates = [date[:10] for lines in groups.values() for date, _, _ in lines if date]
    metadata = {"kind": "patient record", "patient": id_, "source": source} | ({"date": max(dates)} if dates else {})
    return Document(id_, _title(person, demographics), text, sections, metadata)


def _full_name(name: Resource) -> str:
    return plain(name.get("text") or " ".join([*name.get("given", ()), name.get("family", "")]))


def _title(person: Resource, demographics: bool) -> str:
    known = [person.get("gender", ""), f"born {person['birthDate'][:4]}" if person.get("birthDate") else ""]
    name = _full_name(next(iter(person.get("name", ())), {})) if demographics else ""
    return "Patient record" + (f" of {name}" if name else "") + (f" ({', '.join(filter(None, known))})" * any(known))


def _about(person: Resource, demographics: bool) -> Iterator[str]:
    """Yields the lines about the patient: gender, year of birth, death; with `demographics` also name and address."""
    if demographics:
        yield from (f"Name: {_full_name(name)}" for name in person.get("name", ()))
        yield f"Born: {person.get('birthDate', 'unknown')}"
        for address in person.get("address", ()):
            parts = [*address.get("line", ()), address.get("postalCode"), address.get("city"), address.get("country")]
            yield "Address: " + plain(address.get("text") or ", ".join(filter(None, parts)))
        yield from (f"{item.get('system', 'contact')}: {item.get('value', '')}" for item in person.get("telecom", ()))
        for item in person.get("identifier", ()):
            yield f"Identifier: {item.get('value', '')} ({word(item.get('type')) or item.get('system', '')})"
        for contact in person.get("contact", ()):
            reached = (item.get("value", "") for item in contact.get("telecom", ()))
            yield "Contact: " + ", ".join(filter(None, (_full_name(contact.get("name", {})), *reached)))
    elif person.get("birthDate"):
        yield f"Born in {person['birthDate'][:4]}"
    yield f"Gender: {person.get('gender', 'unknown')}"
    if person.get("active") is False:
        yield "This record is not in use"
    yield from (f"Linked to another record ({link.get('type', 'seealso')})" for link in person.get("link", ()))
    if marital := word(person.get("maritalStatus")):
        yield f"Marital status: {marital}"
    for birth in ("multipleBirthInteger", "multipleBirthBoolean"):
        if person.get(birth):
            yield "Multiple birth" + (f", number {person[birth]}" if birth.endswith("Integer") else "")
    languages = (word(item.get("language")) for item in person.get("communication", ()))
    if spoken := ", ".join(filter(None, languages)):
        yield f"Language: {spoken}"
    if dead := person.get("deceasedDateTime") or person.get("deceasedBoolean"):
        yield "Deceased" + (f" {dead[:10]}" if isinstance(dead, str) else "")


def word(value: Any) -> str:
    """Returns a concept's text, else its first display, else its first code."""
    if not isinstance(value, Mapping):
        return ""
    codings = value.get("coding", ())
    shown = (coding.get(key) for key in ("display", "code") for coding in codings)
    return plain(value.get("text") or next(filter(None, shown), ""))

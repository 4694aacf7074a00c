"""Assigns the resources of one FHIR R4 bundle to its patients, and reports what is omitted.

A resource whose patient is not known for certain is reported and not read. Validates nothing and writes no lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from cdsframe.fhir.patient import SECTIONS, document_of
from cdsframe.fhir.references import Entry, References, Resource, entered_in_error, literal
from cdsframe.fhir.resources import Teller
from cdsframe.fhir.scrubbing import Scrubber
from cdsframe.fhir.subjects import Subjects
from cdsframe.fhir.values import OF_OTHERS, OUTSIDE
from cdsframe.types import Document, Omission

_NAMED = ("Patient", "Medication")
"""Types without separate lines: a Patient heads a document, a Medication is named where others refer to it."""
_NOT_OF_PATIENTS = "resources about a group, a device or a place"
_FEW = 10
"""Patients in a bundle up to which each one's names go out of the texts of all: a mother and her child."""
_WITHHELD = "free texts of patients who are not in the bundle (their names are not known)"


@dataclass
class _Group:
    """One patient's resources."""

    patient: Entry | None
    entries: list[Entry] = field(default_factory=list)
    relatives: list[Entry] = field(default_factory=list)


class Bundle:
    """The entries of a bundle.

    Args:
        place: where the bundle is, for reports.
        source: the file's name.
        entries: the resources, those that are not valid too.
        demographics: also read what names the patients.
    """

    def __init__(self, place: str, source: str, entries: list[Entry], demographics: bool) -> None:
        self._place, self._source, self._demographics = place, source, demographics
        self._left_out: Counter[str] = Counter()
        self._entries = list(self._current(entries))
        self._references = References(self._entries)
        self._subjects = Subjects(place, self._entries, self._references)
        self._groups = {id_: _Group(patient) for id_, patient in self._subjects.patients.items()}

    def items(self) -> Iterator[tuple[str, Document | str]]:
        """The patients' documents, behind the resources that belong to no known patient."""
        for entry in self._entries:
            if entry.valid and entry.type not in SECTIONS:
                self._left_out[f"resources of the type {entry.type}"] += entry.type not in _NAMED
            if (entry.type in SECTIONS and entry.valid) or entry.type == "RelatedPerson":
                problem = self._add(entry)
                if problem and entry.type in SECTIONS:
                    yield f"{self._place}, entry {entry.number} ({entry.type})", problem
        documents = [self._document(id_, group) for id_, group in self._groups.items()]
        found = [document for document in documents if document is not None]
        if not found:
            left = ", ".join(f"{count} {reason}" for reason, count in sorted(self._left_out.items()) if count)
            yield self._place, "has no patient" + (f"; left out: {left}" if left else "")
        line = self._place.removeprefix(self._source).lstrip(", ")
        counted = ((reason, count) for reason, count in self._left_out.items() if count)
        omitted = tuple(Omission(reason, count, _is_text(reason), line) for reason, count in counted)
        for n, document in enumerate(found):
            yield self._place, replace(document, omitted=omitted) if n == 0 else document

    def _current(self, entries: list[Entry]) -> Iterator[Entry]:
        """The entries without copies, and without versions that another entry supersedes (a history)."""
        same: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in entries:
            same.setdefault(_identity(entry), []).append(entry)
        for entry in entries:
            others = same[_identity(entry)] if entry.id else [entry]
            if any(other.number < entry.number and other.resource == entry.resource for other in others):
                self._left_out["copies of resources"] += 1
            elif any(_supersedes(other, entry) for other in others):
                self._left_out["superseded versions of resources"] += 1
            else:
                yield entry

    def _add(self, entry: Entry) -> str | None:
        """Puts a resource into its patient's group. Returns why it belongs to none, where that must be reported."""
        resource = entry.resource
        if entry.valid and entered_in_error(resource):
            self._left_out["resources entered in error"] += 1
            return None
        subject = resource.get("subject") or resource.get("patient")
        if not isinstance(subject, Mapping):
            self._left_out[_NOT_OF_PATIENTS] += entry.type == "Device"
            return None if entry.type == "Device" else "names no patient"
        group, problem = self._group_of(subject, entry)
        if group is None:
            self._left_out[_NOT_OF_PATIENTS] += entry.valid and problem is None
            return problem
        if entry.type == "RelatedPerson":
            group.relatives.append(entry)
        else:
            group.entries.append(entry)
            self._add_contained(entry, group)
        return None

    def _group_of(self, subject: Resource, entry: Entry) -> tuple[_Group | None, str | None]:
        """The group of the patient whom a reference names, or why there is none; (None, None): it is no patient."""
        id_, problem = self._subjects.find(subject, entry)
        return (None if id_ is None else self._groups.setdefault(id_, _Group(None))), problem

    def _add_contained(self, entry: Entry, group: _Group) -> None:
        """Gives the contained resources separate lines, where their types have sections."""
        siblings = entry.resource.get("contained") or ()
        for item in siblings:
            type_ = item.get("resourceType")
            if type_ in SECTIONS and not entered_in_error(item):
                inner = Entry(entry.number, entry.url, {**item, "contained": siblings})
                subject = item.get("subject") or item.get("patient")
                found = self._group_of(subject, inner)[0] if isinstance(subject, Mapping) else group
                if found is not None:
                    found.entries.append(inner)
                    continue
            self._left_out[f"contained resources of the type {type_}"] += type_ not in _NAMED

    def _document(self, id_: str, group: _Group) -> Document | None:
        patient = group.patient
        valid = patient.resource if patient is not None and patient.valid else None
        if valid is None and not group.entries:
            return None
        born = patient.resource.get("birthDate") if patient is not None else None
        birth_date = born if isinstance(born, str) else ""
        scrubber = Scrubber(self._persons(group), birth_date, keep=self._demographics)
        is_of_another = partial(self._subjects.is_of_another, patient=id_)
        teller = Teller(self._references, is_of_another, scrubber, self._left_out)
        document = document_of(id_, valid, group.entries, teller, source=self._source, demographics=self._demographics)
        self._left_out[_WITHHELD] += scrubber.withheld
        self._count_patient(valid)
        return document

    def _persons(self, group: _Group) -> list[Resource] | None:
        """Whose names go out of a patient's free text; None where nobody knows the patient's name."""
        if group.patient is None:
            return None
        patients = [other for other in self._groups.values() if other.patient is not None]
        if len(patients) > _FEW:
            patients = [group]
        known = [entry.resource for item in patients for entry in (item.patient, *item.relatives) if entry is not None]
        subjects = (entry.resource.get("subject") or entry.resource.get("patient") for entry in group.entries)
        shown = {subject.get("display") for subject in subjects if isinstance(subject, Mapping)}
        within = (item for entry in group.entries for item in entry.resource.get("contained") or ())
        known += [item for item in within if item.get("resourceType") in ("Patient", "RelatedPerson")]
        return [*known, {"name": [{"text": text} for text in shown if text]}]

    def _count_patient(self, patient: Resource | None) -> None:
        """Counts what of a Patient is not written."""
        for key in () if self._demographics else ("name", "address", "telecom", "identifier", "contact", "photo"):
            count = len((patient or {}).get(key) or ())
            self._left_out["names, addresses, numbers and identifiers of patients"] += count
        self._left_out["extensions of patients"] += len((patient or {}).get("extension") or ())


def _identity(entry: Entry) -> tuple[str, str, str]:
    found = literal(entry.url)
    return (found.url if found else entry.url), entry.type, entry.id


def _supersedes(other: Entry, entry: Entry) -> bool:
    """Whether one version of a resource was stored after another; False where that is not known."""
    metas = [item.resource.get("meta") for item in (other, entry)]
    versions: list[str] = []
    times: list[float | None] = []
    for meta in metas:
        if not isinstance(meta, Mapping):
            return False
        versions.append(str(meta.get("versionId", "")))
        times.append(_time(meta.get("lastUpdated")))
    if all(version.isdecimal() for version in versions):
        return int(versions[0]) > int(versions[1])
    return times[0] is not None and times[1] is not None and times[0] > times[1]


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None


def _is_text(reason: str) -> bool:
    """Whether words of the record are lost, which `corpus.strict` refuses."""
    return reason in (_WITHHELD, OUTSIDE, OF_OTHERS)

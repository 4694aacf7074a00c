"""Assigns the resources of one FHIR R4 bundle to its patients, and counts what is omitted.

A resource whose patient is uncertain is reported and omitted. Does not validate resources or render them as text.
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
from cdsframe.fhir.resources import Renderer
from cdsframe.fhir.scrubbing import Scrubber
from cdsframe.fhir.subjects import Subjects
from cdsframe.fhir.values import OF_OTHERS, OUTSIDE
from cdsframe.types import Document, Omission

_NAMED = ("Patient", "Medication")
"""Resource types that get no line: a Patient becomes a document, a Medication is named where resources refer to it."""
_NOT_OF_PATIENTS = "resources about a group, a device or a place"
_FEW = 10
"""If a bundle has at most this many patients (mother and child), the names of all are removed from each record."""
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
        place: the file, and the line in it, as reports name them.
        source: the file's name.
        entries: all resources, including invalid ones.
        demographics: whether to write names, birth dates, addresses, telephone numbers and identifiers of the patients.
    """

    def __init__(self, place: str, source: str, entries: list[Entry], demographics: bool) -> None:
        self._place, self._source, self._demographics = place, source, demographics
        self._left_out: Counter[str] = Counter()
        self._entries = list(self._current(entries))
        self._references = References(self._entries)
        self._subjects = Subjects(place, self._entries, self._references)
        self._groups = {id_: _Group(patient) for id_, patient in self._subjects.patients.items()}

    def items(self) -> Iterator[tuple[str, Document | str]]:
        """Yields `(place, problem)` of resources without a known patient, then `(place, document)` of each patient."""
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
            yield self._place, "has no patient" + (f"; omitted: {left}" if left else "")
        line = self._place.removeprefix(self._source).lstrip(", ")
        counted = ((reason, count) for reason, count in self._left_out.items() if count)
        omitted = tuple(Omission(reason, count, _is_text(reason), line) for reason, count in counted)
        for n, document in enumerate(found):
            yield self._place, replace(document, omitted=omitted) if n == 0 else document

    def _current(self, entries: list[Entry]) -> Iterator[Entry]:
        """Yields the entries, except copies and versions that a later version in the bundle supersedes."""
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
        """Adds a resource to its patient's group. Returns the problem to report if the patient is unknown."""
        resource = entry.resource
        if entry.valid and entered_in_error(resource):
            self._left_out["resources entered in error"] += 1
            return None
        subject = resource.get("subject") or resource.get("patient")
        if not isinstance(subject, Mapping):
            self._left_out[_NOT_OF_PATIENTS] += entry.type == "Device"
            return None if entry.type == "Device" else "has no subject and no patient"
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
        """Returns `(group, None)` of the patient to whom `subject` leads, or `(None, problem)`; see `Subjects.find`."""
        id_, problem = self._subjects.find(subject, entry)
        return (None if id_ is None else self._groups.setdefault(id_, _Group(None))), problem

    def _add_contained(self, entry: Entry, group: _Group) -> None:
        """Adds each contained resource whose type has a section as a separate entry. Counts the others as omitted."""
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
        renderer = Renderer(self._references, is_of_another, scrubber, self._left_out)
        document = document_of(
            id_, valid, group.entries, renderer, source=self._source, demographics=self._demographics
        )
        self._left_out[_WITHHELD] += scrubber.withheld
        self._count_patient(valid)
        return document

    def _persons(self, group: _Group) -> list[Resource] | None:
        """Returns the persons whose names are removed from free text; None if the patient's name is unknown."""
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
        """Counts the elements of a Patient that are not written."""
        for key in () if self._demographics else ("name", "address", "telecom", "identifier", "contact", "photo"):
            count = len((patient or {}).get(key) or ())
            self._left_out["names, addresses, telephone numbers and identifiers of patients"] += count
        self._left_out["extensions of patients"] += len((patient or {}).get("extension") or ())


def _identity(entry: Entry) -> tuple[str, str, str]:
    found = literal(entry.url)
    return (found.url if found else entry.url), entry.type, entry.id


def _supersedes(other: Entry, entry: Entry) -> bool:
    """Whether `other` is a later version than `entry`; False if neither their version ids nor their times show it."""
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
    """Whether an omission for this reason loses words of the record, so that `corpus.strict=true` raises InputError."""
    return reason in (_WITHHELD, OUTSIDE, OF_OTHERS)

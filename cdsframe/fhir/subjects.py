"""Finds the patient of each resource in one FHIR R4 bundle. Reads no other elements and never guesses a patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdsframe.fhir.references import Entry, References, Resource, contradicts, kind_of, literal

_ELEMENTS = ("subject", "patient", "beneficiary", "for", "individual", "deliverFor", "candidate")
"""Elements of FHIR R4 resources that may refer to the patient."""


class Subjects:
    """Resolves references to the patients of one bundle.

    Args:
        place: the file, and the line in it. Forms the id of a Patient that has neither id nor `fullUrl`.
        entries: the entries of the bundle.
        references: finds these entries by reference.
    """

    def __init__(self, place: str, entries: list[Entry], references: References) -> None:
        self._place, self._references = place, references
        self.patients: dict[str, Entry] = {}
        """Document id -> the Patient's entry."""
        self._ids: dict[int, str] = {}
        for entry in entries:
            if entry.type == "Patient":
                self._ids[entry.number] = id_ = self._id_of(entry)
                self.patients[id_] = entry

    def _id_of(self, entry: Entry) -> str:
        """Returns a unique document id: the Patient's id, else the id in `fullUrl`, else the entry's place."""
        found = literal(entry.url)
        if entry.id and entry.id not in self.patients:
            return entry.id
        if entry.url.startswith(("urn:uuid:", "urn:oid:")) and not entry.id:
            id_ = entry.url.split(":", 2)[2]
        else:
            id_ = (entry.url if entry.id else found.id) if found else ""
        return id_ if id_ and id_ not in self.patients else f"{self._place}, entry {entry.number}"

    def find(self, subject: Resource, entry: Entry) -> tuple[str | None, str | None]:
        """Returns `(document id, None)` of the patient to whom a reference leads, or `(None, problem)`.

        Returns `(None, None)` if the reference leads to another type, such as a group or a device.

        Args:
            subject: a Reference.
            entry: the entry that contains it.
        """
        how = f"named {kind_of(subject)}"
        reference = str(subject.get("reference") or "")
        names, identifiers = [subject], [subject.get("identifier")]
        if reference.startswith("#"):
            inside = contained(entry.resource, reference)
            if inside is not None and inside.get("resourceType") != "Patient":
                return None, None
            within = (inside or {}).get("identifier")
            identifiers += within if isinstance(within, list) else []
            names = [{"identifier": item} for item in identifiers]
        target = next(filter(None, (self._references.target(item, entry) for item in names)), None)
        named = literal(reference)
        kind = target.type if target else named.type if named else str(subject.get("type") or "Patient")
        if kind.rpartition("/")[2] != "Patient":
            return None, None
        if target is None and any(self._references.is_ambiguous(item, entry) for item in names):
            return None, f"several patients of the bundle have the id or identifier that it refers to ({how})"
        if any(self._differs(item, target) for item in identifiers):
            return None, "its reference and its identifiers lead to different patients"
        if target is not None and any(contradicts(item, target) for item in identifiers):
            return None, "its reference leads to a patient who has another identifier in the same system"
        if target is not None:
            return self._ids[target.number], None
        if named is None:
            return None, f"its patient is not in the bundle ({how})"
        return self._elsewhere(named.url if named.base else named.id, entry), None

    def is_of_another(self, resource: Resource, entry: Entry, patient: str) -> bool:
        """Whether a resource is about a patient, and that patient is another one or unknown.

        Args:
            resource: a resource of the bundle, or one contained in it.
            entry: the entry that holds the resource.
            patient: the document id of the patient to compare with.
        """
        inner = Entry(entry.number, entry.url, resource)
        values = (resource.get(key) for key in _ELEMENTS)
        references = (item for value in values for item in (value if isinstance(value, list) else [value]))
        found = [self.find(item, inner) for item in references if isinstance(item, Mapping)]
        about = [id_ for id_, problem in found if id_ or problem]
        return bool(about) and patient not in about

    def _differs(self, identifier: Any, target: Entry | None) -> bool:
        """Whether an identifier belongs to patients of the bundle, but not to `target`."""
        patients = self._references.identified(identifier)
        return bool(patients) and all(target is None or item.resource != target.resource for item in patients)

    def _elsewhere(self, id_: str, entry: Entry) -> str:
        """Returns a document id for a patient without a resource in the bundle, unlike the ids of all its Patients."""
        return f"{entry.base or self._place + ', '}Patient/{id_}" if id_ in self.patients else id_


def contained(resource: Resource, reference: str) -> Resource | None:
    """Returns the contained resource to which `#id` refers; None if it is missing."""
    items = resource.get("contained")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and reference == f"#{item.get('id')}":
            return item
    return None

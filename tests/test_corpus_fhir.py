"""FHIR bundles: a patient's record, what it omits, and what is reported without its values."""

import gzip
import json
import os

import pytest
from corpus_files import sections_of, write_lines

from cdsframe.corpus.fhir import Fhir
from cdsframe.corpus.tree import walk
from cdsframe.types import Document, Unreadable


def concept(system, code, display):
    return {"coding": [{"system": system, "code": code, "display": display}]}


SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Okonkwo", "given": ["Ada"]}],
    "gender": "female",
    "birthDate": "1960-04-30",
    "address": [{"line": ["7 Elm Street"], "city": "Leeds"}],
    "telecom": [{"system": "phone", "value": "0113 555 0199"}],
    "identifier": [{"system": "urn:nhs", "value": "943 476 5919"}],
}
ASTHMA = {
    "resourceType": "Condition",
    "id": "c1",
    "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "Active"),
    "code": concept(SNOMED, "195967001", "Asthma"),
    "subject": {"reference": "urn:uuid:one"},
    "onsetDateTime": "2001-05-06",
    "note": [{"text": "Ada Okonkwo, 7 Elm Street, called 0113 555 0199; Adaptive plan"}],
}
PRESSURE = {
    "resourceType": "Observation",
    "status": "final",
    "code": concept(LOINC, "55284-4", "Blood pressure"),
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2024-02-01T10:00:00Z",
    "component": [
        {"code": {"text": "Systolic"}, "valueQuantity": {"value": 141.5, "unit": "mm[Hg]"}},
        {"code": {"text": "Diastolic"}, "valueQuantity": {"value": 90, "unit": "mm[Hg]"}},
    ],
}
POTASSIUM = {
    "resourceType": "Observation",
    "status": "preliminary",
    "code": concept(LOINC, "2823-3", "Potassium"),
    "subject": {"reference": "urn:uuid:one"},
    "effectiveDateTime": "2023-11-11",
    "valueQuantity": {"value": 3.1, "comparator": "<", "unit": "mmol/L"},
    "referenceRange": [{"low": {"value": 3.5}, "high": {"value": 5}}],
    "interpretation": [{"text": "low"}],
}
INHALER = {
    "resourceType": "MedicationRequest",
    "status": "active",
    "intent": "order",
    "doNotPerform": True,
    "contained": [{"resourceType": "Medication", "id": "m", "code": concept("urn:x:atc", "R03AC02", "Salbutamol")}],
    "medicationReference": {"reference": "#m"},
    "subject": {"reference": "urn:uuid:one"},
    "authoredOn": "2023-01-02",
    "reasonReference": [{"reference": "urn:uuid:asthma"}],
    "dosageInstruction": [
        {
            "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": 100, "unit": "ug"}}],
        }
    ],
}
MISTAKE = {**ASTHMA, "id": "c9", "verificationStatus": concept("x", "entered-in-error", "Entered in Error")}
CLAIM = {"resourceType": "Basic", "code": {"text": "billing"}, "subject": {"reference": "Patient/p1"}}


def bundle(*resources, urls=("urn:uuid:one", "urn:uuid:asthma")):
    entries = [{"resource": resource} for resource in resources]
    for entry, url in zip(entries, urls, strict=False):
        entry["fullUrl"] = url
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


WHOLE = bundle(PATIENT, ASTHMA, PRESSURE, POTASSIUM, INHALER, MISTAKE, CLAIM)


def corpus_of(path, demographics=False, strict=False, max_megabytes=100, workers=0):
    return Fhir(str(path), demographics, strict, max_megabytes, workers, None)


@pytest.fixture
def read(tmp_path):
    def _read(value, **options):
        (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
        return list(corpus_of(tmp_path / "a.json", **options).documents())

    return _read


def test_a_patients_record_has_a_section_a_type_and_a_line_a_resource(read):
    (record,) = read(WHOLE)
    assert (record.id, record.title) == ("p1", "Patient record (female, born 1960)")
    assert record.metadata == {"kind": "patient record", "patient": "p1", "source": "a.json", "date": "2024-02-01"}
    assert sections_of(record) == [
        (("Patient",), "Born in 1960\nGender: female"),
        (
            ("Conditions",),
            "2001-05-06: Asthma (SNOMED 195967001); Active; "
            "note: [removed], [removed], called [removed]; Adaptive plan",
        ),
        (
            ("Medications",),
            "2023-01-02: Salbutamol (atc R03AC02); not to be done; active; for Asthma; dose 100 ug, "
            "2 times every 1 day",
        ),
        (
            ("Observations",),
            "2023-11-11: Potassium (LOINC 2823-3) = <3.1 mmol/L (reference 3.5 to 5); preliminary; low\n"
            "2024-02-01 10:00: Blood pressure (LOINC 55284-4) = Systolic 141.5 mm[Hg], Diastolic 90 mm[Hg]; final",
        ),
    ]


def test_demographics_go_in_only_when_asked_for(read):
    private = ("Okonkwo", "Elm Street", "555 0199", "4765919", "943 476", "04-30")
    (without,) = read(WHOLE)
    assert not any(word in without.text + without.title for word in private)
    (with_them,) = read(WHOLE, demographics=True)
    assert with_them.title == "Patient record of Ada Okonkwo (female, born 1960)"
    for word in ("Okonkwo", "7 Elm Street, Leeds", "phone: 0113 555 0199", "943 476 5919", "1960-04-30"):
        assert word in with_them.text


def test_the_order_of_the_entries_does_not_matter(read):
    (record,) = read(WHOLE)
    (turned,) = read({**WHOLE, "entry": WHOLE["entry"][::-1]})
    assert turned == record


def test_a_resource_that_is_not_valid_is_named_without_its_values(read):
    wrong = [
        {**POTASSIUM, "valueQuantity": {"value": "Okonkwo"}},
        {**POTASSIUM, "Okonkwo": 1},
        {key: value for key, value in POTASSIUM.items() if key != "status"},
        {**POTASSIUM, "resourceType": "Okonkwo"},
        {"x": "Okonkwo"},
        "Okonkwo",
    ]
    *bad, record = read(bundle(PATIENT, ASTHMA, *wrong, PRESSURE))
    assert [item.source for item in bad] == [
        *(f"a.json, entry {number} (Observation)" for number in (3, 4, 5)),
        "a.json, entry 6",
        "a.json, entry 7",
        "a.json, entry 8",
    ]
    assert [item.reason for item in bad] == [
        "is not valid FHIR R4: valueQuantity.value has no valid value",
        "is not valid FHIR R4: the resource has an unknown field",
        "is not valid FHIR R4: status has no valid value",
        "has a resourceType that FHIR R4 does not define",
        "is not a FHIR resource",
        "is not a FHIR resource",
    ]
    assert [heading for heading, _ in sections_of(record)] == [("Patient",), ("Conditions",), ("Observations",)]


def test_a_patient_who_is_not_valid_or_not_there_has_a_record_of_the_rest(read):
    bad, record = read(bundle({**PATIENT, "gender": 7}, ASTHMA))
    assert bad.reason == "is not valid FHIR R4: gender has no valid value"
    assert (record.id, record.title, record.sections[0].heading) == ("p1", "Patient record", ("Conditions",))
    (elsewhere,) = read(bundle(PRESSURE))
    assert elsewhere.metadata["patient"] == "p1"


def test_a_type_whose_subject_is_a_list_is_left_out(read):
    account = {"resourceType": "Account", "id": "a", "status": "active", "subject": [{"reference": "Patient/p1"}]}
    assert read(bundle(PATIENT, ASTHMA, account)) == read(bundle(PATIENT, ASTHMA))


def test_each_patient_of_a_bundle_has_a_record(read):
    other = {**PATIENT, "id": "p2"}
    theirs = {**PRESSURE, "subject": {"reference": "Patient/p2"}, "effectiveDateTime": "2020-01-01"}
    records = read(bundle(PATIENT, ASTHMA, other, theirs))
    assert [(record.id, record.metadata["date"]) for record in records] == [("p1", "2001-05-06"), ("p2", "2020-01-01")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (PATIENT, "is not a FHIR Bundle"),
        ({"resourceType": "Bundle", "type": "collection"}, "has no patient"),
        ({"resourceType": "Bundle", "entry": [1]}, "has entries that are not a list of objects"),
        ({"bundle": "{oops"}, "is not JSON"),
        ({"bundle": [1]}, "is not a FHIR Bundle"),
        ([], "is not a JSON object"),
    ],
)
def test_what_is_no_bundle_is_named(read, value, reason):
    (item,) = read(value)
    assert isinstance(item, Unreadable)
    assert item.reason.startswith(reason)


def test_a_folder_holds_files_and_lines(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(WHOLE))
    others = [{**PATIENT, "id": f"p{number}"} for number in (2, 3)]
    write_lines(
        tmp_path / "b.jsonl.gz", bundle(others[0]), {"id": "x", "bundle": json.dumps(bundle(others[1]))}, "oops"
    )
    (tmp_path / "c.xml").write_text("<Bundle/>")
    items = list(corpus_of(tmp_path).documents())
    assert [item.id for item in items if isinstance(item, Document)] == ["p1", "p2", "p3"]
    assert [item.source for item in items if isinstance(item, Unreadable)] == ["b.jsonl.gz, line 3", "c.xml"]
    assert [item.metadata["source"] for item in items if isinstance(item, Document)] == ["a.json", *["b.jsonl.gz"] * 2]
    assert list(corpus_of(tmp_path, workers=2).documents()) == items


@pytest.mark.parametrize("swapped", ["file", "folder", "fifo", "gone"])
@pytest.mark.parametrize("name", ["b.ndjson", "b.jsonl.gz", "b.json"])
def test_what_becomes_a_link_after_it_was_listed_is_not_followed(tmp_path, monkeypatch, name, swapped):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder, id_ in ((inside / "sub", "p2"), (outside, "secret")):
        folder.mkdir(parents=True)
        write_lines(folder / name, bundle({**PATIENT, "id": id_}))
    (inside / "a.json").write_text(json.dumps(WHOLE))
    corpus, listed, file = corpus_of(inside), list(walk(inside)), inside / "sub" / name
    assert [document.id for document in corpus.documents()] == ["p1", "p2"]
    file.unlink()
    if swapped == "file":
        file.symlink_to(outside / name)
    elif swapped == "fifo":
        os.mkfifo(file)
    elif swapped == "folder":
        (inside / "sub").rmdir()
        (inside / "sub").symlink_to(outside)
    monkeypatch.setattr("cdsframe.corpus.fhir.walk", lambda root: listed)
    first, second = corpus.documents()
    assert first.id == "p1"
    assert isinstance(second, Unreadable)
    reasons = {"fifo": "is not a regular file", "gone": "vanished before it was read"}
    assert second.reason == reasons.get(swapped, "lies behind a symbolic link, which is not followed")


def test_synthetic_patients_of_real_systems(real_data):
    bundles = real_data / "fhir" / "synthea_r4_bundles.jsonl.gz"
    records = list(corpus_of(bundles).documents())
    assert len(records) == 40
    assert all(isinstance(record, Document) for record in records)
    text = "\n".join(record.text for record in records)
    assert "urn:uuid" not in text
    assert "2019-" in text
    assert "(RxNorm " in text
    assert "(SNOMED " in text
    with gzip.open(bundles) as lines:
        patients = [json.loads(line)["bundle"]["entry"][0]["resource"] for line in lines]
    for record, patient in zip(records, patients, strict=True):
        assert record.id == patient["id"]
        private = [patient["name"][0]["family"], patient["address"][0]["line"][0]]
        private += [item["value"] for item in (*patient["telecom"], *patient["identifier"])]
        assert not any(value in record.text for value in private if value != patient["id"])
    assert sum(text.count(f"\n{heading}\n") for heading in ("Conditions", "Observations")) == 80

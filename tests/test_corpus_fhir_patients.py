"""FHIR references: each resource in the right patient's record, and no name of a patient who is not known."""

import json

import pytest
from corpus_files import sections_of
from test_corpus_fhir import corpus_of

from cdsframe.errors import InputError
from cdsframe.fhir import references
from cdsframe.types import Document, Omission, Unreadable

ADA = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-01-02"}
BEN = {"resourceType": "Patient", "id": "2", "gender": "male", "birthDate": "1999-01-02"}


def allergy(reference, text="Penicillin anaphylaxis", **more):
    named = {"reference": reference} if isinstance(reference, str) else reference
    return {"resourceType": "AllergyIntolerance", "patient": named, "code": {"text": text}, **more}


def bundle(*entries):
    """Resources, or `(fullUrl, resource)`."""
    pairs = [entry if isinstance(entry, tuple) else (None, entry) for entry in entries]
    listed = [{"resource": resource} | ({"fullUrl": url} if url else {}) for url, resource in pairs]
    return {"resourceType": "Bundle", "type": "collection", "entry": listed}


@pytest.fixture
def read(tmp_path):
    def _read(*entries, **options):
        (tmp_path / "b.json").write_text(json.dumps(bundle(*entries)), encoding="utf-8")
        return list(corpus_of(tmp_path / "b.json", **options).documents())

    return _read


def allergies(items):
    """Document id -> its lines of allergies."""
    found = {item.id: dict(sections_of(item)) for item in items if isinstance(item, Document)}
    return {id_: sections[("Allergies",)] for id_, sections in found.items() if ("Allergies",) in sections}


def reasons(items):
    return [(item.source, item.reason) for item in items if isinstance(item, Unreadable)]


A, B = "https://a.example/fhir", "https://b.example/fhir"
MRN = {"identifier": [{"system": "urn:mrn", "value": "778899"}]}


@pytest.mark.parametrize(
    ("ada", "holder", "reference"),
    [
        (None, None, "Patient/p1"),
        (None, None, "Patient/p1/_history/2"),
        (f"{A}/Patient/p1", f"{A}/AllergyIntolerance/x", "Patient/p1"),
        (f"{A}/Patient/p1", None, f"{A}/Patient/p1"),
        (f"{A}/Patient/p1", None, f"{A}/Patient/p1/_history/2"),
        (f"{A}/Patient/p1/_history/7", None, f"{A}/Patient/p1"),
        ("urn:uuid:11111111-0000-4000-8000-000000000001", None, "urn:uuid:11111111-0000-4000-8000-000000000001"),
        ("urn:oid:1.2.36.1", None, "urn:oid:1.2.36.1"),
        ("urn:uuid:11111111-0000-4000-8000-000000000001", None, "Patient/p1"),
        (None, None, {"identifier": {"system": "urn:mrn", "value": "778899"}}),
        (None, None, "Patient?identifier=urn:mrn|778899"),
        (None, None, "Patient?identifier=urn%3Amrn%7C778899"),
        (None, None, {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "778899"}}),
    ],
)
def test_a_reference_leads_to_its_patient(read, ada, holder, reference):
    items = read((ada, {**ADA, **MRN}), BEN, (holder, allergy(reference)))
    assert allergies(items) == {"p1": "Penicillin anaphylaxis"}
    assert reasons(items) == []
    assert len(items) == 2


@pytest.mark.parametrize(
    ("reference", "how"),
    [
        ("urn:uuid:aaaa", "by a urn"),
        ({"identifier": {"system": "urn:mrn", "value": "1"}}, "by an identifier"),
        ({"identifier": {"value": "778899"}}, "by an identifier"),
        ({"display": "Ada"}, "by no reference"),
        ("Patient?identifier=urn:mrn|1", "by a search"),
        ("Patient?identifier=778899", "by a search"),
        ("Patient?name=Ada&identifier=urn:mrn|778899", "by a search"),
        ("#p1", "as a contained resource"),
        ("patient/p1", "by a reference that FHIR's grammar does not allow"),
        ("p1", "by a reference that FHIR's grammar does not allow"),
        ("Patient/p1/extra/2", "by a reference that FHIR's grammar does not allow"),
    ],
)
def test_a_reference_that_leads_nowhere_is_reported_and_not_guessed(read, reference, how):
    items = read({**ADA, **MRN}, BEN, allergy(reference))
    assert allergies(items) == {}
    assert reasons(items) == [
        ("b.json, entry 3 (AllergyIntolerance)", f"its patient is not in the bundle (named {how})")
    ]


def test_ids_of_another_server_are_other_patients(read):
    items = read((f"{A}/Patient/1", {**ADA, "id": "1"}), (f"{B}/AllergyIntolerance/x", allergy("Patient/1")))
    assert allergies(items) == {f"{B}/Patient/1": "[removed]"}
    items = read((f"{A}/Patient/1", {**ADA, "id": "1"}), allergy(f"{B}/Patient/1"))
    assert allergies(items) == {f"{B}/Patient/1": "[removed]"}
    items = read((f"{A}/Patient/1", {**ADA, "id": "1"}), (f"{B}/Patient/1", {**BEN, "id": "1"}), allergy("Patient/1"))
    assert "1" not in allergies(items)
    assert f"{B}/Patient/1" not in allergies(items)


def test_subjects_that_are_no_patients_are_counted(read):
    device = {"resourceType": "Device", "id": "d"}
    status = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    subjects = ["Group/g", "Device/d", "Location/l"]
    items = read(ADA, device, *({**status, "subject": {"reference": subject}} for subject in subjects))
    (record,) = items
    assert {item.reason: item.count for item in record.omitted} == {"resources about a group, a device or a place": 4}
    (_, reason), *_ = reasons(read(ADA, status))
    assert reason == "has no subject and no patient"


def note(text, subject="urn:uuid:aaaa-1"):
    return {
        "resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "Nurse note"},
        "subject": {"reference": subject}, "valueString": text,
    }  # fmt: skip


OSBERT = {
    "resourceType": "Patient",
    "gender": "male",
    "birthDate": "1950-05-05",
    "name": [{"family": "Quillfeather", "given": ["Osbert"]}],
    "telecom": [{"system": "phone", "value": "555-0199"}],
    "contact": [{"name": {"family": "Marchbanks"}}],
}
NOTE = "Mr Osbert QUILLFEATHER was reached at 555 0199, Ms Marchbanks too."


def test_a_patient_without_an_id_is_known_by_the_full_url(read):
    (record,) = read(("urn:uuid:aaaa-1", OSBERT), ("urn:uuid:b", note(NOTE)))
    assert record.id == record.metadata["patient"] == "aaaa-1"
    assert dict(sections_of(record)) == {
        ("Patient",): "Born in 1950\nGender: male",
        ("Observations",): "Nurse note = Mr [removed] was reached at [removed], Ms [removed] too.; final",
    }


@pytest.mark.parametrize(
    ("url", "id_"),
    [
        ("resource:0", "b.json, entry 1"),
        (None, "b.json, entry 1"),
        (f"{A}/Patient/77", "77"),
        ("urn:oid:1.2.3", "1.2.3"),
    ],
)
def test_an_id_that_is_only_local_is_the_place(read, url, id_):
    (record,) = read((url, OSBERT), *([(None, note(NOTE, url))] if url else []))
    assert record.id == id_
    assert "Quillfeather" not in record.text
    assert "Osbert" not in record.text


@pytest.mark.parametrize(
    "patient",
    [
        {**OSBERT, "gender": 7},
        {**OSBERT, "id": "p9", "name": [{"family": "Quillfeather", "given": ["Osbert"], "unknown": 1}]},
        {**OSBERT, "modifierExtension": [{"url": "urn:x", "valueBoolean": True}]},
    ],
)
def test_the_names_of_a_patient_who_is_not_valid_are_removed_too(read, patient):
    bad, record = read(("urn:uuid:aaaa-1", patient), note(NOTE))
    assert isinstance(bad, Unreadable)
    assert "Mr [removed] was reached at [removed]" in record.text


def test_free_text_of_an_unknown_patient_stays_out_and_is_counted(read):
    prescription = {
        "resourceType": "MedicationRequest", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p9"}, "note": [{"text": NOTE}],
        "medicationCodeableConcept": {"coding": [{"system": "urn:x", "code": "1", "display": "Zelnorin"}]},
        "text": {"status": "additional", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{NOTE}</div>'},
    }  # fmt: skip
    (record,) = read(note(NOTE, "Patient/p9"), prescription)
    assert record.id == "p9"
    assert not any(word in record.text for word in ("Osbert", "QUILLFEATHER", "555"))
    assert "Zelnorin (x 1); active" in record.text
    (lost,) = [item for item in record.omitted if item.text]
    assert (lost.count, lost.reason.startswith("free texts of patients who are not in the bundle")) == (4, True)
    (whole,) = read(note(NOTE, "Patient/p9"), demographics=True)
    assert NOTE in whole.text
    with pytest.raises(InputError, match="loses text"):
        read(note(NOTE, "Patient/p9"), strict=True)


def test_a_mothers_name_is_removed_from_her_childs_record(read):
    child = {"resourceType": "Patient", "id": "c", "name": [{"given": ["Tom"]}]}
    mother = {
        "resourceType": "RelatedPerson",
        "patient": {"reference": "Patient/c"},
        "name": [{"family": "Marchbanks"}],
    }
    (record, _) = read(child, {**OSBERT, "id": "o"}, mother, note("Tom of Mrs Marchbanks and Osbert.", "Patient/c"))
    assert "Nurse note = [removed] of Mrs [removed] and [removed]." in record.text


def test_names_in_parts_and_in_capitals_are_removed(read):
    person = {**ADA, "name": [{"family": "OKONKWO-PRYCE", "given": ["Ada Maria"]}]}
    (record,) = read(person, note("Okonkwo, Ms Pryce; Maria and OKONKWO-PRYCE came; a marian shrine.", "Patient/p1"))
    assert "= [removed], Ms [removed]; [removed] and [removed] came; a marian shrine.; final" in record.text


def test_a_reason_that_was_entered_in_error_says_so(read):
    asthma = {
        "resourceType": "Condition", "id": "k", "subject": {"reference": "Patient/p1"}, "code": {"text": "Asthma"},
        "verificationStatus": {"coding": [{"code": "entered-in-error"}]},
    }  # fmt: skip
    visit = {
        "resourceType": "Procedure", "status": "completed", "subject": {"reference": "Patient/p1"},
        "code": {"text": "Spirometry"}, "reasonReference": [{"reference": "Condition/k"}],
    }  # fmt: skip
    (record,) = read(ADA, asthma, visit)
    assert "Spirometry; completed; for Asthma (entered in error)" in record.text


def test_a_short_number_is_no_identifier(read):
    (record,) = read({**ADA, "identifier": [{"value": "100"}]}, note("Give 100 mg.", "Patient/p1"))
    assert "Give 100 mg." in record.text


def test_copies_and_superseded_versions_are_counted_and_left_out(read):
    def version(number, text):
        return allergy("Patient/p1", text, id="x", meta={"versionId": str(number)})

    items = read(ADA, ADA, version(2, "Latex"), version(1, "Nuts"), version(2, "Latex"))
    assert allergies(items) == {"p1": "Latex"}
    omitted = {item.reason: item.count for item in items[0].omitted}
    assert omitted["copies of resources"] == 2
    assert omitted["superseded versions of resources"] == 1
    different = read(ADA, {**ADA, "gender": "male"}, allergy("Patient/p1"))
    assert "p1" not in allergies(different)


def test_a_resource_that_a_history_deletes_later_is_left_out(tmp_path):
    deletion = {"request": {"method": "DELETE", "url": "AllergyIntolerance/x"}}
    history = bundle(ADA, allergy("Patient/p1", "Nuts", id="x"), allergy("Patient/p1", "Latex", id="y"))
    history = {**history, "type": "history", "entry": [deletion, *history["entry"]]}
    (tmp_path / "b.json").write_text(json.dumps(history))
    assert allergies(corpus_of(tmp_path / "b.json").documents()) == {"p1": "Latex"}


def test_nulls_and_values_of_other_types_are_no_crash(read):
    broken = note("x", "Patient/p1") | {"meta": {"profile": [1]}}
    nulls = allergy("Patient/p1", reaction=[{"manifestation": [{"coding": None, "text": "rash"}], "note": None}])
    bad, record = read({**ADA, "contact": None}, nulls, broken)
    assert bad.reason.startswith("is not valid FHIR R4: ")
    assert "Penicillin anaphylaxis; reaction rash" in record.text


def test_a_record_that_is_nested_too_deeply_is_named(read):
    item = {"linkId": "1"}
    for _ in range(300):
        item = {"linkId": "1", "item": [item]}
    form = {"resourceType": "QuestionnaireResponse", "status": "completed", "subject": {"reference": "Patient/p1"}}
    (*_, last) = read(ADA, {**form, "item": [item]})
    assert isinstance(last, Document) or "nested too deeply" in last.reason


MRN_2 = {"identifier": [{"system": "urn:mrn", "value": "112233"}]}
TO_BEN = MRN_2["identifier"][0]


@pytest.mark.parametrize(
    ("subject", "contained"),
    [
        ({"reference": "Patient/p1", "identifier": TO_BEN}, []),
        ({"reference": "Patient/elsewhere", "identifier": TO_BEN}, []),
        ({"reference": "#c", "identifier": TO_BEN}, [{"resourceType": "Patient", "id": "c", **MRN}]),
        ({"reference": "#c"}, [{"resourceType": "Patient", "id": "c",
                                "identifier": [MRN["identifier"][0], TO_BEN]}]),
    ],
)  # fmt: skip
def test_a_reference_and_an_identifier_of_two_patients_are_refused(read, subject, contained):
    items = read({**ADA, **MRN}, {**BEN, **MRN_2}, allergy(subject, contained=contained))
    assert allergies(items) == {}
    assert reasons(items) == [
        ("b.json, entry 3 (AllergyIntolerance)", "its reference and its identifiers lead to different patients")
    ]


@pytest.mark.parametrize("contained", [False, True])
def test_an_identifier_of_the_patients_system_with_another_value_is_a_contradiction(read, contained):
    identifier = {"system": "urn:mrn", "value": "778898"}
    inner = {"resourceType": "Patient", "id": "c", "identifier": [MRN["identifier"][0], identifier]}
    subject = {"reference": "#c"} if contained else {"reference": "Patient/p1", "identifier": identifier}
    items = read({**ADA, **MRN}, allergy(subject, contained=[inner] * contained))
    assert allergies(items) == {}
    assert reasons(items) == [
        (
            "b.json, entry 2 (AllergyIntolerance)",
            "its reference leads to a patient who has another identifier in the same system",
        )
    ]


@pytest.mark.parametrize("identifier", [MRN["identifier"][0], {"system": "urn:other", "value": "1"}, {"value": "2"}])
def test_an_identifier_that_fits_or_is_unknown_is_no_contradiction(read, identifier):
    items = read({**ADA, **MRN}, {**BEN, **MRN_2}, allergy({"reference": "Patient/p1", "identifier": identifier}))
    assert allergies(items) == {"p1": "Penicillin anaphylaxis"}
    assert reasons(items) == []


@pytest.mark.parametrize(
    ("subject", "how"),
    [
        ("Patient/p1", "by a reference"),
        ({"identifier": MRN["identifier"][0]}, "by an identifier"),
        ("Patient?identifier=urn:mrn|778899", "by a search"),
        ("#c", "as a contained resource"),
    ],
)
def test_two_patients_with_one_id_are_named_as_the_reason(read, subject, how):
    other = {**ADA, "gender": "male", "name": [{"family": "Other"}]}
    contained = [{"resourceType": "Patient", "id": "c", **MRN}] if subject == "#c" else []
    items = read({**ADA, **MRN}, {**other, **MRN}, allergy(subject, contained=contained))
    assert allergies(items) == {}
    assert reasons(items) == [
        (
            "b.json, entry 3 (AllergyIntolerance)",
            f"several patients of the bundle have the id or identifier that it refers to (named {how})",
        )
    ]


def test_cities_and_postal_codes_are_removed_from_free_text(read):
    address = {"city": "Ravensburgh", "district": "Oakshire", "postalCode": "LS1 4AB", "state": "OR"}
    person = {**ADA, "address": [address, {"postalCode": "02139-1234"}]}
    text = "Lives in Ravensburgh, RAVENSBURGH, Oakshire, LS1 4AB, LS14AB, 02139-1234, 02139. 5 mg OR none."
    (record,) = read(person, note(text, "Patient/p1"))
    assert f"= Lives in {', '.join(['[removed]'] * 7)}. 5 mg OR none.; final" in record.text


def test_whole_names_and_numbers_are_removed_from_what_codes_display(read):
    person = {**ADA, "name": [{"family": "Parkinson", "given": ["Ada"]}], **MRN}

    def condition(display, **more):
        code = {"coding": [{"system": "urn:x", "code": "1", "display": display}], **more}
        return {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "code": code}

    (record,) = read(
        person,
        condition("Asthma of Ada Parkinson"),
        condition("Gout of PARKINSON, ADA, 778899"),
        condition("Parkinson's disease"),
        condition("Rash of Ada Parkinson", text="Rash of Ada Parkinson"),
    )
    assert "Parkinson's disease" in record.text
    assert "Asthma of [removed]" in record.text
    assert "Gout of [removed], [removed]" in record.text
    assert "Rash of [removed]" in record.text
    assert "Ada" not in record.text


def test_patients_are_found_by_identifier_without_reading_them_again(monkeypatch):
    identifiers = [{"system": "urn:mrn", "value": str(number)} for number in range(50)]
    patients = [{"resourceType": "Patient", "identifier": [one, one, {"value": "7"}, "odd"]} for one in identifiers]
    twins = [{"resourceType": "Patient", "id": id_, "identifier": [{"system": "s", "value": "both"}]} for id_ in "ab"]
    odd = {"resourceType": "Patient", "identifier": [{"system": ["s"], "value": {"a": 1}}]}
    entries = [references.Entry(number, "", resource) for number, resource in enumerate([*patients, *twins, odd])]
    known = references.References(entries)
    monkeypatch.setattr(references, "_identifiers", lambda resource: pytest.fail("a patient was read again"))
    assert [known.identified(one) for one in identifiers] == [[entry] for entry in entries[:50]]
    assert known.target({"reference": "Patient?identifier=urn:mrn|7"}, None) is entries[7]
    assert known.identified({"system": "s", "value": "both"}) == entries[50:52]
    for unknown in (
        {"value": "7"},
        {"system": ["s"], "value": {"a": 1}},
        "odd",
        None,
    ):
        assert known.identified(unknown) == []


HIV = {
    "resourceType": "Condition",
    "id": "c2",
    "subject": {"reference": "Patient/2"},
    "code": {"text": "HIV infection"},
}
LOAD = {
    "resourceType": "Observation", "id": "o2", "status": "final", "subject": {"reference": "Patient/2"},
    "code": {"text": "HIV viral load"}, "valueInteger": 9000,
}  # fmt: skip
PUMP = {"resourceType": "Device", "id": "d2", "patient": {"reference": "Patient/2"}, "type": {"text": "HIV pump"}}
TO_ADA = {"reference": "Patient/p1"}
DRUG = {
    "resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": TO_ADA,
    "medicationCodeableConcept": {"text": "Dolutegravir"},
}  # fmt: skip
OF_OTHERS = "references to resources of another or an unknown patient (their names are not written)"


def visit(**more):
    code = {"text": "Visit"}
    return {"resourceType": "Procedure", "id": "v", "status": "completed", "subject": TO_ADA, "code": code, **more}


@pytest.mark.parametrize(
    ("resource", "line", "count"),
    [
        ({**DRUG, "reasonReference": [{"reference": "Condition/c2"}]}, "Dolutegravir; active", 1),
        ({**DRUG, "reasonReference": [{"reference": "Condition/c2", "display": "HIV infection"}]},
         "Dolutegravir; active", 1),
        ({**DRUG, "reasonReference": [{"reference": "urn:uuid:c2", "_display": {"extension": [
            {"url": "urn:x/note", "valueString": "copied"}]}, "display": "HIV"}]},
         "Dolutegravir; active; for [display note copied]", 1),
        ({**DRUG, "reasonReference": [{"reference": "#k"}], "contained": [
            {**HIV, "id": "k", "subject": {"reference": "#b"}}, {"resourceType": "Patient", "id": "b", **MRN_2}]},
         "Dolutegravir; active", 1),
        ({**DRUG, "extension": [{"url": "urn:x/why", "valueReference": {"reference": "Condition/c2"}}]},
         "Dolutegravir; active; [why]", 1),
        ({"resourceType": "DiagnosticReport", "status": "final", "subject": TO_ADA, "code": {"text": "Lab"},
          "result": [{"reference": "Observation/o2"}, {"reference": "Observation/o3"}]}, "Lab; final", 2),
        ({"resourceType": "DeviceUseStatement", "status": "active", "subject": TO_ADA,
          "device": {"reference": "Device/d2", "display": "HIV pump"}}, "an unnamed device use statement; active", 1),
        (visit(partOf=[{"reference": "Procedure/w"}]), "Visit; completed", 1),
        (visit(focalDevice=[{"manipulated": {"reference": "Device/d2"}}]), "Visit; completed", 1),
        ({"resourceType": "Observation", "status": "final", "subject": TO_ADA, "code": {"text": "rate"},
          "focus": [{"reference": "Device/d2", "display": "HIV pump"}]},
         "rate (about device of another patient); final", 1),
    ],
)  # fmt: skip
def test_a_resource_of_another_patient_is_not_named_and_is_counted(read, resource, line, count):
    unknown = {**LOAD, "id": "o3", "subject": {"identifier": {"system": "urn:x", "value": "1"}}}
    elsewhere = visit(id="w", subject={"reference": "Patient/elsewhere"}, code={"text": "HIV visit"})
    others = ((None, LOAD), (None, PUMP), ("urn:uuid:c2", HIV), (None, unknown), (None, elsewhere))
    items = read(ADA, {**BEN, **MRN_2}, *others, resource)
    records = {item.id: item for item in items if isinstance(item, Document)}
    assert line in records["p1"].text.split("\n")
    assert "HIV" not in records["p1"].text
    assert "HIV viral load = 9000; final" in records["2"].text
    omitted = [(item.count, item.text) for item in records["p1"].omitted if item.reason == OF_OTHERS]
    assert omitted == [(count, True)]


def test_a_resource_of_another_patient_is_refused_by_strict(read):
    with pytest.raises(InputError, match="another or an unknown patient"):
        read(ADA, BEN, HIV, {**DRUG, "reasonReference": [{"reference": "Condition/c2"}]}, strict=True)


@pytest.mark.parametrize("subject", ["Patient/p1", f"{A}/Patient/p1", "Patient?identifier=urn:mrn|778899"])
def test_a_resource_of_the_same_patient_or_of_none_is_named(read, subject):
    gout = {"resourceType": "Condition", "id": "k", "subject": {"reference": subject}, "code": {"text": "Gout"}}
    pill = {"resourceType": "Medication", "id": "m", "code": {"text": "Colchicine"}}
    drug = {key: value for key, value in DRUG.items() if not key.startswith("medication")}
    drug |= {"medicationReference": {"reference": "Medication/m"}, "reasonReference": [{"reference": "Condition/k"}]}
    (record,) = read((f"{A}/Patient/p1", {**ADA, **MRN}), gout, pill, drug)
    assert "Colchicine; active; for Gout" in record.text
    reason = "names, addresses, telephone numbers and identifiers of patients"
    assert record.omitted == (Omission(reason, 1, text=False),)


def test_a_person_who_is_named_by_a_urn_is_counted(read):
    who = {"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Marchbanks"}]}
    (record,) = read(ADA, ("urn:uuid:dr", who), visit(reasonReference=[{"reference": "urn:uuid:dr"}]))
    assert "Visit; completed" in record.text.split("\n")
    assert {item.reason: item.count for item in record.omitted} == {
        "references to staff, places and encounters": 1,
        "resources of the type Practitioner": 1,
    }


LOVELACE = {
    **ADA,
    "name": [{"family": "Lovelace", "given": ["Ada", "Maria"]}],
    "telecom": [{"value": "+44 20 7946 0123"}, {"value": "ada.lovelace@x.example"},
                {"value": "Tel. 0113 555 0199 (home)"}],
    "identifier": [{"value": "AB123456"}, {"system": "urn:x", "value": "urn:oid:2.16.840.1"}, {"value": "MR7-X"}],
    "address": [{"line": ["12 Kings Road", "Unit 5"], "city": "Bath", "postalCode": "SK1 2AB"},
                {"text": "Flat 100, 2001 Long Row", "postalCode": "1 2"}],
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Ada Lovelace", "ada lovelace", "ADA LOVELACE", "lovelace, ada", "Lovelace_Ada", "ada_lovelace", "ada-lovelace",
        "AdaLovelace", "adalovelace", "LovelaceAda", "ada maria lovelace", "ada m. lovelace", "lovelace ada maria",
        "ada.lovelace@x.example", "ADA.LOVELACE@X.EXAMPLE", "Ada", "LOVELACE", "Lovelace",
        "ab123456", "AB-123456", "ab 123 456", "mr7-x", "urn:oid:2.16.840.1", "12 kings road", "12, Kings Road",
        "Unit 5", "sk1 2ab", "SK12AB", "Bath", "flat 100 2001 long row",
        "+44 20 7946 0123", "+442079460123", "020 7946 0123", "02079460123", "(020) 7946-0123", "0044 20 7946 0123",
        "+44 (0)20 7946 0123", "20 7946 0123", "0113 555 0199", "+44 113 555 0199", "0044 113 5550199",
        "1960-01-02", "1960-1-2", "19600102", "02/01/1960", "2/1/1960", "01/02/1960", "02.01.1960", "2. 1. 1960",
        "02-01-60", "2 January 1960", "2nd of January, 1960", "January 2, 1960", "02JAN1960", "2-Jan-1960",
        "jan 2nd 1960", "1960 January 2", "2. Januar 1960", "2 janvier 1960", "2 de enero de 1960", "1960年1月2日",
        "1960-01-02T08:00:00Z",
    ],
)  # fmt: skip
def test_names_numbers_and_the_birth_date_are_removed_however_they_are_written(read, text):
    (record,) = read(LOVELACE, note(f"so {text}; K 5.1, {text}. {text}", "Patient/p1"))
    assert "= so [removed]; K 5.1, [removed]. [removed]; final" in record.text


def test_a_name_in_a_files_name_is_removed(read):
    titles = ["Lovelace_Ada_letter.pdf", "letter_ada_lovelace.pdf", "AdaLovelace2.pdf", "Lovelace.pdf"]
    letter = {
        "resourceType": "DocumentReference", "status": "current", "subject": {"reference": "Patient/p1"},
        "description": "x", "content": [{"attachment": {"title": title}} for title in titles],
    }  # fmt: skip
    (record,) = read(LOVELACE, letter)
    expected = ["[removed]_letter.pdf", "letter_[removed].pdf", "[removed]2.pdf", "[removed].pdf"]
    assert f"x; current; {'; '.join(f'title {title}' for title in expected)}" in record.text


@pytest.mark.parametrize(
    "text",
    [
        "ada may bath", "it may or will rise", "5 unit 5 times", "angina", "ANGINA", "along", "12 kings",
        "K 20 7946 mmol", "4 0113 555", "1960-01-03", "12 January 1960", "2 January 1961", "1960", "January 1960",
        "2/1", "12 mg", "AB1234567", "xab123456", "0.5 mg",
    ],
)  # fmt: skip
def test_common_words_doses_and_other_dates_stay(read, text):
    names = [
        {"family": "Rise", "given": ["May"]},
        {"family": "Gina", "given": ["An"]},
        {"family": "So", "given": ["Al"]},
    ]
    relatives = [{"name": name} for name in names]
    (record,) = read({**LOVELACE, "contact": relatives}, note(f"{text}; ok", "Patient/p1"))
    assert f"= {text}; ok; final" in record.text


@pytest.mark.parametrize("name", [{"family": "王", "given": ["小明"]}, {"text": "王 小明"}])
def test_a_name_in_a_script_without_spaces_is_removed(read, name):
    (record,) = read({**ADA, "name": [name]}, note("今日王小明来院。國王。", "Patient/p1"))
    assert "= 今日[removed]来院。國王。; final" in record.text


@pytest.mark.parametrize("given", [None, {"family": "Rose"}, {"given": ["Rose"]}, {"text": "Rose"}])
def test_a_lone_name_is_removed_only_as_it_is_written(read, given):
    (record,) = read({**ADA, "name": [given] if given else []}, note("Rose, ROSE and the pulse rose", "Patient/p1"))
    expected = "[removed], [removed] and the pulse rose" if given else "Rose, ROSE and the pulse rose"
    assert f"= {expected}; final" in record.text


def form(**answer):
    return {
        "resourceType": "QuestionnaireResponse", "status": "completed", "subject": {"reference": "Patient/p1"},
        "item": [{"linkId": "1", "text": "DOB", "answer": [answer]}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"valueDate": "1960-01-02"}, "[removed]"),
        ({"valueDateTime": "1960-01-02T00:00:00Z"}, "[removed]"),
        ({"valueString": "1960-01-02"}, "[removed]"),
        ({"valueString": "Ada"}, "[removed]"),
        ({"valueDate": "1960-01-03"}, "1960-01-03"),
        ({"valueDate": "1960"}, "1960"),
        ({"valueTime": "08:00:00"}, "08:00:00"),
    ],
)
def test_the_birth_date_is_removed_as_a_value_too(read, answer, shown):
    (record,) = read(LOVELACE, form(**answer))
    assert f"DOB: {shown}" in record.text.split("; ")
    (whole,) = read(LOVELACE, form(**answer), demographics=True)
    assert "DOB: [removed]" not in whole.text


def test_an_event_on_the_birth_date_keeps_its_date(read):
    birth = note("crying", "Patient/p1") | {"effectiveDateTime": "1960-01-02"}
    (record,) = read(LOVELACE, birth)
    assert "1960-01-02: Nurse note = crying; final" in record.text


def test_a_whole_name_in_lower_case_is_removed_from_what_codes_display(read):
    code = {"coding": [{"system": "urn:x", "code": "1", "display": "Asthma of ada lovelace, born 2 Jan 1960"}]}
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "code": code}
    (record,) = read(LOVELACE, condition)
    assert "Asthma of [removed], born [removed]" in record.text

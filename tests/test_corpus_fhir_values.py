"""FHIR resources as lines: digits, negations and doses stay as they are, and each value is written or counted."""

import json

import pytest
from corpus_files import sections_of
from test_corpus_fhir import corpus_of
from test_corpus_fhir_patients import ADA, bundle

from cdsframe.fhir.dosage import timing_text

SUBJECT = {"reference": "Patient/p1"}
STATUS = "http://terminology.hl7.org/CodeSystem/condition-ver-status"


@pytest.fixture
def record(tmp_path):
    def _record(*resources, raw=None):
        named = [
            {**item, "patient" if item["resourceType"] in PATIENT_KEY else "subject": SUBJECT} for item in resources
        ]
        text = raw or json.dumps(bundle(ADA, *named))
        (tmp_path / "b.json").write_text(text, encoding="utf-8")
        *bad, found = corpus_of(tmp_path / "b.json").documents()
        assert bad == []
        return found

    return _record


PATIENT_KEY = {
    "AllergyIntolerance",
    "Immunization",
    "FamilyMemberHistory",
    "Consent",
    "DetectedIssue",
    "Device",
    "NutritionOrder",
}


def lines(document):
    return [line for heading, text in sections_of(document) if heading != ("Patient",) for line in text.split("\n")]


def concept(text):
    return {"text": text}


def test_what_was_dropped_without_a_word_is_written(record):
    found = record(
        {"resourceType": "Flag", "status": "active", "code": concept("MRSA carrier")},
        {
            "resourceType": "Consent", "status": "active", "scope": concept("treatment"),
            "category": [concept("advance directive")], "policyRule": concept("Do not resuscitate"),
        },
        {
            "resourceType": "MedicationRequest", "status": "active", "intent": "order",
            "medicationReference": {"reference": "Medication/elsewhere"},
        },
        {
            "resourceType": "Condition", "code": concept("Asthma"), "onsetAge": {"value": 12, "unit": "years"},
            "stage": [{"summary": concept("Stage II")}],
        },
    )  # fmt: skip
    assert lines(found) == [
        "MRSA carrier; active",
        "Do not resuscitate; active; scope treatment; category advance directive",
        "Asthma; onset at 12 years; stage Stage II",
        "an unnamed medication; active",
    ]
    omitted = {item.reason: (item.count, item.text) for item in found.omitted}
    assert omitted["references without a name to resources that are not in the bundle"] == (1, True)


def heart_rate(*focus, **more):
    value = {"value": 140, "unit": "/min"}
    code = concept("heart rate")
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": code,
        "focus": [*focus],
        "valueQuantity": value,
    } | more


@pytest.mark.parametrize(
    ("focus", "about"),
    [
        ({"reference": "RelatedPerson/baby", "display": "Baby Doe"}, " (about related person, not the patient)"),
        ({"reference": "Patient/baby"}, " (about another patient)"),
        ({"display": "Baby Doe"}, " (about another subject, not the patient)"),
        ({"reference": "urn:uuid:0-1", "type": "Group"}, " (about group, not the patient)"),
        ({"reference": "Device/d"}, " (about pacemaker)"),
        ({"reference": "Device/elsewhere", "display": "pump"}, " (about pump)"),
        (SUBJECT, ""),
    ],
)
def test_an_observation_names_whom_it_is_about_where_that_is_not_the_patient(record, focus, about):
    device = {"resourceType": "Device", "id": "d", "type": concept("pacemaker")}
    found = record(
        heart_rate(focus, id="o"),
        {"resourceType": "DiagnosticReport", "status": "final", "code": concept("CTG"),
         "result": [{"reference": "Observation/o"}]},
        device,
    )  # fmt: skip
    assert f"heart rate{about} = 140 /min; final" in lines(found)
    assert f"CTG; final; results heart rate{about}" in lines(found)
    assert "Baby" not in found.text
    omitted = {item.reason: item.count for item in found.omitted}
    named = "names of persons other than the patient whom a resource is about"
    assert bool(omitted.get(named)) == ("Baby" in str(focus))


def test_a_section_of_a_composition_names_whom_it_is_about(record):
    text = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Apgar 9</div>'}
    sections = [{"title": "Newborn", "focus": {"reference": "RelatedPerson/baby"}, "text": text}]
    found = record(
        {"resourceType": "Composition", "status": "final", "type": concept("letter"), "date": "2024-01-01",
         "author": [{"display": "Dr X"}], "title": "Letter", "section": sections},
    )  # fmt: skip
    assert "Newborn (about related person, not the patient): Apgar 9" in lines(found)[0]


def test_types_that_are_not_read_are_counted(record):
    found = record(
        {"resourceType": "Flag", "status": "active", "code": concept("x")},
        {"resourceType": "Basic", "code": concept("billing")},
        {"resourceType": "Basic", "code": concept("billing again")},
    )
    assert {item.reason: item.count for item in found.omitted} == {"resources of the type Basic": 2}


@pytest.mark.parametrize(
    ("digits", "right"),
    [("1.10", "1.10"), ("0.50", "0.50"), ("5", "5"), ("1e3", "1000"), ("1.0e-2", "0.010"), ("0.000001", "0.000001"),
     ("123456789.123", "123456789.123"), ("-0.0", "-0.0")],
)  # fmt: skip
def test_decimals_keep_their_digits(record, digits, right):
    observation = {
        "resourceType": "Observation", "status": "final", "code": concept("Creatinine"), "subject": SUBJECT,
        "valueQuantity": {"value": "DIGITS", "comparator": "<", "unit": "mg/dL"},
        "referenceRange": [{"low": {"value": "DIGITS"}, "high": {"value": 9}, "text": "adults"}],
        "component": [{"code": concept("Ratio"), "valueRatio": {"numerator": {"value": "DIGITS"},
                                                                "denominator": {"value": 128}}}],
    }  # fmt: skip
    found = record(raw=json.dumps(bundle(ADA, observation)).replace('"DIGITS"', digits))
    assert lines(found) == [
        f"Creatinine = <{right} mg/dL (reference {right} to 9 adults), Ratio {right} / 128; final",
    ]


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        ({"resourceType": "Condition", "code": concept("Asthma"),
          "verificationStatus": {"coding": [{"system": STATUS, "code": "refuted"}]}}, "Asthma; refuted"),
        ({"resourceType": "MedicationStatement", "status": "not-taken",
          "medicationCodeableConcept": concept("Zelnorin"),
          "statusReason": [concept("nausea")]}, "Zelnorin; not-taken; because of nausea"),
        ({"resourceType": "Immunization", "status": "not-done", "vaccineCode": concept("Flu"),
          "occurrenceString": "never", "statusReason": concept("refused")},
         "Flu; not-done; because of refused; occurrence never"),
        ({"resourceType": "Procedure", "status": "not-done", "code": concept("Biopsy")}, "Biopsy; not-done"),
        ({"resourceType": "MedicationRequest", "status": "active", "intent": "proposal", "doNotPerform": True,
          "medicationCodeableConcept": concept("Zelnorin")}, "Zelnorin; not to be done; active; intent proposal"),
        ({"resourceType": "ServiceRequest", "status": "active", "intent": "plan", "code": concept("MRI"),
          "asNeededBoolean": False}, "MRI; active; intent plan; as needed no"),
        ({"resourceType": "Observation", "status": "final", "code": concept("HIV"), "valueBoolean": False},
         "HIV = no; final"),
        ({"resourceType": "Observation", "status": "final", "code": concept("HIV"),
          "dataAbsentReason": concept("not asked"),
          "component": [{"code": concept("load"), "dataAbsentReason": concept("lost")},
                        {"code": concept("CD4"), "valueInteger": 0, "interpretation": [concept("low")]}]},
         "HIV = no value (not asked), load no value (lost), CD4 0, low; final"),
        ({"resourceType": "AllergyIntolerance", "code": concept("Latex"),
          "clinicalStatus": {"coding": [{"system": STATUS, "code": "resolved"}]}}, "Latex; resolved"),
        ({"resourceType": "Consent", "status": "active", "scope": concept("research"), "policyRule": concept("OPT"),
          "category": [concept("c")], "provision": {"type": "deny", "purpose": [{"code": "HRESCH"}]}},
         "OPT; active; scope research; category c; provision type deny, purpose HRESCH"),
        ({"resourceType": "Observation", "status": "final", "code": concept("pH"),
          "valueQuantity": {"value": 7, "unit": "1",
                            "extension": [{"url": "urn:x/site", "valueString": "arterial"}]},
          "extension": [{"url": "http://example/position", "valueCodeableConcept": concept("sitting")}],
          "_status": {"extension": [{"url": "http://example/reason", "valueCode": "late"}]}},
         "pH = 7 1 [site arterial]; final; [position sitting; status reason late]"),
    ],
)  # fmt: skip
def test_what_changes_a_meaning_is_written(record, resource, line):
    assert lines(record(resource)) == [line]


def test_a_dosage_is_written_whole(record):
    dosage = {
        "text": "as told",
        "doseAndRate": [{"doseRange": {"low": {"value": 1}, "high": {"value": 2, "unit": "tablet"}},
                         "rateRatio": {"numerator": {"value": 5, "unit": "mL"},
                                       "denominator": {"value": 1, "unit": "h"}}}],
        "timing": {"repeat": {"boundsDuration": {"value": 5, "unit": "days"}, "frequency": 1, "frequencyMax": 2,
                              "period": 4, "periodMax": 6, "periodUnit": "h", "dayOfWeek": ["mon"], "when": ["HS"],
                              "count": 10}},
        "asNeededCodeableConcept": concept("pain"), "route": concept("oral"), "site": concept("arm"),
        "maxDosePerPeriod": {"numerator": {"value": 8, "unit": "tablet"}, "denominator": {"value": 1, "unit": "day"}},
        "additionalInstruction": [concept("with food")], "patientInstruction": "Drink water.",
    }  # fmt: skip
    request = {
        "resourceType": "MedicationRequest", "status": "active", "intent": "order", "dosageInstruction": [dosage],
        "medicationReference": {"reference": "#m"},
        "contained": [{"resourceType": "Medication", "id": "m", "code": concept("Zelnorin"), "form": concept("tablet"),
                       "ingredient": [{"itemCodeableConcept": concept("zel"),
                                       "strength": {"numerator": {"value": 5, "unit": "mg"},
                                                    "denominator": {"value": 1, "unit": "tablet"}}}]}],
    }  # fmt: skip
    assert lines(record(request)) == [
        "Zelnorin [form tablet, ingredient item zel, strength 5 mg / 1 tablet]; active; as told "
        "(dose 1 to 2 tablet rate 5 mL / 1 h, 1 to 2 times every 4 to 6 hours, 10 times in all, on mon, HS, "
        "during 5 days, oral, as needed for pain, with food, at most 8 tablet / 1 day, at arm, Drink water.)"
    ]


def test_contained_results_have_lines_and_a_narrative_stands_in(record):
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p>No known</p><p>allergies</p></div>'
    report = {
        "resourceType": "DiagnosticReport", "status": "final", "code": concept("Panel"),
        "result": [{"reference": "#k"}],
        "contained": [{"resourceType": "Observation", "id": "k", "status": "final", "code": concept("Potassium"),
                       "valueQuantity": {"value": 7.2, "unit": "mmol/L"}}],
    }  # fmt: skip
    allergy = {"resourceType": "AllergyIntolerance", "text": {"status": "generated", "div": div}}
    found = record(report, allergy)
    assert lines(found) == [
        "an unnamed allergy intolerance; narrative: No known allergies",
        "Potassium = 7.2 mmol/L; final",
        "Panel; final; results Potassium",
    ]


def leaves(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str) and value.startswith("leaf"):
        yield value


def test_each_value_is_written_or_its_element_is_counted(record):
    number = iter(range(1000))

    def leaf():
        return f"leaf{next(number)}x"

    def code():
        return {"coding": [{"system": "urn:s", "code": leaf(), "display": leaf()}], "text": leaf()}

    found = [
        {"resourceType": "Condition", "code": code(), "category": [code()], "bodySite": [code(), code()],
         "stage": [{"summary": code(), "type": code()}, {"summary": code()}], "evidence": [{"code": [code()]}],
         "onsetString": leaf(), "abatementString": leaf(), "note": [{"text": leaf()}], "severity": code()},
        {"resourceType": "Goal", "lifecycleStatus": "active", "description": code(), "category": [code()],
         "target": [{"measure": code(), "detailString": leaf()}], "statusReason": leaf(), "outcomeCode": [code()]},
        {"resourceType": "CarePlan", "status": "active", "intent": "plan", "title": leaf(), "description": leaf(),
         "activity": [{"detail": {"status": "scheduled", "code": code(), "description": leaf(),
                                  "scheduledString": leaf(), "reasonCode": [code()]}}]},
        {"resourceType": "FamilyMemberHistory", "status": "completed", "relationship": code(), "name": leaf(),
         "condition": [{"code": code(), "outcome": code(), "note": [{"text": leaf()}], "onsetString": leaf()},
                       {"code": code()}], "deceasedString": leaf()},
        {"resourceType": "Immunization", "status": "completed", "vaccineCode": code(), "occurrenceString": leaf(),
         "site": code(), "reaction": [{"reported": True}], "protocolApplied": [{"series": leaf(),
         "doseNumberString": leaf(), "targetDisease": [code()]}], "education": [{"documentType": leaf()}]},
        {"resourceType": "Procedure", "status": "completed", "code": code(), "outcome": code(),
         "complication": [code()], "followUp": [code()],
         "focalDevice": [{"action": code(), "manipulated": {"display": leaf()}}]},
        {"resourceType": "Observation", "status": "final", "code": code(), "method": code(), "valueString": leaf(),
         "component": [{"code": code(), "valueCodeableConcept": code(), "interpretation": [code()],
                        "referenceRange": [{"text": leaf(), "appliesTo": [code()], "type": code()}]}],
         "referenceRange": [{"text": leaf(), "appliesTo": [code()]}]},
        {"resourceType": "AllergyIntolerance", "code": code(), "reaction": [{"substance": code(),
         "description": leaf(), "manifestation": [code(), code()],
         "exposureRoute": code(), "note": [{"text": leaf()}]}]},
        {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": code(),
         "orderDetail": [code()], "patientInstruction": leaf(),
         "quantityQuantity": {"value": 2, "unit": leaf()}, "bodySite": [code()]},
        {"resourceType": "QuestionnaireResponse", "status": "completed", "item": [{"linkId": "1", "text": leaf(),
         "answer": [{"valueString": leaf(), "item": [{"linkId": "2", "text": leaf(), "answer": [{"valueCoding":
         {"display": leaf()}}]}]}], "item": [{"linkId": "3", "text": leaf()}]}]},
        {"resourceType": "Composition", "status": "final", "type": code(), "title": leaf(), "date": "2020-01-01",
         "author": [{"display": "x"}], "section": [{"title": leaf(), "text": {"status": "additional",
         "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{leaf()}</div>'}}]},
        {"resourceType": "NutritionOrder", "status": "active", "intent": "order", "dateTime": "2020-01-01",
         "oralDiet": {"type": [code()], "instruction": leaf(), "nutrient": [{"modifier": code()}]}},
    ]  # fmt: skip
    document = record(*found)
    text = document.text
    words = {word.strip("().,;:[]") for word in text.split()}
    missing = [value for value in leaves(found) if value not in words]
    codes = {c["code"] for item in found for c in _codings(item)}
    assert [value for value in missing if value not in codes] == []  # a code with a display may be shown by that


def _codings(value):
    if isinstance(value, dict):
        yield from value.get("coding", ())
        for item in value.values():
            yield from _codings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _codings(item)


def medication(type_="MedicationRequest", **more):
    order = {"intent": "order"} if type_ == "MedicationRequest" else {}
    status = "active" if order else "completed"
    return {"resourceType": type_, "status": status, **order, "medicationCodeableConcept": concept("Zelnorin"), **more}


def grams(value):
    return {"value": value, "unit": "g"}


@pytest.mark.parametrize(
    ("dosages", "shown"),
    [
        ([{"maxDosePerAdministration": grams(4), "maxDosePerLifetime": grams(40)}],
         "at most 4 g per administration, at most 40 g in a lifetime"),
        ([{"maxDosePerPeriod": {"numerator": grams(3), "denominator": {"value": 1, "unit": "d"}},
           "maxDosePerAdministration": grams(1)}], "at most 3 g / 1 d, at most 1 g per administration"),
        ([{"sequence": 1, "text": "5 mg"}, {"sequence": 2, "text": "10 mg"}], "step 1: 5 mg; step 2: 10 mg"),
        ([{"sequence": 1, "text": "5 mg"}], "5 mg"),
        ([{"timing": {"event": ["2024-01-01"], "code": concept("BID")}}], "BID, 2024-01-01"),
        ([{"timing": {"repeat": {"frequencyMax": 4, "period": 1, "periodUnit": "d", "durationMax": 30,
                                 "durationUnit": "min"}}}], "up to 4 times every 1 day, for up to 30 minutes"),
        ([{"timing": {"repeat": {"frequency": 1, "extension": [{"url": "urn:x/fasting", "valueBoolean": True}]}},
           "maxDosePerLifetime": grams(2) | {"extension": [{"url": "urn:x/base", "valueString": "salt"}]}}],
         "1 times, [fasting yes], at most 2 g [base salt] in a lifetime"),
    ],
)  # fmt: skip
def test_a_limit_of_a_dose_says_what_it_limits(record, dosages, shown):
    found = record(medication(dosageInstruction=dosages))
    assert lines(found) == [f"Zelnorin; active; {shown}"]
    counted = {item.reason: item.count for item in found.omitted}
    assert counted == ({"identifiers, versions and other technical elements": 1} if shown == "5 mg" else {})


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        (medication("MedicationAdministration", effectivePeriod={"start": "2024-03-01T08:00:00Z",
                                                                 "end": "2024-03-01T20:00:00Z"}),
         "2024-03-01 08:00: Zelnorin; completed; until 2024-03-01 20:00"),
        (medication("MedicationAdministration", effectivePeriod={"start": "2024-03-01T00:00:00Z",
                                                                 "end": "2024-03-02T06:00:00Z"}),
         "2024-03-01 00:00: Zelnorin; completed; until 2024-03-02 06:00"),
        (medication("MedicationAdministration", effectivePeriod={"start": "2024-03-01T20:00:00Z",
                                                                 "end": "2024-03-02T00:00:00Z"}),
         "2024-03-01 20:00: Zelnorin; completed; until 2024-03-02 00:00"),
        (medication("MedicationStatement", effectivePeriod={"start": "2024-03-01T00:00:00Z",
                                                            "end": "2024-03-08T00:00:00Z"}),
         "2024-03-01: Zelnorin; completed; until 2024-03-08"),
        (medication("MedicationStatement", effectivePeriod={"start": "2024-03-01", "end": "2024-03-01"}),
         "2024-03-01: Zelnorin; completed; until 2024-03-01"),
        (medication("MedicationStatement", effectivePeriod={"end": "2024-03-01"}, dateAsserted="2024-04-01"),
         "Zelnorin; completed; until 2024-03-01; date asserted 2024-04-01"),
        ({"resourceType": "Condition", "code": concept("Asthma"), "onsetPeriod": {"start": "2001", "end": "2003"},
          "abatementPeriod": {"start": "2010", "end": "2012"}},
         "2001: Asthma; onset 2001 to 2003; abatement 2010 to 2012"),
        ({"resourceType": "Observation", "status": "final", "code": concept("pH"), "valueString": "2024-03-01 ok",
          "effectiveDateTime": "2024-03-01", "issued": "2024-03-01T12:34:00Z"},
         "2024-03-01: pH = 2024-03-01 ok; final; issued 2024-03-01 12:34"),
        ({"resourceType": "Immunization", "status": "completed", "vaccineCode": concept("MMR"),
          "occurrenceDateTime": "2024-03-01", "expirationDate": "2024-03-01"},
         "2024-03-01: MMR; completed; expiration 2024-03-01"),
        ({"resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": concept("MRI"),
          "occurrenceDateTime": "2024-03-01", "patientInstruction": "2024-03-01 at nine"},
         "2024-03-01: MRI; active; patient instruction 2024-03-01 at nine"),
    ],
)  # fmt: skip
def test_times_and_ends_are_written(record, resource, line):
    found = record(resource)
    assert lines(found) == [line]
    assert found.omitted == ()


def test_a_date_that_repeats_the_resources_date_is_counted(record):
    found = record(
        {
            "resourceType": "Observation", "status": "final", "code": concept("pH"),
            "effectiveDateTime": "2024-03-01T12:34:10Z", "issued": "2024-03-01T12:34:56Z",
        }
    )  # fmt: skip
    assert lines(found) == ["2024-03-01 12:34: pH; final"]
    assert {item.reason: item.count for item in found.omitted} == {"dates that repeat the date of their resource": 1}


@pytest.mark.parametrize(
    ("repeat", "text"),
    [
        ({"duration": 1, "durationUnit": "h"}, "for 1 hour"),
        ({"duration": 30, "durationUnit": "min"}, "for 30 minutes"),
        ({"frequency": 1, "period": 1, "periodUnit": "d", "duration": 2}, "1 times every 1 day, for 2"),
    ],
)
def test_a_unit_of_time_is_in_the_plural_unless_the_amount_is_one(repeat, text) -> None:
    assert timing_text({"repeat": repeat}, str_of) == text


def str_of(value: object) -> str:
    return "" if value is None else str(value)

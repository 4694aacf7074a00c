"""The synthetic hospital is what it says: quotes stand once, answers in quotes, splits share no fact."""

import json
from collections import Counter

import pytest

from cdsframe.artifacts.files import read_jsonl, resolve
from cdsframe.corpus.hospital import hospital as hospital_corpus
from cdsframe.data.jsonl import SPLITS, hospital
from cdsframe.types import Document

KINDS = {"guideline", "protocol", "formulary", "discharge_letter", "note", "procedure"}
TYPES = {"fact", "comparison", "history", "unanswerable"}


@pytest.fixture(scope="module")
def documents():
    found = list(hospital_corpus("hospital").documents())
    assert all(isinstance(document, Document) for document in found)
    return {document.id: document for document in found}


def _records(kind):
    parts = ("a", "b", "c", "refusals") if kind == "questions" else ("a", "b")
    return [r for part in parts for _, r in read_jsonl(f"package:hospital/{kind}-{part}.jsonl")]


def test_documents_have_sections_and_metadata(documents):
    assert len(documents) >= 60
    for document in documents.values():
        assert document.metadata["kind"] in KINDS
        assert {"department", "author", "date"} <= document.metadata.keys()
        assert len(document.sections) >= 3
        assert ("patient" in document.metadata) == (document.metadata["kind"] in ("discharge_letter", "note"))
    assert {document.metadata["kind"] for document in documents.values()} == KINDS
    assert len({document.metadata["department"] for document in documents.values()}) >= 8


def test_newer_versions_name_the_older_one_and_are_newer():
    supersedes = {}
    for path in resolve("package:hospital/documents").glob("*.md"):
        front = dict(
            line.split(": ", 1) for line in path.read_text(encoding="utf-8").split("---")[1].strip().splitlines()
        )
        supersedes[front["id"]] = (front.get("supersedes"), front["date"])
    newer = {id: old for id, (old, _) in supersedes.items() if old}
    assert len(newer) >= 6
    for id, old in newer.items():
        assert supersedes[old][1] < supersedes[id][1]


def test_questions_split_by_fact():
    records = _records("questions")
    assert len(records) >= 400
    assert len({record["id"] for record in records}) == len(records)
    assert len({record["question"].casefold() for record in records}) == len(records)
    splits = {}
    for record in records:
        for fact in record["fact"].split("+"):
            splits.setdefault(fact, set()).add(record["split"])
    assert {fact: s for fact, s in splits.items() if len(s) > 1} == {}
    for split in SPLITS:
        assert {r["type"] for r in records if r["split"] == split} == TYPES
    assert Counter(r["split"] for r in records)["test"] >= 150


def test_evidence_shows_the_answer(documents):
    for record in _records("questions"):
        if record["type"] == "unanswerable":
            assert (record["answer"], record["evidence"]) == ("", [])
            continue
        for evidence in record["evidence"]:
            assert documents[evidence["document_id"]].text.count(evidence["quote"]) == 1, record["id"]
        quotes = " ".join(evidence["quote"] for evidence in record["evidence"]).casefold()
        if record["type"] == "fact":
            assert record["answer"].casefold() in quotes, record["id"]
        if record["type"] == "comparison":
            assert len({evidence["document_id"] for evidence in record["evidence"]}) == 2


def test_facts_are_never_taken_from_a_superseded_document():
    old = set()
    for path in resolve("package:hospital/documents").glob("*.md"):
        old |= {
            line.split(": ", 1)[1]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("supersedes: ")
        }
    cited = {e["document_id"] for r in _records("questions") if r["type"] == "fact" for e in r["evidence"]}
    assert len(old) >= 6
    assert not cited & old


def test_the_data_option_reads_them(documents):
    data = hospital(True, hospital_corpus("hospital"))
    questions = [question for split in SPLITS for question in data.questions(split)]
    assert len(questions) == len(_records("questions"))
    for question in questions:
        for evidence in question.evidence:
            assert documents[evidence.document_id].text[evidence.start : evidence.end].strip()
        assert question.answerable == (question.type != "unanswerable")


def test_exam_questions_are_not_on_what_is_trained(documents):
    trained = {f for r in _records("questions") if r["split"] != "test" for f in r["fact"].split("+")}
    exam = _records("exam")
    assert len(exam) >= 60
    for record in exam:
        assert not trained & set(record["fact"].split("+")), record["id"]
        assert list(record["options"]) == ["A", "B", "C", "D"]
        assert len(set(record["options"].values())) == 4, record["id"]
        assert record["answer"] in record["options"]
        for evidence in record["evidence"]:
            assert documents[evidence["document_id"]].text.count(evidence["quote"]) == 1
    letters = Counter(record["answer"] for record in exam)
    assert max(letters.values()) <= 1.5 * min(letters.values())


def test_it_is_labelled_as_synthetic():
    assert "synthetic" in resolve("package:hospital/README.md").read_text(encoding="utf-8")
    assert json.dumps(hospital(False, hospital_corpus("hospital")).scope) == '"synthetic hospital"'

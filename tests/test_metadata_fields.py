"""Metadata fields that a deployment adds: stored, filtered by, and part of an index's identity."""

import json

import pytest

from cdsframe.config.compose import compose
from cdsframe.corpus.beir import Beir
from cdsframe.corpus.csv import CsvCorpus
from cdsframe.corpus.folder import Folder
from cdsframe.corpus.jsonl import JsonlCorpus
from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.index.lance import LanceIndex
from cdsframe.metadata import identity_of, known_fields, metadata_field_problems
from cdsframe.testing.index import passage
from cdsframe.types import Request
from tests.indexes import KINDS, empty_index

OWN = ("clinic", "study")


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    index = empty_index(request, tmp_path, identity=identity_of(OWN))
    with index.writer():
        index.write([passage("a", 0, "metformin dose", clinic="North", kind="note")], None)
        index.write([passage("b", 0, "metformin dose", clinic="South")], None)
        index.write([passage("c", 0, "metformin dose")], None)
        index.commit()
    return index


def found(index, **filter):
    request = Request(level="passage", k=9, text="metformin", vector=None, filter=filter)
    return {
        hit.passage.document_id: dict(hit.passage.metadata) for hit in index.search([request], lambda hits: hits)[0]
    }


def test_an_index_stores_a_deployments_fields_and_filters_by_them(index) -> None:
    assert found(index)["a"] == {"clinic": "North", "kind": "note"}
    assert found(index).keys() == {"a", "b", "c"}
    assert found(index, clinic=["North"]).keys() == {"a"}
    assert found(index, clinic="South") == {"b": {"clinic": "South"}}
    assert found(index, study="S1") == {}
    assert index.values("clinic", {}, 9) == ["North", "South"]
    assert index.holds({"clinic": "North", "kind": "note"})
    assert not index.holds({"clinic": "South", "kind": "note"})
    assert [dict(p.metadata) for p in index.passages(["a"])] == [{"clinic": "North", "kind": "note"}]


def test_a_field_that_was_not_declared_is_neither_stored_nor_filtered_by(index) -> None:
    with pytest.raises(InputError, match=r"unknown metadata field clinics in the filter; did you mean clinic\?"):
        found(index, clinics="North")
    with index.writer(), pytest.raises(InputError, match=r"metadata field ward.*metadata_fields=\[clinic,study,ward\]"):
        index.write([passage("d", 0, "text", ward="4")], None)


@pytest.mark.parametrize(("made", "asked"), [(OWN, ()), ((), OWN), (("clinic",), OWN)])
def test_an_index_with_other_fields_is_refused(tmp_path, made, asked) -> None:
    first = LanceIndex(str(tmp_path), "x", identity_of(made))
    with first.writer():
        first.write([passage("a", 0, "metformin")], None)
        first.commit()
    with pytest.raises(
        IndexMismatchError, match=r"metadata_fields is \[.*\] in the configuration and \[.*\] in the index"
    ):
        found(LanceIndex(str(tmp_path), "x", identity_of(asked)))


def test_names_that_cannot_be_fields_are_refused() -> None:
    assert metadata_field_problems(["clinic", "study_2"]) == []
    for name in ("Clinic", "2nd", "a-b", "", "kind", "text", "words_passage", "vector", "passage", "x" * 51):
        assert len(metadata_field_problems([name])) == 1, name
    assert metadata_field_problems(["clinic", "clinic"]) == ["clinic is listed twice; remove one"]
    assert known_fields({})[0] == "kind"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["metadata_fields=[kind]"], "metadata_fields: kind is a standard field"),
        (
            ["metadata_fields=[clinic]", "filter.clinik=x"],
            r"filter.clinik names no metadata field.*did you mean clinic\?",
        ),
        (["index=elasticsearch", "index.routing=clinic"], r"index.routing=clinic names no metadata field"),
    ],
)
def test_a_configuration_is_checked_before_work_starts(overrides, message) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("ask", ["question=x", *overrides])


def test_a_configuration_adds_fields() -> None:
    system = compose("ask", ["question=x", "metadata_fields=[study,clinic]", "filter.clinic=North", "index=memory"])
    assert system.identity["metadata"] == {"fields": ["clinic", "study"]}
    assert "metadata" not in compose("ask", ["question=x", "index=memory"]).identity


def test_every_corpus_reads_the_fields(tmp_path) -> None:
    record = {"id": "a", "_id": "a", "text": "Some text.", "clinic": "North", "ward": "4"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "a.csv").write_text("Text,Klinik\nSome text.,North\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("Text,clinic,ward\nSome text.,North,4\n", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.md").write_text("---\ntitle: A\nclinic: North\nward: 4\n---\nSome text.\n", encoding="utf-8")
    fields = {"id": None, "title": None, "text": "text"}
    corpora = [
        JsonlCorpus(str(tmp_path / "a.jsonl"), fields, True, 1, "n", OWN),
        Beir(str(tmp_path / "a.jsonl"), True, "n", OWN),
        CsvCorpus(str(tmp_path / "a.csv"), {"text": "Text", "clinic": "Klinik"}, None, True, 1, "n", OWN),
        CsvCorpus(str(tmp_path / "b.csv"), {"text": "Text"}, None, True, 1, "n", OWN),
        Folder(str(tmp_path / "notes"), True, 1, 60, 0, "n", OWN),
    ]
    for corpus in corpora:
        (document,) = corpus.documents()
        assert document.metadata["clinic"] == "North", corpus
        assert "ward" not in document.metadata
    assert [(o.reason, o.count) for o in document.omitted] == [("keys of front matter that are not used", 1)]


@pytest.mark.parametrize(
    ("front", "result"),
    [
        ("clinic: North", {"clinic": "North"}),
        ("title: A\nclinic: North\nclinic: South", "has front matter with two values for clinic; remove one of them"),
        ("clinic: [North", "has front matter that is not YAML"),
    ],
)
def test_front_matter_is_recognised_by_a_deployments_fields(tmp_path, front, result) -> None:
    (tmp_path / "a.md").write_text(f"---\n{front}\n---\nSome text.\n", encoding="utf-8")
    (item,) = Folder(str(tmp_path), False, 1, 60, 0, "n", OWN).documents()
    if isinstance(result, str):
        assert item.reason == result
    else:
        assert (item.text, dict(item.metadata)) == ("Some text.", {**result, "source": "a.md"})


def test_a_column_whose_name_differs_in_case_is_reported(tmp_path, caplog) -> None:
    (tmp_path / "a.csv").write_text("Text,Clinic,study\nSome text.,North,S1\n", encoding="utf-8")
    (document,) = CsvCorpus(str(tmp_path / "a.csv"), {"text": "Text"}, None, True, 1, "n", OWN).documents()
    assert dict(document.metadata) == {"study": "S1"}
    assert "metadata field clinic is not read" in caplog.text
    assert "'corpus.fields.clinic=Clinic'" in caplog.text
    caplog.clear()
    mapped = {"text": "Text", "clinic": "Clinic", "study": None}
    (document,) = CsvCorpus(str(tmp_path / "a.csv"), mapped, None, True, 1, "n", OWN).documents()
    assert dict(document.metadata) == {"clinic": "North"}
    assert not caplog.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["North", "South"], "North, South"),
        (["North", " ", 4], "North, 4"),
        (True, "true"),
        ({"name": "North"}, None),
        ([["North"]], None),
    ],
)
def test_records_and_front_matter_read_the_same_values(tmp_path, value, text) -> None:
    record = {"id": "a", "_id": "a", "text": "Some text.", "clinic": value}
    (tmp_path / "a.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "notes").mkdir()
    front = f"---\ntitle: A\nclinic: {json.dumps(value)}\n---\nSome text.\n"
    (tmp_path / "notes/a.md").write_text(front, encoding="utf-8")
    corpora = [
        JsonlCorpus(str(tmp_path / "a.jsonl"), {"id": "id", "title": None, "text": "text"}, False, 1, "n", OWN),
        Beir(str(tmp_path / "a.jsonl"), False, "n", OWN),
        Folder(str(tmp_path / "notes"), False, 1, 60, 0, "n", OWN),
    ]
    for corpus in corpora:
        (document,) = corpus.documents()
        assert document.metadata.get("clinic") == text
        assert sum(one.count for one in document.omitted) >= (text is None)


def test_an_ingest_reports_fields_that_no_document_has(tmp_path) -> None:
    (tmp_path / "a.md").write_text("---\nclinic: North\n---\nSome text.\n", encoding="utf-8")
    settings = ["corpus=folder", f"corpus.path={tmp_path}", "corpus.name=n", "embedder=none", "index=memory"]
    system = compose("ingest", [*settings, "metadata_fields=[clinic,studyy]"])
    (sentence,) = system.run_job("ingestion").empty_fields(system.metadata_fields)
    assert sentence.startswith("no document of the corpus has a value for metadata field studyy;")

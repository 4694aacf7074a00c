"""Files of records (JSON Lines, BEIR, CSV): what becomes of a record, what is refused, and which ids are kept."""

from corpus_files import sections_of, write_lines

from cdsframe.corpus.beir import Beir, MedQuad
from cdsframe.corpus.fields import FIELDS
from cdsframe.corpus.jsonl import Jsonl
from cdsframe.types import Unreadable

OWN = {field: field for field in FIELDS}


def jsonl(path, fields=OWN, max_megabytes=100):
    return Jsonl(str(path), fields, False, max_megabytes)


def beir(path):
    return Beir(str(path), strict=False)


def test_jsonl_reads_good_lines_and_names_bad_ones(tmp_path):
    path = write_lines(
        tmp_path / "docs.jsonl",
        {"id": 7, "title": "T", "text": " body ", "kind": "note", "metadata": {"department": "ICU"}},
        "",
        {"id": "s", "sections": [{"heading": "H", "text": "one"}, {"text": "two"}], "date": ""},
        "{oops",
        "[1]",
        {"id": "x"},
        {"id": "y", "text": "t", "author": ["no"]},
    )
    first, second, *bad = jsonl(path).documents()
    assert (first.id, first.text, first.metadata) == ("7", "body", {"kind": "note", "department": "ICU"})
    assert sections_of(second) == [(("H",), "one\n\ntwo")]
    assert [item.source for item in bad] == [f"docs.jsonl, line {number}" for number in (4, 5, 6, 7)]
    assert [item.reason for item in bad[1:]] == [
        "is not a JSON object",
        "has no text in the field text",
        "has no text in the field author",
    ]
    assert "oops" not in bad[0].reason


def test_a_repeated_id_of_jsonl_is_named_with_its_line(tmp_path):
    path = write_lines(tmp_path / "docs.jsonl", {"id": "x", "text": "one"}, "", {"id": "x", "text": "two"})
    first, again = jsonl(path).documents()
    assert (first.text, first.metadata) == ("one", {})
    assert again == Unreadable("docs.jsonl, line 3", "the id x stands twice, first in docs.jsonl, line 1")


def test_jsonl_that_is_not_text_or_cut_off_says_so(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b'{"id": "a", "text": "t"}\n\xff\xfe\n{"id": "b", "text": "t"}')
    first, bad, last = jsonl(path).documents()
    assert (first.id, bad, last.id) == ("a", Unreadable("docs.jsonl, line 2", "is not UTF-8 text"), "b")
    packed = write_lines(tmp_path / "docs.jsonl.gz", *({"id": str(n), "text": "t" * n} for n in range(1, 300)))
    whole = (tmp_path / "docs.jsonl.gz").read_bytes()
    (tmp_path / "docs.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    *some, bad = jsonl(packed).documents()
    assert len(some) > 10
    assert bad.reason == "is not a whole gzip file"


def test_a_line_that_json_would_let_pass_does_not_stop_the_others(tmp_path):
    path = write_lines(
        tmp_path / "docs.jsonl",
        "[" * 100_000,
        f'{{"id": {"9" * 6000}, "text": "t"}}',
        '{"id": "\\ud800", "text": "t"}',
        '{"id": "x", "text": "\\uDC00"}',
        '{"id": NaN, "text": "t"}',
        {"id": "good", "_id": "good", "text": "😀"},
    )
    for corpus in (jsonl, beir):
        *bad, good = corpus(path).documents()
        assert (good.id, good.text) == ("good", "😀")
        assert [item.source for item in bad] == [f"docs.jsonl, line {number}" for number in range(1, 6)]
        assert all(item.reason.startswith("is not JSON") for item in bad)


def test_beir_keeps_ids_and_joins_the_records_of_a_document(tmp_path):
    path = write_lines(
        tmp_path / "corpus.jsonl.gz",
        {"doc_id": "d#0", "document_id": "d", "pair_id": "d-1", "title": "T", "text": "one", "source": "S", "other": 1},
        {"_id": "e", "title": "", "text": "alone"},
        {"doc_id": "d#1", "document_id": "d", "pair_id": "d-2", "title": "Other", "text": "two"},
        {"_id": "e", "text": "again"},
        {"_id": "f", "text": ""},
    )
    e, d, again, bad = beir(path).documents()
    assert bad == Unreadable("corpus.jsonl.gz, line 5", "has no text in the field text")
    assert (d.text, d.title, d.metadata) == ("one\n\ntwo", "T", {"source": "S"})
    assert [(s.passage_id, s.id, s.heading, d.text[s.start : s.end]) for s in d.sections] == [
        ("d#0", "d-1", (), "one"),
        ("d#1", "d-2", ("Other",), "two"),
    ]
    assert (e.id, again.id, again.sections[0].passage_id) == ("e", "e-2", "e-2")


def test_medquad_says_what_it_needs(tmp_path):
    assert "CDSFRAME_DATA" in MedQuad.problems(None)[0]
    assert "no file" in MedQuad.problems(str(tmp_path))[0]


def test_medquads_passages_keep_their_ids(real_data):
    documents = list(MedQuad(str(real_data), strict=True).documents())
    ids = [section.passage_id for document in documents for section in document.sections]
    assert (len(documents), len(ids), len(set(ids))) == (5487, 26310, 26310)


def test_a_repeated_passage_of_real_data_is_numbered(real_data):
    path = real_data / "other_domains" / "fairytaleqa_sections.jsonl.gz"
    ids = [section.passage_id for d in Beir(str(path), strict=True).documents() for section in d.sections]
    assert len(set(ids)) == 4095
    assert "remarkable-rocket#5-2" in ids

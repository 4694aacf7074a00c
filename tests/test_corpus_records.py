"""Files of records (JSON Lines, BEIR, CSV): what becomes of a record, what is refused, and which ids are kept."""

import gzip
import re
import tracemalloc
import unicodedata

import pytest
from corpus_files import sections_of, write_lines

from cdsframe.corpus.beir import Beir, MedQuadPassages
from cdsframe.corpus.csv import CsvCorpus
from cdsframe.corpus.fields import RECORD_FIELDS
from cdsframe.corpus.jsonl import JsonlCorpus
from cdsframe.errors import InputError
from cdsframe.metadata import STANDARD_FIELDS
from cdsframe.types import Unreadable

OWN = {field: field for field in (*RECORD_FIELDS, *STANDARD_FIELDS)}


def jsonl(path, fields=OWN, max_megabytes=100):
    return JsonlCorpus(str(path), fields, False, max_megabytes, None, ())


def beir(path):
    return Beir(str(path), False, None, ())


def test_jsonl_reads_good_lines_and_names_bad_ones(tmp_path):
    path = write_lines(
        tmp_path / "docs.jsonl",
        {"id": 7, "title": "T", "text": " body ", "kind": "note", "metadata": {"department": "ICU"}},
        "",
        {"id": "s", "sections": [{"heading": "H", "text": "one"}, {"text": "two"}], "date": ""},
        "{oops",
        "[1]",
        {"id": "x"},
        {"id": "y", "text": "t", "title": ["no"]},
    )
    first, second, *bad = jsonl(path).documents()
    assert (first.id, first.text, first.metadata) == ("7", "body", {"kind": "note", "department": "ICU"})
    assert sections_of(second) == [(("H",), "one\n\ntwo")]
    assert [item.source for item in bad] == [f"docs.jsonl, line {number}" for number in (4, 5, 6, 7)]
    assert [item.reason for item in bad[1:]] == [
        "is not a JSON object",
        "has no text in the field text",
        "has no text in the field title",
    ]
    assert "oops" not in bad[0].reason


def test_numbers_of_jsonl_keep_their_digits(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text('{"id": 1.10, "text": 0.50}\n{"id": "b", "sections": [{"heading": 2.0, "text": 1.250}]}\n')
    first, second = jsonl(path).documents()
    assert (first.id, first.text) == ("1.10", "0.50")
    assert sections_of(second) == [(("2.0",), "1.250")]


def test_a_repeated_id_of_jsonl_is_named_with_its_line(tmp_path):
    path = write_lines(tmp_path / "docs.jsonl", {"id": "x", "text": "one"}, "", {"id": "x", "text": "two"})
    first, again = jsonl(path).documents()
    assert (first.text, first.metadata) == ("one", {})
    assert again == Unreadable(
        "docs.jsonl, line 3", "the id x is repeated; its first occurrence is in docs.jsonl, line 1"
    )


@pytest.mark.parametrize("sign", ["a", "\U0001f600", '"'])
def test_too_long_an_id_of_jsonl_is_named_with_its_line(tmp_path, sign):
    file = tmp_path / "f.jsonl"
    long = {"id": sign * 9_000, "title": "", "text": "secret"}
    write_lines(file, {"id": "a", "title": "", "text": "x"}, long, {"id": "path" * 1_000, "title": "", "text": "y"})
    first, bad, last = jsonl(file).documents()
    assert (first.id, last.id) == ("a", "path" * 1_000)
    assert bad.source == "f.jsonl, line 2"
    assert re.fullmatch(r"has too long an id: .* it has \d+ bytes, at most 24000 are allowed; .*", bad.reason)
    with pytest.raises(InputError, match="line 2: has too long an id"):
        list(JsonlCorpus(str(file), OWN, True, 100, None, ()).documents())


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
    assert bad.reason == "is a truncated or damaged gzip file"


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
    assert "CDSFRAME_DATA" in MedQuadPassages.problems(None)[0]
    assert "no file" in MedQuadPassages.problems(str(tmp_path))[0]


def test_medquads_passages_keep_their_ids(real_data):
    documents = list(MedQuadPassages(str(real_data), strict=True, name=None).documents())
    ids = [section.passage_id for document in documents for section in document.sections]
    assert (len(documents), len(ids), len(set(ids))) == (5487, 26310, 26310)


def test_a_repeated_passage_of_real_data_is_numbered(real_data):
    path = real_data / "other_domains" / "fairytaleqa_sections.jsonl.gz"
    ids = [section.passage_id for d in Beir(str(path), True, None, ()).documents() for section in d.sections]
    assert len(set(ids)) == 4095
    assert "remarkable-rocket#5-2" in ids


def test_jsonl_takes_a_documents_fields_from_where_the_mapping_says(tmp_path):
    record = {
        "meta": {"nr": 4, "by": [{"name": "Dr A"}]}, "a.b": "dotted", "Finding": "clear", "Plan": None, "Note": "home",
    }  # fmt: skip
    path = write_lines(tmp_path / "docs.jsonl", record, {"meta": {"nr": 5}}, {"meta": {"nr": 5}, "Plan": ["x"]})
    fields = {"id": "meta.nr", "title": "a.b", "text": ["Finding", "Plan", "Note"], "author": "meta.by.0.name"}
    good, empty, wrong = jsonl(path, fields).documents()
    assert (good.id, good.title, good.metadata) == ("4", "dotted", {"author": "Dr A"})
    assert sections_of(good) == [(("Finding",), "clear"), (("Note",), "home")]
    assert empty.reason == "has no text in any of the fields Finding, Plan, Note"
    assert wrong.reason == "has no text in the field Plan"


def test_a_record_without_an_id_is_named_by_its_content(tmp_path):
    path = write_lines(tmp_path / "docs.jsonl", {"text": "one"}, {"text": "two"}, {"text": "one"})
    one, two, again = jsonl(path, {"id": None, "title": None, "text": "text"}).documents()
    (path_two := tmp_path / "later.jsonl").write_text('{"text": "new"}\n{"text": "one"}\n')
    assert one.id != two.id
    assert one.id in [item.id for item in jsonl(path_two, {"text": "text"}).documents()]
    assert "is repeated" in again.reason


def test_a_line_that_is_too_long_is_passed_over(tmp_path):
    path = write_lines(tmp_path / "docs.jsonl.gz", {"id": "a", "text": "x" * (5 << 20)}, {"id": "b", "text": "t"})
    long, good = jsonl(path, max_megabytes=2).documents()
    assert long == Unreadable("docs.jsonl.gz, line 1", "is longer than 2 MB (corpus.max_megabytes)")
    assert good.id == "b"


def test_a_mapping_that_cannot_work_is_refused_before():
    assert "corpus.fields.text is missing" in JsonlCorpus.problems({"id": "id", "text": None})[0]
    assert "only text takes a list" in CsvCorpus.problems({"id": ["a", "b"], "text": "t"})[0]


def csv_of(path, fields, delimiter=None, strict=False, max_megabytes=100):
    return CsvCorpus(str(path), fields, delimiter, strict, max_megabytes, None, ())


TABLE = '''Nr;Datum;Befund;Beurteilung
7;2025-03-01;"Lunge; frei";unauffällig
8;2025-03-02;"zwei
Zeilen ""zitiert""";

9;2025-03-03;kurz
;2025-03-04;ohne Nr;x
'''
FIELDS_OF_TABLE = {"id": "Nr", "title": None, "text": ["Befund", "Beurteilung"], "date": "Datum"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_rows_are_documents(tmp_path, encoding, caplog):
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE.encode(encoding))
    seven, eight, short, nameless = csv_of(path, FIELDS_OF_TABLE).documents()
    assert (seven.id, seven.metadata) == ("7", {"date": "2025-03-01"})
    assert sections_of(seven) == [(("Befund",), "Lunge; frei"), (("Beurteilung",), "unauffällig")]
    assert sections_of(eight) == [(("Befund",), 'zwei\nZeilen "zitiert"')]
    assert short == Unreadable(
        "t.csv, row 5", "has 3 values, but the header has 4 columns (is a quotation mark not closed?)"
    )
    assert nameless == Unreadable("t.csv, row 6", "has no text in the field Nr")
    assert bool(caplog.records) == (encoding == "cp1252")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter(tmp_path, delimiter):
    path = tmp_path / "t.tsv"
    path.write_text(delimiter.join(("id", "text")) + "\n" + delimiter.join(("1", "a b. c: d")) + "\n")
    (document,) = csv_of(path, {"id": "id", "text": "text"}).documents()
    assert document.text == "a b. c: d"
    (path.parent / "u.csv").write_text("id,text\n1,a|b|c|d\n")
    (other,) = csv_of(path.parent / "u.csv", {"id": "id", "text": "text"}).documents()
    assert other.text == "a|b|c|d"


def test_csv_names_a_column_that_is_not_there(tmp_path):
    (tmp_path / "t.csv").write_text("Number,Finding\n1,secret\n")
    with pytest.raises(InputError, match=r"corpus.fields.text: t.csv has no column Findin; did you mean Finding\?"):
        list(csv_of(tmp_path / "t.csv", {"text": "Findin"}).documents())
    with pytest.raises(InputError, match=r"no column x; its first row has 2 values$"):
        list(csv_of(tmp_path / "t.csv", {"text": "x"}).documents())


def test_csv_that_is_damaged_says_so(tmp_path):
    fields = {"id": "id", "text": "text"}
    long = "id,text\n1," + "x" * (3 << 20) + "\n2,good\n"
    (tmp_path / "long.csv").write_text(long)
    assert [item.reason for item in csv_of(tmp_path / "long.csv", fields, max_megabytes=1).documents()] == [
        "has a line that is longer than 1 MB (corpus.max_megabytes)"
    ]
    (tmp_path / "open.csv").write_text('id,text\n1,"never closed\n2,b\n3,c\n')
    (one,) = csv_of(tmp_path / "open.csv", fields).documents()
    assert one == Unreadable(
        "open.csv, row 2", "has a quotation mark that is not closed (line 2); the lines 2 to 4 are not read"
    )
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"id,text\n" + b"1,a\n" * 5000)[:-9])
    *_, cut = csv_of(tmp_path / "cut.csv.gz", fields).documents()
    assert cut.reason == "is a truncated or damaged gzip file"
    (tmp_path / "nul.csv").write_bytes(b"id,text\n1,a\0b\n")
    (nul,) = csv_of(tmp_path / "nul.csv", fields).documents()
    assert nul.reason == "is binary (it holds NUL bytes)"


def test_beir_holds_only_documents_that_are_not_complete(tmp_path):
    lines = [{"_id": f"{n}", "document_id": f"d{n // 3}", "text": "word " * 500} for n in range(3000)]
    path = write_lines(tmp_path / "corpus.jsonl", *lines)
    tracemalloc.start()
    count = sum(1 for _ in beir(path).documents())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000
    assert peak < 3_000_000  # the texts together have 7,500,000


def rows(tmp_path, data, fields=None, delimiter=None):
    path = tmp_path / "t.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(csv_of(path, fields or {"id": "id", "text": "text"}, delimiter).documents())


@pytest.mark.parametrize(
    ("data", "reason", "read"),
    [
        ('1,"Zelnorin 20 mg\n2,b\n3,c\n', "has a quotation mark that is not closed (line 2); the lines 2 to 4", []),
        ('1,a\n2,b\n3,"c', "has a quotation mark that is not closed (line 4)", ["1", "2"]),
        ('1,"a\n2,b\n3,c"\n4,d\n', "has a quotation mark that is not closed (line 2); the lines 2 to 4", ["4"]),
        ('1,"a\n2,"b" mg\n3,c\n', "has a quotation mark within a quoted value that is not doubled (line 3)", ["3"]),
        ('1,"a" b\n2,c\n', "has a quotation mark within a quoted value that is not doubled (line 2)", ["2"]),
        ("1,a,b\n2,c\n", "has 3 values, but the header has 2 columns (is a quotation mark not closed?)", ["2"]),
    ],
)
def test_a_quotation_mark_that_is_not_closed_merges_nothing(tmp_path, data, reason, read):
    items = rows(tmp_path, "id,text\n" + data)
    (bad,) = (item for item in items if isinstance(item, Unreadable))
    assert bad.reason.startswith(reason)
    assert [item.id for item in items if not isinstance(item, Unreadable)] == read


def test_values_of_several_lines_and_sloppy_quotation_marks_are_read(tmp_path):
    data = 'sep=,\nid,text\n007,"one, two\nthree, four"\n2,"1,5 mg" \n3,5" tube\n4,"say ""no"""\n'
    assert [(item.id, item.text) for item in rows(tmp_path, data)] == [
        ("007", "one, two\nthree, four"), ("2", "1,5 mg"), ("3", '5" tube'), ("4", 'say "no"'),
    ]  # fmt: skip


def test_a_column_named_twice_is_refused_where_it_is_used(tmp_path):
    with pytest.raises(InputError, match=r"corpus\.fields\.text: t\.csv has 2 columns that are named text; rename"):
        rows(tmp_path, "id,text,text\n1,a,b\n")
    [document] = rows(tmp_path, "id,text,note,note,,\n1,a,b,c,,\n")
    assert document.text == "a"
    assert [(one.reason, one.count, one.text) for one in document.omitted] == [
        ("values of columns that corpus.fields does not name", 2, False)
    ]


UNNAMED = "values under names that corpus.fields does not have"


def unnamed(document, reason=UNNAMED):
    assert all((one.reason, one.text) == (reason, False) for one in document.omitted)
    return sum(one.count for one in document.omitted)


def test_values_of_json_lines_that_no_field_takes_are_counted(tmp_path):
    record = {"id": 1, "text": "t", "allergy": "latex", "empty": "", "metadata": {"kind": "note", "ward": "5 B"}}
    path = write_lines(
        tmp_path / "docs.jsonl",
        record,
        {"id": 2, "text": "t", "source": "S", "metadata": {"source": "S"}},
        {"id": 3, "a": {"b": "t", "c": "u"}},
        {"id": 4, "text": "t", "note": {"by": ["A", "B", None], "at": [{"ward": 5, "bed": " "}]}},
        {"id": 5, "text": "t", "source": "one", "metadata": {"source": "two", "title": "three"}},
    )
    documents = list(jsonl(path, {**OWN, "text": ["text", "a.b"]}).documents())
    assert [unnamed(document) for document in documents] == [2, 0, 1, 3, 2]
    assert documents[4].metadata == {"source": "two"}


def test_values_beside_a_dotted_field_are_counted(tmp_path):
    record = {
        "id": 1, "text": "t", "meta": {"dept": "ICU", "warning": "never give it"},
        "authors": [{"name": "A"}, {"name": "B"}],
    }  # fmt: skip
    path = write_lines(tmp_path / "docs.jsonl", record)
    (document,) = jsonl(path, {**OWN, "department": "meta.dept", "author": "authors.0.name"}).documents()
    assert document.metadata == {"department": "ICU", "author": "A"}
    assert unnamed(document) == 2


def test_sections_within_sections_are_read_and_their_other_values_counted(tmp_path):
    inner = [{"heading": "I", "text": "deep", "sections": [{"text": "deeper", "by": {"name": "A"}}]}]
    deep = {"text": "x"}
    for _ in range(60):
        deep = {"heading": "H", "sections": [deep]}
    path = write_lines(
        tmp_path / "docs.jsonl",
        {"id": "a", "sections": [{"heading": "H", "text": "x", "note": "never give it"}]},
        {"id": "b", "sections": [{"heading": "H", "sections": inner}, {"heading": "J", "text": "end"}]},
        {"id": "c", "sections": [{"heading": "H", "sections": "deep"}]},
        {"id": "d", "sections": [deep]},
        {
            "id": "e",
            "sections": [
                {"heading": "H", "sections": [{"heading": "I", "text": "never"}]},
                {"text": "Give 5 mg", "sections": [{"heading": "J"}]},
                {"text": "end"},
            ],
        },
    )
    note, nested, wrong, too_deep, after = jsonl(path).documents()
    assert sections_of(after) == [(("H", "I"), "never"), (("H",), "Give 5 mg"), (("H", "J"), "J"), (("H",), "end")]
    assert (sections_of(note), unnamed(note)) == ([(("H",), "x")], 1)
    assert sections_of(nested) == [(("H", "I"), "deep\n\ndeeper"), (("J",), "end")]
    assert unnamed(nested) == 1
    assert wrong.reason == "has sections that are not a list of objects"
    assert too_deep.reason == "has sections that are nested more than 50 levels deep"


def test_a_text_beside_sections_is_left_out_only_where_they_repeat_the_whole_of_it(tmp_path):
    parts = [{"heading": "H", "text": "Never Give 15 mg/kg"}, {"heading": "I", "text": "Stop"}]
    texts = ["Give 1", "Give 15 mg", "Never Give 15  mg/kg", "Never Give 15 mg/kg Stop", 5, ["a", "b"]]
    records = [{"id": str(n), "text": text, "sections": parts} for n, text in enumerate(texts)]
    documents = list(jsonl(write_lines(tmp_path / "docs.jsonl", *records)).documents())
    own = [(("H",), "Never Give 15 mg/kg"), (("I",), "Stop")]
    beside = [[((), "Give 1")], [((), "Give 15 mg")], [], [], [((), "5")], []]
    assert [sections_of(document) for document in documents] == [[*first, *own] for first in beside]
    assert [unnamed(document) for document in documents] == [0, 0, 0, 0, 0, 2]


def test_further_values_of_a_beir_record_are_counted(tmp_path):
    path = write_lines(
        tmp_path / "corpus.jsonl",
        {"_id": "a", "title": "T", "text": "x", "note": "never give it", "metadata": {"source": "S", "w": "warning"}},
        {"_id": "b#0", "document_id": "b", "text": "x", "pair_id": "1", "metadata": {}, "author": "A"},
        {"_id": "b#1", "document_id": "b", "text": "y", "author": "B", "links": [1, 2]},
    )
    reason = "values under names that corpus=beir does not read"
    assert [unnamed(document, reason) for document in beir(path).documents()] == [2, 3]


def test_the_columns_that_are_wanted_decide_the_delimiter(tmp_path):
    assert rows(tmp_path, "text;id;a, b, c\nx, y, z;1;u, v, w\n")[0].text == "x, y, z"
    assert rows(tmp_path, "\n\nid,text\r1,a\r")[0].text == "a"


def test_bytes_that_cannot_be_decoded_are_counted_with_their_line(tmp_path):
    one, two = rows(tmp_path, "id,text\n1,Größe µg\n2,ok ".encode() + b"\xb5g\n")
    assert (one.omitted, two.text) == ((), "ok \ufffdg")
    assert [(item.count, item.text, item.place) for item in two.omitted] == [(1, True, "line 3")]
    assert rows(tmp_path, "id,text\n1,Größe\n".encode("utf-16-le"))[0].text == "Größe"


def test_a_key_that_stands_twice_is_refused_and_a_text_beside_sections_is_read(tmp_path):
    parts = [{"heading": "H", "text": "one"}]
    path = write_lines(
        tmp_path / "docs.jsonl",
        '{"id": "a", "text": "5 mg", "text": "50 mg"}',
        {"id": "b", "text": "beside", "sections": parts},
        {"id": "c", "text": "one", "sections": parts},
        {"id": "d", "sections": [{"title": "H", "content": "x"}]},
    )
    twice, beside, repeated, other = jsonl(path).documents()
    assert twice == Unreadable("docs.jsonl, line 1", "is not JSON (an object has the same key twice)")
    assert sections_of(beside) == [((), "beside"), (("H",), "one")]
    assert sections_of(repeated) == [(("H",), "one")]
    assert other.reason == "has a section with neither heading nor text"


def test_a_column_is_found_in_any_normal_form_and_suggested_in_any_case(tmp_path):
    data = "id,Größe\n1,a\n"
    for form in ("NFC", "NFD"):
        given = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Größe")
        assert rows(tmp_path, unicodedata.normalize(form, data), {"id": "id", "text": given})[0].text == "a"
    with pytest.raises(InputError, match="did you mean Größe"):
        rows(tmp_path, data, {"id": "id", "text": "GRÖßE"})

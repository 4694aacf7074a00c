"""`data=file`: questions in rows of JSON, CSV, Parquet and Arrow files, and what is said of unusable files."""

import gzip
import json
import logging
import re
from collections import Counter
from contextlib import suppress

import pytest

from cdsframe.data.file import FileQuestions
from cdsframe.errors import EmptySplitError, InputError
from cdsframe.types import Document, Evidence, Section

SECRET = "Mrs Secret has a rash"
ROWS = [
    {"q": "How much?", "a": "5 mg", "key": "k1", "kind": "dose", "part": "train", "page": "A", "day": 7},
    {"q": " When? ", "a": "2024-03-01", "key": "k2", "kind": None, "part": "dev", "page": "B", "day": 8},
    {"q": "NA", "a": "None", "key": "k3", "kind": "", "part": "TEST", "page": "A", "day": 9},
]  # fmt: skip
FOUND = [("k1", "How much?", "5 mg", "dose", "train", "A"), ("k2", "When?", "2024-03-01", "open", "validation", "B"),
         ("k3", "NA", "None", "open", "test", "A")]  # fmt: skip
COLUMNS = {"question": "q", "answer": "a"}
ALL = {**COLUMNS, "id": "key", "type": "kind", "split": "part", "group": "page"}
KINDS = ["jsonl", "jsonl.gz", "json", "csv", "csv.gz", "semicolons.csv", "tsv", "parquet", "arrow", "feather.arrow"]


class Documents:
    def documents(self):
        yield Document("d", "", "Give 5 mg. Then wait.", (Section((), 0, 21),))


def write(folder, rows=ROWS, kind="parquet", stem="rows"):
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.{kind}"
    table = pyarrow.Table.from_pylist(rows)
    if kind.startswith("json"):
        lines = json.dumps(rows, indent=1) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode()) if kind.endswith("gz") else lines.encode())
    elif kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif kind.endswith("arrow"):
        form = pyarrow.ipc.new_file if kind.startswith("feather") else pyarrow.ipc.new_stream
        with form(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        delimiter = {"tsv": "\t", "semicolons.csv": ";"}.get(kind, ",")
        pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter=delimiter))
        if kind.endswith("gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def read(path, **changes):
    settings = {
        "scope": None, "question": "q", "answer": "a", "id": None, "type": None, "evidence": None, "split": None,
        "group": None, "empty_answers": "drop", "validation_share": 0.2, "test_share": 0.2, "split_seed": 0, **changes,
    }  # fmt: skip
    return FileQuestions(path if isinstance(path, dict | list) else str(path), corpus=Documents(), **settings)


def everything(data):
    found = []
    for split in ("train", "validation", "test"):
        with suppress(EmptySplitError):
            found += data.questions(split)
    return found


@pytest.fixture(autouse=True)
def library_cache(monkeypatch, tmp_path_factory):
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    yield folder
    assert not list(folder.iterdir()), "nothing of a local file is in the library's cache"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_questions(tmp_path, kind):
    data = read(write(tmp_path / "a [1]*", kind=kind), **ALL)
    found = [(q.id, q.question, q.answer, q.type, q.split, q.group) for q in everything(data)]
    assert found == FOUND
    assert data.scope == "rows"
    plain = read(write(tmp_path / "a [1]*", kind=kind), validation_share=0, test_share=0).questions("train")
    assert [q.id for q in plain] == ["rows-1", "rows-2", "rows-3"]


def test_evidence_is_spans_or_quotes_or_their_json(tmp_path):
    spans = [{"document_id": "d", "start": 5, "end": 9, "quote": None}]
    quotes = [{"document_id": "d", "start": None, "end": None, "quote": "Then"}]
    rows = [{"q": "a?", "a": "x", "e": spans}, {"q": "b?", "a": "x", "e": quotes}, {"q": "c?", "a": "x", "e": None}]
    for kind, cast in (("parquet", lambda e: e), ("jsonl", lambda e: e), ("csv", lambda e: e and json.dumps(e))):
        path = write(tmp_path, [{**row, "e": cast(row["e"])} for row in rows], kind)
        found = read(path, evidence="e", validation_share=0, test_share=0).questions("train")
        assert [q.evidence for q in found] == [(Evidence("d", 5, 9),), (Evidence("d", 11, 15),), ()]
        assert [q.group for q in found[:2]] == ["d", "d"]
    for wrong in ("{", '"x"', f'[{{"document_id": "d", "quote": "{SECRET}"}}]'):
        path = write(tmp_path, [{"q": "a?", "a": "x", "e": wrong}], "csv")
        with pytest.raises(InputError, match=r"rows\.csv, row 1: (evidence|the quote)") as said:
            read(path, evidence="e").questions("train")
        assert SECRET not in str(said.value)


def test_without_splits_groups_are_divided_by_a_seed(tmp_path):
    rows = [{"q": f"Q {n % 60}?", "a": f"answer {n}", "page": n % 20} for n in range(120)]
    path = write(tmp_path, rows)
    by_question = {q.id: q.split for q in everything(read(path))}
    assert set(by_question.values()) == {"train", "validation", "test"}
    assert all(by_question[f"rows-{n}"] == by_question[f"rows-{n + 60}"] for n in range(1, 61))
    assert {q.id: q.split for q in everything(read(path))} == by_question
    assert {q.id: q.split for q in everything(read(path, split_seed=1))} != by_question
    pages = {(q.group, q.split) for q in everything(read(path, group="page"))}
    assert len(pages) == 20, "a page is in one split"


def test_files_of_each_split_by_mapping_or_by_name(tmp_path):
    folder = tmp_path / "set"
    for split, rows in (("train-00000-of-00001", ROWS[:1]), ("val", ROWS[1:2]), ("test", ROWS[2:])):
        write(folder, rows, stem=split)
    (folder / "dataset_info.json").write_text("{}")
    assert [(q.id, q.split) for q in everything(read(folder))] == [
        ("train-00000-of-00001-1", "train"), ("val-1", "validation"), ("test-1", "test"),
    ]  # fmt: skip
    given = {"train": str(folder / "test.parquet"), "validation": str(folder / "val.parquet")}
    assert [(q.id, q.split) for q in everything(read(given))] == [("test-1", "train"), ("val-1", "validation")]
    write(folder, ROWS, stem="more")
    with pytest.raises(InputError, match=r"more\.parquet has no split in its name, but other files have"):
        read(folder).questions("train")
    alone = read(folder / "train-00000-of-00001.parquet", validation_share=0, test_share=0)
    assert len(alone.questions("train")) == 1, "one file is divided, whatever its name"
    assert FileQuestions.problems(given, "part")
    assert not FileQuestions.problems(given, None)


def test_a_folder_of_save_to_disk_is_read(tmp_path):
    import datasets

    sets = {"train": datasets.Dataset.from_list(ROWS[:2]), "test": datasets.Dataset.from_list(ROWS[2:])}
    datasets.DatasetDict(sets).save_to_disk(tmp_path / "saved")
    assert Counter(q.split for q in everything(read(tmp_path / "saved"))) == {"train": 2, "test": 1}


def test_rows_without_question_or_answer_are_dropped_and_counted(tmp_path):
    rows = [*ROWS, {"q": "Who?", "a": None}, {"q": "Whose?", "a": " "}, {"q": None, "a": "x"}]
    data = read(write(tmp_path, rows), validation_share=0, test_share=0)
    assert data.removed == {}
    assert len(data.questions("train")) == 3
    assert data.removed == {"train": {"empty": 3}}
    kept = read(write(tmp_path, rows), validation_share=0, test_share=0, empty_answers="unanswerable").questions(
        "train"
    )
    assert [q.type for q in kept[3:]] == ["unanswerable", "unanswerable"]


def test_a_split_column_that_is_not_used_is_reported(tmp_path, caplog):
    path = write(tmp_path, [{"q": "a?", "a": "x", "split": "test"}])
    with caplog.at_level(logging.WARNING):
        everything(read(path))
        assert "has a column split that is not used; set data.split=split" in caplog.text
        caplog.clear()
        everything(read(path, split="split"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (
            ROWS,
            {"answer": "aa"},
            "no column aa; did you mean a? It has q, a, key, kind, part, page, day; set data.answer",
        ),
        (ROWS, {"id": "zzz"}, "no column zzz; it has q, a, key, kind, part, page, day; set data.id"),
        ([{SECRET * 3: "x"}], {}, "no column q; it has none and 1 with longer names"),
        (ROWS, {"answer": "day"}, "row 1: column day must hold text, and holds a number"),
        (ROWS, {"group": "list"}, "no column list"),
        ([{"q": "x", "a": [SECRET]}], {}, "row 1: column a must hold text, and holds a list"),
        (
            [{"q": "x", "a": "y", "s": SECRET}],
            {"split": "s"},
            "row 1: column s must hold a split (train, validation, v",
        ),
        ([{"q": "x", "a": "y", "i": SECRET}] * 2, {"id": "i"}, "row 2: its id is already used in"),
        ([{"q": "x", "a": "y", "i": None}], {"id": "i"}, "row 1: the id is empty"),
        ([{"q": "x", "a": "y", "e": SECRET}], {"evidence": "e"}, "row 1: evidence is not JSON"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_without_its_words(tmp_path, rows, changes, said, caplog):
    with pytest.raises(InputError, match=re.escape(said)) as error:
        read(write(tmp_path, rows), **changes).questions("train")
    assert SECRET not in str(error.value) + caplog.text


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json", "arrow", "jsonl.gz"])
@pytest.mark.parametrize("damage", ["empty", "torn", "foreign"])
def test_a_damaged_file_is_one_sentence(tmp_path, kind, damage, caplog, capfd):
    path = write(tmp_path, [{"q": f"{SECRET} {n}", "a": "x" * 50} for n in range(50)], kind)
    contents = {"empty": b"", "torn": path.read_bytes()[:-40], "foreign": SECRET.encode("utf-16") * 9}
    path.write_bytes(contents[damage])
    if (kind, damage) == ("csv", "torn"):
        return
    with pytest.raises(InputError) as error:
        read(path).questions("train")
    assert str(path) in str(error.value)
    assert SECRET not in str(error.value) + caplog.text + "".join(capfd.readouterr())


def test_files_without_rows_and_longer_rows_than_the_header(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("q,a\n")
    with pytest.raises(InputError, match=r"rows\.csv has no rows"):
        read(path).questions("train")
    path.write_text(f"q,a\n{SECRET},b,c\n{SECRET},e,f\n")
    with pytest.raises(InputError, match="row 1: 3 values, but the header has 2"):
        read(path).questions("train")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r"list\.json has no rows"):
        read(tmp_path / "list.json").questions("train")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match=r"list\.json, row 1: not a JSON object"):
        read(tmp_path / "list.json").questions("train")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        read(tmp_path / "no.parquet").questions("train")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"has an unknown suffix; expected one of \.jsonl"):
        read(tmp_path / "notes.txt").questions("train")
    with pytest.raises(InputError, match="has no file that can be read"):
        read(tmp_path).questions("train")
    path = write(tmp_path)
    with pytest.raises(
        EmptySplitError, match=r"no questions in split 'test'.*available splits: train; raise data\.val"
    ):
        read(path, validation_share=0, test_share=0).questions("test")
    with pytest.raises(EmptySplitError, match=r"available splits: validation; name the files of each split"):
        read({"validation": str(path)}).questions("train")


def test_late_fields_and_long_files_keep_their_types(tmp_path):
    """`datasets`' own JSON reader fails here, and makes a time of an answer that is a date."""
    rows = [{"q": f"{n} " + "x" * 900, "a": "2024-03-01"} for n in range(12_000)]
    late = {"q": "q", "a": "2024-03-01", "e": [{"document_id": "d", "start": 0, "end": 4}]}
    found = read(write(tmp_path, [*rows, late], "jsonl"), evidence="e", validation_share=0, test_share=0)
    assert {q.answer for q in found.questions("train")} == {"2024-03-01"}
    assert found.questions("train")[-1].evidence

"""Questions from files: what a record may hold, which line is refused, where evidence is, what MedQuAD leaves out."""

import gzip
import json
import logging

import pytest

from cdsframe.data.jsonl import JsonlQuestions
from cdsframe.data.medquad import MedQuad
from cdsframe.errors import ConfigError, InputError
from cdsframe.types import Document, Evidence, Question, Section, Unreadable

GOOD = {"id": "q", "question": " How much? ", "answer": " 5 mg "}


class Documents:
    """A corpus of two documents and a file that cannot be read; counts how often it was read."""

    read = 0

    def documents(self):
        self.read += 1
        for id_, text in (("a", "Give 5 mg. Then wait."), ("b", "Wait. Wait.")):
            yield Document(id_, "", text, (Section((), 0, len(text)),))
        yield Unreadable("c", "is empty")


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def read(tmp_path, *records, split="test"):
    return JsonlQuestions([write(tmp_path / "q.jsonl", *records)], "ward", Documents()).questions(split)


def test_a_record_becomes_a_question(tmp_path):
    full = {**GOOD, "id": "r", "aliases": ["5"], "type": "dose", "split": "test"}
    evidence = [{"document_id": "a", "start": 5, "end": 9}, {"document_id": "b", "start": 0, "end": 4}]
    plain, told, unanswerable = read(tmp_path, GOOD, {**full, "evidence": evidence}, {**GOOD, "id": "u", "answer": ""})
    assert plain == Question("q", "How much?", "5 mg", type="open", split="test", group="q")
    spans = (Evidence("a", 5, 9), Evidence("b", 0, 4))
    assert told == Question("r", "How much?", "5 mg", ("5",), "dose", "test", spans, "a")
    assert (unanswerable.type, unanswerable.answer) == ("unanswerable", "")


def test_a_type_that_is_null_is_no_type_and_another_value_is_refused(tmp_path):
    open_one, unanswerable = read(tmp_path, {**GOOD, "type": None}, {**GOOD, "id": "u", "answer": "", "type": None})
    assert (open_one.type, unanswerable.type) == ("open", "unanswerable")
    with pytest.raises(InputError, match="line 1: type must be a string"):
        read(tmp_path, {**GOOD, "type": 3})


def test_files_are_read_in_order_and_split(tmp_path):
    first = write(tmp_path / "1.jsonl", {**GOOD, "id": "z"}, {**GOOD, "id": "t", "split": "train"})
    second = write(tmp_path / "2.jsonl.gz", {**GOOD, "id": "a"})
    corpus = Documents()
    data = JsonlQuestions([first, second], "ward", corpus)
    assert ([q.id for q in data.questions("test")], [q.id for q in data.questions("train")]) == (["z", "a"], ["t"])
    assert (data.scope, corpus.read) == ("ward", 0)
    with pytest.raises(
        InputError, match=r"no questions in split 'validation' of .*1\.jsonl, .*; available splits: test, t"
    ):
        data.questions("validation")


def test_evidence_by_quote_is_found_in_the_document(tmp_path):
    quoted = [
        {**GOOD, "id": str(n), "evidence": [{"document_id": "a", "quote": q}]} for n, q in enumerate(["5 mg", "T"])
    ]
    corpus = Documents()
    data = JsonlQuestions([write(tmp_path / "q.jsonl", *quoted)], "ward", corpus)
    assert [q.evidence for q in data.questions("test")] == [(Evidence("a", 5, 9),), (Evidence("a", 11, 12),)]
    assert corpus.read == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("{oops", "not JSON"),
        ("[1]", "not a JSON object"),
        ({"id": 3}, "id must be a string that is not empty"),
        ({"id": " "}, "id must be a string that is not empty"),
        ({"question": ""}, "question must be a string that is not empty"),
        ({"answer": None}, "answer must be a string"),
        ({"split": "dev"}, "split must be one of train, validation, test, got 'dev'"),
        ({"aliases": "one"}, "aliases must be a list of strings"),
        ({"aliases": [1]}, "aliases must be a list of strings"),
        ({"evidence": {"document_id": "a"}}, "evidence must be a list of objects"),
        ({"evidence": ["a"]}, "evidence must be a list of objects"),
        ({"evidence": [{"document_id": "a"}]}, "evidence needs document_id and either start < end or a quote"),
        (
            {"evidence": [{"document_id": "a", "start": 4, "end": 4}]},
            "evidence needs document_id and either start < end",
        ),
        (
            {"evidence": [{"document_id": "a", "start": -1, "end": 4}]},
            "evidence needs document_id and either start < end",
        ),
        ({"evidence": [{"document_id": "a", "quote": ""}]}, "evidence needs document_id and either start < end"),
        ({"evidence": [{"document_id": "d", "quote": "x"}]}, "the corpus has no document d"),
        ({"evidence": [{"document_id": "a", "quote": "6 mg"}]}, "the quote occurs 0 times in a"),
        ({"evidence": [{"document_id": "b", "quote": "Wait."}]}, "the quote occurs 2 times in b"),
        ({"id": "q"}, "the id q is already used in .*q.jsonl, line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, fault, reason):
    bad = fault if isinstance(fault, str) else {**GOOD, "id": "bad", **fault}
    with pytest.raises(InputError, match=rf"^data: .*q\.jsonl, line 3: {reason}") as refused:
        read(tmp_path, GOOD, "", bad)
    assert "How much" not in str(refused.value)


PAIR = {"id": "m", "doc_id": "d", "question": "What are the symptoms of Gout?", "answer": " It hurts. ", "flags": []}
FLAGS = ["short", "echo"]


def medquad(folder, *records, strip=True, limit=None, split="train", subset="all", types=None):
    write(folder / "medquad/medquad_train.jsonl.gz", *records)
    return MedQuad(str(folder), types, FLAGS, strip, subset, limit).questions(split)


def test_medquads_flagged_pairs_are_left_out_and_counted(tmp_path, caplog):
    records = [
        {**PAIR, "id": str(n), "flags": flags} for n, flags in enumerate([[], ["short", "echo"], ["short"], ["x"]])
    ]
    with caplog.at_level(logging.INFO, "cdsframe"):
        found = medquad(tmp_path, *records)
    assert [question.id for question in found] == ["0", "3"]
    assert found[0] == Question("0", PAIR["question"], "It hurts.", type="open", split="train", group="d")
    assert "dropped: echo 1, short 2" in caplog.text
    assert [question.id for question in medquad(tmp_path, *records, limit=1)] == ["0"]


@pytest.mark.parametrize(
    ("answer", "stripped"),
    [
        ("What are the symptoms of Gout? It hurts.", "It hurts."),
        ("What are the signs and symptoms of Gout? It hurts.", "It hurts."),
        ("What are the symptoms of Gout?", "What are the symptoms of Gout?"),
        ("It hurts. Is that all? No.", "It hurts. Is that all? No."),
        ("It hurts.", "It hurts."),
    ],
)
def test_medquads_answers_lose_the_question_that_they_repeat(tmp_path, answer, stripped):
    flagged = {**PAIR, "answer": answer, "flags": ["q_prefix"]}
    assert medquad(tmp_path, flagged)[0].answer == stripped
    assert medquad(tmp_path, flagged, strip=False)[0].answer == answer
    assert medquad(tmp_path, {**flagged, "flags": []})[0].answer == answer


def test_medquads_bad_lines_and_splits_are_named(tmp_path):
    for fault in ({"flags": None}, {"answer": 3}, {"doc_id": None}):
        with pytest.raises(
            InputError, match=r"data=medquad: .*medquad_train\.jsonl\.gz, line 2: id, doc_id, question,"
        ):
            medquad(tmp_path, PAIR, {**PAIR, **fault})
    with pytest.raises(InputError, match="no split 'dev'; it has train, validation, test"):
        medquad(tmp_path, PAIR, split="dev")
    with pytest.raises(InputError, match=r"data=medquad: no file .*medquad_val\.jsonl\.gz"):
        medquad(tmp_path, PAIR, split="validation")


def test_medquad_says_what_it_needs(tmp_path):
    for folder, message in ((None, "set CDSFRAME_DATA"), (str(tmp_path), "contains neither medquad/ nor")):
        assert message in MedQuad.problems(folder)[0]
        with pytest.raises(ConfigError, match=message):
            MedQuad(folder, None, [], True, "all", None)


def test_medquads_real_pairs(real_data):
    flags = ["hpo_table", "templated", "short", "echo", "bad_question"]
    data = MedQuad(str(real_data), None, flags, True, "all", 100)
    for split in ("train", "validation", "test"):
        found = data.questions(split)
        assert len({question.id for question in found}) == 100
        assert all(question.question and question.answer and question.split == split for question in found)

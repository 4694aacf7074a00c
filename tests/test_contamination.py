"""What counts as contaminated, what is done with it, and that a whole evaluation set is refused."""

import gzip
import json
import logging

import pytest

from cdsframe.contamination import Contamination, NoContamination
from cdsframe.errors import EmptySplitError, InputError
from cdsframe.types import Question

LONG = "the patient should take five milligrams of the tablet every morning with water and food until the pain is gone"
OTHER = (
    "a nurse checks the dressing of the wound each evening and writes the findings into the chart of the ward at once"
)


class Data:
    """Questions in splits."""

    def __init__(self, **splits):
        self._splits = splits

    def questions(self, split):
        if split not in self._splits:
            raise EmptySplitError(f"no split {split}")
        return self._splits[split]


def question(id_, asked, answer="five"):
    return Question(id_, asked, answer)


def screen(tmp_path, train, *records, own=None, **changes):
    path = tmp_path / "set.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    settings = {
        "folder": None, "known": [], "own_splits": own is not None, "exact": "question", "ngram": 8, "share": 0.7,
        "found": "drop", "against": [str(path)] if records else [], **changes,
    }  # fmt: skip
    return Contamination(**settings).screen(train, own or Data(), tmp_path)


TRAIN = [question("t1", "What is Gout?"), question("t2", "What helps?", LONG), question("t3", "Who?", "she"),
         question("t4", "Where is it?")]  # fmt: skip
FILL = [{"id": f"f{n}", "question": f"Filler number {n}?", "answer": "none"} for n in range(5)]


def test_the_same_question_is_found_whatever_its_case_and_punctuation(tmp_path):
    found = screen(tmp_path, TRAIN, {"id": "e", "question": "what is GOUT", "answer": "x"}, *FILL)
    assert [q.id for q in found.kept] == ["t2", "t3", "t4"]
    assert found.rows == [{"id": "t1", "set": "set.jsonl.gz", "item": "e", "by": "question", "share": 1.0}]
    assert found.facts["dropped"] == found.facts["found"] == 1
    assert found.facts["sets"]["set.jsonl.gz"] == {"items": 6, "items_found": 1, "training_questions_found": 1}
    assert json.loads((tmp_path / "contamination.jsonl").read_text()) == found.rows[0]


def test_a_pair_is_the_same_only_with_its_answer(tmp_path):
    records = [
        {"id": "e", "question": "What is Gout?", "answer": "x"},
        {"id": "f", "question": "Who?", "answer": "She!"},
    ]
    assert [r["id"] for r in screen(tmp_path, TRAIN, *records, *FILL, exact="pair").rows] == ["t3"]


def test_a_share_of_the_ngrams_is_found_and_less_is_not(tmp_path):
    half = " ".join(LONG.split()[:13]) + " " + " ".join(OTHER.split()[:7])
    for record, share, expected in (
        ({"id": "e", "question": "Q?", "answer": LONG}, 0.7, ["t2"]),
        ({"id": "e", "question": "Q?", "answer": half}, 0.7, []),
        ({"id": "e", "question": "Q?", "answer": half}, 0.4, ["t2"]),
        ({"id": "e", "question": "Q?", "answer": OTHER}, 0.1, []),
        ({"id": "e", "question": "Q?", "answer": " ".join(LONG.split()[:15])}, 0.1, []),  # too short to tell
        ({"id": "e", "question": "Q", "options": {"A": LONG, "B": "no"}, "answer": "A"}, 0.7, ["t2"]),
        ({"id": "e", "dialogue": LONG, "note": "n"}, 0.7, ["t2"]),
        ({"query_id": "e", "text": LONG}, 0.7, ["t2"]),
    ):
        found = screen(tmp_path, TRAIN, record, *FILL, share=share)
        assert [row["id"] for row in found.rows] == expected, record
        assert {row["by"] for row in found.rows} <= {"ngram"}


def test_what_is_for_training_is_no_evaluation(tmp_path):
    record = {"id": "e", "question": "What is Gout?", "answer": "five", "split": "train"}
    assert not screen(tmp_path, TRAIN, record, *FILL).rows


def test_the_datas_own_splits_are_compared(tmp_path):
    own = Data(test=[question("e", "What is gout?", "pain"), *(question(f"f{n}", f"F {n}") for n in range(4))])
    found = screen(tmp_path, TRAIN, own=own)
    assert [row["set"] for row in found.rows] == ["own test"]
    assert list(found.facts["sets"]) == ["own test"]


def test_found_questions_are_listed_or_refused_without_their_text(tmp_path, caplog):
    record = {"id": "e", "question": "What is Gout?", "answer": "x"}
    with caplog.at_level(logging.INFO, "cdsframe"):
        assert len(screen(tmp_path, TRAIN, record, *FILL, found="list").kept) == 4
    assert "1 of 4 training questions occur in evaluation sets and are listed and kept: set.jsonl.gz 1" in caplog.text
    with pytest.raises(InputError, match="1 of 4 training questions occur in evaluation sets") as said:
        screen(tmp_path, TRAIN, record, *FILL, found="refuse")
    assert "Gout" not in caplog.text + str(said.value)
    assert (tmp_path / "contamination.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("found", ["drop", "refuse", "list"])
def test_an_evaluation_set_as_training_data_is_refused(tmp_path, found):
    records = [{"id": q.id, "question": q.question, "answer": q.answer} for q in TRAIN]
    with pytest.raises(InputError, match=r"the evaluation set set\.jsonl\.gz was given as training data: 4 of"):
        screen(tmp_path, TRAIN, *records, found=found)
    exam = [{"id": q.id, "question": q.question, "options": {"A": "1", "B": "2"}, "answer": "A"} for q in TRAIN]
    with pytest.raises(InputError, match="was given as training data"):
        screen(tmp_path, TRAIN, *exam, found=found)


def test_template_questions_alone_are_not_a_whole_set(tmp_path):
    records = [{"id": q.id, "question": q.question, "answer": "another"} for q in TRAIN[:3]]
    assert len(screen(tmp_path, TRAIN, *records).kept) == 1


def test_all_found_and_files_that_ask_nothing_are_errors(tmp_path):
    records = [{"id": q.id, "question": q.question, "answer": "another"} for q in TRAIN]
    with pytest.raises(InputError, match="all 4 training questions occur in evaluation sets"):
        screen(tmp_path, TRAIN, *records)
    with pytest.raises(InputError, match="has no evaluation items"):
        screen(tmp_path, TRAIN, {"id": "x"})


def test_known_files_are_read_where_they_are(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "e", "question": "Who?", "answer": "x"}) + "\n")
    settings = {"folder": str(tmp_path), "known": ["a.jsonl", "missing.jsonl"]}
    assert [row["id"] for row in screen(tmp_path, TRAIN, **settings).rows] == ["t3"]


def test_without_a_check_all_stay(tmp_path):
    found = NoContamination().screen(TRAIN, Data(), tmp_path)
    assert (found.kept, found.facts) == (TRAIN, {"checked": False})


def test_medquads_training_questions_that_stand_in_its_validation(real_data, tmp_path):
    """As many as were counted: the measure does not change unnoticed."""
    from cdsframe.data.medquad import MedQuad

    flags = ["hpo_table", "templated", "short", "echo", "bad_question"]
    data = MedQuad(str(real_data), None, flags, True, "all", None)
    found = screen(tmp_path, data.questions("train"), own=data)
    assert {name: facts["training_questions_found"] for name, facts in found.facts["sets"].items()} == {
        "own validation": 404,
        "own test": 145,
    }


def test_sets_of_one_name_are_told_apart_and_texts_without_words_are_no_questions(tmp_path):
    paths = [tmp_path / folder / "val.jsonl" for folder in ("one/a", "two/a", "two/b")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in ({"question": "???", "answer": "x"}, *FILL)))
    train = [question("t1", "!!!"), question("t2", "What is Gout?")]
    found = screen(tmp_path, train, against=[str(path) for path in (*paths, paths[0])])
    assert list(found.facts["sets"]) == ["val.jsonl (1)", "val.jsonl (2)", "b/val.jsonl"]
    assert found.kept == train

"""MedQuAD's own files, the subsets of its evaluation, dialogues, symptoms, and sets of the hub."""

import json
from collections import Counter

import pytest

from cdsframe.data.cleaning import flags
from cdsframe.data.hub import Hub
from cdsframe.data.medquad import MedQuad
from cdsframe.data.summarisation import aci_bench, mts_dialog
from cdsframe.data.symptoms import Symptoms
from cdsframe.errors import ConfigError, EmptySplitError, InputError

GOOD = "It is a kind of arthritis that hurts in the toe. It comes at night."


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    import gzip

    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def pair(id_, focus="Gout", kind="information", **fields):
    question = fields.pop("question", f"What is {id_}?")
    return {
        "id": id_, "doc_id": f"d{id_}", "focus": focus, "question_type": kind, "question": question, "flags": [],
        "answer": GOOD + id_, **fields,
    }  # fmt: skip


def medquad(folder, subset="all", types=None, drop=("short",)):
    return MedQuad(str(folder), types, list(drop), True, subset, None)


def ids(data, split):
    return [question.id for question in data.questions(split)]


@pytest.fixture
def pairs(tmp_path):
    train = [pair("t1", "Gout"), pair("t2", "Asthma", "treatment", answer="shared", flags=["short"])]
    val = [
        pair("v1", "GOUT "), pair("v2", "Measles"), pair("v3", "Mumps", question="What is t1?"),
        pair("v4", "Mumps", flags=["echo"]), pair("v5", "asthma"),
    ]  # fmt: skip
    for name, records in (("train", train), ("val", val), ("test", [pair("e")])):
        write(tmp_path / f"medquad/medquad_{name}.jsonl.gz", *records)
    return tmp_path


def test_medquad_asks_of_unseen_focuses_or_like_the_held_out_set(pairs):
    assert ids(medquad(pairs), "validation") == ["v1", "v2", "v3", "v4", "v5"]
    unseen = medquad(pairs, "unseen_focus")
    assert ids(unseen, "validation") == ["v2", "v3", "v4"]
    assert unseen.removed["validation"] == {"seen_focus": 2}
    assert ids(medquad(pairs, "like_heldout"), "validation") == ["v1", "v2", "v5"]
    assert ids(unseen, "train") == ["t1"]
    with pytest.raises(EmptySplitError, match="all pairs of split 'test' were dropped"):
        unseen.questions("test")


def test_medquad_keeps_types_and_topics(pairs):
    (treatment,) = medquad(pairs, types=["treatment"], drop=()).questions("train")
    assert (treatment.type, treatment.topic, treatment.group) == ("treatment", "Asthma", "dt2")


def xml(folder, name, *pairs, focus="Gout", source="CDC"):
    body = "".join(
        f'<QAPair pid="{n}"><Question qid="q" qtype="information">{q}</Question><Answer>{a}</Answer></QAPair>'
        for n, (q, a) in enumerate(pairs, start=1)
    )
    path = folder / "9_CDC_QA" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<Document id="1" source="{source}"><Focus>{focus}</Focus><QAPairs>{body}</QAPairs></Document>')


def test_medquads_own_files_are_read_cleaned_and_divided_by_page(tmp_path):
    answer = f"{GOOD}\n\n    -   A list\n  What  is it ?"
    for n in range(60):
        xml(tmp_path, f"{n:07}", ("What is  Gout ?", f"{n} {answer}"), ("Who?", ""), ("Short?", f"{n} no."))
    xml(tmp_path, "copy", ("What is  Gout ?", f"0 {answer}"))
    data = medquad(tmp_path)
    found = {split: data.questions(split) for split in ("train", "validation", "test")}
    first = next(question for question in found["train"] if question.id.endswith("-1"))
    assert first.question == "What is Gout?"
    assert first.answer.endswith("It comes at night.\n- A list\nWhat is it?")
    assert first.id == f"{first.group}-1"
    assert sum(map(len, found.values())) == 60, "empty, short and copied answers are out"
    assert data.removed["train"] == {"short": len(found["train"])}
    (tmp_path / "9_CDC_QA" / "bad.xml").write_text("<Document>")
    from cdsframe.data.medquad_xml import read_xml

    read_xml.cache_clear()
    with pytest.raises(InputError, match=r"9_CDC_QA/bad\.xml is not XML"):
        medquad(tmp_path).questions("train")


def test_flags_tell_what_is_wrong_with_a_pair():
    long = "word " * 801
    told = flags([
        ("What is Gout?", GOOD), ("What is Gout?", "What is Gout? " + GOOD), ("What is (are)?", GOOD + "!"),
        ("Who gets it?", "No."), ("Who gets it?", long),
        ("Who gets it?", "What would you and the nurse ask of it all?"),
        ("List?", "The Human Phenotype Ontology provides the following list of signs"),
        *[(f"Q{n}?", "This condition is inherited in an autosomal recessive pattern.") for n in range(5)],
    ])  # fmt: skip
    assert told[:7] == [[], ["q_prefix"], ["bad_question"], ["short"], ["long"], ["echo"], ["hpo_table"]]
    assert told[7:] == [["templated"]] * 5


def dialogue(id_, split, section="GENHX", **fields):
    record = {"id": id_, "split": split, "section_header": section, "section_text": "No fever.", **fields}
    return {"dialogue": f"Doctor: How are you, {id_}?", **record}


def test_dialogues_ask_for_their_section(tmp_path):
    records = [dialogue("a", "train"), dialogue("b", "test1", "PLAN"), dialogue("c", "test2", dialogue="Doctor: Hm?")]
    write(tmp_path / "summarisation/mts_dialog.jsonl.gz", *records, dialogue("d", "test1", dialogue="Doctor: Hm?"))
    data = mts_dialog(str(tmp_path))
    (first,) = data.questions("train")
    assert first.question == "Section: history of the present illness\n\nDialogue:\nDoctor: How are you, a?"
    assert (first.answer, first.type) == ("No fever.", "history of the present illness")
    assert ids(data, "test") == ["b", "c"]
    assert data.removed == {"train": {}, "test": {"exact_copy": 1}}
    assert data.questions("test")[0].question.startswith("Section: plan\n")
    with pytest.raises(EmptySplitError, match="MTS-Dialog has no split 'validation'; it has train, test"):
        data.questions("validation")


def test_whole_visits_ask_for_the_whole_note(tmp_path):
    write(tmp_path / "summarisation/aci_bench.jsonl.gz", {"id": "a", "split": "train", "dialogue": "D", "note": "N"})
    (first,) = aci_bench(str(tmp_path)).questions("train")
    assert (first.question, first.answer) == ("Section: the whole note\n\nDialogue:\nD", "N")
    write(
        tmp_path / "summarisation/aci_bench.jsonl.gz", {"id": "a", "split": "train", "dialogue": "secret", "note": " "}
    )
    with pytest.raises(InputError, match="line 1: id, split, dialogue, note must be non-empty strings") as said:
        aci_bench(str(tmp_path)).questions("train")
    assert "secret" not in str(said.value)
    with pytest.raises(ConfigError, match="set CDSFRAME_DATA"):
        aci_bench(None)


TABLE = (
    "What are the signs? The Human Phenotype Ontology provides the following list. Signs and Symptoms Approximate "
    "number of patients (when available) Gouty tophi 90% Swollen big toe 90% Pain at night, severe 7.5% Fever 3/25 "
    "High uric acid level - Autosomal dominant inheritance - The Human Phenotype Ontology (HPO) has collected all."
)


def test_symptoms_ask_for_the_disease_without_its_name(tmp_path):
    text = (
        "Signs of Familial Gouty Arthritis (FGA) are pain and fever at night. Gouty toes hurt. FGA comes back often in "
        "many people. " + "It hurts. " * 40
    )
    records = [
        pair("text", "Familial Gouty Arthritis (hereditary)", "symptoms", answer=text),
        pair("table", "Gout", "symptoms", answer=TABLE, flags=["hpo_table", "q_prefix"]),
        pair("told", "Gout", "symptoms", answer="Gout hurts and goutlike things hurt."),
        pair("nameless", "", "symptoms"), pair("other", "Gout", "treatment"),
    ]  # fmt: skip
    write(tmp_path / "medquad/medquad_train.jsonl.gz", *records)
    data = Symptoms(str(tmp_path), [], "all", 30)
    first, second = data.questions("train")
    assert first.question.startswith(
        "Symptoms: Signs of this condition are pain and fever at night. this condition comes back often"
    )
    assert len(first.question.split()) < 40
    assert (first.answer, second.answer) == ("Familial Gouty Arthritis", "Gout")
    assert second.question == (
        "Symptoms: swollen big toe, pain at night, severe, fever, high uric acid level\n\nWhich disease is this?"
    )
    assert data.removed["train"] == {"another_type": 1, "too_little_without_the_name": 2}


@pytest.mark.parametrize("name", ["Marfan syndrome", "Gaucher disease"])
def test_real_symptoms_never_tell_the_name(real_data, name):
    data = Symptoms(str(real_data), ["templated", "echo", "bad_question"], "unseen_focus", 80)
    told = name.split()[0].casefold()
    for question in data.questions("train"):
        if question.answer.casefold().startswith(told):
            assert told not in question.question.casefold()
    assert len(data.questions("validation")) > 100


def hub(folder, **changes):
    settings = {
        "revision": None, "scope": "wiki", "question": "input", "answer": "output", "drop": ["short"],
        "strip_question": True, "validation_share": 0.2, "test_share": 0.2, **changes,
    }  # fmt: skip
    return Hub(str(folder), **settings)


@pytest.fixture
def cache(monkeypatch, tmp_path_factory):
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    yield
    assert not list(folder.iterdir()), "nothing of a local file is in the library's cache"


@pytest.mark.usefixtures("cache")
def test_a_set_of_one_split_is_divided_by_question(tmp_path):
    rows = [{"input": f"What is thing {n % 50}?", "output": f"{n} {GOOD}"} for n in range(100)]
    write(tmp_path / "rows.jsonl", *rows, {"input": "Q?", "output": "No."}, {"input": " ", "output": GOOD + " Indeed."})
    data = hub(tmp_path)
    assert data.removed == {}
    found = {split: data.questions(split) for split in ("train", "validation", "test")}
    assert sum(map(len, found.values())) == 100
    groups = [{question.group for question in own} for own in found.values()]
    assert sum(map(len, groups)) == 50, "the same question is in one split"
    assert sum(map(Counter, data.removed.values()), Counter()) == {"empty": 1, "short": 1}


@pytest.mark.usefixtures("cache")
def test_a_set_that_cannot_be_read_is_one_sentence(tmp_path):
    write(tmp_path / "rows.jsonl", {"input": "Q?", "output": GOOD})
    with pytest.raises(InputError, match=r"rows\.jsonl: no column text; it has input, output; set data\.answer"):
        hub(tmp_path, answer="text").questions("train")
    with pytest.raises(InputError, match=r"nobody/nothing cannot be read; check .* HF_HUB_OFFLINE"):
        hub("nobody/nothing").questions("train")

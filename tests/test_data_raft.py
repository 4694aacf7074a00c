"""Answers that are looked up in the corpus: where they stand, what is cut, what is left out."""

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cdsframe.config import build
from cdsframe.data.raft import Raft
from cdsframe.errors import ConfigError, EmptySplitError
from cdsframe.types import Document, Evidence, Question, Section, Unreadable

GOUT = (
    "Gout is a kind of arthritis. It hurts in the big toe.\n\n"
    "Take colchicine with food each day. Rest the foot for a week."
)
OTHER = "Asthma narrows the airways of the lung.\n\nUse the inhaler before you run or climb. It hurts in the big toe."


class Corpus:
    def documents(self):
        for id_, text in (("gout", GOUT), ("asthma", OTHER)):
            yield Document(id_, "", text, (Section((), 0, len(text)),))
        yield Unreadable("c", "is empty")


class Source:
    scope = "s"

    def __init__(self, *questions):
        self._questions, self.removed = list(questions), {"train": {"short": 1}}

    def questions(self, split):
        return self._questions


def raft(*questions, most=None, support=0.8):
    data = Raft(Source(*questions), Corpus(), most, support)
    return data.questions("train"), data.removed["train"]


def texts(question):
    documents = {"gout": GOUT, "asthma": OTHER}
    return [documents[e.document_id][e.start : e.end] for e in question.evidence]


def test_each_sentence_of_an_answer_is_found_in_the_document_that_the_data_names():
    answer = "take colchicine with  food each day.\nRest  the foot for a week."
    (found,), removed = raft(Question("q", "What helps?", answer, group="gout"))
    assert texts(found) == ["Take colchicine with food each day.", "Rest the foot for a week."]
    assert found.answer == answer
    assert removed == {"short": 1}


def test_an_unnamed_document_is_the_one_that_shares_most_words():
    (found,), _ = raft(Question("q", "When?", "Use the inhaler before you run or climb. It hurts in the big toe."))
    assert {e.document_id for e in found.evidence} == {"asthma"}
    (short,), _ = raft(Question("q", "What is it?", "a kind of arthritis"))
    assert texts(short) == ["a kind of arthritis"]


def test_a_sentence_that_stands_twice_is_taken_beside_the_others():
    class Twice(Corpus):
        def documents(self):
            text = "Drink a glass of water. Gout is old. " + "x " * 50 + GOUT + " Drink a glass of water."
            yield Document("gout", "", text, (Section((), 0, len(text)),))

    answer = "Drink a glass of water. Take colchicine with food each day."
    (found,) = Raft(Source(Question("q", "?", answer, group="gout")), Twice(), None, 0.8).questions("train")
    assert all(evidence.start > 100 for evidence in found.evidence)


def test_long_answers_are_cut_at_a_sentence_and_their_evidence_too(caplog):
    caplog.set_level(logging.INFO)
    question = Question(
        "q", "What helps?", "Take colchicine with food each day. Rest the foot for a week.", group="gout"
    )
    for most, expected in (
        (12, question.answer),
        (8, "Take colchicine with food each day."),
        (2, "Take colchicine with food each day."),
    ):
        (found,), removed = raft(question, most=most)
        assert found.answer == expected
        assert len(found.evidence) == expected.count(".")
        assert "answer_cut" not in removed
        assert (
            f"{int(expected != question.answer)} of them with a shortened answer; dropped: none" in caplog.messages[-1]
        )


def test_answers_that_do_not_stand_there_are_left_out_and_counted():
    half = Question("h", "?", "Take colchicine with food each day. Nobody ever wrote this sentence.", group="gout")
    found, removed = raft(half, Question("q", "?", "Gout is a kind of arthritis.", group="gout"))
    assert ([q.id for q in found], removed) == (["q"], {"short": 1, "answer_not_in_the_corpus": 1})
    assert len(raft(half, support=0.5)[0][0].evidence) == 1
    with pytest.raises(EmptySplitError, match="no answer of split 'train' occurs in the corpus"):
        raft(half)


def test_what_has_evidence_or_no_answer_is_kept_as_it_is():
    known = Question("k", "?", "toe", evidence=(Evidence("gout", 0, 4),))
    unanswerable = Question("u", "?", "")
    assert raft(known, unanswerable)[0] == [known, unanswerable]


def test_it_needs_a_source():
    assert "data=raft has no source" in Raft.problems(None)[0]
    with pytest.raises(ConfigError, match="data=raft has no source"):
        Raft(None, Corpus(), None, 0.8)


def test_raft_over_a_mix_is_built_from_one_config(tmp_path):

    file = tmp_path / "q.jsonl"
    file.write_text('{"id": "1", "question": "?", "answer": "Gout is a kind of arthritis.", "split": "train"}\n')
    jsonl = {"_target_": "cdsframe.data.jsonl.JsonlQuestions", "path": [str(file)], "scope": "ward"}
    mix = OmegaConf.load(Path(__file__).parent.parent / "configs/data/mix.yaml")
    mix.seed, mix.sources = 1, {"ours": jsonl}
    node = OmegaConf.create({"_target_": "cdsframe.data.raft.Raft", "source": mix, "max_answer_words": 9, "support": 1})
    (found,) = build(node, corpus=Corpus()).questions("train")
    assert (found.id, texts(found)) == ("ours/1", ["Gout is a kind of arthritis."])


def test_medquads_answers_stand_on_their_pages(real_data):
    from cdsframe.corpus.beir import MedQuadPassages as Passages
    from cdsframe.data.medquad import MedQuad

    pairs = MedQuad(str(real_data), None, ["hpo_table", "templated", "short", "echo", "bad_question"], True, "all", 300)
    data = Raft(pairs, Passages(str(real_data), True, None), 80, 0.8)
    found = data.questions("validation")
    assert len(found) >= 297
    assert all(evidence.document_id == question.group for question in found for evidence in question.evidence)

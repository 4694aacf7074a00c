"""A mix of data sets: how many of each, what is drawn, which copies go, and that no document is in two splits."""

from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cdsframe.config import build
from cdsframe.corpus.hospital import hospital
from cdsframe.data.drawing import draw, shares
from cdsframe.data.duplicates import exact_copies, near_copies
from cdsframe.data.mix import Mix
from cdsframe.data.splits import SPLITS, split_of
from cdsframe.errors import ConfigError, EmptySplitError
from cdsframe.types import Evidence, Question

TEXT = "the nurse gives each patient two tablets of the drug in the morning and one at night with a glass of water"


class Source:
    """Questions in splits, with what was left out."""

    def __init__(self, scope="s", **splits):
        self.scope, self.removed, self._splits = scope, {"train": {"short": 2}}, splits

    def questions(self, split):
        if split not in self._splits:
            raise EmptySplitError(split)
        return self._splits[split]


def questions(prefix, count, **fields):
    return [Question(f"{n}", f"{prefix} {n}?", f"answer {n}", group=f"{prefix}{n}", **fields) for n in range(count)]


def mix(sources, **changes):
    settings = {
        "weights": {}, "caps": {}, "limit": None, "balance": "none", "group_limit": None, "exact_copies": True,
        "near_copies": None, "splits": "given", "validation_share": 0.2, "test_share": 0.2, "apart": True, "seed": 1,
        **changes,
    }  # fmt: skip
    return Mix(sources, **settings)


def test_the_sources_come_together_under_their_names():
    data = mix({"a": Source("A", train=questions("a", 3)), "b": Source("B", train=questions("b", 2), test=[])})
    assert [q.id for q in data.questions("train")] == ["a/0", "a/1", "a/2", "b/0", "b/1"]
    assert data.scope == "A + B"
    assert data.removed == {"train": {"a/short": 2, "b/short": 2}}
    with pytest.raises(EmptySplitError, match=r"no source \(a, b\) has questions in split 'validation'"):
        data.questions("validation")


def test_shares_keep_the_weights_without_taking_anything_twice():
    there = {"a": 1000, "b": 100, "c": 10}
    assert shares(there, {}, {}, None) == there
    assert shares(there, {}, {"a": 50}, None) == {"a": 50, "b": 100, "c": 10}
    assert shares(there, {"a": 2, "b": 1, "c": 1}, {}, None) == {"a": 20, "b": 10, "c": 10}
    assert shares(there, {"a": 2, "b": 1, "c": 1}, {}, 20) == {"a": 10, "b": 5, "c": 5}
    assert sum(shares(there, {}, {}, 333).values()) == 333
    assert shares(there, {}, {}, 111) == {"a": 100, "b": 10, "c": 1}
    assert shares({"a": 0}, {}, {}, None) == {"a": 0}


def test_drawing_is_balanced_seeded_and_in_order():
    there = [
        Question(str(n), "q", "a", type="rare" if n % 10 == 0 else f"t{n % 2}", topic=str(n % 7)) for n in range(100)
    ]
    drawn = draw(there, 40, "type", None, seed=1)
    assert Counter(q.type for q in drawn) == {"rare": 10, "t0": 15, "t1": 15}
    assert [int(q.id) for q in drawn] == sorted(int(q.id) for q in drawn)
    assert drawn == draw(there, 40, "type", None, seed=1) != draw(there, 40, "type", None, seed=2)
    assert set(Counter(q.topic for q in draw(there, 21, "topic", None, 1)).values()) == {3}
    assert Counter(q.type for q in draw(there, 100, "type", 5, 1)) == {"rare": 5, "t0": 5, "t1": 5}
    assert draw(there, 100, "none", None, 1) == there


def test_caps_limit_and_balance_hold_in_the_mix():
    a = [Question(str(n), f"a {n}?", f"{n} x", type="rare" if n < 3 else "often") for n in range(30)]
    data = mix({"a": Source(train=a), "b": Source(train=questions("b", 30))}, caps={"a": 6}, balance="type")
    found = data.questions("train")
    assert Counter(q.id[0] for q in found) == {"a": 6, "b": 30}
    assert Counter(q.type for q in found if q.id[0] == "a") == {"rare": 3, "often": 3}
    assert data.removed["train"]["a/not_drawn"] == 24
    weighted = mix({"a": Source(train=a), "b": Source(train=questions("b", 30))}, weights={"a": 1, "b": 3}, limit=20)
    assert Counter(q.id[0] for q in weighted.questions("train")) == {"a": 5, "b": 15}


def pair(id_, asked="How much?", answer=TEXT):
    return Question(id_, asked, answer)


def test_exact_copies_differ_in_case_punctuation_and_blanks_only():
    there = [
        pair("0"),
        pair("1", "how  MUCH"),
        pair("2", answer="5 mg"),
        pair("3", answer="5 mg."),
        pair("4", answer="-5 mg"),
    ]
    assert exact_copies(there) == {1, 3}


def test_near_copies_share_most_of_answer_and_question_and_all_numbers():
    changed = TEXT.replace("water", "tea")
    other = " ".join(reversed(TEXT.split()))
    there = [
        pair("0"), pair("1", answer=changed), pair("2", answer=other), pair("3", "How often?", changed),
        pair("4", answer=f"{TEXT} 10 mg"), pair("5", answer=f"{TEXT} 20 mg"),
        pair("6", answer="short answer"), pair("7", answer="short answer"),
    ]  # fmt: skip
    assert near_copies(there, 0.8, set()) == {1}
    assert near_copies(there, 0.8, {0}) == set()
    assert near_copies(there, 1.0, set()) == set()


def test_copies_go_from_the_later_source_and_are_counted():
    data = mix({"a": Source(train=[pair("x")]), "b": Source(train=[pair("y"), pair("z", "How?")])}, near_copies=0.8)
    assert [q.id for q in data.questions("train")] == ["a/x", "b/z"]
    assert data.removed["train"]["b/exact_copy"] == 1
    kept = mix({"a": Source(train=[pair("x")]), "b": Source(train=[pair("y")])}, exact_copies=False)
    assert len(kept.questions("train")) == 2


def test_no_document_is_in_two_splits():
    shared = questions("a", 4)
    source = Source(train=shared, validation=[Question("v", "v?", "v", group="a1")])
    data = mix({"a": source})
    assert [q.id for q in data.questions("train")] == ["a/0", "a/2", "a/3"]
    assert data.removed["train"]["a/document_in_another_split"] == 1
    assert len(mix({"a": source}, apart=False).questions("train")) == 4


def test_no_page_of_the_evidence_is_asked_about_in_another_sources_validation_or_test():
    def about(id_, *pages):
        evidence = tuple(Evidence(page, 0, 9) for page in pages)
        return Question(id_, f"{id_}?", id_, evidence=evidence, group=pages[0] if pages else id_)

    a = Source(train=[about("1", "p"), about("2", "r", "q"), about("3", "r"), about("4")], validation=[about("5", "s")])
    b = Source(train=[about("6", "s"), about("7", "r")], test=[about("8", "p"), about("9", "o", "q"), about("4")])
    data = mix({"a": a, "b": b})
    # The question 4 of a, without a document, is another one than the question 4 of b.
    assert [q.id for q in data.questions("train")] == ["a/3", "a/4", "b/7"]
    assert data.removed["train"]["a/document_in_another_split"] == 2
    assert data.removed["train"]["b/document_in_another_split"] == 1


def test_dividing_anew_keeps_documents_together_whatever_the_source_said():
    test = [Question(str(n), f"{n}?", f"{n}", group=f"d{n // 4}") for n in range(400)]
    data = mix({"a": Source(test=test)}, splits="by_document")
    found = {split: data.questions(split) for split in SPLITS}
    groups = {split: {q.group for q in own} for split, own in found.items()}
    assert sum(map(len, groups.values())) == 100
    assert sum(map(len, found.values())) == 400
    assert all(q.split == split for split, own in found.items() for q in own)
    assert 40 < len(groups["train"]) < 80


def test_the_split_of_a_document_is_the_same_everywhere():
    assert [split_of(f"GHR/{n}", 0.05, 0.05) for n in range(1000)].count("train") == pytest.approx(900, abs=30)
    assert split_of("CancerGov/0000001_1", 0.05, 0.05) == "train"
    assert split_of("CancerGov/0000003_4", 0.05, 0.05) == "validation"
    assert split_of("CancerGov/0000024_10", 0.05, 0.05) == "test"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"a": 1.0}}, "data.weights must name all sources or none; b has no weight"),
        ({"weights": {"a": 1.0, "b": 1.0, "c": 1.0}}, "data.weights.c: no such source; available: a, b"),
        ({"caps": {"c": 1}}, "data.caps.c: no such source"),
        ({"balance": "type"}, "data.balance=type has no effect"),
        ({"group_limit": 3}, "data.group_limit needs data.balance"),
    ],
)
def test_what_cannot_be_mixed_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        mix({"a": Source(), "b": Source()}, **changes)


def test_a_mix_needs_sources_and_they_must_be_data_sets():
    assert "data=mix has no source" in Mix.problems({}, {}, {}, None, "none", None)[0]
    assert "data.sources.x is not a data set" in Mix.problems({"x": 3}, {}, {}, None, "none", None)[0]


def test_sources_are_built_with_the_dependencies_of_the_mix():
    """A node below a node is built first, by the same hand."""
    node = OmegaConf.load(Path(__file__).parent.parent / "configs/data/mix.yaml")
    node.seed = 1
    node.sources = {"ours": {"_target_": "cdsframe.data.jsonl.hospital", "more_refusals": False}}
    data = build(node, corpus=hospital("hospital"), index=object())
    assert {q.id.split("/")[0] for q in data.questions("validation")} == {"ours"}

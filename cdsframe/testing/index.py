"""The contract of every index: what readers, writers and retrievers rely on. Needs pytest.

class TestMyIndex(IndexContract):
    @pytest.fixture
    def empty(self, tmp_path):
        return MyIndex(tmp_path, identity={})
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cdsframe.contracts import Index
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.types import Hit, Level, Passage, Request

EMBEDDER = HashEmbedder(16)
"""Embeds the records that the contract writes."""

TOPICS = ["fever cough", "fever dose", "broken leg plaster", "morphine dose night", "garden spring"]


def passage(document: str, ordinal: int, text: str, digest: str = "1", **metadata: str) -> Passage:
    id_ = f"{document}-{ordinal}"
    return Passage(id_, document, f"{document}#0", "passage", text, "", (), ordinal, 0, len(text), digest, metadata)


def record(level: Level, document: str, text: str, digest: str = "1") -> Passage:
    return Passage(f"{document}/{level}", document, document, level, text, "", (), 0, 0, len(text), digest)


def write(index: Index, passages: Sequence[Passage], commit: bool = True) -> None:
    index.write(passages, EMBEDDER.encode_passages([p.search_text for p in passages]))
    if commit:
        index.commit(optimize=True)


def corpus(count: int = 40) -> list[Passage]:
    return [
        passage(f"d{n:02}", m, f"{TOPICS[n % 5]} word{n}", kind="note" if n % 2 else "guideline", source=f"it's {n}.md")
        for n in range(count)
        for m in range(2)
    ]


def words(text: str, k: int = 10, **filter: str | list[str]) -> Request:
    return Request(k, text=text, filter=filter)


def near(text: str, k: int = 10, **filter: str | list[str]) -> Request:
    return Request(k, vector=EMBEDDER.encode_queries([text])[0].tolist(), filter=filter)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


class IndexContract:
    """Inherit from it and define the fixture `empty`: an empty index, a new one for each test."""

    def test_a_missing_index_is_refused(self, empty: Index) -> None:
        assert empty.digest is None
        assert empty.documents() == {}
        for read in (
            lambda: empty.search([words("x")]),
            lambda: empty.passages(["d"]),
            lambda: empty.between([("d", 0, 1)]),
        ):
            with pytest.raises(ConfigError, match=r"ingest\.py"):
                read()

    def test_passages_are_returned_unchanged(self, empty: Index) -> None:
        full = Passage(
            "i", "d", "d#1", "passage", "ﬁeld 😀\n", "Title", ("a", "b"), 3, 5, 12, "x", {"kind": "n", "patient": "P"}
        )
        write(empty, [full, passage("e", 0, "other")])
        assert empty.passages(["d", "missing"]) == [full]
        assert empty.search([words("title")])[0][0].passage == full
        assert empty.documents() == {"d": "x", "e": "1"}

    def test_documents_belong_to_corpora(self, empty: Index) -> None:
        def give(records, corpus):
            empty.write(records, EMBEDDER.encode_passages([p.search_text for p in records]), corpus)

        assert dict(empty.corpora) == empty.owned() == empty.owned(committed=True) == {}
        give([passage("a", 0, "one", "1")], "first")
        assert dict(empty.corpora) == {}  # not committed yet
        assert empty.owned() == {"a": ("1", "first")}
        give([passage("b", 0, "two", "2"), passage("c", 0, "three", "3")], "")
        empty.commit()
        assert dict(empty.corpora) == {"": 2, "first": 1}
        give([passage("a", 0, "uno", "4"), passage("d", 0, "four", "5")], "second")
        assert empty.owned() == {"a": ("4", "second"), "b": ("2", ""), "c": ("3", ""), "d": ("5", "second")}
        assert empty.owned(["a", "d", "missing"], committed=True) == {"a": ("1", "first")}
        assert empty.owned([], committed=True) == {}
        empty.discard()
        assert empty.owned() == {"a": ("1", "first"), "b": ("2", ""), "c": ("3", "")}
        with empty.writer():
            empty.adopt("first")
            assert dict(empty.corpora) == {"": 2, "first": 1}
            empty.commit()
        assert dict(empty.corpora) == {"first": 3}
        assert empty.owned(["b"]) == empty.owned(["b"], committed=True) == {"b": ("2", "first")}
        give([passage("e", 0, "five", "6")], "second")
        empty.commit(optimize=True)
        empty.purge(["c"])
        assert dict(empty.corpora) == {"first": 2, "second": 1}
        with empty.rebuild() as new:
            new.write([passage("z", 0, "last", "7")], EMBEDDER.encode_passages(["last"]), "third")
            new.commit()
        assert dict(empty.corpora) == {"third": 1}
        assert empty.owned() == {"z": ("7", "third")}

    def test_metadata_values_come_from_committed_passages_that_match_the_filter(self, empty: Index) -> None:
        title = Passage("t", "d00", "d00", "title", "", "T", (), 0, 0, 0, "1", {"kind": "only a title"})
        write(empty, [*corpus(), title])
        write(empty, [passage("later", 0, "x", kind="uncommitted")], commit=False)
        assert empty.values("kind", {}, 10) == ["guideline", "note"]
        assert empty.values("kind", {}, 1) == ["guideline"]
        assert empty.values("kind", {"source": ["it's 3.md", "it's 4.md"]}, 10) == ["guideline", "note"]
        assert empty.values("kind", {"source": "it's 3.md"}, 10) == ["note"]
        assert empty.values("kind", {"kind": "uncommitted"}, 10) == empty.values("patient", {}, 10) == []
        assert empty.holds({})
        assert empty.holds({"kind": ["x", "note"], "source": "it's 3.md"})
        unfulfilled: list[dict[str, Any]] = [{"kind": "Note"}, {"kind": "note", "source": "it's 2.md"}, {"kind": []}]
        for filter in [*unfulfilled, {"kind": "only a title"}]:
            assert not empty.holds(filter)
        with pytest.raises(InputError, match="unknown metadata field colour"):
            empty.values("colour", {}, 10)
        with pytest.raises(InputError, match="unknown metadata field colour"):
            empty.holds({"colour": "red"})

    def test_ranges_return_each_passage_once_in_order(self, empty: Index) -> None:
        own = [passage(document, n, f"text {n}") for document in ("d", "it's") for n in range(12)]
        title = Passage("d/title/3", "d", "d", "title", "", "T", (), 3, 0, 0, "1")
        write(empty, [*reversed(own), title])
        wanted = [("it's", 11, 40), ("d", 5, 6), ("missing", 0, 9), ("d", 3, 5), ("d", -2, 0), ("it's", 7, 6)]
        assert empty.between(wanted) == [passage("d", n, f"text {n}") for n in (0, 3, 4, 5, 6)] + [own[-1]]
        assert empty.between([]) == []
        single = [(document, n, n) for n in range(0, 12, 2) for document in (f"x{m}" for m in range(60))]
        assert empty.between([*single, ("d", 11, 11), ("it's", 2, 2)]) == [own[11], own[14]]

    def test_word_and_vector_searches_find_similar_passages(self, empty: Index) -> None:
        write(empty, corpus())
        by_words, by_vector = empty.search([words("broken legs"), near("broken leg plaster")])
        assert {hit.passage.document_id for hit in by_words} <= {f"d{n:02}" for n in range(2, 40, 5)}
        assert "broken leg" in by_vector[0].passage.text
        for hits in (by_words, by_vector):
            assert [hit.rank for hit in hits] == list(range(1, 11))
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    def test_text_is_read_for_chosen_hits_only(self, empty: Index) -> None:
        full = Passage("i", "d", "d#1", "passage", "fever", "Tïtle", ("a", "b", "a"), 3, 5, 12, "x", {"kind": "n"})
        title = replace(full, id="d/title/0", level="title", text="", ordinal=0, end=5)
        write(empty, [full, title, *corpus()])
        requests = [words("fever title", k=90), near("fever", k=90), Request(90, text="Tïtle", level="title")]
        whole, seen = empty.search(requests), []

        def best(lists):
            seen.extend(lists)
            return [lists[0][1:3], [], list(reversed(lists[1])), [replace(lists[2][0], score=7.0, rank=5)]]

        chosen = empty.search(requests, best)
        assert seen == [[replace(hit, passage=hit.passage.without_text) for hit in hits] for hits in whole]
        assert chosen == [whole[0][1:3], [], list(reversed(whole[1])), [replace(whole[2][0], score=7.0, rank=5)]]
        assert whole[2][0].passage == title

    def test_records_of_two_levels_may_have_the_same_id(self, empty: Index) -> None:
        whole = Passage("x", "d", "d", "document", "secret whole", "", (), 0, 0, 12, "1")
        write(empty, [passage("e", 0, "fever"), replace(passage("z", 0, "fever of the zebra"), id="x"), whole])
        requests = [words("zebra"), Request(9, text="secret", level="document")]
        (found,), (document,) = empty.search(requests, lambda lists: lists)
        assert (found.passage.text, document.passage.text) == ("fever of the zebra", "secret whole")

    def test_a_vectors_score_is_the_cosine(self, empty: Index) -> None:
        write(empty, corpus())
        (hits,) = empty.search([near("morphine at night", k=80)])
        assert len(hits) == 80
        query = EMBEDDER.encode_queries(["morphine at night"])[0]
        for hit in hits:
            cosine = float(query @ EMBEDDER.encode_passages([hit.passage.search_text])[0])
            assert math.isclose(hit.score, cosine, abs_tol=1e-5)

    def test_ties_break_by_id_at_any_length(self, empty: Index) -> None:
        texts = [passage(f"t{n:03}", 0, "same words here") for n in range(150)]
        random.Random(0).shuffle(texts)
        write(empty, texts)
        for request in (words, near):
            lists = empty.search([request("same words here", k=k) for k in (1, 5, 60, 150)])
            assert [ids(hits) for hits in lists] == [[f"t{n:03}-0" for n in range(k)] for k in (1, 5, 60, 150)]

    def test_filters_apply_before_the_hits_are_limited(self, empty: Index) -> None:
        rare = passage("rare", 0, "fever", patient="P-1")
        write(empty, [*corpus(), rare])
        for request in (words("fever cough", k=1, patient="P-1"), near("morphine dose", k=1, patient="P-1")):
            assert ids(empty.search([request])[0]) == ["rare-0"]

    def test_filters_take_lists_and_all_fields_must_match(self, empty: Index) -> None:
        write(empty, corpus())
        either, both, none, nothing, quote = empty.search(
            [
                near("fever", k=80, kind=["note", "guideline"]),
                near("fever", k=80, kind="note", source=["it's 1.md", "it's 2.md"]),
                near("fever", k=80, kind="' OR 1=1 --"),
                near("fever", k=80, kind=[]),
                words("fever", k=80, source="it's 1.md"),
            ]
        )
        assert (len(either), ids(both), none, nothing) == (80, ["d01-0", "d01-1"], [], [])
        assert ids(quote) == ["d01-0", "d01-1"]

    def test_a_filter_value_is_not_split_into_letters(self, empty: Index) -> None:
        write(empty, [passage("word", 0, "fever", kind="ab"), passage("letter", 0, "fever", kind="a")])
        word, letters = empty.search([near("fever", kind="ab"), near("fever", kind=["a", "b"])])
        assert (ids(word), ids(letters)) == (["word-0"], ["letter-0"])

    def test_a_search_covers_one_level_only(self, empty: Index) -> None:
        document = Passage("whole", "d", "d", "document", "fever", "", (), 0, 0, 5, "1")
        write(empty, [passage("d", 0, "fever"), document])
        assert ids(empty.search([words("fever")])[0]) == ["d-0"]
        assert ids(empty.search([Request(5, text="fever", level="document")])[0]) == ["whole"]

    @pytest.mark.parametrize(
        "query",
        [
            'AND OR NOT "fever',
            'fev*r fever ~ + - && || ! ( ) { } [ ] ^ " ~ * ? : \\ /',
            "'; DROP TABLE passages; -- fever",
            "",
            " \n",
            "the of",
        ],
    )
    def test_query_syntax_is_plain_text(self, empty: Index, query: str) -> None:
        write(empty, corpus())
        (hits,) = empty.search([words(query)])
        assert bool(hits) == ("fever" in query)
        assert all("fever" in hit.passage.text for hit in hits)

    def test_a_query_of_ten_thousand_characters(self, empty: Index) -> None:
        write(empty, corpus())
        long = "fever cough and many words " * 400
        assert ids(empty.search([words(long)])[0]) == ids(empty.search([words("fever cough and many words")])[0])

    def test_single_letters_are_searched(self, empty: Index) -> None:
        filler = [passage(f"f{n}", 0, f"some filler {n}") for n in range(9)]
        write(empty, [*filler, passage("y", 0, "hepatitis B"), passage("z", 0, "hepatitis A virus")])
        assert ids(empty.search([words("hepatitis A")])[0]) == ["z-0", "y-0"]
        assert ids(empty.search([words("hepatitis B")])[0]) == ["y-0", "z-0"]

    def test_batched_requests_equal_single_requests(self, empty: Index) -> None:
        write(empty, corpus())
        requests = [kind(topic, k=k) for topic in TOPICS for kind in (words, near) for k in (3, 7)]
        assert empty.search(requests) == [empty.search([request])[0] for request in requests]
        assert empty.search([]) == []

    def test_writing_replaces_a_documents_passages(self, empty: Index) -> None:
        write(empty, corpus())
        write(empty, [passage("d00", 0, "entirely new", digest="2")])
        assert [p.text for p in empty.passages(["d00"])] == ["entirely new"]
        assert empty.documents()["d00"] == "2"
        assert len(empty.search([near("fever", k=100)])[0]) == 79

    def test_two_records_with_one_id_are_refused_before_any_is_written(self, empty: Index) -> None:
        write(empty, corpus(2))
        again = replace(passage("x", 0, "secret"), id="same")
        of_both = r"the documents 'x' and 'y' both have a record of level passage with the id 'same'; make the ids"
        of_one = "the document 'x' has twice a record of level passage with the id 'same'"
        for other, message in ((replace(again, document_id="y"), of_both), (replace(again, ordinal=1), of_one)):
            with pytest.raises(InputError, match=message) as refused:
                write(empty, [passage("d00", 0, "changed", digest="2"), again, other])
            assert "secret" not in str(refused.value)
        assert empty.documents() == {"d00": "1", "d01": "1"}
        write(empty, [again, replace(again, level="title")])
        assert set(empty.documents()) == {"d00", "d01", "x"}

    def test_deleting_leaves_no_trace_in_scores(self, empty: Index) -> None:
        write(empty, corpus())
        before = empty.search([words("fever dose", k=50)])[0]
        write(empty, [passage(f"x{n}", 0, "fever " * (n + 1)) for n in range(30)])
        assert empty.search([words("fever dose", k=50)])[0] != before
        empty.delete([f"x{n}" for n in range(30)])
        empty.delete(["never there"])
        empty.commit(optimize=True)
        assert empty.search([words("fever dose", k=50)])[0] == before

    def test_an_emptied_index_finds_nothing(self, empty: Index) -> None:
        write(empty, corpus(2))
        empty.delete(["d00", "d01"])
        empty.commit()
        assert empty.search([words("fever"), near("fever")]) == [[], []]
        assert empty.documents() == {}

    def test_changes_are_invisible_before_the_commit(self, empty: Index) -> None:
        write(empty, corpus(4))
        digest = empty.digest
        write(empty, [passage("new", 0, "fever")], commit=False)
        empty.delete(["d00"])
        assert "new-0" not in ids(empty.search([words("fever", k=50)])[0])
        assert "d00-0" in ids(empty.search([near("fever", k=50)])[0])
        assert empty.passages(["new"]) == empty.between([("new", 0, 9)]) == []
        assert empty.digest == digest
        assert set(empty.documents()) == {"d01", "d02", "d03", "new"}
        empty.commit()
        assert "new-0" in ids(empty.search([words("fever", k=50)])[0])
        assert empty.passages(["d00"]) == []
        assert empty.digest != digest

    def test_vectors_of_another_dimension_are_refused(self, empty: Index) -> None:
        write(empty, corpus(2))
        with pytest.raises(IndexMismatchError, match="has vectors of dimension 16, vectors of dimension 8 were given"):
            empty.search([Request(3, vector=[0.1] * 8)])
        with pytest.raises(IndexMismatchError, match="no vectors were given"):
            empty.write([passage("n", 0, "x")], None)

    def test_an_index_without_vectors_is_searched_by_words_only(self, empty: Index) -> None:
        empty.write(corpus(5), None)
        empty.commit()
        assert len(empty.search([words("fever")])[0]) == 4
        with pytest.raises(IndexMismatchError, match=r"has no vectors .*retriever=bm25"):
            empty.search([near("fever")])

    def test_levels_count_committed_records(self, empty: Index) -> None:
        assert empty.levels == {}
        write(empty, corpus(2))
        assert empty.levels == {"passage": 4}
        write(empty, [passage("d", 0, "fever"), record("title", "d", "cough")], commit=False)
        assert empty.levels == {"passage": 4}
        empty.commit()
        assert empty.levels == {"passage": 5, "title": 1}
        assert empty.passages(["d"], "title") == [record("title", "d", "cough")]
        assert empty.search([Request(3, text="cough", level="section")]) == [[]]

    def test_term_statistics_are_per_level(self, empty: Index) -> None:
        """Records of other levels do not affect the scores of a level."""
        write(empty, corpus(20))
        requests = [words("fever dose"), near("fever dose")]
        before = empty.search(requests)
        others = [record(level, f"o{n}", "fever dose " * 20) for n in range(30) for level in ("document", "title")]
        write(empty, [*others, *(passage(f"o{n}", 0, "unrelated") for n in range(30))])
        write(empty, [record("document", "x", "fever")])
        empty.delete([f"o{n}" for n in range(30)])
        empty.commit(optimize=True)
        assert [ids(hits) for hits in empty.search(requests)] == [ids(hits) for hits in before]
        assert [hit.score for hits in empty.search(requests) for hit in hits] == pytest.approx(
            [hit.score for hits in before for hit in hits],
            rel=1e-6,
        )

    @pytest.mark.parametrize("prepended", [("title", "heading"), ("title",), ("heading",), ()])
    def test_title_and_heading_are_stored_but_searched_only_if_prepended(self, empty: Index, prepended: Any) -> None:
        made = replace(passage("d", 0, "bleep"), title="Obstetrics", heading=("Blood", "Loss"), prepended=prepended)
        write(empty, [made, passage("e", 0, "other")])
        found = empty.search([Request(5, text=text) for text in ("obstetrics", "loss", "bleep")])
        assert [len(hits) for hits in found] == ["title" in prepended, "heading" in prepended, True]
        assert found[2][0].passage == made == empty.passages(["d"])[0]

    def test_a_commit_without_optimize_shows_all_changes(self, empty: Index) -> None:
        write(empty, corpus())
        for turn in range(3):
            empty.delete(["d01"])
            write(empty, [passage("d00", 0, f"plaster turn{turn}", kind="new", digest=str(turn))], commit=False)
            write(empty, [passage(f"n{turn}", 0, "broken legs plasters", kind="new")], commit=False)
            empty.commit()
            assert ids(empty.search([words(f"turn{turn}")])[0]) == ["d00-0"]
            hits, tied = empty.search([words("plaster", k=99, kind="new"), words("leg", k=99, kind="new")])
            assert set(ids(hits)) == {"d00-0", *(f"n{n}-0" for n in range(turn + 1))}
            assert ids(tied) == [f"n{n}-0" for n in range(turn + 1)]
            everything = ids(empty.search([near("fever", k=200)])[0])
            assert len(everything) == len(set(everything)) == 80 - 2 - 1 + turn + 1
            assert not {"d01-0", "d00-1"} & set(everything)
        live = empty.search([words("fever", k=99)])[0]
        empty.commit(optimize=True)
        assert ids(empty.search([words("fever", k=99)])[0]) == ids(live)

    def test_discard_reverts_uncommitted_changes(self, empty: Index) -> None:
        write(empty, corpus(4))
        requests, digest = [words("fever", k=50), near("fever", k=50)], empty.digest
        before = empty.search(requests)
        for _ in range(2):
            write(empty, [passage("new", 0, "fever")], commit=False)
            empty.delete(["d00"])
            empty.discard()
            assert set(empty.documents()) == {"d00", "d01", "d02", "d03"}
            empty.commit(optimize=True)
            assert (empty.digest, empty.search(requests)) == (digest, before)

    def test_discard_before_the_first_commit_empties_the_index(self, empty: Index) -> None:
        write(empty, corpus(2), commit=False)
        empty.discard()
        assert empty.documents() == {}
        empty.commit()
        assert empty.documents() == {}

    def test_a_committed_rebuild_replaces_the_index(self, empty: Index) -> None:
        write(empty, corpus(4))
        with empty.rebuild() as new:
            assert empty.rebuilding
            assert (new.documents(), new.digest) == ({}, None)
            write(new, [passage("a", 0, "cough")], commit=False)
            write(empty, [passage("d09", 0, "fever")])
            empty.note({"put": "d09"})
            empty.note({"remove": ["ü"]})
            assert empty.noted() == [{"put": "d09"}, {"remove": ["ü"]}]
            assert len(empty.search([near("fever", k=50)])[0]) == 9
            write(new, [passage("b", 0, "fever")])
        assert ids(empty.search([near("fever", k=50)])[0]) == ["b-0", "a-0"]
        assert set(empty.documents()) == {"a", "b"}
        assert not empty.rebuilding
        assert empty.noted() == []
        write(empty, [passage("c", 0, "fever")])
        assert ids(empty.search([words("fever")])[0]) == ["b-0", "c-0"]

    def test_an_interrupted_rebuild_resumes(self, empty: Index) -> None:
        write(empty, corpus(4))
        digest = empty.digest
        with empty.rebuild() as new:
            write(new, [passage("a", 0, "cough")], commit=False)
            empty.note({"remove": ["z"]})
        assert empty.rebuilding
        assert empty.digest == digest
        with empty.rebuild() as new:
            assert set(new.documents()) == {"a"}
            assert empty.noted() == [{"remove": ["z"]}]
            new.commit(optimize=True)
        assert set(empty.documents()) == {"a"}

    def test_an_interrupted_rebuild_can_be_dropped(self, empty: Index) -> None:
        write(empty, corpus(4))
        digest = empty.digest
        with empty.rebuild() as new:
            write(new, [passage("a", 0, "cough")], commit=False)
            empty.note({"remove": ["z"]})
        empty.abandon()
        assert not empty.rebuilding
        assert (empty.digest, empty.noted()) == (digest, [])
        with empty.rebuild() as new:
            assert (new.documents(), empty.noted()) == ({}, [])
            write(new, [passage("b", 0, "cough")])
        assert set(empty.documents()) == {"b"}

    def test_a_rebuild_may_be_the_first_to_fill_an_index(self, empty: Index) -> None:
        with empty.rebuild() as new:
            write(new, corpus(2))
        assert len(empty.search([near("fever", k=50)])[0]) == 4
        assert empty.digest is not None

    def test_annotations_outlive_all_changes_of_the_content(self, empty: Index) -> None:
        assert dict(empty.annotations) == {}
        write(empty, corpus(4))
        digest = empty.digest
        empty.annotate("weights", {"knn": 0.5})
        empty.annotate("other", {"n": 1})
        empty.annotate("weights", {"knn": 2.0})
        assert empty.digest == digest
        kept = {"weights": {"knn": 2.0}, "other": {"n": 1}}
        assert dict(empty.annotations) == kept
        empty.delete(["d00"])
        empty.commit(optimize=True)
        empty.purge(["d01"])
        with empty.rebuild() as new:
            new.write([passage("z", 0, "last")], EMBEDDER.encode_passages(["last"]))
            new.commit()
        assert dict(empty.annotations) == kept
        empty.annotate("other", None)
        empty.annotate("never there", None)
        assert dict(empty.annotations) == {"weights": {"knn": 2.0}}
        assert len(empty.search([words("last")])[0]) == 1

    def test_purging_removes_at_once(self, empty: Index) -> None:
        write(empty, [*corpus(4), passage("gone", 0, "fever secret")])
        empty.purge(["gone", "never there"])
        assert empty.search([words("secret")]) == [[]]
        assert set(empty.documents()) == {"d00", "d01", "d02", "d03"}
        fresh = empty.digest
        write(empty, corpus(4))
        assert empty.digest == fresh
        assert len(empty.search([near("fever", k=50)])[0]) == 8

"""Which hits a prompt is made of: each step by hand, off by default, and together in their order."""

import pytest
from answering import context

from cdsframe.context.preference import day
from cdsframe.contracts import Context
from cdsframe.embedder import HashEmbedder
from cdsframe.types import Hit, LegScore, Passage


def hit(name, text="", score=1.0, rank=1, title="", **metadata):
    passage = Passage(
        name, name, name, "passage", text or name, title, (), 0, 100, 100 + len(text or name), "1", metadata
    )
    return Hit(passage, score, rank, {"bm25": LegScore(1, 1.0)})


def ids(hits):
    return "".join(one.passage.id for one in hits)


def five(**metadata):
    """Hits a to e with scores 5 to 1; `metadata`: name -> what that hit's document says of itself."""
    return [hit(name, score=5.0 - n, rank=n + 1, **metadata.get(name, {})) for n, name in enumerate("abcde")]


EVERYTHING = {
    "kind_boost": {"note": -0.3}, "recency_boost": 0.2, "versions": "newest_first", "near_duplicate": 0.9,
    "mmr_lambda": 0.7, "extract_tokens": 16, "placing": "ends",
}  # fmt: skip


def test_as_it_stands_nothing_changes():
    plain = context()
    assert isinstance(plain, Context)
    assert plain.depth == 0
    assert plain.select("x", five(), 3) == five()[:3]
    assert plain.select("x", [], 3) == []
    assert plain.order("abc") == ["a", "b", "c"]


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"near_duplicate": 0.5}, {"versions": "newest_only"}], ids=str)
def test_a_longer_list_begins_with_the_shorter_one(changes):
    made = context(**changes, depth=4)
    dated = {"a": {"date": "2020", "kind": "note"}, "c": {"date": "2024"}}
    long = made.select("b d", five(**dated), 5)
    assert ids(made.select("b d", five(**dated), 2)) == ids(long)[:2]
    assert [one.rank for one in long] == list(range(1, len(long) + 1))
    assert ids(long)[-1] == "e", "behind the depth"


def test_kinds_are_lifted_and_lowered():
    kinds = {"c": {"kind": "guideline"}, "a": {"kind": "note"}}
    found = context(kind_boost={"guideline": 0.3, "note": -0.3}).select("x", five(**kinds), 5)
    assert ids(found) == "cbade", "1 - .3, .75, .5 + .3, .25, 0"
    assert found[0].parts["boost"] == LegScore(1, pytest.approx(0.8))
    assert found[0].score == 3.0


def test_the_newer_gains_more_and_the_undated_nothing():
    dates = {"b": {"date": "2025-01-01"}, "c": {"date": "2024-01-02"}, "d": {"date": "long ago"}}
    found = context(recency_boost=0.6, half_life=365.0).select("x", five(**dates), 5)
    assert ids(found) == "bacde", "1, .75 + .6, .5 + .3, .25, 0"
    assert {one.passage.id: round(one.parts["boost"].score, 3) for one in found}["c"] == 0.8


@pytest.mark.parametrize(
    ("text", "read"),
    [("2025-02-03", "2025-02-03"), ("2025-02", "2025-02-01"), ("2025", "2025-01-01"), ("2025-02-03T10", "2025-02-03"),
     ("2025-13-01", None), ("03.02.2025", None), ("20250203", None), ("", None)],
)  # fmt: skip
def test_dates(text, read):
    assert str(day({"date": text})) == str(read)


def versions(title="Alcohol withdrawal", **more):
    own = {"kind": "protocol", "department": "ER"} | more
    return [
        hit("a", score=5, rank=1, title=f"{title} (2022)", date="2022-06-15", **own),
        hit("b", score=4, rank=2, title="Falls", date="2021-01-01", **own),
        hit("c", score=3, rank=3, title=title, date="2025-04-30", **own),
        hit("d", score=2, rank=4, title=f"{title}, version 1", date="2019", **own),
        hit("e", score=1, rank=5, title=title, **own),
    ]


def test_newer_versions_come_before_what_they_supersede():
    assert ids(context(versions="newest_first").select("x", versions(), 5)) == "cbade"
    assert ids(context(versions="newest_only").select("x", versions(), 5)) == "cbe"
    assert ids(context(versions="as_ranked").select("x", versions(), 5)) == "abcde"


def test_documents_of_a_patient_are_no_versions_of_each_other():
    assert ids(context(versions="newest_only").select("x", versions("Letter", patient="P1"), 5)) == "abcde"


def test_another_kind_or_department_is_another_document():
    hits = [
        hit("a", title="Fasting", date="2020", department="Surgery"),
        hit("b", title="Fasting", date="2024", department="Paediatrics"),
        hit("c", title="Fasting", date="2024", department="Surgery", kind="leaflet"),
    ]
    assert ids(context(versions="newest_first").select("x", hits, 3)) == "abc"


def test_a_field_can_name_the_lineage():
    hits = [
        hit("a", title="One", url="u", date="2020"),
        hit("b", title="Two", url="u", date="2024"),
        hit("c", title="One"),
    ]
    assert ids(context(versions="newest_first", lineage="url").select("x", hits, 3)) == "bac"


def test_near_duplicates_leave_the_higher_one():
    words = "give velorapine fifteen milligrams twice daily with food and water"
    hits = [
        hit("a", words),
        hit("b", words.upper() + "."),
        hit("c", words + " at night"),
        hit("d", "rest"),
        hit("e", "rest"),
    ]
    assert ids(context(near_duplicate=0.9).select("x", hits, 5)) == "acd"
    assert ids(context(near_duplicate=0.7).select("x", hits, 5)) == "ad"
    assert ids(context(near_duplicate=0.9, depth=1).select("x", hits, 5)) == "abcde", "the others are not looked at"


def test_marginal_relevance_puts_what_is_new_before_what_is_like_the_first():
    hits = [
        hit("a", "dose of velorapine", score=3.0), hit("b", "dose of velorapine again", score=2.9),
        hit("c", "fever at night", score=1.0), hit("d", "cough", score=0.0),
    ]  # fmt: skip
    assert ids(context(mmr_lambda=1.0).select("x", hits, 4)) == "abcd"
    found = context(mmr_lambda=0.4).select("x", hits, 4)
    assert ids(found) == "acdb", "b is worth .39 - .6 * .75, c .13 - 0, d 0"
    assert found[1].parts["mmr"] == LegScore(2, pytest.approx(0.4 / 3))


def test_likeness_by_vectors_is_that_of_the_embedder():
    from cdsframe.context.redundancy import diversify

    texts = ["fever cough", "fever cough", "leg plaster"]
    assert [n for n, _ in diversify(texts, [1.0, 0.9, 0.5], 0.5, "vectors", HashEmbedder())] == [0, 2, 1]


TEXT = (
    "This is the velorapine protocol. It was written for the ward. Wash your hands first. "
    "Before surgery stop it for 48 hours. Restart it the evening after. Call bleep 4417 for help."
)


@pytest.mark.parametrize(
    ("query", "tokens", "shown"),
    [
        ("How long before surgery?", 16, "Wash your hands first. Before surgery stop it for 48 hours."),
        ("Which bleep?", 16, "Restart it the evening after. Call bleep 4417 for help."),
        ("unheard", 16, "This is the velorapine protocol. It was written for the ward."),
        ("bleep", 400, TEXT),
    ],
)  # fmt: skip
def test_a_passage_is_cut_to_the_sentences_that_matter(query, tokens, shown):
    document = "x" * 100 + TEXT
    (found,) = context(extract_tokens=tokens).select(query, [hit("a", TEXT, title="Velorapine")], 1)
    assert found.passage.text == shown
    assert document[found.passage.start : found.passage.end] == shown
    assert (found.passage.id, found.rank) == ("a", 1)


def test_a_sentence_stays_whole():
    text = "One " + "long " * 40 + "sentence about fever. Another."
    (found,) = context(extract_tokens=16).select("fever", [hit("a", text)], 1)
    assert found.passage.text == "One " + "long " * 40 + "sentence about fever."


def test_the_best_stand_at_both_ends():
    assert context(placing="ends").order("123456") == list("135642")
    assert context(placing="ends").order("12345") == list("13542")
    assert context(placing="ends").order("") == []

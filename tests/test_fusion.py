"""Fusion, by numbers computed by hand."""

import pytest

from cdsframe.fusion import MinMax, ReciprocalRank, ScoreOverTop, ZScore
from cdsframe.types import Hit, LegScore, Passage

ALL = [ZScore({}), ScoreOverTop({}), MinMax({}), ReciprocalRank(60, {})]


def hits(scores):
    """A leg's list from id -> score, best first."""
    order = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    passages = [Passage(id_, "d", "d#0", "passage", "", "", (), 0, 0, 0, "") for id_, _ in order]
    return [Hit(p, score, rank) for rank, (p, (_, score)) in enumerate(zip(passages, order, strict=True), start=1)]


def scores(fused):
    return {hit.passage.id: hit.score for hit in fused}


def ten(best):
    """Ten hits: one of score 3, nine of score 0 (mean .3, standard deviation .9)."""
    return {best: 3.0} | {f"x{n}": 0.0 for n in range(9)}


def test_zscore_by_hand():
    # a: (3 - .3) / .9 = 3; the others: -.3 / .9 = -1/3; an absent passage counts as the last hit, -1/3.
    fused = scores(ZScore({}).fuse({"bm25": hits(ten("a")), "knn": hits(ten("b"))}))
    assert fused["a"] == pytest.approx(3 - 1 / 3)
    assert fused["b"] == pytest.approx(3 - 1 / 3)
    assert fused["x0"] == pytest.approx(-2 / 3)


def test_zscore_weights():
    fused = ZScore({"bm25": 0.5}).fuse({"bm25": hits(ten("a")), "knn": hits(ten("b"))})
    assert [hit.passage.id for hit in fused[:2]] == ["b", "a"]
    assert fused[0].score == pytest.approx(3 - 0.5 / 3)


def test_zscore_of_short_lists_is_by_ranks():
    legs = {"bm25": hits({"a": 9.0, "b": 1.0}), "knn": hits(ten("b"))}
    fused = scores(ZScore({}).fuse(legs))
    assert fused["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert fused["a"] == pytest.approx(1 / 61)


def test_a_list_without_hits_or_spread_counts_nothing():
    flat = {f"y{n}": 2.0 for n in range(10)}
    alone = scores(ZScore({}).fuse({"bm25": hits(ten("a")), "knn": []}))
    assert alone["a"] == pytest.approx(3)
    beside = scores(ZScore({}).fuse({"bm25": hits(ten("a")), "knn": hits(flat)}))
    assert beside["a"] == pytest.approx(3)
    assert beside["y0"] == pytest.approx(-1 / 3)


def test_minmax_by_hand():
    fused = scores(MinMax({}).fuse({"bm25": hits({"a": 6.0, "b": 4.0, "c": 2.0}), "knn": hits({"b": 0.9, "d": 0.1})}))
    assert fused == pytest.approx({"a": 1.0, "b": 1.5, "c": 0.0, "d": 0.0})


def test_score_over_top_by_hand():
    legs = {"bm25": hits({"a": 8.0, "b": 2.0}), "knn": hits({"b": 0.5, "c": 0.4})}
    assert scores(ScoreOverTop({}).fuse(legs)) == pytest.approx({"a": 1 + 0.8, "b": 0.25 + 1, "c": 0.25 + 0.8})
    assert scores(ScoreOverTop({}).fuse({"knn": hits({"a": -0.1, "b": -0.2})})) == {"a": 0, "b": 0}


def test_reciprocal_ranks_by_hand():
    legs = {"bm25": hits({"a": 8.0, "b": 2.0}), "knn": hits({"b": 0.5})}
    assert scores(ReciprocalRank(1, {"knn": 2.0}).fuse(legs)) == pytest.approx({"a": 1 / 2, "b": 1 / 3 + 2 / 2})


@pytest.mark.parametrize("fusion", ALL, ids=lambda f: type(f).__name__)
def test_ties_break_by_id_and_parts_tell_each_leg(fusion):
    fused = fusion.fuse({"bm25": hits({"b": 5.0, "c": 1.0}), "knn": hits({"a": 5.0, "c": 1.0})})
    assert [hit.rank for hit in fused] == [1, 2, 3]
    parts = {hit.passage.id: dict(hit.parts) for hit in fused}
    assert parts["c"] == {"bm25": LegScore(2, 1.0), "knn": LegScore(2, 1.0)}
    assert parts["a"] == {"knn": LegScore(1, 5.0)}
    tied = [hit.passage.id for hit in fused if hit.passage.id != "c"]
    assert tied == ["a", "b"]


@pytest.mark.parametrize("fusion", ALL, ids=lambda f: type(f).__name__)
def test_nothing_found_is_an_empty_list(fusion):
    assert fusion.fuse({"bm25": [], "knn": []}) == []

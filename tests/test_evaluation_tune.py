"""Weights fitted to queries, and measured on queries that they were not fitted to."""

import json
import multiprocessing
import random
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from children import patience
from evaluation_doubles import SystemDouble, run_in

from cdsframe.embedder import HashEmbedder
from cdsframe.errors import ConfigError, InputError
from cdsframe.evaluation import tune as tune_module
from cdsframe.evaluation.tune import evaluate
from cdsframe.fusion import MinMax, ReciprocalRank, ZScore
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.retriever.flat import Bm25, Hybrid
from cdsframe.retriever.hierarchical import Hierarchical, HierarchicalLight
from cdsframe.retriever.stored_weights import StoredWeights
from cdsframe.types import Passage

WORDS = [f"word{n}" for n in range(60)]
GRID = [0, 0.5, 1, 2]
LEVELS = {"document": None, "title": None, "section": None}


@pytest.fixture
def index():
    return filled(MemoryIndex({}))


def filled(made):
    """Documents whose passages share few words with a query; their titles name them."""
    draw, everything = random.Random(1), []
    for n in range(50):
        name, records = f"d{n}", []
        for m in range(3):
            text = " ".join(draw.sample(WORDS, 6))
            records.append(Passage(f"{name}-{m}", name, f"{name}#0", "passage", text, f"title{n}", (), m, 0, 9, "1"))
        whole = " ".join(record.text for record in records)
        records.append(Passage(f"{name}/d", name, name, "document", whole, f"title{n}", (), 0, 0, 9, "1"))
        records.append(Passage(f"{name}/t", name, f"{name}#0", "title", "", f"title{n}", (), 0, 0, 0, "1"))
        everything += records
    made.write(everything, HashEmbedder(64).encode_passages([record.search_text for record in everything]))
    made.commit()
    return made


@pytest.fixture
def files(tmp_path):
    draw = random.Random(2)
    queries, qrels = [], []
    for n in range(40):
        queries.append({"query_id": f"q{n}", "text": f"title{n} {' '.join(draw.sample(WORDS, 4))}"})
        qrels += [f"q{n}\td{n}-{m}\t1" for m in range(3)]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels.tsv").write_text("\n".join(qrels))
    return str(tmp_path / "queries.jsonl"), str(tmp_path / "qrels.tsv")


def hierarchical(index, **weights):
    return Hierarchical(4, 50, weights, index, HashEmbedder(64), ZScore({}))


def tune(folder, retriever, index, files, sample=None, folds=4, grid=GRID, store="never"):
    system = SystemDouble(retriever=retriever, index=index)
    return evaluate(system, run_in(folder), 1, *files, "test", sample, grid, folds, store)


def test_weights_are_found_that_help_on_queries_they_were_not_fitted_to(tmp_path, index, files):
    metrics = tune(tmp_path / "run", hierarchical(index, document=0, title=0), index, files).metrics
    assert metrics["retrieval/ndcg@10_tuned"] > metrics["retrieval/ndcg@10"] + 0.05
    assert metrics["retrieval/tuned_p"] < 0.05
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert set(weights) == {
        "fusion.weights.bm25", "fusion.weights.knn", "retriever.weights.document", "retriever.weights.title"
    }  # fmt: skip
    assert weights["retriever.weights.title"] + weights["retriever.weights.document"] > 0


def test_the_weights_are_overrides_that_give_the_same_again(tmp_path, index, files):
    result = tune(tmp_path / "one", hierarchical(index, document=0, title=0), index, files)
    weights = json.loads((tmp_path / "one" / "weights.json").read_text())
    legs = {leg: weights[f"fusion.weights.{leg}"] for leg in ("bm25", "knn")}
    levels = {level: weights[f"retriever.weights.{level}"] for level in ("document", "title")}
    fitted = Hierarchical(4, 50, levels, index, HashEmbedder(64), ZScore(legs))
    again = tune(tmp_path / "two", fitted, index, files)
    assert again.metrics["retrieval/ndcg@10"] >= result.metrics["retrieval/ndcg@10_tuned"]
    assert json.loads((tmp_path / "two" / "weights.json").read_text()) == weights
    assert "fitted to all 40 queries" in result.text


def test_what_is_configured_stays_where_nothing_is_better(tmp_path, index, files):
    best = Hierarchical(4, 50, {"title": 1}, index, HashEmbedder(64), ZScore({"bm25": 1, "knn": 0}))
    result = tune(tmp_path / "run", best, index, files, sample=8, grid=[1, 1])
    assert result.metrics["retrieval/tuned_difference"] == 0
    assert result.metrics["retrieval/queries"] == 8
    assert "not significant" in result.text


@pytest.mark.parametrize(
    "make",
    [
        lambda index: Hybrid(4, 50, index, HashEmbedder(64), ZScore({})),
        lambda index: HierarchicalLight(4, 50, {"document": 0.5, "section": 0}, index, HashEmbedder(64), ZScore({})),
    ],
)
def test_other_retrievers_with_weights_can_be_tuned(tmp_path, index, files, make):
    metrics = tune(tmp_path / "run", make(index), index, files).metrics
    assert 0 < metrics["retrieval/ndcg@10_tuned"] <= 1


def test_a_retriever_without_weights_is_refused(tmp_path, index, files):
    with pytest.raises(ConfigError, match="needs a retriever with weights"):
        tune(tmp_path / "run", Bm25(4, 50, index), index, files)


def test_more_folds_than_clusters_are_refused(tmp_path, index, files):
    with pytest.raises(InputError, match=r"evaluation\.folds=41 is more than the 40 clusters"):
        tune(tmp_path / "run", hierarchical(index, title=1), index, files, folds=41)


@pytest.fixture
def lance(tmp_path):
    return filled(LanceIndex(str(tmp_path / "indexes"), "tuned", {}))


class OtherEmbedder(HashEmbedder):
    """The same vectors under another identity."""

    def __init__(self, dimension):
        super().__init__(dimension)
        self.identity = {"name": "other"}


def fused(index, fusion=None, embedder=None, **levels):
    return Hierarchical(
        4, 50, levels or dict(LEVELS), index, embedder or HashEmbedder(64), fusion or ZScore({"bm25": None})
    )


def ids(retriever):
    return [[hit.passage.id for hit in hits] for hits in retriever.search_many([f"title{n} word{n}" for n in range(9)])]


def test_stored_weights_are_used_where_none_is_configured(tmp_path, lance, files, caplog):
    before, defaults = ids(fused(lance)), fused(lance).weights
    text = tune(tmp_path / "run", fused(lance), lance, files, store="if_better").text
    assert "stored with the index: used from the next start" in text
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())
    reopened = LanceIndex(str(tmp_path / "indexes"), "tuned", {})
    with caplog.at_level("INFO", "cdsframe.retriever"):
        retriever = fused(reopened)
        found = ids(retriever)
    assert found == ids(fused(reopened).weighted(weights)) != before
    reported = [record.message for record in caplog.records if record.name == "cdsframe.retriever.flat"]
    assert len(reported) == 1, "it reports them once"
    assert reported[0].startswith("retriever: weights fitted to 40 queries by evaluation=tune: fusion.weights.bm25=")
    assert retriever.weights == weights != defaults
    again = tune(tmp_path / "again", fused(reopened), reopened, files, store="if_better")
    assert again.metrics["retrieval/tuned_difference"] <= 0, "compared with the weights in use"
    assert "not stored: on other queries they are not reliably better" in again.text
    assert "the stored weights are removed" in tune(tmp_path / "x", fused(lance), lance, files, store="remove").text
    assert fused(LanceIndex(str(tmp_path / "indexes"), "tuned", {})).weights == defaults


@pytest.mark.parametrize(
    "other",
    [
        lambda index: fused(index, ZScore({"bm25": 1})),
        lambda index: fused(index, document=0.5, title=None, section=None),
        lambda index: fused(index, MinMax({})),
        lambda index: fused(index, embedder=OtherEmbedder(64)),
        lambda index: Hybrid(4, 50, index, HashEmbedder(64), ZScore({})),
        lambda index: Hierarchical(4, 40, dict(LEVELS), index, HashEmbedder(64), ZScore({})),
    ],
)
def test_stored_weights_are_not_used_with_other_settings(lance, other):
    used, before = fused(lance), (ids(other(lance)), other(lance).weights)
    stored = StoredWeights(weights=dict.fromkeys(used.weights, 0.0) | {"fusion.weights.knn": 1}, queries=9, data="x")
    lance.annotate(used.weights_key, stored.model_dump())
    assert fused(lance).weights["fusion.weights.bm25"] == 0
    assert (ids(other(lance)), other(lance).weights) == before


def test_two_rank_constants_do_not_share_weights(lance):
    keys = {fused(lance, ReciprocalRank(constant, {})).weights_key for constant in (1, 60)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("changed", "place"),
    [({"weights": {"fusion.weights.bm25": -1}}, r"weights\.fusion"), ({"format_version": 2}, "format_version"),
     ({"queries": "?"}, "queries")],
)  # fmt: skip
def test_damaged_weights_are_refused_with_the_way_to_remove_them(tmp_path, lance, files, changed, place):
    retriever = fused(lance)
    good = {"format_version": 1, "weights": retriever.weights, "queries": 9, "data": "x"}
    lance.annotate(retriever.weights_key, good | changed)
    with pytest.raises(ConfigError, match=rf"damaged \({place}.*evaluation\.store=remove"):
        ids(fused(lance))
    assert "removed" in tune(tmp_path / "run", fused(lance), lance, files, store="remove").text
    assert dict(lance.annotations) == {}
    lance.annotate(retriever.weights_key, {**good, "weights": {"fusion.weights.bm25": 1.0}})
    assert fused(lance).weights == retriever.weights, "the weights of other legs are not this retriever's"
    (lance._folder / "annotations.json").write_text("{")
    with pytest.raises(ConfigError, match=r"annotations\.json is not JSON.*delete the file"):
        ids(fused(lance))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"store": "never"}, "evaluation.store=never"),
        ({"store": "if_better", "sample": 30}, "fitted to a sample"),
        ({"store": "if_better", "retriever": ZScore({"knn": 5})}, "weights to compare with were configured"),
    ],
)
def test_weights_are_stored_only_if_they_are_better_for_every_user(tmp_path, lance, files, options, reason):
    fusion = options.pop("retriever", None)
    text = tune(tmp_path / "run", fused(lance, fusion, document=None, title=None), lance, files, **options).text
    assert re.search(f"not stored: .*{reason}", text)
    assert dict(lance.annotations) == {}


def test_an_index_that_cannot_be_written_leaves_the_result(tmp_path, index, lance, files, monkeypatch, caplog):
    assert "not stored: this index ends" in tune(tmp_path / "one", fused(index), index, files, store="if_better").text
    monkeypatch.setattr(tune_module, "_WAIT", 0.1)
    other = multiprocessing.get_context("spawn").Process(target=_write, args=(str(tmp_path / "indexes"),))
    other.start()
    try:
        deadline = time.monotonic() + patience(60)
        while not (tmp_path / "indexes" / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        result = tune(tmp_path / "two", fused(lance), lance, files, store="if_better")
    finally:
        other.kill()
        other.join()
    assert "not stored: the index could not be written; set the weights by the overrides above" in result.text
    assert "is being written" in caplog.text
    assert result.metrics["retrieval/queries"] == 40


def _write(path):
    with LanceIndex(path, "tuned", {}).writer():
        (Path(path) / "ready").touch()
        time.sleep(600)


def test_each_leg_alone_is_measured_beside_the_fitted_weights(tmp_path, index, files):
    retriever = Hybrid(4, 50, index, HashEmbedder(64), ZScore({}))
    metrics = tune(tmp_path / "run", retriever, index, files, folds=2).metrics
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert max(weights.values()) == 1
    best = max(metrics["retrieval/ndcg@10_bm25"], metrics["retrieval/ndcg@10_knn"])
    difference = metrics["retrieval/ndcg@10_tuned"] - best
    assert metrics["retrieval/best_leg_difference"] == pytest.approx(difference)


def test_an_expansion_is_refused_with_the_way_to_fit(tmp_path, index, files):
    expanding = SimpleNamespace(expand=None, weights={})
    with pytest.raises(ConfigError, match="add expansion=none"):
        tune(tmp_path / "run", expanding, index, files)

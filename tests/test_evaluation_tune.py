"""Weights fitted to queries, and measured on queries that they were not fitted to."""

import json
import random

import pytest
from evaluation_doubles import SystemDouble, run_in

from cdsframe.embedder import HashEmbedder
from cdsframe.errors import ConfigError, InputError
from cdsframe.evaluation.tune import evaluate
from cdsframe.fusion import ZScore
from cdsframe.index.memory import MemoryIndex
from cdsframe.retriever.flat import Bm25, Hybrid
from cdsframe.retriever.hierarchical import Hierarchical, HierarchicalLight
from cdsframe.types import Passage

WORDS = [f"word{n}" for n in range(60)]
GRID = [0, 0.5, 1, 2]


@pytest.fixture
def index():
    """Documents whose passages share few words with a query; their titles name them."""
    draw, made = random.Random(1), MemoryIndex({})
    for n in range(50):
        name, records = f"d{n}", []
        for m in range(3):
            text = " ".join(draw.sample(WORDS, 6))
            records.append(Passage(f"{name}-{m}", name, f"{name}#0", "passage", text, f"title{n}", (), m, 0, 9, "1"))
        whole = " ".join(record.text for record in records)
        records.append(Passage(f"{name}/d", name, name, "document", whole, f"title{n}", (), 0, 0, 9, "1"))
        records.append(Passage(f"{name}/t", name, f"{name}#0", "title", "", f"title{n}", (), 0, 0, 0, "1"))
        made.write(records, HashEmbedder(64).encode_passages([record.search_text for record in records]))
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


def tune(folder, retriever, index, files, sample=None, folds=4, grid=GRID):
    system = SystemDouble(retriever=retriever, index=index)
    return evaluate(system, run_in(folder), 1, *files, "test", sample, grid, folds, 200)


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
    result = tune(tmp_path / "run", hierarchical(index, title=1), index, files, sample=8, grid=[1, 1])
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

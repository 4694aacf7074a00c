"""Rankings against judgements from files and from evidence."""

import gzip
import json
import logging
import math
from pathlib import Path

import pytest
from evaluation_doubles import First, InOrder, Questions, Search, SystemDouble, memory_index, run_in

from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.evaluation.ranking import gold_passages, score_rankings
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.retrieval import evaluate, read_qrels, read_queries

QUERIES = [
    {"query_id": "1", "text": "velorapine dose"},
    {"_id": "2", "text": "bleep"},
    {"id": "3", "question": "nobody judged this"},
]


def search(folder: Path, queries: str | None, qrels: str | None, sample: int | None = None, top_k: int = 2) -> Result:
    index = memory_index()
    retriever = Search(index, top_k)
    system = SystemDouble(retriever=retriever, reranker=InOrder(), context=First(), index=index)
    return evaluate(system, run_in(folder), 1, queries, qrels, "test", sample)


@pytest.fixture
def queries(tmp_path: Path) -> str:
    path = tmp_path / "queries.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, QUERIES)).encode()))
    return str(path)


def write(folder: Path, text: str) -> str:
    path = folder / "qrels.tsv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "query_id\tdoc_id\tscore\n1\talpha-0\t1\n2\talpha-0\t0\n2\talpha-1\t2\n",
        "1\talpha-0\t1\n2\talpha-0\t0\n2\talpha-1\t2\n",
        "1 0 alpha-0 1\n2 0 alpha-0 0\n2 0 alpha-1 2\n",
        "1\tQ0\talpha-0\t1\n\n2\tQ0\talpha-0\t0\n2\tQ0\talpha-1\t2\n",
    ],
)
def test_qrels_with_or_without_a_header_and_in_trec_form(tmp_path: Path, text: str) -> None:
    assert read_qrels(write(tmp_path, text)) == {"1": {"alpha-0": 1}, "2": {"alpha-0": 0, "alpha-1": 2}}


def test_grades_below_one_are_not_relevant_and_judged_queries_that_are_not_asked_are_counted(
    tmp_path: Path, queries: str, caplog: pytest.LogCaptureFixture
) -> None:
    qrels = write(tmp_path, "1\talpha-0\t1\n2\talpha-1\t-1\n2\talpha-2\t0\n7\talpha-0\t1\n8\talpha-0\t0\n")
    metrics = search(tmp_path / "run", queries, qrels).metrics
    assert metrics["retrieval/queries"] == 1
    assert metrics["retrieval/left_out"] == len(QUERIES) - 1
    assert metrics["retrieval/judged_not_asked"] == 2
    assert "2 judged queries are not in evaluation.queries" in caplog.text


def test_files_are_searched_and_measured(tmp_path: Path, queries: str, caplog: pytest.LogCaptureFixture) -> None:
    qrels = write(tmp_path, "query_id\tdoc_id\tscore\n1\talpha-0\t1\n2\talpha-1\t1\n2\tgone\t1\n")
    with caplog.at_level(logging.INFO):
        metrics = search(tmp_path / "run", queries, qrels).metrics
    assert metrics["retrieval/queries"] == 2
    assert metrics["retrieval/left_out"] == 1
    assert metrics["retrieval/recall@5"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["retrieval/mrr@10"] == 1
    assert 0 < metrics["retrieval/judged@10"] <= 1
    assert "1 of 3 relevant passages" in caplog.text
    assert "velorapine" not in caplog.text
    assert (tmp_path / "run" / "run.trec").read_text().startswith("1 Q0 alpha-0 1 1.0")


def test_the_evidence_of_questions_is_what_counts_without_files(tmp_path: Path) -> None:
    metrics = search(tmp_path / "run", None, None).metrics
    assert metrics["retrieval/queries"] == 4
    assert metrics["retrieval/left_out"] == 2  # the unanswerable ones
    assert "retrieval/judged@10" not in metrics  # what shows no evidence was never judged
    assert search(tmp_path / "few", None, None, sample=3).metrics["retrieval/queries"] == 3


@pytest.mark.parametrize("order", [["a", "z"], ["z", "a"]])
def test_ranks_decide_and_not_the_order_of_ids(order: list[str]) -> None:
    first, second = order
    measures = {"mrr": "RR@10", "ndcg": "nDCG@10"}
    assert score_rankings({"q": {first: 1}}, {"q": order}, measures) == {"mrr": [1.0], "ndcg": [1.0]}
    late = score_rankings({"q": {second: 1}}, {"q": order}, measures)
    assert (late["mrr"], late["ndcg"]) == ([0.5], [pytest.approx(1 / math.log2(3))])
    assert score_rankings({"q": {first: 1}}, {"q": []}, measures) == {"mrr": [0.0], "ndcg": [0.0]}


def test_every_passage_that_shows_the_evidence_is_relevant() -> None:
    questions = Questions().questions("test")
    assert gold_passages(memory_index(), questions)["q4"] == {"beta-0": 1}
    assert "q5" not in gold_passages(memory_index(), questions)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1\talpha-0\t1\n1\talpha-1\n", "line 2"),
        ("1\talpha-0\t1\n1\talpha-1\tmuch\n", "line 2"),
        ("", "no judgements"),
        ("9\talpha-0\t1\n", "no query has a relevant passage in the qrels"),
    ],
)
def test_bad_qrels(tmp_path: Path, queries: str, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        search(tmp_path / "run", queries, write(tmp_path, text))


@pytest.mark.parametrize(
    "line", ['{"query_id": "4"}', '{"text": "x"}', "no json", '{"query_id": "1", "text": "twice"}']
)
def test_bad_queries(tmp_path: Path, line: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query_id": "1", "text": "x"}\n' + line + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_queries(str(path))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="retriever=none"):
        search(tmp_path / "run", None, None, top_k=0)
    assert evaluate.problems(queries="a", qrels=None)
    assert not evaluate.problems(queries=None, qrels=None)
    assert issubclass(ConfigError, CdsframeError)


def test_medquad_files_are_read(real_data: Path) -> None:
    queries = read_queries(str(real_data / "medquad/retrieval_queries_val.jsonl.gz"))
    qrels = read_qrels(str(real_data / "medquad/retrieval_qrels_val.tsv"))
    assert len(queries) == 914
    assert sum(map(len, qrels.values())) == 1407
    assert {query.id for query in queries} == qrels.keys()

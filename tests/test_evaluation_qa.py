"""Answers measured on a hospital in memory, by hand-computed numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import pytest
from evaluation_doubles import (
    QUESTIONS,
    Search,
    SystemDouble,
    passages,
    pipeline,
    question_of,
    rows_without_seconds,
    run_in,
)

from cdsframe.evaluation.prediction import Prediction
from cdsframe.evaluation.qa import evaluate
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.scoring import text_scores
from cdsframe.evaluation.text import token_f1
from cdsframe.types import Filter, Hit, Message, Question

ANSWERS = {
    "q1": "15 mg twice daily [1]",  # right, rightly cited
    "q2": "150 mg [2]",  # a wrong dose, and the wrong passage
    "q3": "The documents do not say.",  # refused, though it is there
    "q4": "at 5.8 mmol/L [1] [7]",  # right; the second marker names nothing
    "q5": "The documents do not say.",
    "q6": "in the <b>pharmacy</b>",
}
BY_QUESTION = {question.question: ANSWERS[question.id] for question in QUESTIONS}


def answer(messages: Sequence[Message]) -> str:
    return BY_QUESTION[question_of(messages)]


def ask(folder: Path, top_k: int = 2, limit: int | None = None) -> Result:
    asked, index = pipeline(answer, top_k)
    return evaluate(SystemDouble(asked, index=index), run_in(folder), 1, "test", limit, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qa")
    ask(folder)
    return folder


@pytest.fixture(scope="module")
def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


def test_answers_by_hand(metrics: dict[str, float]) -> None:
    assert metrics["qa/em"] == 2 / 4
    assert metrics["qa/f1"] == pytest.approx((1 + 2 / 4 + 0 + 1) / 4)  # q2 shares "mg" of two tokens each
    assert metrics["qa/wrong_dose"] == 1 / 4
    assert metrics["qa/fact/em"] == pytest.approx(1 / 3)
    assert metrics["qa/history/em"] == 1
    assert (metrics["qa/questions"], metrics["qa/answerable"], metrics["qa/unanswerable"]) == (6, 4, 2)


def test_strategies_without_a_model_by_hand(metrics: dict[str, float]) -> None:
    assert metrics["qa/always_refuse/f1_all"] == 2 / 6
    # The first passage of each answerable question is the one with its evidence.
    first = [passages()[place].text for place in (0, 0, 1, 3)]
    answerable = [question for question in QUESTIONS if question.answerable]
    copied = [token_f1(text, [q.answer, *q.aliases]) for text, q in zip(first, answerable, strict=True)]
    assert metrics["qa/copy_passage/f1"] == pytest.approx(sum(copied) / 4)
    assert 0 < metrics["qa/copy_passage/f1"] < 1


def test_refusals_by_hand(metrics: dict[str, float]) -> None:
    assert metrics["qa/refusal_recall"] == 1 / 2
    assert metrics["qa/refusal_precision"] == 1 / 2
    assert metrics["qa/answerable_refused"] == 1 / 4
    assert metrics["qa/f1_all"] == pytest.approx((2.5 + 1) / 6)


def test_the_words_of_a_refusal_earn_nothing() -> None:
    asked, _ = pipeline("The documents do not say.")
    refusal = asked.answer("Which bleep for help?")
    scores = text_scores(Prediction.of(Question("x", "?", "what the documents do not say"), "", refusal, [], None))
    assert set(scores.values()) == {0.0}
    assert text_scores(Prediction.of(Question("x", "?", ""), "", refusal, [], None))["f1"] == 1


def test_citations_by_hand(metrics: dict[str, float]) -> None:
    assert metrics["qa/citation_precision"] == pytest.approx(2 / 3)  # q1 and q4 right, q2 wrong
    assert metrics["qa/citation_recall"] == pytest.approx(2 / 4)
    assert metrics["qa/markers_removed"] == pytest.approx(1 / 6)


def test_every_share_has_an_interval_around_it(metrics: dict[str, float]) -> None:
    for name in ("qa/f1", "qa/em", "qa/citation_precision", "qa/refusal_recall", "retrieval/ndcg@10"):
        assert 0 <= metrics[f"{name}/ci_low"] <= metrics[name] <= metrics[f"{name}/ci_high"] <= 1


def test_the_trec_run_gives_the_same_numbers(folder: Path, metrics: dict[str, float]) -> None:
    run = list(ir_measures.read_trec_run(str(folder / "run.trec")))
    gold = {"q1": "alpha-0", "q2": "alpha-0", "q3": "alpha-1", "q4": "beta-0"}
    qrels = [ir_measures.Qrel(query, passage, 1) for query, passage in gold.items()]
    found = ir_measures.calc_aggregate(
        [ir_measures.parse_measure("nDCG@10"), ir_measures.parse_measure("R@2")], qrels, run
    )
    assert {str(k): v for k, v in found.items()} == pytest.approx(
        {"nDCG@10": metrics["retrieval/ndcg@10"], "R@2": metrics["retrieval/recall@2"]}
    )
    assert 0 < metrics["retrieval/ndcg@10"] <= 1


class Backwards(Search):
    """BM25's worst first: it finds q1 and q3 at rank 1, q2 and q4 at rank 2."""

    def search_many(
        self, queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        return [hits[::-1][: top_k or self.top_k] for hits in super().search_many(queries, 10, filter)]


SECOND = 1 / math.log2(3)
"""The nDCG of one relevant passage at rank 2."""


def ask_backwards(folder: Path, top_k: int, max_tokens: int = 400) -> dict[str, float]:
    asked, index = pipeline(answer)
    asked.retriever, asked.prompt.max_tokens = Backwards(index, top_k), max_tokens
    return evaluate(SystemDouble(asked, index=index), run_in(folder), 1, "test", None, None).metrics


def test_rankings_are_measured_ten_deep_however_few_are_retrieved(tmp_path: Path) -> None:
    metrics = ask_backwards(tmp_path, top_k=1)
    assert metrics["retrieval/ndcg@10"] == pytest.approx((1 + SECOND + 1 + SECOND) / 4)
    assert metrics["retrieval/mrr@10"] == (1 + 1 / 2 + 1 + 1 / 2) / 4
    assert metrics["retrieval/recall@1"] == metrics["retrieval/recall@shown"] == 2 / 4
    rows = list(map(json.loads, (tmp_path / "predictions.jsonl").read_text().splitlines()))
    assert [len(row["hits"]) for row in rows] == [1] * 6  # what the answers were made from


def test_what_the_prompt_shows_is_measured_apart(tmp_path: Path) -> None:
    metrics = ask_backwards(tmp_path, top_k=2, max_tokens=16)  # room for one passage
    assert metrics["retrieval/recall@2"] == 1
    assert metrics["retrieval/recall@shown"] == 2 / 4
    assert metrics["qa/passages_shown"] == 1


def test_the_rerankers_order_is_measured(tmp_path: Path) -> None:
    class Reversed:
        depth = 2

        def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
            return hits[::-1]

    asked, index = pipeline(answer)
    asked.reranker = Reversed()
    metrics = evaluate(SystemDouble(asked, index=index), run_in(tmp_path), 1, "test", None, None).metrics
    assert metrics["retrieval/ndcg@10"] == pytest.approx((1 + SECOND + 1 + SECOND) / 4)
    assert metrics["retrieval/recall@2"] == 1


def test_predictions(folder: Path) -> None:
    rows = {row["id"]: row for row in map(json.loads, (folder / "predictions.jsonl").read_text().splitlines())}
    assert list(rows) == [question.id for question in QUESTIONS]
    assert rows["q1"]["cited"] == ["alpha-0"]
    assert rows["q2"]["wrong_dose"] == 1
    assert rows["q4"]["removed"] == 1
    assert rows["q3"]["refused"] == 1
    assert rows["q1"]["confidence"]["probability"] is None
    assert rows["q1"]["features"]
    assert [rows[q].get("citation_precision") for q in ("q1", "q2", "q3", "q5")] == [1, 0, None, None]
    assert [rows[q].get("citation_recall") for q in ("q1", "q2", "q3", "q5")] == [1, 0, 0, None]


def test_the_report_escapes_and_stands_alone(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "in the &lt;b&gt;pharmacy&lt;/b&gt;" in page
    assert "<b>pharmacy" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "Wrong dose" in page


def test_a_search_that_finds_nothing_scores_zero(tmp_path: Path) -> None:
    """Its passages were searched for: the measures are 0, not missing, and the index is recorded."""

    class Blind(Search):
        def search_many(
            self, queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
        ) -> list[list[Hit]]:
            return [[] for _ in queries]

    asked, index = pipeline(answer)
    asked.retriever = Blind(index, 2)
    metrics = evaluate(SystemDouble(asked, index=index), run_in(tmp_path), 1, "test", None, None).metrics
    assert metrics["retrieval/ndcg@10"] == metrics["retrieval/recall@shown"] == metrics["qa/citation_recall"] == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["digests"]["index"] == index.digest


def test_closed_book_has_no_citations_and_no_retrieval(tmp_path: Path) -> None:
    metrics = ask(tmp_path, top_k=0).metrics
    assert not [name for name in metrics if "citation" in name or name.startswith("retrieval/")]
    assert not (tmp_path / "run.trec").exists()
    assert "citation_recall" not in (tmp_path / "predictions.jsonl").read_text()
    assert metrics["qa/em"] == 2 / 4


def test_two_runs_are_equal_but_for_seconds(folder: Path, tmp_path: Path, metrics: dict[str, float]) -> None:
    ask(tmp_path)
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in metrics.items() if "seconds" not in k
    }
    assert rows_without_seconds(tmp_path) == rows_without_seconds(folder)

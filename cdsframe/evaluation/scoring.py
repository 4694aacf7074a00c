"""Scores answers: predictions in, metrics and scored rows out. Needs no model and no index; does not read files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cdsframe.evaluation.prediction import Prediction
from cdsframe.evaluation.ranking import score_rankings
from cdsframe.evaluation.result import Scores
from cdsframe.evaluation.text import METRICS, wrong_dose
from cdsframe.types import JsonObject, Metrics

log = logging.getLogger(__name__)

DEPTH = 10
"""How deep rankings are measured, however few passages an answer is made from."""


def score(predictions: Sequence[Prediction], top_k: int) -> tuple[Metrics, list[JsonObject]]:
    """Metrics with intervals, and the rows of `predictions.jsonl` with each answer's own scores.

    `top_k`: number of passages that were retrieved for an answer.
    """
    scores = Scores()
    texts = {one.id: text_scores(one) for one in predictions}
    _score_answers(scores, predictions, texts)
    retrieved = searched(predictions)
    by_question: dict[str, dict[str, float]] = {}
    if retrieved:
        _score_citations(scores, predictions)
        by_question = _score_retrieval(scores, predictions, top_k)
    _score_naive(scores, predictions)
    rows = [
        one.row() | texts[one.id] | (citation_scores(one) if retrieved else {}) | by_question.get(one.id, {})
        for one in predictions
    ]
    return scores.metrics | _costs(predictions), rows


def searched(predictions: Sequence[Prediction]) -> bool:
    """Whether the run searched, even if it found nothing for any question."""
    return any(one.relevant is not None or one.hits for one in predictions)


def text_scores(one: Prediction) -> dict[str, float]:
    """By key. A refusal is right (1) on an unanswerable question, else wrong (0) regardless of its words."""
    if one.refused or not one.answerable:
        right = float(one.refused and not one.answerable)
        return dict.fromkeys(METRICS, right) | {"wrong_dose": 0.0}
    golds = [one.gold, *one.aliases]
    measured = {name: metric(one.text, golds) for name, metric in METRICS.items()}
    return measured | {"wrong_dose": float(wrong_dose(one.text, golds))}


def citation_scores(one: Prediction) -> dict[str, float]:
    """Of the question's citations and of its evidence spans the share that meet; absent where there are none."""
    shares = {
        "citation_precision": (citations_right(one), len(one.cited)),
        "citation_recall": (evidence_cited(one), len(one.evidence)),
    }
    return {name: met / among for name, (met, among) in shares.items() if among and one.evidence}


def citations_right(one: Prediction) -> int:
    """How many of the citations name a passage that shows gold evidence."""
    by_id = {hit.id: hit for hit in one.hits}
    return sum(any(by_id[passage].shows(evidence) for evidence in one.evidence) for passage in one.cited)


def evidence_cited(one: Prediction) -> int:
    """How many of the evidence spans some citation's passage shows."""
    cited = [hit for hit in one.hits if hit.id in one.cited]
    return sum(any(hit.shows(evidence) for hit in cited) for evidence in one.evidence)


def _score_answers(scores: Scores, predictions: Sequence[Prediction], texts: Mapping[str, Metrics]) -> None:
    """Answerable and unanswerable questions apart, and each type."""
    answerable = [one for one in predictions if one.answerable]
    groups = [one.group for one in answerable]
    for name in (*METRICS, "wrong_dose"):
        scores.add(f"qa/{name}", [texts[one.id][name] for one in answerable], groups)
    scores.add("qa/answerable_refused", [float(one.refused) for one in answerable], groups)
    everything = [one.group for one in predictions]
    scores.add("qa/f1_all", [texts[one.id]["f1"] for one in predictions], everything)
    unanswerable = [float(not one.answerable) for one in predictions]
    if any(unanswerable):
        right = [one.refused * wanted for one, wanted in zip(predictions, unanswerable, strict=True)]
        refused = [float(one.refused) for one in predictions]
        scores.add("qa/refusal_precision", right, everything, weights=refused)
        scores.add("qa/refusal_recall", right, everything, weights=unanswerable)
    for kind in sorted({one.type for one in answerable}):
        own = [one for one in answerable if one.type == kind]
        for name in ("f1", "em"):
            scores.add(f"qa/{kind}/{name}", [texts[one.id][name] for one in own], [one.group for one in own])
    scores.metrics |= {
        "qa/questions": len(predictions),
        "qa/answerable": len(answerable),
        "qa/unanswerable": sum(unanswerable),
    }


def _score_naive(scores: Scores, predictions: Sequence[Prediction]) -> None:
    """What needs no model: refusing every question, and answering with the first passage."""
    refusing = [replace(one, refused=True) for one in predictions]
    scores.add("qa/always_refuse/f1_all", [text_scores(one)["f1"] for one in refusing], [o.group for o in predictions])
    copying = [
        replace(one, text=min(one.hits, key=lambda hit: hit.rank).text, refused=False)
        for one in predictions
        if one.hits and one.answerable
    ]
    scores.add("qa/copy_passage/f1", [text_scores(one)["f1"] for one in copying], [one.group for one in copying])


def _score_citations(scores: Scores, predictions: Sequence[Prediction]) -> None:
    """Over questions with gold evidence: of the citations, and of the evidence spans, the share that meet."""
    known = [one for one in predictions if one.evidence]
    groups = [one.group for one in known]
    for name, found, among in (
        ("precision", map(citations_right, known), [float(len(one.cited)) for one in known]),
        ("recall", map(evidence_cited, known), [float(len(one.evidence)) for one in known]),
    ):
        scores.add(f"qa/citation_{name}", list(map(float, found)), groups, weights=among)
    scores.metrics["qa/markers_removed"] = sum(one.removed for one in predictions) / len(predictions)


def _score_retrieval(scores: Scores, predictions: Sequence[Prediction], top_k: int) -> dict[str, dict[str, float]]:
    """What was retrieved for questions with evidence, against the passages that show it: ranked, and in the prompt.

    Returns question id -> measure -> value.
    """
    judged = {one.id: one for one in predictions if one.relevant is not None}
    known = {id: one for id, one in judged.items() if one.relevant}
    if missing := len(judged) - len(known):
        log.warning(
            "the index has no passage with the evidence of %d questions; was it made from other documents?", missing
        )
    qrels = {id: dict(one.relevant or {}) for id, one in known.items()}
    rankings = {id: list(one.ranking) for id, one in known.items()}
    shown = {id: [hit.id for hit in one.hits[: one.shown]] for id, one in known.items()}
    measures = {f"ndcg@{DEPTH}": f"nDCG@{DEPTH}", f"recall@{top_k}": f"R@{top_k}", f"mrr@{DEPTH}": f"RR@{DEPTH}"}
    values = score_rankings(qrels, rankings, measures)
    values |= score_rankings(qrels, shown, {"recall@shown": f"R@{top_k}"})
    for name, column in values.items():
        scores.add(f"retrieval/{name}", column, [one.group for one in known.values()])
    scores.metrics["qa/passages_shown"] = sum(one.shown for one in predictions) / len(predictions)
    return {query: {name: column[place] for name, column in values.items()} for place, query in enumerate(known)}


def _costs(predictions: Sequence[Prediction]) -> Metrics:
    """Means per question; a text that was read from the cache counts with the seconds that it took to compute."""
    count = len(predictions)
    return {
        "qa/seconds_per_question": sum(sum(one.seconds.values()) for one in predictions) / count,
        "qa/prompt_tokens": sum(one.tokens["prompt"] for one in predictions) / count,
        "qa/completion_tokens": sum(one.tokens["completion"] for one in predictions) / count,
    }

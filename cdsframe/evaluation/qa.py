"""`evaluation=qa`: asks the pipeline a split's questions and measures answers, citations, refusals and retrieval.

Writes `predictions.jsonl`, `run.trec` where passages were retrieved, and `report.html` into the run's folder; questions
and answers stand there and, as generated, in the cache; never in logs or metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.contracts import Index, System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import InputError
from cdsframe.evaluation.dependence import question_groups
from cdsframe.evaluation.generation_cache import cached
from cdsframe.evaluation.ranking import gold_passages, score_rankings, write_trec
from cdsframe.evaluation.report import write_report
from cdsframe.evaluation.result import (
    Result,
    Scores,
    model_digests,
    question_digest,
    retrieval_weights_digest,
    with_table,
)
from cdsframe.evaluation.text import METRICS, wrong_dose
from cdsframe.pipeline import Pipeline
from cdsframe.types import Answer, JsonObject, Question

log = logging.getLogger(__name__)

_DEPTH = 10
"""How deep rankings are measured, however few passages an answer is made from."""


@dataclass(frozen=True)
class Judged:
    """One answer beside its question, scored; `group`: of questions that are not independent."""

    question: Question
    answer: Answer
    group: str

    @cached_property
    def scores(self) -> dict[str, float]:
        """By key. A refusal is right (1) on an unanswerable question, else wrong (0) regardless of its words."""
        text, golds = self.answer.text, [self.question.answer, *self.question.aliases]
        if self.answer.abstained or not self.question.answerable:
            right = float(self.answer.abstained and not self.question.answerable)
            return dict.fromkeys(METRICS, right) | {"wrong_dose": 0.0}
        measured = {name: metric(text, golds) for name, metric in METRICS.items()}
        return measured | {"wrong_dose": float(wrong_dose(text, golds))}

    @property
    def citation_scores(self) -> dict[str, float]:
        """Of the question's citations and of its evidence spans the share that meet; absent where there are none."""
        shares = {
            "citation_precision": (self.citations_right, len(self.answer.citations)),
            "citation_recall": (self.evidence_cited, len(self.question.evidence)),
        }
        return {name: met / among for name, (met, among) in shares.items() if among and self.question.evidence}

    @property
    def refused(self) -> float:
        return float(self.answer.abstained)

    @property
    def citations_right(self) -> float:
        """How many of the citations name a passage that shows gold evidence."""
        return float(sum(any(e.overlaps(c.passage) for e in self.question.evidence) for c in self.answer.citations))

    @property
    def evidence_cited(self) -> float:
        """How many of the evidence spans some citation's passage shows."""
        return float(sum(any(e.overlaps(c.passage) for c in self.answer.citations) for e in self.question.evidence))

    def row(self) -> JsonObject:
        """What `predictions.jsonl` keeps."""
        question, answer = self.question, self.answer
        return {
            "id": question.id,
            "type": question.type,
            "group": self.group,
            "answerable": question.answerable,
            "question": question.question,
            "gold": question.answer,
            "text": answer.text,
            **self.scores,
            "refused": self.refused,
            "cited": [citation.passage.id for citation in answer.citations],
            "hits": [{"id": hit.passage.id, "score": hit.score} for hit in answer.hits],
            "shown": answer.shown,
            "removed": answer.removed,
            "confidence": {"word": answer.confidence.word, "probability": answer.confidence.probability},
            "features": dict(answer.features),
        }


def judge(questions: Sequence[Question], answers: Sequence[Answer]) -> list[Judged]:
    """Puts each answer beside its question and its group."""
    return [Judged(*one) for one in zip(questions, answers, question_groups(questions), strict=True)]


@declares(asks_generator=True)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    split: Literal["train", "validation", "test"],
    limit: Annotated[int, Field(ge=1)] | None,
    cache: str | None,
) -> Result:
    """Answers the questions of a split (at most `limit`, from each type in proportion) and measures the answers.

    `cache`: folder of generated texts, from which a repeated or interrupted evaluation reads; None: no cache.
    """
    index = system.index
    pipeline = system.pipeline.with_generator(cached(system.pipeline.generator, cache))
    questions = proportional_sample(system.data.questions(split), limit, seed, by_type)
    texts = [question.question for question in questions]
    rankings = _rank(pipeline, texts)
    pipeline.load()  # so that the seconds are those of answering
    log.info("asking %d questions", len(questions))
    answers = pipeline.answer_many(texts)
    if broken := sum(not all(map(isfinite, answer.features.values())) for answer in answers):
        raise InputError(
            f"{broken} of {len(answers)} answers have probabilities that are no finite numbers: the model's weights "
            "are damaged, or overflow; try model.compute_dtype=float32, or get the weights anew"
        )
    judged = judge(questions, answers)

    scores = Scores()
    _score_answers(scores, judged)
    digests: dict[str, str | None] = {"data": question_digest(questions)}
    rows = [one.row() for one in judged]
    if any(answer.hits for answer in answers):
        _score_citations(scores, judged)
        found = _score_retrieval(scores, judged, rankings, index, run, pipeline.retriever.top_k)
        rows = [
            row | one.citation_scores | found.get(one.question.id, {}) for row, one in zip(rows, judged, strict=True)
        ]
        digests |= {"index": index.digest, "weights": retrieval_weights_digest(pipeline.retriever)}
    if pipeline.generator.uses_model:
        digests |= model_digests(system.model)
    _score_naive(scores, judged)
    metrics = scores.metrics | _costs(answers)
    write_jsonl(run.folder / "predictions.jsonl", rows)
    write_report(run, system, metrics, rows)
    run.finish(metrics, digests, generator=pipeline.generator.name, data_scope=system.data.scope)
    return with_table(metrics, "qa/f1")


def _rank(pipeline: Pipeline, questions: Sequence[str]) -> list[list[str]]:
    """The passages that the retriever finds for each question, at least ten deep, by id.

    Before the questions are answered: a retriever that does not look so deep says so at once.
    """
    if not pipeline.retriever.searches:
        return [[] for _ in questions]
    found = pipeline.retriever.search_many(questions, top_k=max(_DEPTH, pipeline.retriever.top_k))
    return [[hit.passage.id for hit in hits] for hits in found]


def _score_answers(scores: Scores, judged: Sequence[Judged]) -> None:
    """Answerable and unanswerable questions apart, and each type."""
    answerable = [one for one in judged if one.question.answerable]
    groups = [one.group for one in answerable]
    for name in (*METRICS, "wrong_dose"):
        scores.add(f"qa/{name}", [one.scores[name] for one in answerable], groups)
    scores.add("qa/answerable_refused", [one.refused for one in answerable], groups)
    everything = [one.group for one in judged]
    scores.add("qa/f1_all", [one.scores["f1"] for one in judged], everything)
    unanswerable = [float(not one.question.answerable) for one in judged]
    if any(unanswerable):
        right = [one.refused * wanted for one, wanted in zip(judged, unanswerable, strict=True)]
        scores.add("qa/refusal_precision", right, everything, weights=[one.refused for one in judged])
        scores.add("qa/refusal_recall", right, everything, weights=unanswerable)
    for kind in sorted({one.question.type for one in answerable}):
        own = [one for one in answerable if one.question.type == kind]
        for name in ("f1", "em"):
            scores.add(f"qa/{kind}/{name}", [one.scores[name] for one in own], [one.group for one in own])
    scores.metrics |= {
        "qa/questions": len(judged),
        "qa/answerable": len(answerable),
        "qa/unanswerable": sum(unanswerable),
    }


def _score_naive(scores: Scores, judged: Sequence[Judged]) -> None:
    """What needs no model: refusing every question, and answering with the first passage."""
    refusing = [replace(one, answer=replace(one.answer, abstained=True)) for one in judged]
    scores.add("qa/always_refuse/f1_all", [one.scores["f1"] for one in refusing], [one.group for one in judged])
    found = [one for one in judged if one.answer.hits]
    copying = []
    for one in found:
        first = min(one.answer.hits, key=lambda hit: hit.rank).passage
        copying.append(replace(one, answer=replace(one.answer, text=first.text, abstained=False)))
    answerable = [one for one in copying if one.question.answerable]
    scores.add("qa/copy_passage/f1", [one.scores["f1"] for one in answerable], [one.group for one in answerable])


def _score_citations(scores: Scores, judged: Sequence[Judged]) -> None:
    """Over questions with gold evidence: of the citations, and of the evidence spans, the share that meet."""
    known = [one for one in judged if one.question.evidence]
    groups = [one.group for one in known]
    for name, found, among in (
        ("precision", [one.citations_right for one in known], [float(len(one.answer.citations)) for one in known]),
        ("recall", [one.evidence_cited for one in known], [float(len(one.question.evidence)) for one in known]),
    ):
        scores.add(f"qa/citation_{name}", found, groups, weights=among)
    scores.metrics["qa/markers_removed"] = sum(one.answer.removed for one in judged) / len(judged)


def _score_retrieval(
    scores: Scores, judged: Sequence[Judged], found: Sequence[Sequence[str]], index: Index, run: Run, top_k: int
) -> dict[str, dict[str, float]]:
    """What was retrieved for questions with evidence, against the passages that show it: ranked, and in the prompt.

    Returns question id -> measure -> value.
    """
    rankings, shown = {}, {}
    for one, deep in zip(judged, found, strict=True):
        hits = one.answer.hits
        # As they were ranked, not shown; deeper ones follow as they were found.
        given = [hit.passage.id for hit in sorted(hits, key=lambda hit: hit.rank)]
        rankings[one.question.id] = [*given, *(passage for passage in deep if passage not in given)]
        shown[one.question.id] = [hit.passage.id for hit in hits[: one.answer.shown]]
    write_trec(run.folder / "run.trec", rankings)
    qrels = gold_passages(index, [one.question for one in judged])
    groups = {one.question.id: one.group for one in judged}
    asked = {query: rankings[query] for query, relevant in qrels.items() if relevant}
    if missing := len(qrels) - len(asked):
        log.warning(
            "the index has no passage with the evidence of %d questions; was it made from other documents?", missing
        )
    measures = {f"ndcg@{_DEPTH}": f"nDCG@{_DEPTH}", f"recall@{top_k}": f"R@{top_k}", f"mrr@{_DEPTH}": f"RR@{_DEPTH}"}
    values = score_rankings(qrels, asked, measures)
    values |= score_rankings(qrels, {query: shown[query] for query in asked}, {"recall@shown": f"R@{top_k}"})
    for name, column in values.items():
        scores.add(f"retrieval/{name}", column, [groups[query] for query in asked])
    scores.metrics["qa/passages_shown"] = sum(one.answer.shown for one in judged) / len(judged)
    return {query: {name: column[place] for name, column in values.items()} for place, query in enumerate(asked)}


def _costs(answers: Sequence[Answer]) -> dict[str, float]:
    """Means per question; a text that was read from the cache counts with the seconds that it took to compute."""
    count = len(answers)
    return {
        "qa/seconds_per_question": sum(answer.timings["total"] for answer in answers) / count,
        "qa/prompt_tokens": sum(answer.usage["prompt_tokens"] for answer in answers) / count,
        "qa/completion_tokens": sum(answer.usage["completion_tokens"] for answer in answers) / count,
    }

"""Asks the pipeline questions: retrieves once for each, and writes each answer as soon as it is computed.

Does not score the answers (see `cdsframe.evaluation.scoring`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from time import process_time

from cdsframe.contracts import Index
from cdsframe.errors import InputError
from cdsframe.evaluation.dependence import question_groups
from cdsframe.evaluation.prediction import Prediction
from cdsframe.evaluation.ranking import evidence_passages
from cdsframe.pipeline import Pipeline
from cdsframe.types import Answer, Question

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers, in the order of the questions.

    `cpu_seconds`: of this process, for searching and answering; loading index and model does not count.
    """

    predictions: list[Prediction]
    cpu_seconds: float


def ask(pipeline: Pipeline, index: Index, questions: Sequence[Question], path: Path, depth: int) -> Asked:
    """Asks the pipeline.

    Writes each answer to `path` as soon as it is computed, without scores: what an interrupted run leaves.

    `depth`: how deep rankings are kept, however few passages an answer is made from.

    Raises InputError if the model's probabilities are not finite numbers, or the retriever does not look so deep.
    """
    texts, depth = [question.question for question in questions], max(depth, pipeline.retriever.top_k)
    log.info("searching for %d questions", len(questions))
    pipeline.search("warm-up")  # opens the index, so that the seconds are those of searching
    started = process_time()
    retrieved = pipeline.search_many(texts, depth=depth)  # a retriever that does not look so deep says so at once
    rankings = [[hit.passage.id for hit in one.ranking[:depth]] for one in retrieved]
    spent = process_time() - started
    gold = evidence_passages(index, questions) if pipeline.retriever.searches else {}
    groups = question_groups(questions)
    pipeline.generator.load()
    log.info("asking %d questions", len(questions))
    started = process_time()
    found: dict[int, Prediction] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", buffering=1) as lines:
        for place, answer in _finite(pipeline.answer_each(texts, retrieved)):
            question = questions[place]
            one = Prediction.of(question, groups[place], answer, rankings[place], gold.get(question.id))
            lines.write(json.dumps(one.row(), ensure_ascii=False, allow_nan=False) + "\n")
            found[place] = one
    return Asked([found[place] for place in range(len(questions))], spent + process_time() - started)


def _finite(answers: Iterator[tuple[int, Answer]]) -> Iterator[tuple[int, Answer]]:
    """The answers; raises InputError at the first one whose probabilities are not finite numbers."""
    for place, answer in answers:
        if not all(map(isfinite, answer.features.values())):
            raise InputError(
                "an answer has probabilities that are not finite numbers: the model's weights are damaged, or "
                "overflow; try model.compute_dtype=float32, or get the weights anew"
            )
        yield place, answer

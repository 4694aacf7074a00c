"""`evaluation=qa`: asks the pipeline a split's questions and measures answers, citations, refusals and retrieval.

Writes `predictions.jsonl`, `run.trec` where passages were retrieved, and `report.html` into the run's folder; questions
and answers stand there and, as generated, in the cache; never in logs or metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.evaluation.asking import ask
from cdsframe.evaluation.generation_cache import cached, texts_read
from cdsframe.evaluation.prediction import Prediction
from cdsframe.evaluation.ranking import write_trec
from cdsframe.evaluation.report import facts_of, write_report
from cdsframe.evaluation.result import Result, model_digests, question_digest, retrieval_weights_digest, with_table
from cdsframe.evaluation.scoring import DEPTH, score, searched
from cdsframe.types import JsonObject

HEADLINE = "qa/f1"


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
    pipeline = system.pipeline.with_generator(cached(system.pipeline.generator, cache))
    questions = proportional_sample(system.data.questions(split), limit, seed, by_type)
    asked = ask(pipeline, system.index, questions, run.folder / "predictions.jsonl", DEPTH)
    predictions = asked.predictions
    top_k = pipeline.retriever.top_k
    metrics, rows = score(predictions, top_k)
    write_rows(run.folder, predictions, rows)
    digests: dict[str, str | None] = {"data": question_digest(questions)}
    if searched(predictions):
        digests |= {"index": system.index.digest, "weights": retrieval_weights_digest(pipeline.retriever)}
    if pipeline.generator.uses_model:
        digests |= model_digests(system.model)
    facts = {"generator": pipeline.generator.name, "data_scope": system.data.scope, "top_k": top_k}
    facts |= {"answering_cpu_seconds": asked.cpu_seconds, "read_from_cache": texts_read(pipeline.generator)}
    manifest = run.manifest(digests, **facts)
    write_report(run.folder, rows, metrics, facts_of(manifest, run.folder, system.name, system.adapter))
    run.finish(metrics, digests, **facts)
    return with_table(metrics, HEADLINE)


def write_rows(folder: Path, predictions: Sequence[Prediction], rows: Sequence[JsonObject]) -> None:
    """Writes scored rows to `predictions.jsonl` and, where passages were found, `run.trec` into the folder."""
    write_jsonl(folder / "predictions.jsonl", rows)
    if any(one.ranking for one in predictions):
        write_trec(folder / "run.trec", {one.id: one.ranking for one in predictions})

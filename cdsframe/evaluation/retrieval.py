"""`evaluation=retrieval`: runs queries and scores the rankings against relevance judgements.

Queries and judgements come from files (BEIR or TREC format), or from the data set: its questions, and their evidence.
Uses no answers and needs no language model.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import InputFile, open_utf8, read_jsonl, write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.contracts import Context, DataSource, Index, Reranker, Retriever, System, WeightedRetriever
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.data.sampling import proportional_sample
from cdsframe.errors import ConfigError, InputError
from cdsframe.evaluation.places import by_section, clusters, locate
from cdsframe.evaluation.ranking import Qrels, gold_passages, score_rankings, write_trec
from cdsframe.evaluation.result import Result, Scores, retrieval_weights_digest, with_table
from cdsframe.pipeline import retrieve
from cdsframe.types import Hit

log = logging.getLogger(__name__)

MEASURES = {"ndcg@10": "nDCG@10", "recall@5": "R@5", "recall@10": "R@10", "recall@50": "R@50", "mrr@10": "RR@10"}
_DEPTH = 50
_BATCH = 64


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query to search; queries with the same `group` are not independent."""

    id: str
    text: str
    group: str = ""


def files_problems(queries: str | None, qrels: str | None) -> list[str]:
    """Returns a problem if only one of the two files is given."""
    if (queries is None) == (qrels is None):
        return []
    return [
        "evaluation.queries and evaluation.qrels must both be set, or both be null (then the data's evidence is used)"
    ]


@declares(asks_generator=False)
@checked_by(files_problems)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    queries: InputFile | None,
    qrels: InputFile | None,
    split: Literal["train", "validation", "test"],
    sample: Annotated[int, Field(ge=1)] | None,
) -> Result:
    """Searches for 50 hits per query and scores the rankings.

    Queries without a relevant passage are left out; at most `sample` of the others, drawn by the seed, are searched.
    """
    index, retriever = system.index, system.retriever
    if not retriever.searches:
        raise ConfigError(
            "evaluation=retrieval needs a retriever that searches, got retriever=none; use another retriever"
        )
    chosen, judged, counts = load(queries, qrels, system, split, sample, seed)
    log.info(
        "searching %d queries (%d without a relevant passage are left out)", len(chosen), counts["retrieval/left_out"]
    )
    places = locate(index, judged)
    groups = clusters(chosen, judged, places)
    found = _search(retriever, system.reranker, system.context, chosen)

    scores = Scores()
    rankings = {id: [hit.passage.id for hit in hits] for id, hits in found.items()}
    values = score_rankings(judged, rankings, MEASURES | ({"judged@10": "Judged@10"} if queries else {}))
    sections, judged_sections = by_section(found, judged, places)
    values |= score_rankings(judged_sections, sections, {"section_ndcg@10": "nDCG@10"})
    for name, column in values.items():
        scores.add(f"retrieval/{name}", column, groups)
    metrics = scores.metrics | counts
    write_trec(run.folder / "run.trec", rankings)
    rows = ({name: column[place] for name, column in values.items()} for place in range(len(chosen)))
    write_jsonl(
        run.folder / "predictions.jsonl",
        (
            {"id": q.id, "group": group, "question": q.text, **row}
            for q, group, row in zip(chosen, groups, rows, strict=True)
        ),
    )
    data = queries_digest(chosen)
    if _fitted_to(retriever, index) == data:
        log.warning(
            "the weights in use were fitted to these queries, so the figures are too good; evaluation=tune reports "
            "cross-fitted ones"
        )
    run.finish(metrics, {"index": index.digest, "data": data, "weights": retrieval_weights_digest(retriever)})
    return with_table(metrics, "retrieval/ndcg@10")


def _fitted_to(retriever: Retriever, index: Index) -> str | None:
    """The digest of the queries to which the weights in use were fitted; None for other weights."""
    if not isinstance(retriever, WeightedRetriever) or retriever.weights_configured:
        return None
    data: str | None = index.annotations.get(retriever.weights_key, {}).get("data")
    return data


def queries_digest(queries: Sequence[JudgedQuery]) -> str:
    """A digest of the queries' ids and texts, in order."""
    return digest(*(part for query in queries for part in (query.id, query.text)))


def read_queries(path: str) -> list[JudgedQuery]:
    """Reads JSON Lines with `query_id`, `id` or `_id`, and `text` or `question`."""
    found: dict[str, JudgedQuery] = {}
    for number, record in read_jsonl(path, "evaluation.queries"):
        query_id = _first(record, ("query_id", "_id", "id"))
        text = _first(record, ("text", "question"))
        if query_id is None or text is None:
            raise InputError(
                f"evaluation.queries: {path}, line {number}: expected query_id (or _id, id) and text (or question)"
            )
        if query_id in found:
            raise InputError(
                f"evaluation.queries: {path}, line {number}: the id {query_id} occurs twice; ids must be unique"
            )
        found[query_id] = JudgedQuery(query_id, text)
    return list(found.values())


def read_qrels(path: str) -> Qrels:
    """Reads tab-separated `query_id, doc_id, score` with or without a header, or TREC's four columns."""
    found: Qrels = {}
    with open_utf8(path, "evaluation.qrels") as lines:
        for number, line in enumerate(lines, start=1):
            cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE)) if "\t" in line else line.split()
            if not cells or (number == 1 and not _is_grade(cells[-1])):
                continue
            if len(cells) not in (3, 4) or not _is_grade(cells[-1]):
                raise InputError(
                    f"evaluation.qrels: {path}, line {number}: expected query_id, doc_id and an integer grade, "
                    "separated by tabs"
                )
            found.setdefault(cells[0].strip(), {})[cells[-2].strip()] = int(cells[-1])
    if not found:
        raise InputError(
            f"evaluation.qrels: {path} contains no judgements; expected tab-separated query_id, doc_id, grade"
        )
    return found


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    values = [record[key] for key in keys if isinstance(record.get(key), str | int) and str(record[key]).strip()]
    return str(values[0]).strip() if values else None


def _is_grade(cell: str) -> bool:
    return cell.strip().lstrip("-").isdecimal()


def load(
    queries: str | None, qrels: str | None, system: System, split: str, sample: int | None, seed: int
) -> tuple[list[JudgedQuery], Qrels, dict[str, float]]:
    """Returns at most `sample` queries with a relevant passage, their judgements, and counts as metrics.

    A passage is relevant if its grade is above 0. Reads the two files, or the evidence of the data's questions. Raises
    InputError if no query has a relevant passage.
    """
    asked, judged = _from_files(queries, qrels) if queries and qrels else _from_data(system.data, split, system.index)
    relevant = [query for query in asked if any(grade > 0 for grade in judged.get(query.id, {}).values())]
    not_asked = len(judged.keys() - {query.id for query in asked})
    if not_asked:
        log.warning(
            "%d judged queries are not in evaluation.queries (retrieval/judged_not_asked); check that it is complete",
            not_asked,
        )
    chosen = proportional_sample(relevant, sample, seed, lambda _: "")
    if not chosen:
        raise InputError(
            "no query has a relevant passage in the qrels; use the same ids in evaluation.queries and "
            "evaluation.qrels, and grades above 0"
        )
    counts = {
        "retrieval/queries": float(len(chosen)),
        "retrieval/left_out": float(len(asked) - len(relevant)),
        "retrieval/judged_not_asked": float(not_asked),
    }
    return chosen, {query.id: judged[query.id] for query in chosen}, counts


def _from_files(queries: str, qrels: str) -> tuple[list[JudgedQuery], Qrels]:
    return read_queries(queries), read_qrels(qrels)


def _from_data(data: DataSource, split: str, index: Index) -> tuple[list[JudgedQuery], Qrels]:
    questions = data.questions(split)
    return [JudgedQuery(q.id, q.question, q.group) for q in questions], gold_passages(index, questions)


def _search(
    retriever: Retriever, reranker: Reranker, context: Context, queries: list[JudgedQuery]
) -> dict[str, list[Hit]]:
    from tqdm import tqdm

    found: dict[str, list[Hit]] = {}
    with tqdm(total=len(queries), desc="queries", unit="", disable=len(queries) <= _BATCH) as bar:
        for first in range(0, len(queries), _BATCH):
            batch = queries[first : first + _BATCH]
            results = retrieve(retriever, reranker, context, [query.text for query in batch], _DEPTH)
            found |= {query.id: one.hits for query, one in zip(batch, results, strict=True)}
            bar.update(len(batch))
    return found

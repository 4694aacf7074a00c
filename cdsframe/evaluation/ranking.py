"""Scores rankings against relevance judgements with ir-measures, and writes runs in TREC format.

Uses ranks, not scores: our retrievers break ties by passage id, and trec_eval breaks them in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cdsframe.artifacts.files import write_text
from cdsframe.contracts import Index
from cdsframe.types import Passage, Question

Qrels = dict[str, dict[str, int]]
"""Query id -> passage id -> relevance (0: judged, not relevant)."""


def score_rankings(
    qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]], measures: Mapping[str, str]
) -> dict[str, list[float]]:
    """Returns, for each measure name, the measure of each query, in the order of the rankings.

    `measures` maps our name to the ir-measures name (`nDCG@10`, `R@5`, `RR@10`, `Judged@10`). nDCG uses linear gain.
    """
    import ir_measures

    wanted = {ir_measures.parse_measure(spelling): name for name, spelling in measures.items()}
    judged = [ir_measures.Qrel(q, p, grade) for q in rankings for p, grade in qrels.get(q, {}).items()]
    ranked = [
        ir_measures.ScoredDoc(q, p, 1 / rank) for q, ids in rankings.items() for rank, p in enumerate(ids, start=1)
    ]
    found = {name: dict.fromkeys(rankings, 0.0) for name in measures}
    if judged and ranked:
        for metric in ir_measures.iter_calc(list(wanted), judged, ranked):
            found[wanted[metric.measure]][metric.query_id] = float(metric.value)
    return {name: list(values.values()) for name, values in found.items()}


def write_trec(path: Path, rankings: Mapping[str, Sequence[str]]) -> None:
    """Writes a TREC run file. Its score column is 1 / rank, so that every tool keeps our order."""
    lines = [
        f"{'_'.join(query.split())} Q0 {'_'.join(passage.split())} {rank} {1 / rank:.8f} cdsframe\n"
        for query, passages in rankings.items()
        for rank, passage in enumerate(passages, start=1)
    ]
    write_text(path, "".join(lines))


def gold_passages(index: Index, questions: Iterable[Question]) -> Qrels:
    """The qrels that the questions' evidence implies: passages that overlap an evidence span have grade 1."""
    found = evidence_passages(index, questions)
    return {question: {passage.id: 1 for passage in passages} for question, passages in found.items()}


def evidence_passages(index: Index, questions: Iterable[Question]) -> dict[str, list[Passage]]:
    """Question id -> the passages of the index that overlap its evidence, for questions with evidence."""
    asked = [question for question in questions if question.evidence]
    passages: dict[str, list[Passage]] = {}
    for passage in index.passages(sorted({evidence.document_id for q in asked for evidence in q.evidence})):
        passages.setdefault(passage.document_id, []).append(passage)
    return {
        question.id: list(
            {
                passage.id: passage
                for evidence in question.evidence
                for passage in passages.get(evidence.document_id, ())
                if evidence.overlaps(passage)
            }.values()
        )
        for question in asked
    }

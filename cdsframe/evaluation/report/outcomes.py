"""Sorts answers by what went wrong: one outcome for each question.

Reads rows of `predictions.jsonl` and generates nothing. Compares passages by id: evidence that a hit shows only because
the context widened it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdsframe.types import JsonObject

RIGHT = "right"
MISS = "retrieval miss"
NOT_SHOWN = "not shown"
WRONG_REFUSAL = "wrong refusal"
READING = "reading error"
WRONG = "wrong answer"
ANSWERED = "answered, though the documents do not say"

KINDS = {
    RIGHT: "F1 of at least .5 and no wrong dose",
    MISS: "none of the retrieved passages has the evidence",
    NOT_SHOWN: "a retrieved passage has the evidence, but the prompt had no room for it",
    WRONG_REFUSAL: "refused, though the prompt showed the evidence, or none is known",
    READING: "the prompt showed the evidence, and the answer is wrong",
    WRONG: "wrong, without retrieval or without known evidence",
}
"""Outcome of an answerable question -> what it means."""

_RIGHT_FROM = 0.5
"""F1 from which an answer is right."""


def outcomes(rows: Sequence[JsonObject], top_k: int | None = None) -> list[str]:
    """The outcome of each row.

    `top_k`: number of passages that were retrieved for an answer; None: the largest number that a row has.
    """
    depth = top_k or max((len(row.get("hits", ())) for row in rows), default=0)
    return [_outcome(row, depth) for row in rows]


def is_right(row: JsonObject) -> bool:
    """Whether the answer is right; for an unanswerable question, whether it was refused."""
    if not row["answerable"]:
        return bool(row["refused"])
    return not row["refused"] and row["f1"] >= _RIGHT_FROM and not row.get("wrong_dose")


def relevant_ids(row: JsonObject) -> list[str]:
    """The ids of the passages that have the question's evidence; empty if none is known."""
    grades: Mapping[str, float] = row.get("relevant") or {}
    return [passage for passage, grade in grades.items() if grade > 0]


def ranked(row: JsonObject) -> list[str]:
    """The passages of a question by id, best first. Rows of earlier versions have only the hits."""
    if "ranking" in row:
        return list(row["ranking"])
    hits = row.get("hits", ())
    return [hit["id"] for hit in sorted(hits, key=lambda hit: hit.get("rank", 0))]


def gold_rank(row: JsonObject) -> int | None:
    """The rank, from 1, of the first passage with evidence; None: it is not in the ranking."""
    wanted = set(relevant_ids(row))
    return next((rank for rank, passage in enumerate(ranked(row), start=1) if passage in wanted), None)


def _outcome(row: JsonObject, depth: int) -> str:
    if is_right(row):
        return RIGHT
    if not row["answerable"]:
        return ANSWERED
    wanted = set(relevant_ids(row))
    if wanted and depth:
        hits = [hit["id"] for hit in row.get("hits", ())]
        if wanted.isdisjoint(ranked(row)[:depth]) and wanted.isdisjoint(hits):
            return MISS
        if wanted.isdisjoint(hits[: row.get("shown", 0)]):
            return NOT_SHOWN
        return WRONG_REFUSAL if row["refused"] else READING
    return WRONG_REFUSAL if row["refused"] else WRONG

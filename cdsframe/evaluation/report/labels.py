"""Says in words what a metric measures. Does not compute metrics."""

from __future__ import annotations

import re

_LABELS = {
    "qa/f1": "F1, answerable questions",
    "qa/em": "exact match, answerable questions",
    "qa/rouge_l": "ROUGE-L, answerable questions",
    "qa/wrong_dose": "wrong dose (lower is better)",
    "qa/answerable_refused": "refused, though answerable (lower is better)",
    "qa/refusal_recall": "refused, of the unanswerable questions",
    "qa/refusal_precision": "refusals that are right",
    "qa/f1_all": "F1, all questions",
    "qa/always_refuse/f1_all": "F1, all questions, of refusing always (no model)",
    "qa/copy_passage/f1": "F1, answerable, of copying the first passage (no model)",
    "qa/citation_precision": "citations that show evidence",
    "qa/citation_recall": "evidence that is cited",
    "qa/markers_removed": "citation markers removed per question",
    "qa/questions": "questions",
    "qa/answerable": "answerable questions",
    "qa/unanswerable": "unanswerable questions",
    "qa/passages_shown": "passages in the prompt",
    "qa/seconds_per_question": "seconds per question",
    "qa/prompt_tokens": "prompt tokens per question",
    "qa/completion_tokens": "completion tokens per question",
    "retrieval/ndcg@10": "nDCG of ten passages",
    "retrieval/mrr@10": "reciprocal rank of the first evidence, of ten",
    "retrieval/recall@shown": "evidence that the prompt shows",
    "mcq/accuracy": "accuracy",
    "score": "mean score",
}

PLOTTED = (
    "qa/f1", "qa/em", "qa/wrong_dose", "qa/answerable_refused", "qa/refusal_recall", "qa/refusal_precision",
    "qa/f1_all", "qa/always_refuse/f1_all", "qa/copy_passage/f1", "qa/citation_precision", "qa/citation_recall",
    "retrieval/ndcg@10", "retrieval/recall@shown",
)  # fmt: skip
"""Metrics that the summary of a run draws, in this order."""

COSTS = {
    "qa/seconds_per_question": "seconds per question",
    "qa/prompt_tokens": "prompt tokens",
    "qa/completion_tokens": "completion tokens",
}


def label(name: str) -> str:
    """The words for a metric's key; the key if there are none."""
    if name in _LABELS:
        return _LABELS[name]
    if found := re.fullmatch(r"retrieval/recall@(\d+)", name):
        return f"evidence among {found[1]} passages (recall@{found[1]})"
    if (found := re.fullmatch(r"qa/(.+)/(f1|em)", name)) and "/" not in found[1]:
        return f"{'F1' if found[2] == 'f1' else 'exact match'}, type {found[1]}"
    return name

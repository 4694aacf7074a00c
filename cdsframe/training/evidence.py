"""Finds the passages with a question's evidence and adds their citations to its answer. Does not choose distractors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cdsframe.contracts import Index
from cdsframe.prompt import Prompt
from cdsframe.text.sentences import sentences
from cdsframe.types import Passage, Question

_DOCUMENTS_AT_ONCE = 500
"""Number of documents per call of `Index.passages`."""
_NOT_INDEXED = "have no evidence in the index"
_NO_EVIDENCE = "name no evidence (use retriever=none to train without passages, or data=raft to find evidence)"


def gold_passages(index: Index, questions: Sequence[Question]) -> dict[str, list[Passage]]:
    """Returns question id -> its gold passages: for each span of evidence, the passage with the largest overlap."""
    ids = sorted({evidence.document_id for question in questions for evidence in question.evidence})
    passages: dict[str, list[Passage]] = defaultdict(list)
    for start in range(0, len(ids), _DOCUMENTS_AT_ONCE):
        for passage in index.passages(ids[start : start + _DOCUMENTS_AT_ONCE]):
            passages[passage.document_id].append(passage)
    gold: dict[str, list[Passage]] = {}
    for question in questions:
        chosen: dict[str, Passage] = {}
        for evidence in question.evidence:
            showing = [passage for passage in passages[evidence.document_id] if evidence.overlaps(passage)]
            if showing:
                best = max(showing, key=lambda p: min(p.end, evidence.end) - max(p.start, evidence.start))
                chosen[best.id] = best
        gold[question.id] = list(chosen.values())
    return gold


def without_evidence(questions: Sequence[Question], gold: Mapping[str, list[Passage]]) -> Counter[str]:
    """Counts the answerable questions without a gold passage, by reason."""
    without = [question for question in questions if question.answerable and not gold[question.id]]
    reasons = (_NOT_INDEXED if question.evidence else _NO_EVIDENCE for question in without)
    return Counter(reasons)


def cited_answer(prompt: Prompt, answer: str, shown: Sequence[Passage], cited: Sequence[int]) -> str:
    """Returns the answer with its citation markers.

    If each sentence occurs word for word in a cited passage, and each cited passage has such a sentence, a passage's
    marker follows its sentences. Otherwise all markers are at the end.

    Args:
        cited: numbers of the gold passages among `shown`, from 1.
    """
    found = [(end, _speaker(answer[start:end], shown, cited)) for start, end, _ in sentences(answer)]
    if len(cited) < 2 or {speaker for _, speaker in found} != set(cited):
        return prompt.answer(answer, cited)
    text, start = "", 0
    for (end, speaker), (_, following) in pairwise([*found, (len(answer), 0)]):
        if speaker != following:
            own = answer[start:end]
            text += own[: len(own) - len(own.lstrip())] + prompt.answer(own, [speaker])
            start = end
    return text


def _speaker(sentence: str, shown: Sequence[Passage], cited: Sequence[int]) -> int:
    """Returns the number of the first cited passage that contains the sentence (ignoring case and space); 0: none."""
    wanted = " ".join(sentence.casefold().split())
    return next((n for n in cited if wanted in " ".join(shown[n - 1].text.casefold().split())), 0)

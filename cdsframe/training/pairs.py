"""Questions with a passage that answers and with passages that do not: what retrievers are trained on.

Hard negatives (Karpukhin et al., arXiv 2004.04906) are what the configured retriever finds and what does not answer,
from the pages that the questions are answered from and from no other page. Does not tokenise and does not batch.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cdsframe.contracts import Index, Retriever
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import InputError
from cdsframe.text.shingles import normalised
from cdsframe.types import Passage, Question

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Questions, and documents, that are asked of the index in one call."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with one passage that answers it."""

    id: str
    question: str
    positive: Passage
    negatives: tuple[Passage, ...]
    gold: frozenset[str]
    """The keys (see `keys`) of all passages that answer this question, whoever asks it in the same words."""

    def answered_by(self, passage: Passage) -> bool:
        """Whether the passage must not count as a wrong one: it is of a section that answers, or says the same."""
        return not self.gold.isdisjoint(keys(passage))


def keys(passage: Passage) -> tuple[str, str]:
    """By what passages are the same: their section, and their text but for case and punctuation."""
    return f"section {passage.document_id}\n{passage.section_id}", f"text {normalised(passage.text)}"


def comparable(pairs: Sequence[Pair], in_batch: bool, split: str) -> list[Pair]:
    """The pairs that teach: those with a passage that the positive is told from.

    Args:
        in_batch: whether the passages of other pairs are such passages, too; else a pair's own negatives alone are.
        split: whose pairs they are, for messages.

    Raises InputError where none is left: their loss would be zero for every model.
    """
    if in_batch:
        candidates = [passage for pair in pairs for passage in (pair.positive, *pair.negatives)]
        teach = any(not pair.answered_by(passage) for pair in pairs for passage in candidates)
        kept = list(pairs) if teach else []
    else:
        kept = [pair for pair in pairs if pair.negatives]
    if not kept:
        raise InputError(
            f"training: none of {len(pairs)} {split} questions has a wrong passage that its answer is told from; wrong "
            "ones are of the pages that the questions are answered from: give questions about more pages or sections, "
            "smaller passages (chunking.size) or a larger training.depth"
        )
    if left_out := len(pairs) - len(kept):
        log.warning("of %d %s questions left out: %d have no wrong passage", len(pairs), split, left_out)
    return kept


class PairBuilder:
    """Builds pairs from questions that have evidence.

    Args:
        retriever: mines the negatives; one that finds nothing (`retriever=none`) gives none.
        index: knows the passages.
        seed: chooses the positive among the passages that answer, and the negatives.
        negatives: hard negatives a question; fewer where fewer were found.
        depth: of how many hits they are drawn.
    """

    def __init__(self, retriever: Retriever, index: Index, seed: int, negatives: int, depth: int) -> None:
        self._retriever, self._index, self._seed = retriever, index, seed
        self._negatives, self._depth = negatives, depth

    def build(self, questions: Sequence[Question], limit: int | None) -> list[Pair]:
        """A pair for each of at most `limit` questions (of each type in proportion), in their order.

        Raises InputError where no question has a passage that answers it.
        """
        pages = self._pages(questions)
        gold = {q.id: [p for e in q.evidence for p in pages[e.document_id] if e.overlaps(p)] for q in questions}
        asked = [question for question in questions if gold[question.id]]
        if not asked:
            raise InputError(
                f"training: of {len(questions)} questions none has evidence in the index, so there is no passage to "
                "learn; data=raft looks evidence up in the corpus"
            )
        if left_out := len(questions) - len(asked):
            log.warning("of %d questions left out: %d have no evidence in the index", len(questions), left_out)
        answers: dict[str, set[str]] = defaultdict(set)
        for question in asked:
            answers[normalised(question.question)].update(key for p in gold[question.id] for key in keys(p))
        chosen = proportional_sample(asked, limit, self._seed, by_type)
        found = zip(chosen, self._found(chosen), strict=True)
        return [
            self._pair(question, gold[question.id], frozenset(answers[normalised(question.question)]), hits, pages)
            for question, hits in found
        ]

    def _pair(
        self,
        question: Question,
        gold: list[Passage],
        answers: frozenset[str],
        found: Sequence[Passage],
        pages: Mapping[str, list[Passage]],
    ) -> Pair:
        chooser = random.Random(f"{self._seed}|{question.id}")
        pair = Pair(question.id, question.question, chooser.choice(gold), (), answers)
        wrong = {keys(p)[1]: p for p in found if p.document_id in pages and not pair.answered_by(p)}
        drawn = chooser.sample(list(wrong.values()), min(self._negatives, len(wrong)))
        return replace(pair, negatives=tuple(drawn))

    def _pages(self, questions: Sequence[Question]) -> Mapping[str, list[Passage]]:
        """Document id -> its passages, of the documents that the questions are answered from."""
        ids = sorted({evidence.document_id for question in questions for evidence in question.evidence})
        pages: dict[str, list[Passage]] = {id_: [] for id_ in ids}
        for start in range(0, len(ids), _AT_ONCE):
            for passage in self._index.passages(ids[start : start + _AT_ONCE]):
                pages[passage.document_id].append(passage)
        return pages

    def _found(self, questions: Sequence[Question]) -> Iterator[list[Passage]]:
        """What the retriever finds for each question."""
        from tqdm import tqdm

        texts = [question.question for question in questions]
        depth = self._depth if self._negatives and self._retriever.searches else 0
        with tqdm(
            total=len(texts), desc="mining", unit=" questions", disable=len(texts) < _AT_ONCE or not depth
        ) as bar:
            for start in range(0, len(texts), _AT_ONCE):
                some = texts[start : start + _AT_ONCE]
                yield from ([hit.passage for hit in hits] for hits in self._retriever.search_many(some, depth))
                bar.update(len(some))

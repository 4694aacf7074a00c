"""Builds pairs for training retrievers: a question, a passage that answers it, and passages that do not.

Hard negatives (Karpukhin et al., arXiv 2004.04906) are passages that the configured retriever finds and that do not
answer. They come only from documents with evidence of these questions. Does not tokenise and does not batch.
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
"""Number of questions per search, and of documents per call of `Index.passages`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with one passage that answers it."""

    id: str
    question: str
    positive: Passage
    negatives: tuple[Passage, ...]
    gold: frozenset[str]
    """Keys (see `keys`) of all passages that answer this question or another question with the same words."""

    def answered_by(self, passage: Passage) -> bool:
        """Whether the passage must not be a negative: its section or its text is that of a passage that answers."""
        return not self.gold.isdisjoint(keys(passage))


def keys(passage: Passage) -> tuple[str, str]:
    """Returns two keys: the passage's section, and its text without case and punctuation. A common key means equal."""
    return f"section {passage.document_id}\n{passage.section_id}", f"text {normalised(passage.text)}"


def comparable(pairs: Sequence[Pair], in_batch: bool, split: str) -> list[Pair]:
    """Returns the pairs that have a negative passage; without one, the loss is zero for every model.

    Args:
        in_batch: True: passages of other pairs are negatives too; if any pair has one, all pairs are returned. False:
            only a pair's hard negatives count.
        split: `training` or `validation`, for messages.

    Raises InputError if no pair has a negative.
    """
    if in_batch:
        candidates = [passage for pair in pairs for passage in (pair.positive, *pair.negatives)]
        teach = any(not pair.answered_by(passage) for pair in pairs for passage in candidates)
        kept = list(pairs) if teach else []
    else:
        kept = [pair for pair in pairs if pair.negatives]
    if not kept:
        raise InputError(
            f"training: none of {len(pairs)} {split} questions has a negative passage; negatives come only from pages "
            "that answer these questions. Add questions about more pages or sections, or use smaller passages "
            "(chunking.size) or a larger training.depth"
        )
    if left_out := len(pairs) - len(kept):
        log.warning("left out %d of %d %s questions: they have no negative passage", left_out, len(pairs), split)
    return kept


class PairBuilder:
    """Builds pairs from questions that have evidence.

    Args:
        retriever: finds the hard negatives; with `retriever=none`, pairs have none.
        index: holds the passages.
        seed: seed of the draws of the positive (among the passages that answer) and of the negatives.
        negatives: hard negatives per question; fewer if the retriever finds fewer.
        depth: number of hits that hard negatives are drawn from.
    """

    def __init__(self, retriever: Retriever, index: Index, seed: int, negatives: int, depth: int) -> None:
        self._retriever, self._index, self._seed = retriever, index, seed
        self._negatives, self._depth = negatives, depth

    def build(self, questions: Sequence[Question], limit: int | None) -> list[Pair]:
        """Returns a pair for each of at most `limit` questions (of each type in proportion), in their order.

        Raises InputError if no question has a passage that answers it.
        """
        pages = self._pages(questions)
        gold = {q.id: [p for e in q.evidence for p in pages[e.document_id] if e.overlaps(p)] for q in questions}
        asked = [question for question in questions if gold[question.id]]
        if not asked:
            raise InputError(
                f"training: none of {len(questions)} questions has evidence in the index, so no passage answers one; "
                "use data=raft to find evidence in the corpus"
            )
        if left_out := len(questions) - len(asked):
            log.warning("left out %d of %d questions: they have no evidence in the index", left_out, len(questions))
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
        """Returns document id -> its passages, for all documents that hold evidence of the questions."""
        ids = sorted({evidence.document_id for question in questions for evidence in question.evidence})
        pages: dict[str, list[Passage]] = {id_: [] for id_ in ids}
        for start in range(0, len(ids), _AT_ONCE):
            for passage in self._index.passages(ids[start : start + _AT_ONCE]):
                pages[passage.document_id].append(passage)
        return pages

    def _found(self, questions: Sequence[Question]) -> Iterator[list[Passage]]:
        """Yields the passages that the retriever finds for each question; none if hard negatives are off."""
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

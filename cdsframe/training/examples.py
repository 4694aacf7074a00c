"""Training examples as the pipeline will ask them: the same retriever, prompt and encoding, then the gold answer.

Passages that hold the evidence are put in where retrieval missed them; what else was retrieved distracts (compare
Zhang et al., "RAFT", arXiv 2403.10131). Does not batch.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.encoding import Encoded, encode
from cdsframe.errors import InputError
from cdsframe.prompt import Prompt
from cdsframe.types import Index, Passage, Question, Retriever

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation, with its question's id."""

    id: str
    encoded: Encoded

    def __len__(self) -> int:
        return len(self.encoded.input_ids)


class ExampleBuilder:
    """Builds examples from questions.

    Args:
        no_gold_share: share of the answerable questions shown without the passages that answer them; the answer taught
            is then the refusal.
        shuffle_passages: whether the order of retrieval is shuffled, so that the first passage is not always the one.
        max_length: tokens of prompt and answer; a longer example is left out and counted.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Prompt,
        retriever: Retriever,
        index: Index,
        seed: int,
        no_gold_share: float,
        shuffle_passages: bool,
        max_length: int,
    ) -> None:
        self._tokenizer, self._prompt, self._retriever, self._index = tokenizer, prompt, retriever, index
        self._seed, self._no_gold_share, self._shuffle = seed, no_gold_share, shuffle_passages
        self._max_length = max_length

    def build(self, questions: Sequence[Question]) -> list[Example]:
        """The examples in the questions' order. Raises InputError where none is left."""
        hits = self._retriever.search_many([question.question for question in questions])
        retrieves = self._retriever.top_k > 0
        examples, too_long = [], 0
        for question, found in zip(questions, hits, strict=True):
            passages = [hit.passage for hit in found]
            chooser = random.Random(f"{self._seed}|{question.id}")
            example = self._example(question, passages, chooser) if retrieves else self._closed_book(question)
            if len(example) > self._max_length:
                too_long += 1
            else:
                examples.append(example)
        if too_long:
            log.warning(
                "%d of %d examples are longer than %d tokens, left out", too_long, len(questions), self._max_length
            )
        if not examples:
            raise InputError(f"training: no example fits into training.max_length={self._max_length} tokens; raise it")
        return examples

    def _closed_book(self, question: Question) -> Example:
        messages, _ = self._prompt.fit(self._count, question.question, ())
        return Example(question.id, encode(self._tokenizer, messages, self._prompt.answer(question.answer)))

    def _example(self, question: Question, retrieved: list[Passage], chooser: random.Random) -> Example:
        gold = self._gold(question)
        if gold and chooser.random() < self._no_gold_share:
            passages = [passage for passage in retrieved if passage.id not in {g.id for g in gold}]
            gold = []
        else:
            passages = _with_gold(retrieved, gold)
        if self._shuffle:
            chooser.shuffle(passages)
        shown, gold_ids = passages, {passage.id for passage in gold}
        while True:
            messages, kept = self._prompt.fit(self._count, question.question, shown)
            if all(passage.id not in gold_ids for passage in shown[kept:]):
                break
            # The budget would cost the evidence: give up a distractor instead.
            distractors = [n for n, passage in enumerate(shown) if passage.id not in gold_ids]
            if not distractors:
                break
            shown = [passage for n, passage in enumerate(shown) if n != distractors[-1]]
        cited = [n for n, passage in enumerate(shown[:kept], start=1) if passage.id in gold_ids]
        answer = self._prompt.answer(question.answer if cited else "", cited)
        return Example(question.id, encode(self._tokenizer, messages, answer))

    def _gold(self, question: Question) -> list[Passage]:
        """For each piece of evidence the one passage that shows most of it."""
        chosen: dict[str, Passage] = {}
        for evidence in question.evidence:
            showing = [p for p in self._index.passages([evidence.document_id]) if evidence.overlaps(p)]
            if showing:
                best = max(showing, key=lambda p: min(p.end, evidence.end) - max(p.start, evidence.start))
                chosen[best.id] = best
        return list(chosen.values())

    def _count(self, messages: Sequence[Any]) -> int:
        return len(encode(self._tokenizer, messages).input_ids)


def _with_gold(retrieved: list[Passage], gold: list[Passage]) -> list[Passage]:
    """The retrieved passages, the lowest distractors replaced by the gold passages that retrieval missed."""
    gold_ids = {passage.id for passage in gold}
    missed = [passage for passage in gold if passage.id not in {p.id for p in retrieved}]
    passages = list(retrieved)
    for _ in missed:
        lowest = next((n for n in range(len(passages) - 1, -1, -1) if passages[n].id not in gold_ids), None)
        if lowest is not None:
            del passages[lowest]
    return passages + missed

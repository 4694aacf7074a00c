"""Training examples as the pipeline will ask them: the same retriever, prompt and encoding, then the gold answer.

Passages that hold the evidence are put in where retrieval missed them; what else was retrieved distracts (compare
Zhang et al., "RAFT", arXiv 2403.10131). Does not batch.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cdsframe.encoding import Encoded, encode
from cdsframe.errors import InputError
from cdsframe.prompt import Prompt
from cdsframe.shingles import sentences
from cdsframe.types import Index, Message, Passage, Question, Retriever

log = logging.getLogger(__name__)

_DOCUMENTS_AT_ONCE = 500
"""Documents whose passages are asked of the index in one call."""
_NOT_INDEXED = "have no evidence in the index"
_NO_EVIDENCE = "name no evidence (retriever=none teaches without passages, data=raft looks evidence up)"


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation, with its question's id."""

    id: str
    encoded: Encoded

    def __len__(self) -> int:
        return len(self.encoded.input_ids)


def sample(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` questions, of each type in proportion, chosen by the seed, in their order."""
    if limit is None or limit >= len(questions):
        return list(questions)
    by_type = defaultdict(list)
    for number, question in enumerate(questions):
        by_type[question.type].append(number)
    chosen: set[int] = set()
    passed = 0
    for type in sorted(by_type):
        before, passed = passed, passed + len(by_type[type])
        share = round(limit * passed / len(questions)) - round(limit * before / len(questions))
        chosen.update(random.Random(f"{seed}|{type}").sample(by_type[type], share))
    return [question for number, question in enumerate(questions) if number in chosen]


class ExampleBuilder:
    """Builds examples from questions.

    Args:
        no_gold_share: share of the answerable questions shown without the passages that answer them; the answer taught
            is then the refusal.
        shuffle_passages: whether passages are shown in random order instead of the retriever's.
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
        """The examples in the questions' order; what is left out is counted and logged.

        Raises InputError where none is left.
        """
        grounded = self._retriever.top_k > 0
        gold = self._gold(questions) if grounded else {}
        left_out = _without_evidence(questions, gold) if grounded else Counter()
        usable = [q for q in questions if not grounded or gold[q.id] or not q.answerable]
        # Deeper than is shown: what makes room for the gold passages, or stands in for them, is a retrieved one too.
        depth = self._retriever.top_k + max(map(len, gold.values()), default=0)
        found = self._retriever.search_many([question.question for question in usable], depth)
        examples: list[Example] = []
        too_long: list[int] = []
        for question, hits in zip(usable, found, strict=True):
            example: Example | str
            if not grounded:
                example = self._encode(question, [], question.answer, [])
            else:
                example = self._grounded(question, gold[question.id], [hit.passage for hit in hits])
            if isinstance(example, str):
                left_out[example] += 1
            elif len(example) > self._max_length:
                too_long.append(len(example))
            elif example.encoded.labelled < 2:
                left_out["have no answer to learn: all but the end of the turn is masked"] += 1
            else:
                examples.append(example)
        left_out |= self._length_reason(too_long)
        said = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
        if not examples:
            raise InputError(f"training: of {len(questions)} questions no example is left: {said or 'there were none'}")
        if said:
            log.warning("of %d questions left out: %s", len(questions), said)
        return examples

    def _length_reason(self, lengths: list[int]) -> Counter[str]:
        """How many examples are too long, and what would take them."""
        if not lengths:
            return Counter()
        lengths.sort()
        half = lengths[len(lengths) // 2]
        mend = f"{half} would take half of these, {lengths[-1]} all"
        mend += "; or a smaller prompt.max_tokens" if self._retriever.top_k > 0 else ""
        return Counter({f"are longer than training.max_length={self._max_length} tokens ({mend})": len(lengths)})

    def _grounded(self, question: Question, gold: list[Passage], retrieved: list[Passage]) -> Example | str:
        """The example, or why there is none."""
        chooser = random.Random(f"{self._seed}|{question.id}")
        distractors = [passage for passage in retrieved if passage not in gold]
        if chooser.random() < self._no_gold_share:
            gold = []
        # The gold passages come first, so that the budget costs distractors; their place is decided afterwards.
        chosen = [*gold, *distractors][: max(self._retriever.top_k, len(gold))]
        _, kept = self._prompt.fit(self._count, question.question, chosen)
        shown = self._ordered(chosen[:kept], retrieved, chooser)
        if not shown:
            return "have no passage to show"
        cited = [number for number, passage in enumerate(shown, start=1) if passage in gold]
        if len(cited) < len(gold):
            return f"have more evidence than prompt.max_tokens={self._prompt.max_tokens} has room for"
        return self._encode(question, shown, question.answer if gold else "", cited)

    def _ordered(self, passages: list[Passage], retrieved: list[Passage], chooser: random.Random) -> list[Passage]:
        """As retrieved, a passage that was missed at a random place; or all in random order."""
        if self._shuffle:
            return chooser.sample(passages, len(passages))
        rank = {passage.id: number for number, passage in enumerate(retrieved)}
        ordered = sorted((p for p in passages if p.id in rank), key=lambda passage: rank[passage.id])
        for passage in passages:
            if passage.id not in rank:
                ordered.insert(chooser.randint(0, len(ordered)), passage)
        return ordered

    def _encode(self, question: Question, shown: list[Passage], answer: str, cited: list[int]) -> Example:
        messages = self._prompt.render(question.question, shown)
        return Example(question.id, encode(self._tokenizer, messages, self._cited(answer, shown, cited)))

    def _cited(self, answer: str, shown: Sequence[Passage], cited: Sequence[int]) -> str:
        """The answer with its markers: each behind what its passage says in the same words, else all at the end."""
        found = [(end, _speaker(answer[start:end], shown, cited)) for start, end in sentences(answer)]
        if len(cited) < 2 or {speaker for _, speaker in found} != set(cited):
            return self._prompt.answer(answer, cited)
        text, start = "", 0
        for (end, speaker), (_, following) in pairwise([*found, (len(answer), 0)]):
            if speaker != following:
                own = answer[start:end]
                text += own[: len(own) - len(own.lstrip())] + self._prompt.answer(own, [speaker])
                start = end
        return text

    def _gold(self, questions: Sequence[Question]) -> dict[str, list[Passage]]:
        """Question id -> for each piece of its evidence the one passage that shows most of it."""
        ids = sorted({evidence.document_id for question in questions for evidence in question.evidence})
        passages: dict[str, list[Passage]] = defaultdict(list)
        for start in range(0, len(ids), _DOCUMENTS_AT_ONCE):
            for passage in self._index.passages(ids[start : start + _DOCUMENTS_AT_ONCE]):
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

    def _count(self, messages: Sequence[Message]) -> int:
        return len(encode(self._tokenizer, messages).input_ids)


def _without_evidence(questions: Sequence[Question], gold: Mapping[str, list[Passage]]) -> Counter[str]:
    """How many answerable questions have no gold passage, and why."""
    without = [question for question in questions if question.answerable and not gold[question.id]]
    reasons = (_NOT_INDEXED if question.evidence else _NO_EVIDENCE for question in without)
    return Counter(reasons)


def _speaker(sentence: str, shown: Sequence[Passage], cited: Sequence[int]) -> int:
    """The number of the cited passage that says this, whatever its blanks; the first of several, 0 where none does."""
    wanted = " ".join(sentence.casefold().split())
    return next((n for n in cited if wanted in " ".join(shown[n - 1].text.casefold().split())), 0)

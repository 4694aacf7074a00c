"""Training examples as the pipeline will ask them: the same retriever, prompt and encoding, then the gold answer.

Passages that hold the evidence are put in where retrieval missed them; what else was retrieved distracts (compare
Zhang et al., "RAFT", arXiv 2403.10131). Does not batch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cdsframe.chat.encoding import Encoded, encode, encode_many, tokenizer_digest
from cdsframe.contracts import Index, Retriever
from cdsframe.prompt import Prompt
from cdsframe.training.evidence import cited_answer, gold_passages, without_evidence
from cdsframe.training.prepared import LeftOut, PreparedQuestions, tell_left_out
from cdsframe.types import Message, Passage, Question

QUESTIONS_AT_ONCE = 512
"""Questions that are searched, and tokenised, in one call."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation, with its question's id."""

    id: str
    encoded: Encoded

    def __len__(self) -> int:
        return len(self.encoded.input_ids)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """One conversation as text, with its question's id."""

    id: str
    messages: list[Message]
    answer: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question with the passages that may be shown, those that answer it first."""

    question: Question
    gold: list[Passage]
    retrieved: list[Passage]
    chosen: list[Passage]
    chooser: random.Random


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

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """The settings that examples depend on, but the retriever's own; None where the tokenizer has no digest."""
        tokenizer = tokenizer_digest(self._tokenizer)
        if tokenizer is None:
            return None
        alone = {"tokenizer": tokenizer, "prompt": dict(self._prompt.form), "max_length": self._max_length}
        if not self.grounded:
            return alone
        return alone | {
            "prompt.max_tokens": self._prompt.max_tokens,
            "top_k": self._retriever.top_k,
            "index": self._index.digest,
            "seed": self._seed,
            "no_gold_share": self._no_gold_share,
            "shuffle_passages": self._shuffle,
        }

    @property
    def grounded(self) -> bool:
        """Whether examples show passages."""
        return self._retriever.searches

    def build(self, questions: Sequence[Question]) -> list[Example]:
        """The examples in the questions' order; what is left out is counted and logged.

        Raises InputError where none is left.
        """
        prepared = self.prepare(questions)
        starts = range(0, len(prepared), QUESTIONS_AT_ONCE)
        examples = [one for start in starts for one in prepared.examples(start, start + QUESTIONS_AT_ONCE)]
        tell_left_out(prepared.left_out, len(questions), len(examples))
        return examples

    def prepare(self, questions: Sequence[Question]) -> PreparedQuestions:
        """Finds the questions' evidence, in order to build their examples part by part."""
        gold = gold_passages(self._index, questions) if self.grounded else {}
        left_out = LeftOut(without_evidence(questions, gold) if self.grounded else Counter())
        usable = [q for q in questions if not self.grounded or gold[q.id] or not q.answerable]
        # Deeper than is shown: what makes room for the gold passages, or stands in for them, is a retrieved one too.
        depth = self._retriever.top_k + max(map(len, gold.values()), default=0)
        return PreparedQuestions(usable, left_out, partial(self._encoded, gold, depth), self._counted)

    def _encoded(
        self, gold: Mapping[str, list[Passage]], depth: int, questions: Sequence[Question], left_out: LeftOut
    ) -> list[Example]:
        """The examples of some questions, all searched and tokenised at once."""
        tried = (
            self._grounded(questions, gold, depth) if self.grounded else [self._lesson(q, [], []) for q in questions]
        )
        left_out.reasons.update(reason for reason in tried if isinstance(reason, str))
        lessons = [lesson for lesson in tried if isinstance(lesson, _Lesson)]
        encoded = encode_many(self._tokenizer, [(lesson.messages, lesson.answer) for lesson in lessons])
        examples = []
        for lesson, tokens in zip(lessons, encoded, strict=True):
            if len(tokens.input_ids) > self._max_length:
                left_out.lengths.append(len(tokens.input_ids))
            elif tokens.labelled <= tokens.closing:
                left_out.reasons["have no answer to learn: all but the end of the turn is masked"] += 1
            else:
                examples.append(Example(lesson.id, tokens))
        return examples

    def _counted(self, left_out: LeftOut) -> Counter[str]:
        """Reason -> number; where examples are too long, with the lengths that would take them."""
        if not left_out.lengths:
            return left_out.reasons
        lengths = sorted(left_out.lengths)
        fix = f"{lengths[len(lengths) // 2]} would take half of these, {lengths[-1]} all"
        fix += "; or a smaller prompt.max_tokens" if self._retriever.searches else ""
        reason = f"are longer than training.max_length={self._max_length} tokens ({fix})"
        return left_out.reasons + Counter({reason: len(lengths)})

    def _grounded(
        self, questions: Sequence[Question], gold: Mapping[str, list[Passage]], depth: int
    ) -> list[_Lesson | str]:
        """What each question teaches with passages, or why there is none."""
        found = self._retriever.search_many([question.question for question in questions], depth)
        drafts = [
            self._draft(q, gold[q.id], [hit.passage for hit in hits]) for q, hits in zip(questions, found, strict=True)
        ]
        whole = [self._prompt.render(draft.question.question, draft.chosen) for draft in drafts]
        encoded = encode_many(self._tokenizer, [(messages, None) for messages in whole])
        known = {tuple(messages): len(one.input_ids) for messages, one in zip(whole, encoded, strict=True)}

        def count(messages: Sequence[Message]) -> int:
            length = known.get(tuple(messages))
            return len(encode(self._tokenizer, messages).input_ids) if length is None else length

        return [self._fitted(draft, count) for draft in drafts]

    def _draft(self, question: Question, gold: list[Passage], retrieved: list[Passage]) -> _Draft:
        chooser = random.Random(f"{self._seed}|{question.id}")
        distractors = [passage for passage in retrieved if passage not in gold]
        if chooser.random() < self._no_gold_share:
            gold = []
        # The gold passages come first, so that the budget costs distractors; their place is decided afterwards.
        chosen = [*gold, *distractors][: max(self._retriever.top_k, len(gold))]
        return _Draft(question, gold, retrieved, chosen, chooser)

    def _fitted(self, draft: _Draft, count: Callable[[Sequence[Message]], int]) -> _Lesson | str:
        """The lesson with as many passages as there is room for, or why there is none."""
        _, kept = self._prompt.fit(count, draft.question.question, draft.chosen)
        shown = self._ordered(draft.chosen[:kept], draft.retrieved, draft.chooser)
        if not shown:
            return "have no passage to show"
        cited = [number for number, passage in enumerate(shown, start=1) if passage in draft.gold]
        if len(cited) < len(draft.gold):
            return f"have more evidence than prompt.max_tokens={self._prompt.max_tokens} has room for"
        return self._lesson(draft.question, shown, cited if draft.gold else None)

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

    def _lesson(self, question: Question, shown: list[Passage], cited: list[int] | None) -> _Lesson:
        """The question over the passages that are shown, with its answer; without one that answers, the refusal."""
        answer = question.answer if cited is not None else ""
        messages = self._prompt.render(question.question, shown)
        return _Lesson(question.id, messages, cited_answer(self._prompt, answer, shown, cited or []))

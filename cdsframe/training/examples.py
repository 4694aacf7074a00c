"""Builds training examples that look like requests in service: the same retriever, prompt and encoding.

Gold passages (with the evidence) that retrieval missed are added; the other retrieved passages are distractors (compare
Zhang et al., "RAFT", arXiv 2403.10131). Does not batch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdsframe.chat.encoding import Encoded, encode, encode_many, tokenizer_digest
from cdsframe.contracts import Index, Retriever, System
from cdsframe.prompt import Prompt
from cdsframe.training.evidence import cited_answer, gold_passages, without_evidence
from cdsframe.training.left_out import LeftOut, report_left_out
from cdsframe.types import Message, Passage, Question

QUESTIONS_AT_ONCE = 512
"""Number of questions that are searched, and tokenised, in one call."""


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
    """A question with its gold passages, its retrieved passages, and those to show (`chosen`), gold passages first."""

    question: Question
    gold: list[Passage]
    retrieved: list[Passage]
    chosen: list[Passage]
    chooser: random.Random


class PreparedQuestions:
    """Questions whose gold passages are found. Builds their examples in parts.

    Args:
        questions: questions that may give an example: unanswerable, or with gold passages, or closed-book.
        gold: question id -> gold passages.
        left_out: the other questions, by reason.
    """

    def __init__(
        self,
        builder: ExampleBuilder,
        questions: Sequence[Question],
        gold: Mapping[str, list[Passage]],
        left_out: LeftOut,
    ) -> None:
        self._builder, self._questions, self._gold, self._left_out = builder, questions, gold, left_out

    def __len__(self) -> int:
        return len(self._questions)

    def examples(self, start: int, stop: int) -> list[Example]:
        """Returns the examples of the questions from `start` up to `stop` (excluded), tokenised together."""
        return self._builder.examples_of(self._questions[start:stop], self._gold, self._left_out)

    @property
    def left_out(self) -> Counter[str]:
        """Reason -> number of questions that gave no example so far."""
        return self._left_out.counted(self._builder.max_length, self._builder.grounded)


class ExampleBuilder:
    """Builds examples from questions.

    Args:
        no_gold_share: fraction of the answerable questions (0 to 1) that are shown without their gold passages, with
            the refusal as answer.
        shuffle_passages: True: shows the passages in random order. False: in the retriever's order.
        max_length: maximum tokens of prompt and answer; longer examples are left out and counted.
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

    @classmethod
    def of(
        cls, system: System, seed: int, no_gold_share: float, shuffle_passages: bool, max_length: int
    ) -> ExampleBuilder:
        """Makes the builder from the components of a system."""
        parts = system.model.tokenizer, system.prompt, system.retriever, system.index
        return cls(*parts, seed, no_gold_share, shuffle_passages, max_length)

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """Settings that examples depend on, without the retriever's; None if the tokenizer has no digest."""
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

    @property
    def max_length(self) -> int:
        """Maximum tokens of an example."""
        return self._max_length

    def build(self, questions: Sequence[Question]) -> list[Example]:
        """Returns the examples in the questions' order. Logs how many questions give none, and why.

        Raises InputError if no question gives an example.
        """
        prepared = self.prepare(questions)
        starts = range(0, len(prepared), QUESTIONS_AT_ONCE)
        examples = [one for start in starts for one in prepared.examples(start, start + QUESTIONS_AT_ONCE)]
        report_left_out(prepared.left_out, len(questions), len(examples))
        return examples

    def prepare(self, questions: Sequence[Question]) -> PreparedQuestions:
        """Finds the questions' gold passages. Returns an object that builds the examples in parts."""
        gold = gold_passages(self._index, questions) if self.grounded else {}
        left_out = LeftOut(without_evidence(questions, gold) if self.grounded else Counter())
        usable = [q for q in questions if not self.grounded or gold[q.id] or not q.answerable]
        return PreparedQuestions(self, usable, gold, left_out)

    def examples_of(
        self, questions: Sequence[Question], gold: Mapping[str, list[Passage]], left_out: LeftOut
    ) -> list[Example]:
        """Returns the examples of some questions, searched and tokenised together; adds the others to `left_out`.

        Args:
            gold: question id -> gold passages.
        """
        tried = self._grounded(questions, gold) if self.grounded else [self._lesson(q, [], []) for q in questions]
        left_out.reasons.update(reason for reason in tried if isinstance(reason, str))
        lessons = [lesson for lesson in tried if isinstance(lesson, _Lesson)]
        encoded = encode_many(self._tokenizer, [(lesson.messages, lesson.answer) for lesson in lessons])
        examples = []
        for lesson, tokens in zip(lessons, encoded, strict=True):
            if len(tokens.input_ids) > self._max_length:
                left_out.lengths.append(len(tokens.input_ids))
            elif tokens.labelled <= tokens.closing:
                left_out.reasons["have no answer to learn: all tokens except the end of the turn are masked"] += 1
            else:
                examples.append(Example(lesson.id, tokens))
        return examples

    def _grounded(self, questions: Sequence[Question], gold: Mapping[str, list[Passage]]) -> list[_Lesson | str]:
        """Returns each question's conversation with passages, or the reason (a str) why it gives no example."""
        # More hits than are shown: without the gold passages among them, `top_k` distractors must be left.
        depth = self._retriever.top_k + max(map(len, gold.values()), default=0)
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
        # Gold passages come first: if the prompt is too long, distractors are dropped. `_ordered` sets the final order.
        chosen = [*gold, *distractors][: max(self._retriever.top_k, len(gold))]
        return _Draft(question, gold, retrieved, chosen, chooser)

    def _fitted(self, draft: _Draft, count: Callable[[Sequence[Message]], int]) -> _Lesson | str:
        """Returns the conversation with as many passages as fit, or the reason (a str) why there is no example."""
        _, kept = self._prompt.fit(count, draft.question.question, draft.chosen)
        shown = self._ordered(draft.chosen[:kept], draft.retrieved, draft.chooser)
        if not shown:
            return "have no passage to show"
        cited = [number for number, passage in enumerate(shown, start=1) if passage in draft.gold]
        if len(cited) < len(draft.gold):
            return f"have more evidence than prompt.max_tokens={self._prompt.max_tokens} has room for"
        return self._lesson(draft.question, shown, cited if draft.gold else None)

    def _ordered(self, passages: list[Passage], retrieved: list[Passage], chooser: random.Random) -> list[Passage]:
        """Orders passages as retrieved, missed ones at random places; with `shuffle_passages`, all at random."""
        if self._shuffle:
            return chooser.sample(passages, len(passages))
        rank = {passage.id: number for number, passage in enumerate(retrieved)}
        ordered = sorted((p for p in passages if p.id in rank), key=lambda passage: rank[passage.id])
        for passage in passages:
            if passage.id not in rank:
                ordered.insert(chooser.randint(0, len(ordered)), passage)
        return ordered

    def _lesson(self, question: Question, shown: list[Passage], cited: list[int] | None) -> _Lesson:
        """Returns the prompt with its passages, and the answer with its citations; the refusal if `cited` is None."""
        answer = question.answer if cited is not None else ""
        messages = self._prompt.render(question.question, shown)
        return _Lesson(question.id, messages, cited_answer(self._prompt, answer, shown, cited or []))

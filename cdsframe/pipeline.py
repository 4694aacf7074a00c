"""Answers a question with citations and confidence: retrieves, reranks, selects, prompts, generates, checks citations.

Receives components, never a configuration. Does not rewrite follow-up questions: earlier turns are part of the prompt,
not of the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from time import perf_counter

from cdsframe.citations import check
from cdsframe.confidence import REFUSED, Calibrator, Identity, NoCalibration, features
from cdsframe.contracts import BatchingGenerator, Context, Generator, Index, Reranker, Retriever
from cdsframe.errors import QuestionError
from cdsframe.filters import unmatched
from cdsframe.prompt import Prompt
from cdsframe.text.markers import settled
from cdsframe.types import Answer, Filters, Generation, Hit, Message, Passage

UNSURE = "I am not sure enough to answer; please read the passages below."
"""Text of an answer whose probability is below the calibration's threshold."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages for one question: reranked and selected for the prompt, and as the retriever ranked them."""

    hits: list[Hit]
    """For the prompt, best first."""
    ranking: list[Hit]
    """The retriever's, before reranking and selection; at least as deep as was asked for."""
    seconds: float
    """Wall time of the search, divided by the number of questions."""


def retrieve(
    retriever: Retriever,
    reranker: Reranker,
    context: Context,
    questions: Sequence[str],
    top_k: int,
    filter: Filters | None = None,
    depth: int = 0,
) -> list[Retrieved]:
    """Up to `top_k` hits per question: retrieved as deep as reranker and context need, reranked, selected.

    `depth`: minimum depth of the rankings; does not change the hits. One search serves both.
    """
    started = perf_counter()
    if not retriever.searches:
        return [Retrieved([], [], 0.0) for _ in questions]
    needed = max(top_k, reranker.depth, context.depth)
    rankings = retriever.search_many(questions, max(needed, depth), filter)
    selected = [
        context.select(question, reranker.rerank(question, ranking[:needed]), top_k)
        for question, ranking in zip(questions, rankings, strict=True)
    ]
    seconds = (perf_counter() - started) / max(len(questions), 1)
    return [Retrieved(hits, ranking, seconds) for hits, ranking in zip(selected, rankings, strict=True)]


class Pipeline:
    """Answers questions over passages, or closed-book if the retriever does not search (`retriever=none`).

    Args:
        index: its metadata explain why no document matches a filter; None: such a question is refused without a reason.
        identity: returns config group -> settings of the component that affect answers; called when a calibration is
            fitted. None: no settings.
    """

    def __init__(
        self,
        retriever: Retriever,
        reranker: Reranker,
        context: Context,
        prompt: Prompt,
        generator: Generator,
        calibration: Calibrator | NoCalibration,
        index: Index | None = None,
        identity: Callable[[], Identity] | None = None,
    ) -> None:
        self.retriever, self.reranker, self.context, self.prompt = retriever, reranker, context, prompt
        self.generator, self.calibration, self.index = generator, calibration, index
        self._identity = identity

    @property
    def identity(self) -> Identity:
        """Config group -> settings of the component that affect answers."""
        return {} if self._identity is None else self._identity()

    def with_generator(self, generator: Generator) -> Pipeline:
        """The same pipeline with another generator."""
        other = copy(self)
        other.generator = generator
        return other

    def load(self) -> None:
        """Opens the index and loads the models, so that the first question is as fast as later ones."""
        self.generator.load()
        self.search("warm-up")

    def search(self, question: str, filter: Filters | None = None) -> list[Hit]:
        """Returns the hits for the prompt, best first; the prompt may show them in another order."""
        return self.search_many([question], filter)[0].hits

    def answer(self, question: str, filter: Filters | None = None, history: Sequence[Message] = ()) -> Answer:
        """Answers one question; `history`: the conversation's earlier turns, oldest first."""
        return self._answer_many([question], filter, history)[0]

    def answer_many(self, questions: Sequence[str], filter: Filters | None = None) -> list[Answer]:
        """Answers independent questions in batches; an answer's timings are the batch's divided by its size."""
        return self._answer_many(questions, filter, ())

    def search_many(self, questions: Sequence[str], filter: Filters | None = None, depth: int = 0) -> list[Retrieved]:
        """Searches for several questions at once; `depth`: minimum depth of the rankings."""
        if not all(question.strip() for question in questions):
            raise QuestionError("a question is empty")
        return retrieve(self.retriever, self.reranker, self.context, questions, self.retriever.top_k, filter, depth)

    def answer_each(
        self,
        questions: Sequence[str],
        retrieved: Sequence[Retrieved],
        filter: Filters | None = None,
        history: Sequence[Message] = (),
    ) -> Iterator[tuple[int, Answer]]:
        """Yields the position and the answer of each question, in the order in which the generator computes them.

        `retrieved`: what `search_many` found for the questions.
        """
        found = [one.hits for one in retrieved]
        nothing = [number for number, hits in enumerate(found) if self._nothing_found(hits)]
        reason = self.unmatched(filter) if nothing else ""
        for number in nothing:
            yield number, self._abstain(questions[number], retrieved[number].seconds, reason)
        asked = sorted(set(range(len(questions))) - set(nothing))
        prompts = [self._fit(questions[number], found[number], history) for number in asked]
        started = perf_counter()
        for place, generation in self._generate([messages for messages, _ in prompts]):
            number, shown = asked[place], prompts[place][1]
            seconds = perf_counter() - started if generation.seconds is None else generation.seconds
            yield (
                number,
                self._finish(questions[number], found[number], shown, generation, retrieved[number].seconds, seconds),
            )
            started = perf_counter()

    def stream(
        self, question: str, filter: Filters | None = None, history: Sequence[Message] = ()
    ) -> Iterator[str | Answer]:
        """Yields pieces of the text with checked markers, then the `Answer` as the last item.

        A piece is empty while the next text is undecided, so that a caller can close the iterator, which ends the
        generation. With a calibration threshold all text comes at the end, since the answer may be held back. The
        joined pieces equal `Answer.text`, unless the model refuses after it began to answer; then `Answer.text` counts.
        """
        started = perf_counter()
        hits = self.search(question, filter)
        retrieved = perf_counter() - started
        if self._nothing_found(hits):
            answer = self._abstain(question, retrieved, self.unmatched(filter))
            yield answer.text
            yield answer
            return
        messages, shown = self._fit(question, hits, history)
        text = sent = ""
        for item in self.generator.stream(messages):
            if isinstance(item, Generation):
                generated = perf_counter() - started - retrieved
                answer = self._finish(question, hits, shown, item, retrieved, generated)
                if answer.text.startswith(sent):
                    yield answer.text[len(sent) :]
                yield answer
                return
            text += item
            ready = settled(text, shown)
            if self.calibration.threshold > 0 or self.prompt.refuses(ready):
                ready = sent
            yield ready[len(sent) :]
            sent = ready

    def _answer_many(
        self, questions: Sequence[str], filter: Filters | None, history: Sequence[Message]
    ) -> list[Answer]:
        answers = dict(self.answer_each(questions, self.search_many(questions, filter), filter, history))
        return [answers[number] for number in range(len(questions))]

    def _generate(self, conversations: Sequence[Sequence[Message]]) -> Iterator[tuple[int, Generation]]:
        """The generator's answers with seconds; where it measures none, all get the same share of the time."""
        if isinstance(self.generator, BatchingGenerator):
            for batch in self.generator.generate_batches(conversations):
                yield from batch.items()
            return
        started = perf_counter()
        generations = self.generator.generate(conversations)
        share = (perf_counter() - started) / max(len(conversations), 1)
        for place, one in enumerate(generations):
            yield place, one if one.seconds is not None else replace(one, seconds=share)

    def unmatched(self, filter: Filters | None) -> str:
        """Explains which part of a filter no document matches; empty if documents match or there is no filter."""
        if self.index is None or not filter or not self.retriever.searches:
            return ""
        return unmatched(filter, self.index) or ""

    def _fit(self, question: str, hits: Sequence[Hit], history: Sequence[Message]) -> tuple[list[Message], int]:
        return self.prompt.fit(self.generator.count, question, self._passages(hits), history, self.context.order)

    @staticmethod
    def _passages(hits: Sequence[Hit]) -> list[Passage]:
        return [hit.passage for hit in hits]

    def _nothing_found(self, hits: Sequence[Hit]) -> bool:
        """Whether to refuse: a retriever that searches found nothing. Such a question is not answered closed-book."""
        return not hits and self.retriever.searches

    def _abstain(self, question: str, retrieved: float, reason: str) -> Answer:
        return Answer(
            question=question,
            text=_sentence(reason) if reason else self.prompt.refusal,
            citations=(),
            confidence=REFUSED,
            abstained=True,
            hits=(),
            shown=0,
            removed=0,
            usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            timings={"retrieve": retrieved, "generate": 0.0, "total": retrieved},
            reason=reason,
        )

    def _finish(
        self, question: str, hits: list[Hit], shown: int, generation: Generation, retrieved: float, generated: float
    ) -> Answer:
        arranged = [*self.context.order(hits[:shown]), *hits[shown:]]
        checked = check(generation.text, self._passages(arranged[:shown]), question)
        seen = features(question, checked, generation, hits, shown)
        text, confidence, abstained = checked.text, self.calibration.confidence(seen, checked), False
        if self.prompt.refuses(text):
            text, confidence, abstained = self.prompt.refusal, REFUSED, True
        elif confidence.probability is not None and confidence.probability < self.calibration.threshold:
            text, abstained = UNSURE, True
        prompt, completion = generation.prompt_tokens, generation.completion_tokens
        return Answer(
            question=question,
            text=text,
            citations=() if abstained else checked.citations,
            confidence=confidence,
            abstained=abstained,
            hits=tuple(arranged),
            shown=shown,
            removed=checked.removed,
            usage={"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            timings={"retrieve": retrieved, "generate": generated, "total": retrieved + generated},
            features=seen,
            finish_reason="stop" if abstained else generation.finish_reason,
        )


def _sentence(reason: str) -> str:
    return reason[0].upper() + reason[1:] + ("" if reason.endswith("?") else ".")

"""From a question to a cited, confident answer: retrieve, rerank, choose, prompt, generate, check the citations.

Receives its components and never a config. Does not rewrite follow-up questions: a question is searched as it stands,
earlier turns only reach the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from cdsframe.citations import check
from cdsframe.confidence import REFUSED, Calibrator, Identity, NoCalibration, features
from cdsframe.contracts import Context, Generator, Index, Reranker, Retriever
from cdsframe.errors import QuestionError
from cdsframe.filters import unmatched
from cdsframe.prompt import Prompt
from cdsframe.text.markers import settled
from cdsframe.types import Answer, Filters, Generation, Hit, Message, Passage

UNSURE = "I am not sure enough to answer; please read the passages below."
"""The text of an answer that was held back because its probability lies below the calibration's threshold."""


def retrieve(
    retriever: Retriever,
    reranker: Reranker,
    context: Context,
    questions: Sequence[str],
    top_k: int,
    filter: Filters | None = None,
) -> list[list[Hit]]:
    """The best passages for each question: found as deep as the later steps look, reranked, chosen."""
    if not retriever.searches:
        return [[] for _ in questions]
    found = retriever.search_many(questions, max(top_k, reranker.depth, context.depth), filter)
    return [
        context.select(question, reranker.rerank(question, hits), top_k)
        for question, hits in zip(questions, found, strict=True)
    ]


class Pipeline:
    """Answers questions over passages, or closed-book where the retriever does not search (`retriever=none`).

    Args:
        index: explains a filter that no document fulfils; None: such a question is refused like any other.
        identity: group -> the settings of its component, of all that an answer depends on.
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
        identity: Identity | None = None,
    ) -> None:
        self.retriever, self.reranker, self.context, self.prompt = retriever, reranker, context, prompt
        self.generator, self.calibration, self.index = generator, calibration, index
        self.identity: Identity = identity or {}

    def load(self) -> None:
        """Opens the index and loads the models, so that the first question is as quick as the others."""
        self.generator.load()
        self.search("warm-up")

    def search(self, question: str, filter: Filters | None = None) -> list[Hit]:
        """What the prompt will be made of, best first (not in the order in which it shows them)."""
        return self._search([question], filter)[0]

    def answer(self, question: str, filter: Filters | None = None, history: Sequence[Message] = ()) -> Answer:
        """Answers one question; `history` are the conversation's earlier turns, oldest first."""
        return self._answer_many([question], filter, history)[0]

    def answer_many(self, questions: Sequence[str], filter: Filters | None = None) -> list[Answer]:
        """Answers independent questions in batches; each one's timings are its share of the batch's."""
        return self._answer_many(questions, filter, ())

    def stream(
        self, question: str, filter: Filters | None = None, history: Sequence[Message] = ()
    ) -> Iterator[str | Answer]:
        """Pieces of the text as they come, markers already checked, then the `Answer` as the last item.

        A piece is empty while nothing can be said yet, so that whoever listens can end the generation by closing the
        iterator. Nothing is said before the end where the calibration has a threshold, since the answer may be held
        back. Joined, the pieces are the answer's text, except where a refusal in words of the model's own follows
        what was already said; then the answer's text counts.
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
        if not questions:
            return []
        started = perf_counter()
        found = self._search(questions, filter)
        retrieved = (perf_counter() - started) / len(questions)
        prompts = {
            number: self._fit(questions[number], hits, history)
            for number, hits in enumerate(found)
            if not self._nothing_found(hits)
        }
        reason = "" if len(prompts) == len(questions) else self.unmatched(filter)
        started = perf_counter()
        generations = dict(
            zip(prompts, self.generator.generate([messages for messages, _ in prompts.values()]), strict=True)
        )
        generated = (perf_counter() - started) / max(len(prompts), 1)
        return [
            self._finish(question, hits, prompts[number][1], generations[number], retrieved, generated)
            if number in prompts
            else self._abstain(question, retrieved, reason)
            for number, (question, hits) in enumerate(zip(questions, found, strict=True))
        ]

    def unmatched(self, filter: Filters | None) -> str:
        """Which part of a filter no document fulfils, in words; empty where documents fulfil it, or it has no part."""
        if self.index is None or not filter or not self.retriever.searches:
            return ""
        return unmatched(filter, self.index) or ""

    def _search(self, questions: Sequence[str], filter: Filters | None) -> list[list[Hit]]:
        if not all(question.strip() for question in questions):
            raise QuestionError("a question is empty")
        return retrieve(self.retriever, self.reranker, self.context, questions, self.retriever.top_k, filter)

    def _fit(self, question: str, hits: Sequence[Hit], history: Sequence[Message]) -> tuple[list[Message], int]:
        return self.prompt.fit(self.generator.count, question, self._passages(hits), history, self.context.order)

    @staticmethod
    def _passages(hits: Sequence[Hit]) -> list[Passage]:
        return [hit.passage for hit in hits]

    def _nothing_found(self, hits: Sequence[Hit]) -> bool:
        """A grounded question without a passage is refused; it never turns into a closed-book one."""
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
        said, asked = generation.completion_tokens, generation.prompt_tokens
        return Answer(
            question=question,
            text=text,
            citations=() if abstained else checked.citations,
            confidence=confidence,
            abstained=abstained,
            hits=tuple(arranged),
            shown=shown,
            removed=checked.removed,
            usage={"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
            timings={"retrieve": retrieved, "generate": generated, "total": retrieved + generated},
            features=seen,
            finish_reason="stop" if abstained else generation.finish_reason,
        )


def _sentence(reason: str) -> str:
    return reason[0].upper() + reason[1:] + ("" if reason.endswith("?") else ".")

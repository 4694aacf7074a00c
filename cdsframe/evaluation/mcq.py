"""`evaluation=mcq`: answers exam questions with the option to which the model assigns the highest probability.

`exams.reading` reads the questions and `exams.likelihood` scores the options. Writes no training data: evaluation sets
are never used for training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.chat.encoding import encode
from cdsframe.contracts import System
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.data.sampling import proportional_sample
from cdsframe.evaluation.exams.likelihood import score_options
from cdsframe.evaluation.exams.option_positions import shifts
from cdsframe.evaluation.exams.reading import ExamFiles, distinguishable, read_exam
from cdsframe.evaluation.exams.scoring import BY_SHIFT, decided, exam_metrics
from cdsframe.evaluation.result import Result, model_digests, precision_of, with_table
from cdsframe.pipeline import retrieve
from cdsframe.prompt import Prompt
from cdsframe.types import Choice, JsonObject, Message, Passage

log = logging.getLogger(__name__)

INSTRUCTIONS = {
    "letter": "Answer the question with the letter of the right option.",
    "text": "Answer the question with the text of the right option.",
}
"""`score_by` -> the system message that asks for what is scored."""


@dataclass(frozen=True, slots=True)
class ExamForm:
    """How a question is presented and which text is scored."""

    system: str
    score_by: Literal["letter", "text"]
    show_options: bool

    def ask(self, choice: Choice) -> str:
        """The user message: the question, with its options if they are shown."""
        lines = [f"{letter}. {text}" for letter, text in choice.options.items()] if self.show_options else []
        return "\n".join([choice.question, *lines])

    def targets(self, choice: Choice) -> list[str]:
        """The texts whose log-likelihoods are compared, in the order of the options."""
        return list(choice.options) if self.score_by == "letter" else list(choice.options.values())

    def messages(self, prompt: Prompt, question: str, passages: Sequence[Passage]) -> list[Message]:
        """The rendered prompt (with or without passages) under the exam's system message."""
        return self.instruct(prompt.render(question, passages))

    def instruct(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the exam's system message in place of the prompt's."""
        opening = [Message("system", self.system)] if self.system else []
        return opening + [message for message in messages if message.role != "system"]


def _problems(score_by: str, show_options: bool) -> list[str]:
    if score_by == "letter" and not show_options:
        return ["evaluation.score_by=letter needs evaluation.show_options=true: letters refer to the options"]
    return []


@declares(makes_prompts=True, asks_generator=False)
@checked_by(_problems)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    path: ExamFiles,
    sample: Annotated[int, Field(ge=1)] | None,
    system_message: str | None,
    score_by: Literal["letter", "text"],
    show_options: bool,
    shift: bool,
    batch_tokens: Annotated[int, Field(ge=16)],
    cache: str | None,
) -> Result:
    """Scores each option of each question; the accuracy is the share of questions whose correct option scores highest.

    Questions with two identically worded options are left out. If n options tie for the highest score and the correct
    one is among them, the question counts 1 / n.

    With `shift`, a closed-book question whose options are shown is asked with all cyclic shifts of its options, so that
    the accuracy over the shifts does not depend on a preference for a letter.

    `cache`: folder of log-likelihoods, from which a repeated or interrupted exam reads; None: no cache.

    `retriever=none` evaluates closed-book; with any other retriever the prompt shows passages, which are searched
    with the question alone, not with its options.
    """
    exam = read_exam([path] if isinstance(path, str) else path)
    usable = distinguishable(exam)
    choices = proportional_sample(usable, sample, seed, lambda choice: choice.dataset)
    instruction = INSTRUCTIONS[score_by] if system_message is None else system_message.strip()
    form = ExamForm(instruction, score_by, show_options)
    moved = [
        shifts(choice) if shift and show_options and not system.retriever.searches else [choice] for choice in choices
    ]
    versions = [version for own in moved for version in own]
    prompts = _prompts(system, form, versions, _retrieve(system, versions))
    asked = [(messages, form.targets(version)) for messages, version in zip(prompts, versions, strict=True)]
    found = iter(score_options(system.model, asked, batch_tokens, score_by == "letter", cache))
    precision = precision_of(system.model)
    rows = [
        _row(choice, form, [next(found) for _ in own], precision) for choice, own in zip(choices, moved, strict=True)
    ]
    metrics = exam_metrics(rows, "evaluation.path")
    if ties := int(metrics["mcq/ties"]):
        log.warning("%d of %d questions end in a tie (mcq/ties): each of n tied options counts 1 / n", ties, len(rows))
    metrics["mcq/left_out"] = len(exam) - len(usable)
    write_jsonl(run.folder / "predictions.jsonl", rows)
    digests = {
        "data": digest(*(part for c in choices for part in (c.id, c.question, json.dumps(c.options), c.answer))),
        **model_digests(system.model),
    }
    if system.retriever.searches:
        digests["index"] = system.index.digest
    run.finish(metrics, digests, **precision)
    return with_table(metrics, "mcq/accuracy")


def _retrieve(system: System, choices: Sequence[Choice]) -> list[list[Passage]]:
    """The passages for each question; the query excludes the options, as in MIRAGE (arXiv 2402.13178)."""
    queries = [choice.question for choice in choices]
    found = retrieve(system.retriever, system.reranker, system.context, queries, system.retriever.top_k)
    return [[hit.passage for hit in one.hits] for one in found]


def _prompts(
    system: System, form: ExamForm, choices: Sequence[Choice], passages: Sequence[Sequence[Passage]]
) -> list[list[Message]]:
    """The conversations, each with as many passages as fit into `prompt.max_tokens`."""
    prompt, context, tokenizer = system.prompt, system.context, system.model.tokenizer

    def count(messages: Sequence[Message]) -> int:
        return len(encode(tokenizer, form.instruct(messages)).input_ids)

    found, crowded = [], 0
    for choice, own in zip(choices, passages, strict=True):
        shown: Sequence[Passage] = own
        while shown and count(prompt.render(form.ask(choice), context.order(shown))) > prompt.max_tokens:
            shown = shown[:-1]
        crowded += bool(own) and not shown
        found.append(form.messages(prompt, form.ask(choice), context.order(shown)))
    if crowded:
        log.warning(
            "%d questions left no room for a passage within prompt.max_tokens=%d and were asked without passages",
            crowded,
            prompt.max_tokens,
        )
    return found


def _row(choice: Choice, form: ExamForm, by_shift: Sequence[Sequence[float]], facts: JsonObject) -> JsonObject:
    """A row of `predictions.jsonl`. `by_shift`: the scores of the targets under each shift; one: not shifted."""
    scores = [dict(zip(choice.options, own, strict=True)) for own in by_shift]
    row: JsonObject = {
        "id": choice.id, "dataset": choice.dataset, "group": choice.group, "question": choice.question,
        "options": dict(choice.options), "gold": choice.answer,
        "form": form.score_by if form.show_options else f"{form.score_by}, options not shown",
        **facts, "log_likelihoods": scores[0],
    }  # fmt: skip
    if len(scores) > 1:
        row[BY_SHIFT] = scores
    return row | decided(row)

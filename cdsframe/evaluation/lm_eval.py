"""`evaluation=lm_eval`: exam questions by lm-eval's task definitions, with its prompts, examples and tokens.

Log-likelihoods equal those of lm-eval on the same rows. `evaluation=mcq` asks in this project's form instead, also with
passages; here no retriever is used. Writes no training data: evaluation sets are never used for training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from cdsframe.artifacts.digests import digest, digest_of
from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run
from cdsframe.contracts import LanguageModel, System
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.data.sampling import proportional_sample
from cdsframe.errors import InputError, named
from cdsframe.evaluation.exams.likelihood_cache import cached_log_likelihoods
from cdsframe.evaluation.exams.lm_eval_names import quiet
from cdsframe.evaluation.exams.lm_eval_tasks import NO_OPTION, ExamTask, load_tasks, no_option
from cdsframe.evaluation.exams.reading import ExamFiles, listed, same_form
from cdsframe.evaluation.exams.scoring import BY_SHIFT, decided, exam_metrics
from cdsframe.evaluation.result import Result, model_digests, precision_of, with_table
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

T = TypeVar("T")


Tasks = Annotated[list[str], Field(min_length=1), BeforeValidator(listed)]
"""One of lm-eval's names, or a list of names."""

Pair = tuple[tuple[str, str], list[int], list[int]]
"""Context and continuation as texts, then as tokens: what lm-eval's `_loglikelihood_tokens` takes."""


@dataclass(frozen=True)
class ExamQuestion:
    """A question of a task. `docs`: its row under each shift of its options; the first is the question itself."""

    id: str
    exam: ExamTask
    docs: Sequence[JsonObject]


def _problems(system_message: str | None) -> list[str]:
    if system_message is not None and not system_message.strip():
        return ["evaluation.system_message must have a text; null: none"]
    return []


@declares(asks_generator=False)
@checked_by(_problems)
def evaluate(
    system: System,
    run: Run,
    seed: int,
    task: Tasks,
    path: ExamFiles | None,
    num_fewshot: Annotated[int, Field(ge=0)] | None,
    fewshot_seed: int,
    chat: bool,
    system_message: str | None,
    score_by: Literal["letter", "text"] | None,
    contexts: bool,
    sample: Annotated[int, Field(ge=1)] | None,
    shift: bool,
    batch_tokens: Annotated[int, Field(ge=16)],
    cache: str | None,
) -> Result:
    """Scores each option of each question as lm-eval does; the accuracy is the share of questions answered right.

    Differs from lm-eval in three points: tied options count 1 / n each (lm-eval takes the first), a question that is
    longer than the model reads is refused (lm-eval cuts its beginning off), and with `shift`, each question whose
    options the prompt shows is asked with all cyclic shifts of its options as well.
    """
    names = [task] if isinstance(task, str) else task
    paths = [path] if isinstance(path, str) else path
    exams = load_tasks(names, paths, num_fewshot, fewshot_seed, score_by, contexts)
    every = [ExamQuestion(id, exam, [doc]) for exam in exams for id, doc in zip(exam.ids, exam.docs, strict=True)]
    asked = [
        ExamQuestion(one.id, one.exam, one.exam.shifted(one.docs[0])) if shift else one
        for one in proportional_sample(every, sample, seed, lambda one: one.exam.name)
    ]
    model = system.model
    if chat and not model.tokenizer.chat_template:
        raise InputError(f"evaluation.chat=true: {model.name} has no chat template; use evaluation.chat=false")
    encoder = _encoder(model)
    requests = [_requests(one, encoder, chat, system_message) for one in asked]
    found = iter(_scored(model, encoder, requests, batch_tokens, cache))
    rows = []
    for one, own in zip(asked, requests, strict=True):
        scores = [[next(found) for _ in instances] for instances in own]
        shown = {"contexts": contexts} if one.exam.columns is not None and one.exam.columns.contexts else {}
        rows.append(_row(one, "chat" if chat else "plain", scores, shown | precision_of(model)))
    metrics = exam_metrics(rows, "evaluation.path")
    metrics["mcq/equal_options"] = _equal_options(rows)
    if ties := int(metrics["mcq/ties"]):
        log.warning("%d of %d questions end in a tie (mcq/ties): each of n tied options counts 1 / n", ties, len(rows))
    write_jsonl(run.folder / "predictions.jsonl", rows)
    digests = {
        "data": digest(*(part for row in rows for part in _asked_of(row))),
        "prompts": digest_of(text for instance in _flat(requests) for text in instance.args),
        **model_digests(model),
    }
    run.finish(metrics, digests, tasks=[exam.name for exam in exams], **precision_of(model))
    return with_table(metrics, "mcq/accuracy")


def _requests(asked: ExamQuestion, encoder: Any, chat: bool, system_message: str | None) -> list[list[Any]]:
    """lm-eval's requests for each shift, one for each option. All shifts get the same few-shot examples."""
    from jinja2 import TemplateError

    task, template = asked.exam.task, encoder.apply_chat_template if chat else None
    drawn = task.sampler.rnd.getstate()
    found = []
    try:
        for doc in asked.docs:
            task.sampler.rnd.setstate(drawn)
            context = task.fewshot_context(
                doc, num_fewshot=task.config.num_fewshot, system_instruction=system_message, apply_chat_template=chat,
                fewshot_as_multiturn=True, chat_template=template, gen_prefix=task.doc_to_prefix(doc),
            )  # fmt: skip
            metadata = (asked.exam.name, 0, 1)
            requests = task.construct_requests(doc, context, metadata=metadata, apply_chat_template=chat)
            found.append(requests[: len(task.doc_to_choice(doc))])  # further ones ask for the options without context
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError, TemplateError) as error:
        if asked.exam.columns is not None:
            raise
        reason = NO_OPTION if no_option(error) else f"the row does not fit {asked.exam.name}"
        raise InputError(f"evaluation.path: {named(asked.id)}: {reason}") from error
    return found


def _encoder(model: LanguageModel) -> Any:
    """lm-eval's HFLM, which returns its requests with their tokens instead of log-likelihoods. Loads no weights.

    Tokens depend on the tokenizer, and the longest prompt on the model's configuration.
    """
    from lm_eval.models.huggingface import HFLM

    class Encoder(HFLM):
        """Encodes as lm-eval does; computes nothing."""

        def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
            return requests

    with quiet():  # HFLM warns if it gets a module instead of a name
        return Encoder(pretrained=model.without_weights(), tokenizer=model.tokenizer, backend="causal")


def _scored(
    model: LanguageModel, encoder: Any, requests: Sequence[Sequence[Any]], batch_tokens: int, cache: str | None
) -> list[float]:
    """The log-likelihood of each request, in order. Raises InputError if one is too long or not finite."""
    pairs: list[Pair] = encoder.loglikelihood(list(_flat(requests)), disable_tqdm=True)
    lengths = [len(context) + len(target) for _, context, target in pairs]
    if long := sum(length > encoder.max_length for length in lengths):
        raise InputError(
            f"{long} of {len(pairs)} prompts with an option are longer than {model.name} reads ({encoder.max_length} "
            f"tokens; the longest has {max(lengths)}); use a smaller evaluation.num_fewshot or another model"
        )
    tokens = [(context, target) for _, context, target in pairs]
    return cached_log_likelihoods(model, tokens, batch_tokens, cache)


def _flat(requests: Sequence[Sequence[Any]]) -> Iterator[Any]:
    return (instance for own in requests for instances in own for instance in instances)


def _row(asked: ExamQuestion, form: str, by_shift: Sequence[Sequence[float]], facts: JsonObject) -> JsonObject:
    """A row of `predictions.jsonl`, with the columns of `evaluation=mcq`; `dataset` is the task."""
    exam, doc = asked.exam, asked.docs[0]
    letters = exam.letters(doc)
    scores = [_by_letter(letters, own) for own in by_shift]
    scored = "letter" if exam.scores_letters(doc) else "text"
    row: JsonObject = {
        "id": asked.id, "dataset": exam.name, "group": str(doc.get("group") or ""), "question": exam.question(doc),
        "options": _by_letter(letters, exam.texts(doc)), "gold": letters[exam.right(doc)],
        "form": f"{scored}, {form}", "task": exam.name, "num_fewshot": exam.task.config.num_fewshot,
        **facts, "log_likelihoods": scores[0],
    }  # fmt: skip
    if len(scores) > 1:
        row[BY_SHIFT] = scores
    return row | decided(row)


def _asked_of(row: JsonObject) -> tuple[str, str, str, str]:
    return row["id"], row["question"], json.dumps(row["options"]), row["gold"]


def _by_letter(letters: Sequence[str], values: Sequence[T]) -> dict[str, T]:
    """Letter -> value. Letters are sorted; numbers keep their order."""
    both = list(zip(letters, values, strict=True))
    return dict(both if letters[0].isdecimal() else sorted(both, key=lambda pair: pair[0]))


def _equal_options(rows: Sequence[JsonObject]) -> int:
    """The number of questions with two equal options, which lm-eval asks too: no score can decide them."""
    equal = sum(len(set(map(same_form, row["options"].values()))) < len(row["options"]) for row in rows)
    if equal:
        log.warning("%d of %d questions have two equal options (mcq/equal_options)", equal, len(rows))
    return equal

"""Loads lm-eval's tasks over a data set of the hub or over local rows.

Prompts, options and few-shot examples come from lm-eval's task objects. Runs no model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cdsframe.artifacts.datasets_output import library_output
from cdsframe.errors import InputError, named
from cdsframe.evaluation.exams.columns import LETTERS, Columns
from cdsframe.evaluation.exams.lm_eval_names import Definition, definitions, quiet
from cdsframe.evaluation.exams.lm_eval_rows import LocalRows, source
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

NO_OPTION = "the answer of a question is none of its options; correct the answer, or leave out the row"


@dataclass(frozen=True)
class ExamTask:
    """A multiple-choice task of lm-eval with its questions.

    `columns`: those of its data set; None: a data set without an entry in `COLUMNS`. `docs`: the rows that are
    asked, in order; `ids`: their ids.
    """

    name: str
    task: Any
    columns: Columns | None
    docs: Sequence[JsonObject]
    ids: Sequence[str]

    def texts(self, doc: JsonObject) -> list[str]:
        """The options' texts, also where the task scores letters."""
        if self.columns is not None:
            return self.columns.texts(doc)
        return [str(choice) for choice in self.task.doc_to_choice(doc)]

    def letters(self, doc: JsonObject) -> list[str]:
        """The letters of the options, in the order of `texts`; numbers if there are more options than letters."""
        if self.columns is not None:
            return self.columns.letters(doc)
        number = len(self.texts(doc))
        return list(LETTERS[:number]) if number <= len(LETTERS) else [str(n + 1) for n in range(number)]

    def scores_letters(self, doc: JsonObject) -> bool:
        """Whether the options' letters are scored, not their texts."""
        choices = list(self.task.doc_to_choice(doc))
        return choices == list(LETTERS[: len(choices)])

    def question(self, doc: JsonObject) -> str:
        """The question without options; of an unknown data set, the task's prompt without examples."""
        text = doc[self.columns.question] if self.columns is not None else self.task.doc_to_text(doc)
        return str(text).strip()

    def right(self, doc: JsonObject) -> int:
        """The place of the right option. Raises InputError if the answer is not an option."""
        choices, target = self.task.doc_to_choice(doc), self.task.doc_to_target(doc)
        place = choices.index(target) if target in choices else target
        if type(place) is not int or not 0 <= place < len(choices):
            asked = f", {named(str(doc['id']))}" if "id" in doc else ""
            raise InputError(f"evaluation.task: {self.name}{asked}: {NO_OPTION}")
        return place

    def shifted(self, doc: JsonObject) -> list[JsonObject]:
        """The row with its options moved by 0, 1, … over the letters; the row alone if its prompt shows no options."""
        if self.columns is None or self.columns.words:
            return [doc]
        found = [doc, *(self.columns.shifted(doc, by) for by in range(1, len(self.columns.texts(doc))))]
        return found if self.task.doc_to_text(doc) != self.task.doc_to_text(found[1]) else [doc]


def load_tasks(
    names: Sequence[str],
    paths: Sequence[str] | None,
    num_fewshot: int | None,
    fewshot_seed: int,
    score_by: Literal["letter", "text"] | None,
    contexts: bool,
) -> list[ExamTask]:
    """The tasks, with those of groups and tags; a group's tasks without local rows are left out.

    Args:
        paths: JSON Lines with rows for all tasks; None: each task's data set on the hub.
        num_fewshot: examples before each question; None: the task's own number.
        score_by: what is scored; None: as the task defines.

    Raises InputError if a task does not exist, is not multiple-choice, or its rows cannot be used.
    """
    local = None if paths is None else LocalRows(paths, contexts)
    found = []
    for one in definitions(names):
        overrides = _scored_options(one, score_by)
        if not contexts and (one.columns is None or not one.columns.contexts):
            raise InputError(f"evaluation.contexts=false has no effect on {one.name}, which shows no contexts")
        if local is not None:
            splits = local.of(one)
            if not splits[one.asked]:
                log.info("%s has no rows in evaluation.path and is left out", one.name)
                continue
            overrides["custom_dataset"] = source(splits)
        elif one.columns is not None and not contexts:
            overrides["process_docs"] = _without(one.columns.contexts)
        task = _built(one, overrides)
        _set_examples(one, task, num_fewshot, fewshot_seed)
        docs = list(task.eval_docs)
        exam = ExamTask(one.name, task, one.columns, docs, _ids(one.name, docs, local is not None))
        if score_by is not None and exam.scores_letters(docs[0]) != (score_by == "letter"):
            raise InputError(
                f"evaluation.score_by={score_by} does not fit {one.name}, which scores other options; use null"
            )
        found.append(exam)
    if not found:
        raise InputError(f"evaluation.path: no rows of {', '.join(names)}")
    return found


def _scored_options(task: Definition, score_by: str | None) -> dict[str, Any]:
    """The change of the definition that scores the options' texts where it scores letters."""
    if score_by != "text" or task.columns is None or task.columns.words:
        return {}
    return {"doc_to_choice": task.columns.texts}


def _without(column: str) -> Callable[[Any], Any]:
    """The function that empties a column of lists of texts, for each row of a data set."""
    return lambda rows: rows.map(lambda row: {column: []}, features=rows.features)


def _ids(name: str, docs: Sequence[JsonObject], local: bool) -> list[str]:
    """The ids of local rows; of the hub's rows, the task's name and the row's number, as in lm-eval's samples."""
    return [str(doc["id"]) if local and "id" in doc else f"{name}-{number}" for number, doc in enumerate(docs)]


def _built(definition: Definition, overrides: Mapping[str, Any]) -> Any:
    """lm-eval's task object. Raises InputError if its data cannot be read or do not fit."""
    import datasets
    from jinja2 import TemplateError
    from lm_eval.tasks._factory import TaskFactory

    name, local = definition.name, "custom_dataset" in overrides
    try:
        with quiet(), library_output(progress=False):
            task = TaskFactory().build(definition.entry, overrides=dict(overrides), registry={})
    except ValueError as error:
        if no_option(error):
            raise InputError(f"evaluation.path: {name}: {NO_OPTION}") from error
        raise InputError(_unread(definition, local)) from error
    except (OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(_unread(definition, local)) from error
    except (KeyError, TemplateError) as error:
        raise InputError(f"evaluation.path: the rows lack a column that {name} reads ({error})") from None
    if task.multiple_input or task.multiple_target:
        raise InputError(f"evaluation.task: {name} has several prompts or right options; run it with lm-eval")
    return task


def no_option(error: Exception) -> bool:
    """Whether a task's template did not find a row's answer among its options, as the error of `list.index` says."""
    return type(error) is ValueError and "not in list" in str(error)


def _unread(definition: Definition, local: bool) -> str:
    if local:
        return f"evaluation.path: the rows do not have the columns that {definition.name} reads"
    return (
        f"evaluation.task: the data set {definition.config.get('dataset_path')} of {definition.name} cannot be read "
        "from the hub; check the network and HF_HUB_OFFLINE, or give evaluation.path=FILE"
    )


def _set_examples(definition: Definition, task: Any, num_fewshot: int | None, seed: int) -> None:
    """Sets the number of examples, as lm-eval's `simple_evaluate` does, and the seed of their draw."""
    own = task.config.num_fewshot
    number = own if num_fewshot is None or own == 0 else num_fewshot
    if own == 0 and num_fewshot:
        log.warning("%s defines 0 examples: evaluation.num_fewshot is ignored, as by lm-eval", definition.name)
    task.set_config("num_fewshot", number or 0)
    task.set_fewshot_seed(seed)
    if number and number > (available := len(task.sampler.df)):
        raise InputError(
            f"evaluation.num_fewshot={number}: {definition.name} has {available} examples (rows of split "
            f"{definition.examples}); add rows of this split to evaluation.path"
        )

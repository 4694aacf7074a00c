"""Loads lm-eval's task definitions over a data set of the hub or over local rows.

Prompts, options and few-shot examples come from lm-eval's task objects. Runs no model.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from cdsframe.artifacts.datasets_output import library_output
from cdsframe.errors import InputError, named
from cdsframe.evaluation.exam import read_records
from cdsframe.evaluation.exam_columns import COLUMNS, Columns, dataset_of, subject_of
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

_WHERE = "evaluation.task"
_USUAL = ("medmcqa", "medqa", "pubmedqa", "mmlu/default")
"""Folders of lm-eval's tasks that are searched first: reading all of its definitions takes many seconds."""
_SPLITS = {"training": "train", "dev": "validation", "dev5shot": "validation", "val": "validation"}
"""Name of a split in a file or a task -> the name by which the two are compared."""
_SIMILAR = 5


@dataclass(frozen=True)
class ExamTask:
    """A multiple-choice task of lm-eval with its questions.

    `columns`: those of its data set; None: a data set that `exam_columns` does not know. `docs`: the rows that are
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

    def question(self, doc: JsonObject) -> str:
        """The question without options; of an unknown data set, the task's prompt without examples."""
        text = doc[self.columns.question] if self.columns is not None else self.task.doc_to_text(doc)
        return str(text).strip()

    def right(self, doc: JsonObject) -> int:
        """The place of the right option. Raises InputError if the answer is no option."""
        choices, target = self.task.doc_to_choice(doc), self.task.doc_to_target(doc)
        place = choices.index(target) if target in choices else target
        if type(place) is not int or not 0 <= place < len(choices):
            raise InputError(f"{self.name}: the answer of a question is no option; correct or leave out such rows")
        return place


def load_tasks(
    names: Sequence[str],
    paths: Sequence[str] | None,
    num_fewshot: int | None,
    fewshot_seed: int,
    score_by: Literal["letter", "text"] | None,
    contexts: bool,
) -> list[ExamTask]:
    """The tasks, with those of groups and tags.

    Args:
        paths: JSON Lines with rows for all tasks; None: each task's data set on the hub.
        num_fewshot: examples before each question; None: the task's own number.
        score_by: what is scored, None: as the task defines.

    Raises InputError if a task does not exist, is not multiple-choice, or its rows cannot be used.
    """
    records = None if paths is None else read_records(paths)
    entries = {leaf: (name, entry) for name in names for leaf, entry in _leaves(name).items()}
    owners: dict[str, str] = {}
    found = []
    for name, (given, entry) in entries.items():
        config = entry.cfg
        _require_choices(name, config)
        columns = COLUMNS.get(str(config.get("dataset_path")))
        overrides = _scored(name, columns, score_by)
        if not contexts and (columns is None or not columns.contexts):
            raise InputError(f"evaluation.contexts=false has no effect on {name}, which shows no contexts")
        if records is not None:
            own = _rows(name, config, columns, records, contexts, owners)
            if not own[_asked(config)] and given != name:
                log.info("%s has no rows in evaluation.path and is left out", name)
                continue
            _require_rows(name, config, own, records)
            overrides["custom_dataset"] = _source(own)
        elif columns is not None and not contexts:
            overrides["process_docs"] = _without(columns.contexts)
        task = _built(name, entry, overrides)
        _set_examples(name, task, num_fewshot, fewshot_seed)
        docs = list(task.eval_docs)
        found.append(ExamTask(name, task, columns, docs, _ids(name, docs, records is not None)))
    if not found:
        raise InputError(f"evaluation.path: no rows of {', '.join(names)}")
    return found


def _leaves(name: str) -> dict[str, Any]:
    """Task name -> lm-eval's entry: the task itself, or the tasks of a group or tag, in lm-eval's order."""
    from lm_eval.tasks._index import Kind

    entry = _index(False).get(name) or _index(True).get(name)
    if entry is None:
        near = _similar(name)
        hint = f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists them"
        raise InputError(f"{_WHERE}: lm-eval has no task {named(name)}; {hint}")
    if entry.kind is Kind.TAG or entry.kind is Kind.GROUP:
        members = sorted(entry.tags) if entry.kind is Kind.TAG else _members(name, entry.cfg)
        return {leaf: one for member in members for leaf, one in _leaves(member).items()}
    return {name: entry}


def _similar(name: str) -> list[str]:
    """Known names like this one, regardless of case: first those of the usual tasks."""
    given, usual = name.casefold(), _index(False)
    near = [one for one in usual if given and one.startswith(given)] + get_close_matches(given, usual)
    return list(dict.fromkeys(near + get_close_matches(given, _index(True), n=_SIMILAR)))[:_SIMILAR]


def _members(name: str, config: Mapping[str, Any]) -> list[str]:
    given = config.get("task")
    members = [given] if isinstance(given, str) else given or []
    if not all(isinstance(member, str) for member in members):
        raise InputError(f"{_WHERE}: the group {name} changes its tasks' settings; name the tasks instead")
    return list(members)


@cache
def _index(complete: bool) -> Mapping[str, Any]:
    """lm-eval's entries by name: of the folders `_USUAL`, or all."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = lm_eval.tasks.__path__[0]
    with _quiet():
        if complete:
            return TaskManager().task_index
        return TaskManager(include_path=[f"{folder}/{own}" for own in _USUAL], include_defaults=False).task_index


def _require_choices(name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("output_type")
    if kind != "multiple_choice" or "class" in config:
        raise InputError(
            f"{_WHERE}: {name} is no multiple-choice task ({kind or 'written in Python'}); run it with lm-eval itself"
        )


def _scored(name: str, columns: Columns | None, score_by: str | None) -> dict[str, Any]:
    """The change of the task's definition that scores what `score_by` names; lm-eval's definitions score letters."""
    if score_by is None or (columns is not None and score_by == ("text" if columns.words else "letter")):
        return {}
    if columns is None or columns.words:
        raise InputError(
            f"evaluation.score_by={score_by} does not fit {name}, whose definition scores other options; use null"
        )
    return {"doc_to_choice": columns.texts}


def _rows(
    name: str,
    config: Mapping[str, Any],
    columns: Columns | None,
    records: Sequence[tuple[str, JsonObject]],
    contexts: bool,
    owners: dict[str, str],
) -> dict[str, list[JsonObject]]:
    """Split -> the task's rows, in its data set's columns. A row without a split is asked."""
    found: dict[str, list[JsonObject]] = {split: [] for split in (*_named_splits(config), _asked(config))}
    for where, record in records:
        if not _belongs(name, config, columns, record):
            continue
        if owners.setdefault(record["id"], name) != name:
            raise InputError(f"{where}: the row fits {owners[record['id']]} and {name}; say which in `dataset`")
        split = _split(str(record.get("split") or _asked(config)))
        for own in found:
            if _split(own) == split:
                found[own].append(record if columns is None else columns.document(record, where, contexts))
    return found


def _belongs(name: str, config: Mapping[str, Any], columns: Columns | None, record: JsonObject) -> bool:
    given = dataset_of(record)
    if columns is None or given == name:
        return given in ("", name)
    if given and given not in columns.names:
        return False
    subject = subject_of(record)
    return config.get("dataset_path") != "cais/mmlu" or subject in ("", config.get("dataset_name"))


def _asked(config: Mapping[str, Any]) -> str:
    """The split whose rows lm-eval asks."""
    return str(config.get("test_split") or config.get("validation_split"))


def _examples(config: Mapping[str, Any]) -> str:
    """The split from which lm-eval takes few-shot examples."""
    given = config.get("fewshot_split") or config.get("training_split") or config.get("validation_split")
    return str(given or _asked(config))


def _named_splits(config: Mapping[str, Any]) -> list[str]:
    keys = ("training_split", "validation_split", "test_split", "fewshot_split")
    return [str(config[key]) for key in keys if config.get(key)]


def _split(name: str) -> str:
    return _SPLITS.get(name, name)


def _require_rows(
    name: str,
    config: Mapping[str, Any],
    own: Mapping[str, Sequence[JsonObject]],
    records: Sequence[tuple[str, JsonObject]],
) -> None:
    if own[_asked(config)]:
        return
    columns = COLUMNS.get(str(config.get("dataset_path")))
    splits = Counter(str(record.get("split")) for _, record in records if _belongs(name, config, columns, record))
    others = sorted({dataset_of(record) for _, record in records} - {""})
    found = ", ".join(f"{number} of split {named(split)}" for split, number in splits.items())
    names = dict.fromkeys([name, *(columns.names if columns else ())])
    raise InputError(
        f"evaluation.path: no questions of {name}: it asks rows of split {_asked(config)}, or without a split; "
        f"the files have {found or 'none of its rows'} (`dataset`: {' or '.join(names)}; there: "
        f"{', '.join(map(named, others)) or 'none'})"
    )


def _source(rows: Mapping[str, Sequence[JsonObject]]) -> Callable[..., Any]:
    """The function that lm-eval calls for a task's data, with the task's metadata, which are not needed here."""
    return lambda **_: _datasets(rows)


def _without(column: str) -> Callable[[Any], Any]:
    """The function that empties a column of lists of texts, for each row of a data set."""
    return lambda rows: rows.map(lambda row: {column: []}, features=rows.features)


def _ids(name: str, docs: Sequence[JsonObject], local: bool) -> list[str]:
    """The ids of local rows; of the hub's rows, the task's name and the row's number, as in lm-eval's samples."""
    return [str(doc["id"]) if local and "id" in doc else f"{name}-{number}" for number, doc in enumerate(docs)]


def _datasets(rows: Mapping[str, Sequence[JsonObject]]) -> Any:
    import datasets

    return datasets.DatasetDict({split: datasets.Dataset.from_list(list(own)) for split, own in rows.items()})


def _built(name: str, entry: Any, overrides: Mapping[str, Any]) -> Any:
    """lm-eval's task object. Raises InputError if its data cannot be read or do not fit."""
    import datasets
    from jinja2 import TemplateError
    from lm_eval.tasks._factory import TaskFactory

    try:
        with _quiet(), library_output(progress=False):
            task = TaskFactory().build(entry, overrides=dict(overrides), registry={})
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if "custom_dataset" in overrides:
            raise
        raise InputError(
            f"{_WHERE}: the data set {entry.cfg.get('dataset_path')} of {name} cannot be read from the hub; check the "
            "network and HF_HUB_OFFLINE, or give evaluation.path=FILE"
        ) from error
    except (KeyError, TemplateError) as error:
        raise InputError(f"evaluation.path: the rows lack a column that {name} reads ({error})") from None
    if task.multiple_input or task.multiple_target:
        raise InputError(f"{_WHERE}: {name} has several prompts or right options; run it with lm-eval itself")
    return task


def _set_examples(name: str, task: Any, num_fewshot: int | None, seed: int) -> None:
    """Sets the number of examples, as lm-eval's `simple_evaluate` does, and the seed of their draw."""
    own = task.config.num_fewshot
    number = own if num_fewshot is None or own == 0 else num_fewshot
    if own == 0 and num_fewshot:
        log.warning("%s defines 0 examples; evaluation.num_fewshot=%d is ignored, as by lm-eval", name, num_fewshot)
    task.set_config("num_fewshot", number or 0)
    task.set_fewshot_seed(seed)
    available = len(task.sampler.df) if number else 0
    if number and number > available:
        raise InputError(
            f"evaluation.num_fewshot={number}: {name} has {available} examples (rows of split "
            f"{_examples(task.config.to_dict(keep_callable=True))}); add rows of this split to evaluation.path"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """In the block, lm-eval logs errors only: it warns of what this module sets on purpose."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

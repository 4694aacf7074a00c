"""Assigns rows of local files to lm-eval's tasks, and to the splits that a task asks and takes examples from.

Knows no prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cdsframe.errors import InputError, named
from cdsframe.evaluation.exams.columns import dataset_of, subject_of
from cdsframe.evaluation.exams.lm_eval_names import Definition
from cdsframe.evaluation.exams.reading import read_records
from cdsframe.types import JsonObject

Splits = dict[str, list[JsonObject]]
"""Name of a split, as the task names it -> its rows, in the columns that the task reads."""

_SPLITS = {"training": "train", "dev": "validation", "dev5shot": "validation", "val": "validation"}
"""Name of a split in a file or a task -> the name by which the two are compared."""
_NAMED = 5
"""Data sets or subjects that a message names."""


class LocalRows:
    """The rows of files, which may belong to several tasks: a row names its data set and subject.

    Args:
        paths: JSON Lines.
        contexts: whether prompts show contexts.
    """

    def __init__(self, paths: Sequence[str], contexts: bool) -> None:
        self._records, self._contexts = read_records(paths), contexts
        self._owners: dict[str, str] = {}

    def of(self, task: Definition) -> Splits:
        """The task's rows. A row without a split is asked.

        Raises InputError if a row cannot be converted or fits a second task, and if none is asked; but of a task that
        the user named by a group, the asked rows may be missing.
        """
        found: Splits = {split: [] for split in (*task.splits, task.asked)}
        for where, record in self._records:
            if not _belongs(task, record):
                continue
            owner = self._owners.setdefault(record["id"], task.name)
            if owner != task.name:
                raise InputError(f"{where}: the row fits {owner} and {task.name}; say which in `dataset`")
            split = _split(str(record.get("split") or task.asked))
            for own in (one for one in found if _split(one) == split):
                found[own].append(
                    record if task.columns is None else task.columns.document(record, where, self._contexts)
                )
        if not found[task.asked] and task.given == task.name:
            raise InputError(self._missing(task))
        return found

    def _missing(self, task: Definition) -> str:
        """Why none of the rows is asked: they have another split, or belong to other tasks."""
        where = f"evaluation.path: no questions of {task.name}"
        splits = Counter(str(record.get("split")) for _, record in self._records if _belongs(task, record))
        if splits:
            own = ", ".join(f"{number} of split {named(split)}" for split, number in splits.items())
            return (
                f"{where}: the files have {own}, but the task asks rows of split {named(task.asked)}, or without a "
                "split; correct `split` in the rows to be asked"
            )
        names = dict.fromkeys([task.name, *(task.columns.names if task.columns else ())])
        wanted = f"`dataset` {' or '.join(map(named, names))}"
        found = f"`dataset` {_listed(map(dataset_of, self._rows()))}"
        if task.columns is not None and task.columns.subjects:
            wanted += f" and `subject` {named(str(task.config.get('dataset_name')))}"
            found += f" and `subject` {_listed(map(subject_of, self._rows()))}"
        return f"{where}: its rows have {wanted}, but the files' rows have {found}; correct the rows or evaluation.task"

    def _rows(self) -> list[JsonObject]:
        return [record for _, record in self._records]


def source(splits: Mapping[str, Sequence[JsonObject]]) -> Callable[..., Any]:
    """The function that lm-eval calls for a task's data, with the task's metadata, which are not needed here."""
    import datasets

    return lambda **_: datasets.DatasetDict(
        {split: datasets.Dataset.from_list(list(rows)) for split, rows in splits.items()}
    )


def _belongs(task: Definition, record: JsonObject) -> bool:
    if task.columns is None:
        return str(record.get("dataset") or "") in ("", task.name)
    given = dataset_of(record)
    if given == task.name:
        return True
    if given and given not in task.columns.names:
        return False
    return not task.columns.subjects or subject_of(record) in ("", task.config.get("dataset_name"))


def _listed(names: Iterable[str]) -> str:
    """The first of the different names, for a message."""
    every = sorted(set(names) - {""})
    more = f" and {len(every) - _NAMED} others" if len(every) > _NAMED else ""
    return ", ".join(map(named, every[:_NAMED])) + more or "none"


def _split(name: str) -> str:
    return _SPLITS.get(name, name)

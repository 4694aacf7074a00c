"""Finds lm-eval's task definitions by name, with the tasks of groups and tags. Loads no data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from cdsframe.errors import InputError, named
from cdsframe.evaluation.exams.columns import COLUMNS, Columns

_WHERE = "evaluation.task"
_USUAL = ("medmcqa", "medqa", "pubmedqa", "mmlu/default")
"""Folders of lm-eval's tasks that are searched first: reading all of its definitions takes many seconds."""
_SIMILAR = 5


@dataclass(frozen=True)
class Definition:
    """A task as lm-eval defines it. `given`: the name that the user gave, of the task or of a group that has it."""

    name: str
    given: str
    entry: Any

    @property
    def config(self) -> Mapping[str, Any]:
        """lm-eval's YAML file, without its functions."""
        found: Mapping[str, Any] = self.entry.cfg
        return found

    @property
    def columns(self) -> Columns | None:
        """The columns of its data set; None: a data set without an entry in `COLUMNS`."""
        return COLUMNS.get(str(self.config.get("dataset_path")))

    @property
    def asked(self) -> str:
        """The split whose rows lm-eval asks."""
        return str(self.config.get("test_split") or self.config.get("validation_split"))

    @property
    def examples(self) -> str:
        """The split from which lm-eval takes few-shot examples."""
        keys = ("fewshot_split", "training_split", "validation_split")
        return next((str(self.config[key]) for key in keys if self.config.get(key)), self.asked)

    @property
    def splits(self) -> list[str]:
        """All splits that the definition names."""
        keys = ("training_split", "validation_split", "test_split", "fewshot_split")
        return [str(self.config[key]) for key in keys if self.config.get(key)]


def definitions(names: Sequence[str]) -> list[Definition]:
    """The tasks, each once, in lm-eval's order within a group.

    Raises InputError, with similar names, if lm-eval has no such task, and if one is not multiple-choice.
    """
    found = {leaf: Definition(leaf, name, entry) for name in names for leaf, entry in _leaves(name).items()}
    for name, one in found.items():
        kind = one.config.get("output_type")
        if kind != "multiple_choice" or "class" in one.config:
            raise InputError(
                f"{_WHERE}: {name} is not a multiple-choice task ({kind or 'written in Python'}); run it with lm-eval"
            )
    return list(found.values())


def _leaves(name: str) -> dict[str, Any]:
    """Task name -> lm-eval's entry: the task itself, or the tasks of a group or tag."""
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


def _members(name: str, config: Mapping[str, Any]) -> list[str]:
    given = config.get("task")
    members = [given] if isinstance(given, str) else given or []
    if not all(isinstance(member, str) for member in members):
        raise InputError(f"{_WHERE}: the group {name} changes its tasks' settings; name the tasks instead")
    return list(members)


def _similar(name: str) -> list[str]:
    """Known names like this one, regardless of case: first those of the usual tasks."""
    given, usual = name.casefold(), _index(False)
    near = [one for one in usual if given and one.startswith(given)] + get_close_matches(given, usual)
    return list(dict.fromkeys(near + get_close_matches(given, _index(True), n=_SIMILAR)))[:_SIMILAR]


@cache
def _index(complete: bool) -> Mapping[str, Any]:
    """lm-eval's entries by name: of the folders `_USUAL`, or all."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = lm_eval.tasks.__path__[0]
    usual = None if complete else [f"{folder}/{own}" for own in _USUAL]
    with quiet():
        found: Mapping[str, Any] = TaskManager(include_path=usual, include_defaults=complete).task_index
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """In the block, lm-eval logs errors only: it warns of what cdsframe sets on purpose."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

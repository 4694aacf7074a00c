"""Reads figures of arXiv 2505.03406, and the exam results of finished runs by task. Asks no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import read_jsonl
from cdsframe.errors import InputError
from cdsframe.evaluation.contrasts import common_groups
from cdsframe.evaluation.exams.scoring import decided, exam_metrics
from cdsframe.evaluation.finished_run import FinishedRun, difference
from cdsframe.evaluation.naming import Settings, name_runs, read_settings
from cdsframe.evaluation.statistics import Difference, paired_difference
from cdsframe.types import JsonObject, Metrics

QUANTITIES = {"base": "paper, base", "tuned": "paper, tuned", "gain": "paper, tuned - base"}
"""Quantity of a figure -> its column in the table."""
_NO_NAME = ("evaluation.task", "evaluation.path", "evaluation.sample", "evaluation.cache")
"""Config paths that names leave out: they choose questions, which the table's first column shows, or decide nothing."""


@dataclass(frozen=True)
class OwnResult:
    """A run's results on one task.

    Args:
        number: the run's place in `evaluation.runs`, from 0.
        run: its name, unique among the runs of the task.
        finished: the run, with the rows of the task only.
    """

    number: int
    run: str
    settings: Settings
    finished: FinishedRun

    @property
    def metrics(self) -> Metrics:
        return self.finished.metrics

    @property
    def rows(self) -> Mapping[str, JsonObject]:
        return self.finished.rows


def read_figures(path: str) -> list[JsonObject]:
    """Reads figures of the paper. Raises InputError, with the line, if one is incomplete or has no source."""
    found = []
    for number, record in read_jsonl(path, "evaluation.figures"):
        where, value = f"evaluation.figures: {path}, line {number}", record.get("value")
        if not isinstance(record.get("task"), str) or record.get("quantity") not in QUANTITIES:
            raise InputError(f"{where}: expected task, and quantity: {', '.join(QUANTITIES)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise InputError(f"{where}: value must be a share from -1 to 1 (2.64 points are 0.0264)")
        if not isinstance(record.get("source"), str) or not record["source"].strip():
            raise InputError(f"{where}: source must say where the figure is from; figures without one are not shown")
        found.append(record)
    return found


def read_results(folders: Sequence[Path]) -> dict[str, list[OwnResult]]:
    """Task -> the results of the runs that have it, in the order of the runs.

    Raises InputError if a folder is given twice, or its rows cannot be scored.
    """
    places = [folder.resolve() for folder in folders]
    if again := [folder for n, folder in enumerate(folders) if places[n] in places[:n]]:
        raise InputError(f"evaluation.runs: {again[0]} is given twice; give each run once")
    parts: dict[str, list[tuple[int, FinishedRun]]] = {}
    for number, folder in enumerate(folders):
        rows: dict[str, dict[str, JsonObject]] = {}
        for id, row in FinishedRun.read(folder).rows.items():
            rows.setdefault(str(row.get("task") or row.get("dataset") or "exam"), {})[id] = row
        for task, own in rows.items():
            metrics = exam_metrics(list(own.values()), f"evaluation.runs: {folder}")
            parts.setdefault(task, []).append((number, FinishedRun(folder, metrics, own)))
    settings = [read_settings(folder) for folder in folders]
    found = {}
    for task, runs in parts.items():
        names = _names([settings[number] for number, _ in runs], [f"run {number}" for number, _ in runs])
        found[task] = [OwnResult(n, name, settings[n], one) for name, (n, one) in zip(names, runs, strict=True)]
    return found


def _names(settings: Sequence[Settings], numbers: Sequence[str]) -> list[str]:
    """A name for each run of a task: base or tuned, and what else differs in how the exam was asked. Has no folders."""
    if len(settings) == 1:
        return ["tuned" if settings[0].values.get("adapter") else "base"]
    kept = [
        Settings(one.choices, {path: _short(path, value) for path, value in one.values.items() if path not in _NO_NAME})
        for one in settings
    ]
    return name_runs(kept, numbers)


def _short(path: str, value: Any) -> Any:
    """A folder's or file's name in place of its absolute path; adapters are named by `name_runs`."""
    absolute = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if absolute and path != "adapter" else value


def paired(base: OwnResult, other: OwnResult) -> Difference | None:
    """`other - base` on the same questions. Raises InputError if a question differs; None if they have other ones."""
    if base.rows.keys() != other.rows.keys():
        return None
    if reason := difference(base.finished, other.finished):
        raise InputError(f"evaluation.runs: {other.run} and {base.run} {reason}; evaluate both in the same way")
    ids = list(base.rows)
    groups = common_groups([base.rows, other.rows], ids)
    first, second = ([decided(one.rows[id])["correct"] for id in ids] for one in (base, other))
    return paired_difference(first, second, groups)

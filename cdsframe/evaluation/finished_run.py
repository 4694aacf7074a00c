"""Reads the results of finished runs, and checks that runs answer the same questions. Does not compare scores."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdsframe.artifacts.files import read_json, read_jsonl
from cdsframe.errors import InputError, named
from cdsframe.types import JsonObject, Metrics

_SAME = {
    "question": "questions",
    "gold": "gold answers",
    "answerable": "gold answers",
    "options": "options",
    "form": "forms of scoring",
}
"""Column of `predictions.jsonl` that must be equal in compared runs -> its name in messages."""
_NAMED = 5
"""Number of questions that a message names."""


@dataclass(frozen=True)
class FinishedRun:
    """The results of a finished run: its metrics, and its rows by question id.

    `given_name`: the run's name in a table that holds several; "": the folder's name.
    """

    folder: Path
    metrics: Metrics
    rows: Mapping[str, JsonObject]
    given_name: str = ""

    @property
    def name(self) -> str:
        """The name by which a configuration refers to the run: the path, or the name in a table."""
        return self.given_name or str(self.folder)

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Reads a run's folder. Raises InputError if its rows or metrics are damaged."""
        rows = {row["id"]: row for _, row in read_rows(folder, "predictions")}
        return cls(folder, read_metrics(folder, "metrics"), rows)


def read_rows(folder: Path, what: str) -> list[tuple[int, JsonObject]]:
    """The rows of a run's `predictions.jsonl`, each with the number of its line. Does not check what they score.

    Raises InputError, which begins with `what`, if there is no row, or a row has no id, the id of another row, or a
    group that is not a text.
    """
    path, found, ids = folder / "predictions.jsonl", [], set()
    for number, row in read_jsonl(path, what):
        where, id = f"{what}: {path}, line {number}", row.get("id")
        if not isinstance(id, str):
            raise InputError(f"{where}: id must be a text; evaluate again")
        if id in ids:
            raise InputError(f"{where}: the id occurs twice: {named(id)}; evaluate again")
        if isinstance(row.get("group"), list | dict):
            raise InputError(f"{where}: the group of {named(id)} must be a text; evaluate again")
        ids.add(id)
        found.append((number, row))
    if not found:
        raise InputError(f"{what}: {path} has no rows, expected one for each question; evaluate again")
    return found


def read_metrics(folder: Path, what: str) -> Metrics:
    """The metrics of a finished run. Raises InputError, which begins with `what`, if one is not a finite number."""
    metrics = read_json(folder / "metrics.json", what)
    if wrong := [name for name, value in metrics.items() if not is_number(value)]:
        raise InputError(f"{what}: {folder / 'metrics.json'}: {named(wrong[0])} must be a number; evaluate again")
    return metrics


def is_number(value: object) -> bool:
    """Whether a value of a JSON file is a number that a float can hold; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def finished_jobs(sweep_folder: Path) -> list[Path]:
    """The folders of a multirun's finished jobs, in the order of their numbers."""
    folders = sorted((f for f in sweep_folder.iterdir() if f.name.isdecimal()), key=lambda folder: int(folder.name))
    return [f for f in folders if all((f / name).is_file() for name in ("metrics.json", "predictions.jsonl"))]


def difference(first: FinishedRun, other: FinishedRun) -> str:
    """Describes why two runs cannot be compared, naming the first questions; empty if they can be."""
    only = [id for id in (*first.rows, *other.rows) if (id in first.rows) != (id in other.rows)]
    if only:
        shared = len(first.rows.keys() & other.rows.keys())
        return (
            f"have different questions ({shared} are the same, of {len(other.rows)} and {len(first.rows)}; in one of "
            f"them only: {_named(only)})"
        )
    for column, name in _SAME.items():
        unequal = [
            id
            for id, row in first.rows.items()
            if column in row and column in other.rows[id] and row[column] != other.rows[id][column]
        ]
        if unequal:
            return f"have different {name} ({len(unequal)} of {len(first.rows)} questions: {_named(unequal)})"
    return ""


def require_comparable(runs: Sequence[FinishedRun]) -> None:
    """Raises InputError if a run differs from the first in questions, gold answers, options or scoring."""
    for other in runs[1:]:
        if reason := difference(runs[0], other):
            raise InputError(
                f"evaluation.runs: {other.name} and {runs[0].name} {reason}; evaluate both with the same data, "
                "seed, limit and scoring"
            )


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(map(named, ids[:_NAMED])) + more

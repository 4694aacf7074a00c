"""Writes the leaderboard of a training multirun after each job, and publishes the best output at its end.

Reads only the jobs' run folders. Does not train.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.artifacts.adapter import publish
from cdsframe.artifacts.files import atomic, read_json, write_text
from cdsframe.artifacts.run import output_of
from cdsframe.errors import InputError

_COLUMNS = ("val/loss", "train/loss", "train/steps", "train/trainable", "train/tokens_per_second")
_NOT_COMPARED = ("resume", "own_process", "paths", "logger", "callbacks.progress")


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was started: its settings (flat keys), its status and its result."""

    folder: Path
    settings: Mapping[str, Any]
    status: str
    """`finished`, `failed`, or `unfinished`: running, or killed together with the multirun."""
    reason: str
    value: float | None
    """The job's return value, lower is better: a training's validation loss. None: no result."""
    metrics: Mapping[str, float]
    validated_on: str | None
    """Digest of the validation examples."""


def summarise(sweep_folder: Path) -> str:
    """Writes `leaderboard.csv` and `leaderboard.svg`.

    Returns the table as text: finished jobs, lowest value first, then jobs without a result, with the reason.
    """
    from filelock import FileLock

    with FileLock(sweep_folder / ".leaderboard.lock"):  # several jobs may end at the same time
        jobs = _jobs(sweep_folder)
        settings = _differing([job.settings for job in jobs if job.settings])
        finished = _best_first(jobs)
        others = [job for job in jobs if job.value is None]
        measured = _measured(finished)
        _write_csv(sweep_folder / "leaderboard.csv", settings, measured, [*finished, *others])
        if finished:
            _draw(sweep_folder / "leaderboard.svg", settings, measured, finished, others)
        return _table(settings, measured, finished, others)


def publish_best(sweep_folder: Path) -> str:
    """Publishes the best job's output; if the jobs have several names, the best output of each name.

    Returns a message about what was published where. Raises InputError, after publishing the others, if a target
    folder holds files that training did not write.
    """
    finished = _best_first(_jobs(sweep_folder))
    rivals: dict[Path, list[tuple[Job, str]]] = {}
    for job in finished:
        if (output := output_of(job.folder)) is not None:
            kind, target = output
            rivals.setdefault(target, []).append((job, kind))
    lines, refused = [], []
    for target, jobs in rivals.items():
        if len({job.validated_on for job, _ in jobs}) > 1:
            lines.append(f"the jobs of {target} were validated on different examples; none of them is published")
            continue
        job, kind = jobs[0]
        try:
            publish(job.folder / kind, target)
        except InputError as error:
            refused.append(f"the {kind} of job {job.folder.name} is not published: {error}")
        else:
            lines.append(f"the {kind} of job {job.folder.name} is published in {target}")
    if refused:
        raise InputError("; ".join([*refused, *lines]))
    return "\n".join(lines) or "nothing is published"


def _best_first(jobs: Sequence[Job]) -> list[Job]:
    return sorted((job for job in jobs if job.value is not None), key=lambda j: (j.value, int(j.folder.name)))


def _measured(finished: Sequence[Job]) -> list[str]:
    """Returns the metrics to show: `_COLUMNS` for trainings; all metrics for jobs that train nothing."""
    there = {name for job in finished for name in job.metrics}
    return list(_COLUMNS) if not there or "val/loss" in there else sorted(there)


def _row(job: Job, settings: Sequence[str], measured: Sequence[str]) -> list[str]:
    numbers = [f"{job.metrics[column]:.6g}" if column in job.metrics else "" for column in measured]
    return [job.folder.name, *(str(job.settings.get(key, "")) for key in settings), *numbers, job.status]


def _write_csv(path: Path, settings: Sequence[str], measured: Sequence[str], jobs: Sequence[Job]) -> None:
    text = io.StringIO()
    rows = [[*_row(job, settings, measured), job.reason] for job in jobs]
    csv.writer(text).writerows([["job", *settings, *measured, "status", "reason"], *rows])
    write_text(path, text.getvalue())


def _table(settings: Sequence[str], measured: Sequence[str], finished: Sequence[Job], others: Sequence[Job]) -> str:
    from rich.console import Console
    from rich.table import Table

    many = len(finished) + len(others)
    table = Table("job", title=f"{len(finished)} of {many} jobs finished, best first")
    rows = [_row(job, settings, measured) for job in (*finished, *others)]
    for number, column in enumerate((*settings, *measured, "status"), start=1):
        words = column.replace("/", " ").replace("_", " ") if column in measured else column  # the CSV has full names
        widest = max((len(row[number]) for row in rows), default=0) if column in measured else 0
        table.add_column(words, overflow="fold", min_width=widest)
    for row in rows:
        table.add_row(*row)
    needed = Console(width=10_000).measure(table).minimum
    console = Console(width=max(120, needed, Console().width))
    with console.capture() as captured:
        console.print(table)
        for job in others:
            console.print(f"job {job.folder.name}: {job.reason or job.status}", markup=False, highlight=False)
    return captured.get()


def _draw(
    path: Path, settings: Sequence[str], measured: Sequence[str], finished: Sequence[Job], others: Sequence[Job]
) -> None:
    """Draws each job's value beside its settings, the best on top; jobs without a result are at the bottom."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [", ".join(f"{key}={job.settings.get(key, '')}" for key in settings) for job in (*finished, *others)]
    width = 4 + 0.08 * max(map(len, names))
    with rc_context({"svg.hashsalt": "cdsframe", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(width, 1.2 + 0.3 * len(names)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        values = [job.value or 0.0 for job in finished]
        axes.plot(values, range(len(values)), "o", color="#1f6f9f")
        for place, value in enumerate(values):
            axes.annotate(f"{value:.4f}", (value, place), xytext=(6, -3), textcoords="offset points", fontsize=8)
        for place, job in enumerate(others, start=len(values)):
            axes.annotate(job.status, (min(values), place), xytext=(0, -3), textcoords="offset points", color="#b5525c")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.15)
        axes.set_xlabel("validation loss, nats per answer token" if "val/loss" in measured else "job's return value")
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _jobs(sweep_folder: Path) -> list[Job]:
    """Every job that started, in the order of their numbers."""
    import yaml

    jobs = []
    folders = [folder for folder in sweep_folder.iterdir() if folder.name.isdigit()]
    for folder in sorted(folders, key=lambda f: int(f.name)):
        ours = folder / "config.yaml"  # missing if the configuration was refused; Hydra's copy is read instead
        config = ours if ours.is_file() else folder / ".hydra" / "config.yaml"
        if not config.is_file():
            continue
        try:
            settings = _flat(yaml.safe_load(config.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError):  # AttributeError: it is not a mapping
            jobs.append(Job(folder, {}, "unfinished", "its config.yaml is damaged", None, {}, None))
            continue
        jobs.append(_job(folder, settings))
    return jobs


def _job(folder: Path, settings: Mapping[str, Any]) -> Job:
    """Reads a job's outcome. A finished job without a readable manifest and metrics is `unfinished`."""
    outcome = read_json(folder / "outcome.json", "outcome") if (folder / "outcome.json").is_file() else {}
    status, reason = outcome.get("status", "unfinished"), outcome.get("reason", "")
    if status != "finished":
        return Job(folder, settings, status, reason, None, {}, None)
    try:
        manifest, metrics = (read_json(folder / f"{name}.json", "incomplete run") for name in ("manifest", "metrics"))
    except InputError as error:
        return Job(folder, settings, "unfinished", str(error), None, {}, None)
    return Job(folder, settings, status, reason, outcome["value"], metrics, manifest.get("validation"))


def _flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        at = f"{path}.{key}" if path else str(key)
        if key == "_target_":  # the class name stands for the selected option
            flat[path] = str(value).rpartition(".")[2]
        else:
            flat |= _flat(value, at) if isinstance(value, dict) else {at: value}
    return flat


def _differing(settings: list[Mapping[str, Any]]) -> list[str]:
    """Returns the settings that all jobs have and that differ; ignores unresolved values of refused jobs."""
    keys = set.intersection(*map(set, settings)) if settings else set()
    values = {key: {str(one[key]) for one in settings if "${" not in str(one[key])} for key in keys}
    return [key for key in sorted(keys) if not key.startswith(_NOT_COMPARED) and len(values[key]) > 1]

"""A leader board from what lies on disk, after each job of a training multirun; at its end the best is published.

Reads run folders only. Does not train.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.adapter import kind_left, publish
from cdsframe.files import atomic, write_text

_COLUMNS = ("val/loss", "train/loss", "train/steps", "train/trainable", "train/tokens_per_second")
_NOT_COMPARED = ("resume", "own_process", "paths", "logger", "trainer.progress")


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was started: its flat settings, and how it stands."""

    folder: Path
    settings: Mapping[str, Any]
    status: str
    """`finished`, `failed`, or `unfinished`: running, or killed together with the multirun."""
    reason: str
    metrics: Mapping[str, float]

    @property
    def loss(self) -> float | None:
        return self.metrics.get("val/loss")


def summarise(sweep_folder: Path) -> str:
    """Writes `leaderboard.csv` and `leaderboard.svg`.

    Returns the board: finished jobs with the lowest validation loss first, then those without a result and why.
    """
    from filelock import FileLock

    with FileLock(sweep_folder / ".leaderboard.lock"):  # launchers end several jobs at once
        jobs = _jobs(sweep_folder)
        settings = _differing([job.settings for job in jobs if job.settings])
        finished = _best_first(jobs)
        others = [job for job in jobs if job.loss is None]
        _write_csv(sweep_folder / "leaderboard.csv", settings, [*finished, *others])
        if finished:
            _draw(sweep_folder / "leaderboard.svg", settings, finished, others)
        return _table(settings, finished, others)


def publish_best(sweep_folder: Path, published: Callable[[Path, str], Path]) -> str:
    """Publishes what the best job has left; returns which and where.

    Args:
        published: where what a job has left goes, by the job's folder and the kind (`adapter`, …).
    """
    finished = _best_first(_jobs(sweep_folder))
    manifests = (json.loads((job.folder / "manifest.json").read_text(encoding="utf-8")) for job in finished)
    if len({manifest["validation"] for manifest in manifests}) > 1:
        return "the jobs were validated on different examples: their losses cannot be compared, none is published"
    kind = kind_left(finished[0].folder) if finished else None
    if kind is None:
        return "nothing is published"
    target = published(finished[0].folder, kind)
    publish(finished[0].folder / kind, target)
    return f"the {kind} of job {finished[0].folder.name} is published in {target}"


def _best_first(jobs: Sequence[Job]) -> list[Job]:
    return sorted((job for job in jobs if job.loss is not None), key=lambda j: (j.loss, int(j.folder.name)))


def _row(job: Job, settings: Sequence[str]) -> list[str]:
    numbers = [f"{job.metrics[column]:.6g}" if column in job.metrics else "" for column in _COLUMNS]
    return [job.folder.name, *(str(job.settings.get(key, "")) for key in settings), *numbers, job.status]


def _write_csv(path: Path, settings: Sequence[str], jobs: Sequence[Job]) -> None:
    text = io.StringIO()
    rows = [[*_row(job, settings), job.reason] for job in jobs]
    csv.writer(text).writerows([["job", *settings, *_COLUMNS, "status", "reason"], *rows])
    write_text(path, text.getvalue())


def _table(settings: Sequence[str], finished: Sequence[Job], others: Sequence[Job]) -> str:
    from rich.console import Console
    from rich.table import Table

    many = len(finished) + len(others)
    table = Table("job", *settings, *_COLUMNS, "status", title=f"{len(finished)} of {many} jobs finished, best first")
    for job in (*finished, *others):
        table.add_row(*_row(job, settings))
    console = Console(width=max(120, Console().width))
    with console.capture() as captured:
        console.print(table)
        for job in others:
            console.print(f"job {job.folder.name}: {job.reason or job.status}", markup=False, highlight=False)
    return captured.get()


def _draw(path: Path, settings: Sequence[str], finished: Sequence[Job], others: Sequence[Job]) -> None:
    """Each job's validation loss beside its settings, the best on top; jobs without a result at the bottom."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [", ".join(f"{key}={job.settings.get(key, '')}" for key in settings) for job in (*finished, *others)]
    width = 4 + 0.08 * max(map(len, names))
    with rc_context({"svg.hashsalt": "cdsframe", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(width, 1.2 + 0.3 * len(names)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        losses = [job.loss or 0.0 for job in finished]
        axes.plot(losses, range(len(losses)), "o", color="#1f6f9f")
        for place, loss in enumerate(losses):
            axes.annotate(f"{loss:.4f}", (loss, place), xytext=(6, -3), textcoords="offset points", fontsize=8)
        for place, job in enumerate(others, start=len(losses)):
            axes.annotate(job.status, (min(losses), place), xytext=(0, -3), textcoords="offset points", color="#b5525c")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.15)
        axes.set_xlabel("validation loss, nats per answer token")
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _jobs(sweep_folder: Path) -> list[Job]:
    """Every job that started, in the order of their numbers."""
    import yaml

    jobs = []
    folders = [folder for folder in sweep_folder.iterdir() if folder.name.isdigit()]
    for folder in sorted(folders, key=lambda f: int(f.name)):
        ours = folder / "config.yaml"  # absent where the configuration was refused: then Hydra's copy says what it was
        config = ours if ours.is_file() else folder / ".hydra" / "config.yaml"
        if not config.is_file():
            continue
        try:
            settings = _flat(yaml.safe_load(config.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError):  # the last: it is no mapping
            jobs.append(Job(folder, {}, "unfinished", "its config.yaml is damaged", {}))
            continue
        outcome, metrics = _read(folder / "outcome.json"), _read(folder / "metrics.json")
        status, reason = outcome.get("status", "unfinished"), outcome.get("reason", "")
        if status == "finished" and not (folder / "manifest.json").is_file():
            status, reason = "unfinished", "it has no manifest.json"
        jobs.append(Job(folder, settings, status, reason, metrics if status == "finished" else {}))
    return jobs


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        at = f"{path}.{key}" if path else str(key)
        if key == "_target_":  # its last name stands for the option that has it
            flat[path] = str(value).rpartition(".")[2]
        else:
            flat |= _flat(value, at) if isinstance(value, dict) else {at: value}
    return flat


def _differing(settings: list[Mapping[str, Any]]) -> list[str]:
    """The settings in which the jobs differ, of those that all have."""
    keys = set.intersection(*map(set, settings)) if settings else set()
    return [k for k in sorted(keys) if not k.startswith(_NOT_COMPARED) and len({str(one[k]) for one in settings}) > 1]

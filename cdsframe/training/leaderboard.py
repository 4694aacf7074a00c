"""After each job of a training multirun: a leader board from what lies on disk, and the best adapter published.

Reads run folders only. Does not train.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdsframe.adapter import publish
from cdsframe.files import write_text

log = logging.getLogger(__name__)

_COLUMNS = ("val/loss", "train/loss", "train/steps", "train/trainable", "train/tokens_per_second")


def summarise(sweep_folder: Path) -> str:
    """Writes `leaderboard.csv` and publishes the best job's adapter as `outputs/adapters/<name>`; returns the board."""
    from rich.console import Console
    from rich.table import Table

    jobs = _jobs(sweep_folder)
    settings = _differing([settings for _, settings, _ in jobs])
    finished = [(folder, s, metrics) for folder, s, metrics in jobs if metrics is not None]
    if not finished:
        return "no job has finished"
    finished.sort(key=lambda job: (job[2]["val/loss"], job[0].name))
    examples = {json.loads((f / "manifest.json").read_text(encoding="utf-8"))["validation"] for f, _, _ in finished}
    if len(examples) > 1:
        log.warning("the jobs were validated on different examples: their losses cannot be compared, none is published")
    rows = [
        [folder.name, *(str(s.get(key, "")) for key in settings), *(f"{m.get(c, float('nan')):.6g}" for c in _COLUMNS)]
        for folder, s, m in finished
    ]
    rows += [
        [folder.name, *(str(s.get(key, "")) for key in settings), *("failed" for _ in _COLUMNS)]
        for folder, s, metrics in jobs
        if metrics is None
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["job", *settings, *_COLUMNS], *rows])
    write_text(sweep_folder / "leaderboard.csv", text.getvalue())
    table = Table("job", *settings, *_COLUMNS, title=f"{len(finished)} of {len(jobs)} jobs finished, best first")
    for row in rows:
        table.add_row(*row)
    best, settings_of_best, _ = finished[0]
    if len(examples) == 1:
        publish(best / "adapter", Path(settings_of_best["paths.adapters"]) / str(settings_of_best["name"]))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _jobs(sweep_folder: Path) -> list[tuple[Path, dict[str, Any], dict[str, float] | None]]:
    """Every job that started: its folder, its flat settings, and its metrics (None where it did not finish)."""
    import yaml

    jobs = []
    folders = [folder for folder in sweep_folder.iterdir() if folder.name.isdigit()]
    for folder in sorted(folders, key=lambda f: int(f.name)):
        ours = folder / "config.yaml"  # absent where the configuration was refused: then Hydra's copy says what it was
        config = ours if ours.is_file() else folder / ".hydra" / "config.yaml"
        settings = _flat(yaml.safe_load(config.read_text(encoding="utf-8")))
        done = folder / "metrics.json"
        jobs.append((folder, settings, json.loads(done.read_text(encoding="utf-8")) if done.is_file() else None))
    return jobs


def _flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        at = f"{path}.{key}" if path else str(key)
        flat |= _flat(value, at) if isinstance(value, dict) else {at.replace("._target_", ""): value}
    return flat


def _differing(settings: list[dict[str, Any]]) -> list[str]:
    """The settings in which the jobs differ. A target's name stands for the option that has it."""
    keys = sorted({key for one in settings for key in one})
    return [key for key in keys if len({str(one.get(key)) for one in settings}) > 1]

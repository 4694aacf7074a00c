"""What a training keeps: the best model so far, and whether it has come to its end.

Does not know what a model is; checkpoints, from which an interrupted run goes on, are `cdsframe.training.checkpoint`'s.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cdsframe.artifacts.files import atomic_folder, read_json, remove_partials, write_json
from cdsframe.artifacts.run import Run
from cdsframe.errors import CdsframeError, InputError
from cdsframe.types import Metrics

if TYPE_CHECKING:
    from cdsframe.training.fitting import TrainingState

log = logging.getLogger(__name__)


class BestCheckpoint:
    """Keeps the model in `folder` whenever the validation loss is the lowest so far, its metrics beside it.

    Args:
        save: writes the model into an empty folder.
    """

    def __init__(self, folder: Path, save: Callable[[Path], None]) -> None:
        self._folder, self._save = folder, save
        self._metrics: Metrics = {}

    @property
    def metrics(self) -> Metrics:
        """Of the model that was kept. Raises CdsframeError where none was."""
        if not self._metrics:
            raise CdsframeError("no validation loss was finite, so nothing was kept; lower training.learning_rate")
        return self._metrics

    def resume(self) -> None:
        """Takes up what the interrupted run has kept."""
        remove_partials(self._folder)
        if (self._folder / "metrics.json").is_file():
            self._metrics = read_json(self._folder / "metrics.json", "resume")

    def validated(self, loss: float, course: TrainingState) -> None:
        """Called after each validation."""
        if not loss < self._metrics.get("val/loss", float("inf")):
            return
        last = next(row["train/loss"] for row in reversed(course.history) if "train/loss" in row)
        self._metrics = {"val/loss": loss, "train/steps": float(course.step), "train/loss": last}
        with atomic_folder(self._folder) as partial:
            self._save(partial)
            write_json(partial / "metrics.json", self._metrics)


def ended(run: Run, kind: str, measure: str = "val/loss") -> float | None:
    """The result of a run that is gone on with and has ended: its metrics are written last (`Run.finish`).

    Raises InputError where the measure is not among them.
    """
    file = run.folder / "metrics.json"
    if not run.resumed or not file.is_file() or not (run.folder / "manifest.json").is_file():
        return None
    result = read_json(file, "resume").get(measure)
    if result is None:
        raise InputError(f"resume: {file} has no {measure}; remove it and resume again")
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    log.info("the run in %s has ended already; its %s is in %s", run.folder, kind, run.folder / kind)
    return float(result)

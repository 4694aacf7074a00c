"""Finds out whether a run that is resumed was complete already."""

from __future__ import annotations

import logging
import shutil

from cdsframe.artifacts.files import read_json
from cdsframe.artifacts.run import Run
from cdsframe.errors import InputError

log = logging.getLogger(__name__)


def ended(run: Run, kind: str, measure: str = "val/loss") -> float | None:
    """Returns the result of a resumed run that is complete; None for all other runs.

    A run's metrics are written last (`Run.finish`). Raises InputError if they lack the measure.
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

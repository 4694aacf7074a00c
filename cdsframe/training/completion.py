"""Detects whether a resumed run is already complete."""

from __future__ import annotations

import logging
import shutil

from cdsframe.artifacts.files import read_json
from cdsframe.artifacts.run import Run
from cdsframe.errors import InputError

log = logging.getLogger(__name__)


def ended(run: Run, kind: str, measure: str = "val/loss") -> float | None:
    """Returns the result of a resumed run that is complete; None for all other runs.

    Metrics are the last file that a run writes (`Run.finish`). Removes the checkpoints of a complete run.
    Raises InputError if the metrics lack the measure.
    """
    file = run.folder / "metrics.json"
    if not run.resumed or not file.is_file() or not (run.folder / "manifest.json").is_file():
        return None
    result = read_json(file, "resume").get(measure)
    if result is None:
        raise InputError(f"resume: {file} has no {measure}; remove this file and resume again")
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    log.info("the run in %s is already complete; its %s is in %s", run.folder, kind, run.folder / kind)
    return float(result)

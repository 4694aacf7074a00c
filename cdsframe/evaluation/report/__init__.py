"""Self-contained reports: `report.html` and `report.md` of a run, `comparison.html` of a comparison.

Pure functions of the data that finished runs keep. A report holds questions, answers and passages: it must not leave
the user's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from cdsframe.artifacts.run import Run
from cdsframe.contracts import System
from cdsframe.evaluation.report.comparison import write_comparison_report
from cdsframe.evaluation.report.former import facts_of
from cdsframe.evaluation.report.run import write_run_report
from cdsframe.types import JsonObject, Metrics

__all__ = ["write_comparison_report", "write_report", "write_run_report"]


@overload
def write_report(target: Path, rows: Sequence[JsonObject], metrics: Metrics, facts: JsonObject, /) -> None: ...
@overload
def write_report(target: Run, system: System, metrics: Metrics, rows: Sequence[JsonObject], /) -> None: ...
def write_report(target: Path | Run, second: Any, metrics: Metrics, fourth: Any, /) -> None:
    """Writes a run's report, from `(folder, rows, metrics, facts)` or `(run, system, metrics, rows)`."""
    if isinstance(target, Run):
        write_run_report(target.folder, fourth, metrics, facts_of(target, second))
    else:
        write_run_report(target, second, metrics, fourth)

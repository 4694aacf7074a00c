"""Updates an index from a corpus."""

import logging
import sys

from cdsframe.cli.entry import entry
from cdsframe.config import Composition
from cdsframe.errors import InputError
from cdsframe.ingestion.report import Report

log = logging.getLogger(__name__)


@entry
def main(system: Composition) -> float:
    """Ingests; returns the report's score, for Hydra's sweepers."""
    report: Report = system.run_job("ingestion")
    for sentence in report.empty_fields(system.metadata_fields) if isinstance(report, Report) else ():
        log.warning("%s", sentence)
    system.run.finish(report.metrics, {"index": system.index.digest})
    sys.stdout.write(f"{report.text}\n")
    if report.failure:
        raise InputError(report.failure)
    return report.score


if __name__ == "__main__":
    main()

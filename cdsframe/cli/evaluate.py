"""Measures a system and compares runs."""

import sys

from cdsframe.cli.entry import entry
from cdsframe.config import Composition
from cdsframe.evaluation.result import Result


@entry
def main(system: Composition) -> float:
    """Evaluates; returns the value of the evaluation's main metric, for Hydra's sweepers."""
    system.require_compatible()
    result: Result = system.run_job("evaluation")
    sys.stdout.write(f"{result.text}\nin {system.run.folder}\n")
    return result.value


if __name__ == "__main__":
    main()

"""Serves answers with citations and a confidence over HTTP."""

from cdsframe.cli.entry import entry
from cdsframe.config import Composition


@entry
def main(system: Composition) -> None:
    """Serves the pipeline until the process is interrupted."""
    system.run_job("serving")


if __name__ == "__main__":
    main()

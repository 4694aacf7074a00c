"""Measures a system and compares runs: `python evaluate.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401 (first: Ctrl-C while the others are imported)
from cdsframe.cli.evaluate import main

if __name__ == "__main__":
    main()

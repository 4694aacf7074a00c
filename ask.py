"""Answers one question in the terminal: `python ask.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401 (first: Ctrl-C while the others are imported)
from cdsframe.cli.ask import main

if __name__ == "__main__":
    main()

"""Serves cited, confident answers over HTTP: `python serve.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401 (first: Ctrl-C while the others are imported)
from cdsframe.cli.serve import main

if __name__ == "__main__":
    main()

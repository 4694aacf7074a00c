"""Updates an index from a corpus: `python ingest.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401 (first: Ctrl-C while the others are imported)
from cdsframe.cli.ingest import main

if __name__ == "__main__":
    main()

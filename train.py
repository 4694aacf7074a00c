"""Fine-tunes a model on questions with their passages: `python train.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401 (first: Ctrl-C while the others are imported)
from cdsframe.cli.train import main

if __name__ == "__main__":
    main()

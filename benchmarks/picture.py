"""Redraws the picture in the README from the committed comparison: `python -m benchmarks.picture`.

After a new `make results`, give it the folder with the runs 0, 1, …: their comparison becomes `docs/results.json`.
"""

import shutil
import sys
from pathlib import Path

from cdsframe.artifacts.files import read_json
from cdsframe.evaluation.compare import summarise, to_text
from cdsframe.evaluation.picture import draw

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(sweep: str | None = None) -> None:
    if sweep is not None:
        summarise(Path(sweep))
        shutil.copyfile(Path(sweep) / "comparison.json", DOCS / "results.json")
    comparison = read_json(DOCS / "results.json", "comparison")
    draw(comparison, DOCS / "images" / "results.svg")
    print(to_text(comparison, every_pair=False))


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""Draws quality against latency for every way of searching that `benchmarks/retrieval.py` measured last.

    python -m benchmarks.tradeoff

Reads outputs/benchmarks/retrieval.json, writes docs/images/retrieval.svg.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import read_json

MEASURED = Path("outputs/benchmarks/retrieval.json")
PICTURE = Path(__file__).resolve().parent.parent / "docs/images/retrieval.svg"
_MARKS = {"lance": "o", "elasticsearch": "s"}


def draw(measured: dict[str, Any], path: Path) -> None:
    """A point for each way: the median latency of one client (logarithmic, a line to p95) and nDCG@10."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "cdsframe", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.add_subplot()
        ways = sorted(measured["ways"], key=lambda row: -row["ndcg@10"])
        for number, row in enumerate(ways, start=1):
            engine = row["name"].partition(":")[0]
            color = f"C{list(_MARKS).index(engine)}" if engine in _MARKS else "0.5"
            low, high = row["p50_ms"], row["p95_ms"]
            mark = _MARKS.get(engine, "D")
            axes.plot([low, high], [row["ndcg@10"]] * 2, color=color, linewidth=0.8, alpha=0.6)
            axes.plot(low, row["ndcg@10"], mark, color=color, markersize=5, label=f"{number}  {row['name']}")
            place = (0, 5) if number % 2 else (0, -11)
            axes.annotate(str(number), (low, row["ndcg@10"]), textcoords="offset points", xytext=place, ha="center")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handletextpad=0.3)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds for one question: median, line to p95 (logarithmic)")
        axes.set_ylabel("nDCG@10")
        axes.set_title(f"MedQuAD, {measured['queries']} questions, one client, {measured['processor']}", fontsize=9)
        axes.grid(alpha=0.3)
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})


if __name__ == "__main__":
    draw(read_json(MEASURED, "the measurement of benchmarks/retrieval.py"), PICTURE)

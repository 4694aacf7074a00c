"""Draws a comparison: bars with intervals, one panel per metric, at most three.

Reads a comparison as `compare` writes it. Equal comparisons give identical files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import atomic
from cdsframe.types import JsonObject

_PANELS = {
    "qa/f1": "F1 on answerable questions",
    "qa/refusal_recall": "refused, of the unanswerable",
    "qa/citation_precision": "citations that are right",
    "mcq/accuracy": "accuracy on exam questions",
    "retrieval/ndcg@10": "retrieval nDCG@10",
    "score": "mean score",
}
_MOST_PANELS = 3
COLOURS = ("#9fb3c4", "#1f6f9f", "#e08a3c", "#5a9367", "#8c6bb1", "#b5525c")


def draw(comparison: JsonObject, path: Path) -> None:
    """Draws the comparison as SVG or PNG, according to the path's suffix."""
    runs = comparison["runs"]
    panels = [key for key in _PANELS if any(key in run["metrics"] for run in runs)][:_MOST_PANELS]
    names = [plain(run["name"]) for run in runs]
    longest = max(map(len, names))
    with drawn(path, max(2.4, 0.08 * longest) + 2.9 * len(panels), 1.1 + 0.3 * len(names)) as figure:
        for place, key in enumerate(panels):
            _panel(figure.add_subplot(1, len(panels), place + 1), key, runs, names, labelled=place == 0)
        figure.suptitle(f"{comparison['questions']} questions, 95 % intervals", fontsize=9, color="#555555")


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator[Any]:
    """Yields a figure of this size in inches, and writes it as SVG or PNG at the end; equal figures as equal files."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "cdsframe", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with atomic(path) as partial:
            kind = path.suffix.lstrip(".")
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(partial, format=kind, dpi=160, metadata=metadata)


def plain(text: str) -> str:
    """The text for a picture, in which $ would begin a formula."""
    return text.replace("$", r"\$")


def _colours(names: Sequence[str]) -> list[str]:
    """One colour for each distinct first part of the names ("base", "tuned"), or one for all if names have one part."""
    firsts = list(dict.fromkeys(name.split(", ")[0] for name in names))
    if not all(", " in name for name in names) or len(firsts) > len(COLOURS):
        return [COLOURS[1]] * len(names)
    return [COLOURS[firsts.index(name.split(", ")[0])] for name in names]


def _panel(axes: Any, key: str, runs: Sequence[JsonObject], labels: Sequence[str], labelled: bool) -> None:
    for place, (run, colour) in enumerate(zip(runs, _colours(labels), strict=True)):
        metrics = run["metrics"]
        if key not in metrics:
            axes.text(0.02, place, "does not apply", va="center", fontsize=8, color="#777777")
            continue
        value, low, high = (metrics.get(name, metrics[key]) for name in (key, f"{key}/ci_low", f"{key}/ci_high"))
        axes.barh(place, value, height=0.68, color=colour)
        axes.plot([low, high], [place, place], color="#222222", linewidth=1.4, solid_capstyle="butt")
        axes.text(min(high, 0.98) + 0.02, place, f"{value:.2f}", va="center", fontsize=8, color="#222222")
    axes.set_yticks(range(len(labels)), labels if labelled else [""] * len(labels))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.tick_params(length=0)
    axes.set_title(_PANELS[key], fontsize=10, loc="left")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)

"""Draws a factorial comparison: effects with intervals, beside the quality of each system against its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cdsframe.evaluation.factorial.costs import COSTS
from cdsframe.evaluation.factorial.summary import Analysis, effect_name
from cdsframe.evaluation.picture import COLOURS, drawn, plain

_AXES = ("seconds", "cpu_seconds", "prompt_tokens")
"""Costs; the first that all systems have is the axis."""
_MARKERS = "osD^vPX*<>"
_GREY, _DARK = "#777777", "#222222"


def draw(analysis: Analysis, path: Path) -> None:
    """Draws the comparison as SVG or PNG, according to the path's suffix."""
    names = [plain(effect_name(one)) for one in analysis.effects]
    height = 1.6 + max(0.32 * len(names), 0.24 * len(analysis.systems), 1.6)
    with drawn(path, 0.075 * max(map(len, names)) + 8.6, height) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1])
        _forest(left, analysis, names)
        _against_cost(right, analysis)
        figure.suptitle(
            f"{analysis.measure.name}, {analysis.questions} questions, 95 % intervals", fontsize=9, color="#555555"
        )


def _forest(axes: Any, analysis: Analysis, names: list[str]) -> None:
    axes.axvline(0, color="#bbbbbb", linewidth=1)
    for place, effect in enumerate(analysis.effects):
        one, colour = effect.estimate, COLOURS[1] if effect.significant else _GREY
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot([one.value], [place], marker="D" if len(effect.contrast.changes) > 1 else "o", color=colour)
        axes.annotate(f"{one.value:+.3f}", (one.value, place), (0, 5), textcoords="offset points", ha="center",
                      fontsize=8, color=_DARK)  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.tick_params(length=0)
    axes.set_title("effects (blue: significant; ◆ interaction)", fontsize=10, loc="left")
    _quiet(axes, "x")


def _against_cost(axes: Any, analysis: Analysis) -> None:
    cost = next((key for key in _AXES if all(key in one for one in analysis.costs.values())), None)
    firsts = list(dict.fromkeys(cell[0] for cell in analysis.systems))
    rests = list(dict.fromkeys(cell[1:] for cell in analysis.systems))
    for place, (cell, found) in enumerate(analysis.systems.items()):
        across = place if cost is None else analysis.costs[cell][cost]
        colour = COLOURS[firsts.index(cell[0]) % len(COLOURS)]
        axes.plot([across, across], [found.low, found.high], color=colour, linewidth=1.4)
        axes.plot([across], [found.value], linestyle="", marker=_MARKERS[rests.index(cell[1:]) % len(_MARKERS)],
                  color=colour, markeredgecolor=_DARK, markersize=8, label=plain(analysis.name(cell)))  # fmt: skip
    axes.set_ylabel(plain(analysis.measure.name))
    if cost is None:
        axes.set_xticks([])
    else:
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{COSTS[cost]} per question")
    axes.set_title("quality against cost", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _quiet(axes, "both")


def _quiet(axes: Any, lines: str) -> None:
    axes.grid(axis=lines, color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)

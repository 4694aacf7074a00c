"""The sections of a comparison on its runs: each alone, and its cost against its quality. Tests nothing."""

from __future__ import annotations

from cdsframe.evaluation.contrasts import measures
from cdsframe.evaluation.report.blocks import ReportBlock, ReportPlot, ReportSection, ReportTable, ReportText
from cdsframe.evaluation.report.labels import COSTS, PLOTTED, label
from cdsframe.evaluation.report.numbers import bounded, metric, metric_text, quantity
from cdsframe.evaluation.report.plots import PlotPoint, forest, scatter
from cdsframe.types import JsonObject


def runs(comparison: JsonObject) -> ReportSection:
    """The metrics of each run, and its primary measure as a plot."""
    reading = (
        "Each run alone, with 95 % intervals; whether two runs differ is tested above, not by comparing intervals."
    )
    measured = comparison["runs"]
    primary = _primary_metric(comparison)
    names = dict.fromkeys((primary, *PLOTTED, "mcq/accuracy", "score", *COSTS))
    present = [name for name in names if any(name in run["metrics"] for run in measured)]
    lines = [(run["name"], *(metric_text(run["metrics"], name) for name in present)) for run in measured]
    blocks: list[ReportBlock] = [ReportTable("Runs", ("run", *map(label, present)), lines)]
    if drawn := [(run["name"], one) for run in measured if (one := metric(run["metrics"], primary))]:
        blocks.append(ReportPlot(label(primary), forest(f"{label(primary)} of each run", drawn, "from 0 to 1")))
    return ReportSection("runs", "Runs", reading, blocks)


def cost(comparison: JsonObject) -> ReportSection:
    """The primary measure of each run against seconds and tokens per question."""
    reading = "Upper left is best: higher quality at lower cost; numbers are those of the table."
    primary = _primary_metric(comparison)
    measured = [(run, one) for run in comparison["runs"] if (one := metric(run["metrics"], primary))]
    costs = [name for name in COSTS if any(name in run["metrics"] for run, _ in measured)]
    if not costs:
        text = "These runs have no costs, or no interval of the primary measure."
        return ReportSection("cost", "Cost against quality", reading, [ReportText(text)])
    blocks: list[ReportBlock] = []
    for name in costs:
        points = [
            PlotPoint(run["metrics"][name], one, str(number))
            for number, (run, one) in enumerate(measured, start=1)
            if name in run["metrics"]
        ]
        title = f"{label(primary)} against {COSTS[name]}"
        blocks.append(ReportPlot(title, scatter(title, points, COSTS[name], label(primary))))
    lines = [
        (
            str(number),
            run["name"],
            bounded(one),
            *(quantity(run["metrics"][name]) if name in run["metrics"] else "" for name in costs),
        )
        for number, (run, one) in enumerate(measured, start=1)
    ]
    columns = ("", "run", label(primary), *(COSTS[name] for name in costs))
    blocks.append(ReportTable("Cost and quality", columns, lines, left=2))
    return ReportSection("cost", "Cost against quality", reading, blocks)


def _primary_metric(comparison: JsonObject) -> str:
    """The key of the metric that is the mean of the primary measure."""
    name: str = comparison["primary"]
    return next((measure.metric for measure in measures() if measure.name == name), name)

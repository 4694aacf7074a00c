"""Makes the report of a comparison from `comparison.json`. Reads no run and tests nothing anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdsframe.artifacts.files import write_text
from cdsframe.evaluation.contrasts import LEVEL, measures
from cdsframe.evaluation.report.blocks import (
    ReportBlock,
    ReportPage,
    ReportPlot,
    ReportSection,
    ReportTable,
    ReportText,
)
from cdsframe.evaluation.report.html import to_html
from cdsframe.evaluation.report.labels import COSTS, PLOTTED, label, metric_of_measure
from cdsframe.evaluation.report.numbers import bounded, counted, metric, metric_text, quantity
from cdsframe.evaluation.report.plots import PlotPoint, forest, scatter
from cdsframe.evaluation.statistics import Interval
from cdsframe.types import JsonObject

_EXPLORATORY = 200
"""Most exploratory pairs in the page; `comparison.md` has all."""


def write_comparison_report(comparison: JsonObject, folder: Path) -> None:
    """Writes `comparison.html` into the folder, from the content of `comparison.json`; equal ones give equal files."""
    write_text(folder / "comparison.html", to_html(comparison_page(comparison)))


def comparison_page(comparison: JsonObject) -> ReportPage:
    """The report of a comparison."""
    contrasts = [pair for pair in comparison["pairs"] if pair["p_holm"] is not None]
    sections = (
        _summary(comparison, contrasts),
        _contrasts(comparison, contrasts),
        _runs(comparison),
        _cost(comparison),
    )
    under = [
        f"{counted(len(comparison['runs']), 'run')}, {counted(comparison['questions'], 'question')}",
        f"primary measure: {comparison['primary']}; baseline: {comparison['baseline']}",
    ]
    return ReportPage("Comparison of runs", under, (*sections, _exploratory(comparison)))


def _summary(comparison: JsonObject, contrasts: Sequence[JsonObject]) -> ReportSection:
    reading = (
        "Only the comparisons with the baseline by the primary measure are tested; significant means that a difference "
        f"like this is rare if there is none (p, adjusted by Holm, of at most {LEVEL})."
    )
    blocks: list[ReportBlock] = []
    if not contrasts:
        blocks.append(ReportText("No run could be compared with the baseline by the primary measure."))
    better_high = _higher_is_better(comparison)
    for pair in contrasts:
        better = (pair["difference"] > 0) == better_high
        if pair["significant"]:
            verdict = f"is {'better' if better else 'worse'} than {pair['first']}"
        else:
            verdict = f"shows no significant difference to {pair['first']}"
        text = (
            f"{verdict}: {_difference(pair)}, adjusted p {pair['p_holm']:.2g}.{_worse(pair, comparison.get('margin'))}"
        )
        blocks.append(ReportText(text + _few(pair, len(contrasts)), pair["second"]))
    blocks.append(
        ReportText(
            "The tests are of these runs. Another training seed gives another adapter: a claim about a method needs "
            "several seeds (evaluation=methods)."
        )
    )
    return ReportSection("summary", "In short", reading, blocks)


def _contrasts(comparison: JsonObject, contrasts: Sequence[JsonObject]) -> ReportSection:
    margin = comparison.get("margin")
    higher = _higher_is_better(comparison)
    reading = (
        f"Each row is a run minus the baseline; {'right' if higher else 'left'} of 0 the run is better, and an "
        "interval across 0 agrees with no difference."
    )
    if margin is not None:
        reading += (
            f" The dashed line is the margin of {margin}: a run whose whole interval is on its "
            f"{'right' if higher else 'left'} is not worse by that much."
        )
    if not contrasts:
        return ReportSection("contrasts", "Compared with the baseline", reading, [ReportText("There are none.")])
    rows = [(pair["second"], Interval(pair["difference"], pair["ci_low"], pair["ci_high"])) for pair in contrasts]
    line = None if margin is None else -margin if higher else margin
    title = f"{comparison['primary']}: difference to {comparison['baseline']}"
    blocks = [
        ReportPlot(title, forest(title, rows, f"difference in {comparison['primary']}", zero=0.0, margin=line)),
        _contrast_table(contrasts),
        ReportText(
            "“Detectable” is the smallest true difference that these questions find with a probability of .8; "
            "“needed” is the number of questions that finds a difference of the margin with that probability."
        ),
    ]
    return ReportSection("contrasts", "Compared with the baseline", reading, blocks)


def _contrast_table(contrasts: Sequence[JsonObject]) -> ReportTable:
    names = ("questions", "groups", "difference", "p", "adjusted p", "significant", "detectable", "not worse", "needed")
    not_worse = {True: "yes", False: "not shown", None: ""}
    lines = [
        (
            pair["second"],
            str(pair["questions"]),
            _optional(pair.get("groups")),
            _difference(pair),
            f"{pair['p']:.3g}",
            f"{pair['p_holm']:.3g}",
            "yes" if pair["significant"] else "no",
            _optional(pair.get("found_from")),
            not_worse[pair.get("not_worse")],
            _optional(pair.get("questions_for_margin")),
        )
        for pair in contrasts
    ]
    return ReportTable("Primary comparisons", ("run", *names), lines)


def _runs(comparison: JsonObject) -> ReportSection:
    reading = (
        "Each run alone, with 95 % intervals; whether two runs differ is tested above, not by comparing intervals."
    )
    runs = comparison["runs"]
    primary = metric_of_measure(comparison["primary"])
    names = dict.fromkeys((primary, *PLOTTED, "mcq/accuracy", "score", *COSTS))
    present = [name for name in names if any(name in run["metrics"] for run in runs)]
    lines = [(run["name"], *(metric_text(run["metrics"], name) for name in present)) for run in runs]
    blocks: list[ReportBlock] = []
    if drawn := [(run["name"], one) for run in runs if (one := metric(run["metrics"], primary))]:
        blocks.append(ReportPlot(label(primary), forest(f"{label(primary)} of each run", drawn, "from 0 to 1")))
    blocks.append(ReportTable("Runs", ("run", *map(label, present)), lines))
    return ReportSection("runs", "Runs", reading, blocks)


def _cost(comparison: JsonObject) -> ReportSection:
    reading = "Upper left is best: higher quality at lower cost; numbers are those of the table."
    runs, primary = comparison["runs"], metric_of_measure(comparison["primary"])
    measured = [(run, one) for run in runs if (one := metric(run["metrics"], primary))]
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


def _exploratory(comparison: JsonObject) -> ReportSection:
    reading = "These p-values are not adjusted for their number: they suggest what to test next and prove nothing."
    pairs = [pair for pair in comparison["pairs"] if pair["p_holm"] is None]
    if not pairs:
        return ReportSection("exploratory", "Exploratory comparisons", reading, [ReportText("There are none.")])
    lines = [
        (
            pair["measure"],
            f"{pair['second']} - {pair['first']}",
            str(pair["questions"]),
            _difference(pair),
            f"{pair['p']:.3g}",
        )
        for pair in pairs[:_EXPLORATORY]
    ]
    caption = f"{len(lines)} of {counted(len(pairs), 'comparison')}; comparison.md has all"
    columns = ("measure", "runs", "questions", "difference", "p")
    blocks = [ReportTable(caption, columns, lines, left=2, folded=True)]
    return ReportSection("exploratory", "Exploratory comparisons", reading, blocks)


def _higher_is_better(comparison: JsonObject) -> bool:
    return next((one.higher_is_better for one in measures() if one.name == comparison["primary"]), True)


def _difference(pair: JsonObject) -> str:
    return f"{pair['difference']:+.3f} [{pair['ci_low']:+.3f}, {pair['ci_high']:+.3f}]".replace("-", "−")


def _worse(pair: JsonObject, margin: float | None) -> str:
    if margin is None or pair.get("not_worse") is None:
        return ""
    return f" It {'is not' if pair['not_worse'] else 'may be'} worse by more than {margin}."


def _few(pair: JsonObject, contrasts: int) -> str:
    """With few groups, all differences agree in sign by chance too often."""
    groups = pair.get("groups")
    if groups is None or contrasts * 2.0 ** (1 - groups) <= LEVEL:
        return ""
    return f" With {groups} groups of dependent questions, no difference can be significant."


def _optional(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"

"""Makes the report of a comparison from `comparison.json`. Reads no run and tests nothing anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdsframe.artifacts.files import write_text
from cdsframe.evaluation.contrasts import LEVEL, can_be_significant, measures
from cdsframe.evaluation.report.blocks import (
    ReportBlock,
    ReportPage,
    ReportPlot,
    ReportSection,
    ReportTable,
    ReportText,
)
from cdsframe.evaluation.report.compared_runs import cost, runs
from cdsframe.evaluation.report.html import to_html
from cdsframe.evaluation.report.numbers import counted, unpadded
from cdsframe.evaluation.report.plots import forest
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
        runs(comparison),
        cost(comparison),
    )
    under = [
        f"{counted(len(comparison['runs']), 'run')}, {counted(comparison['questions'], 'question')}",
        f"primary measure: {comparison['primary']}; baseline: {comparison['baseline']}",
    ]
    return ReportPage("Comparison of runs", under, (*sections, _exploratory(comparison)))


def _summary(comparison: JsonObject, contrasts: Sequence[JsonObject]) -> ReportSection:
    reading = (
        "Only the comparisons with the baseline by the primary measure are tested; significant means that a difference "
        f"like this is rare if there is none (p, adjusted by Holm, of at most {unpadded(str(LEVEL))})."
    )
    blocks: list[ReportBlock] = []
    if not contrasts:
        blocks.append(ReportText("No run could be compared with the baseline by the primary measure."))
    higher = _higher_is_better(comparison)
    blocks += [_verdict(pair, higher, comparison.get("margin"), len(contrasts)) for pair in contrasts]
    blocks.append(
        ReportText(
            "The tests are of these runs. Another training seed gives another adapter: a claim about a method needs "
            "several seeds (evaluation=methods)."
        )
    )
    return ReportSection("summary", "In short", reading, blocks)


def _verdict(pair: JsonObject, higher_is_better: bool, margin: float | None, contrasts: int) -> ReportText:
    better = (pair["difference"] > 0) == higher_is_better
    verdict = "shows no significant difference to"
    if pair["significant"]:
        verdict = f"is significantly {'better' if better else 'worse'} than"
    text = f"{verdict} {pair['first']}: {_difference(pair)}, adjusted p {unpadded(format(pair['p_holm'], '.2g'))}."
    if margin is not None and pair.get("not_worse") is not None and not (pair["significant"] and better):
        text += f" It {'is not' if pair['not_worse'] else 'may be'} worse by more than {unpadded(str(margin))}."
    groups = pair.get("groups")
    if groups is not None and not can_be_significant(groups, contrasts):
        text += f" With {counted(groups, 'group')} of dependent questions, no difference can be significant."
    return ReportText(text, pair["second"])


def _contrasts(comparison: JsonObject, contrasts: Sequence[JsonObject]) -> ReportSection:
    margin = comparison.get("margin")
    higher = _higher_is_better(comparison)
    reading = (
        f"Each row is a run minus the baseline; {'right' if higher else 'left'} of 0 the run is better, and an "
        "interval across 0 agrees with no difference."
    )
    if margin is not None:
        reading += (
            f" The dashed line is the margin of {unpadded(str(margin))}: a run whose whole interval is on its "
            f"{'right' if higher else 'left'} is not worse by that much."
        )
    if not contrasts:
        return ReportSection("contrasts", "Compared with the baseline", reading, [ReportText("There are none.")])
    rows = [(pair["second"], Interval(pair["difference"], pair["ci_low"], pair["ci_high"])) for pair in contrasts]
    line = None if margin is None else -margin if higher else margin
    title = f"{comparison['primary']}: difference to {comparison['baseline']}"
    blocks: list[ReportBlock] = [
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
            unpadded(f"{pair['p']:.2g}"),
            unpadded(f"{pair['p_holm']:.2g}"),
            "yes" if pair["significant"] else "no",
            _optional(pair.get("found_from")),
            not_worse[pair.get("not_worse")],
            _optional(pair.get("questions_for_margin")),
        )
        for pair in contrasts
    ]
    return ReportTable("Primary comparisons", ("run", *names), lines)


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
            unpadded(f"{pair['p']:.2g}"),
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
    return unpadded(f"{pair['difference']:+.3f} [{pair['ci_low']:+.3f}, {pair['ci_high']:+.3f}]")


def _optional(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else unpadded(f"{value:.3f}")

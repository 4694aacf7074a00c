"""The sections on the measures of a run: the summary in words, and all metrics with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cdsframe.evaluation.report.blocks import ReportBlock, ReportPlot, ReportSection, ReportTable, ReportText
from cdsframe.evaluation.report.labels import PLOTTED, label
from cdsframe.evaluation.report.numbers import bounded, counted, metric, metric_text, percent, share, unpadded
from cdsframe.evaluation.report.outcomes import ANSWERED, MISS, NOT_SHOWN, READING, RIGHT, WRONG, WRONG_REFUSAL
from cdsframe.evaluation.report.plots import forest
from cdsframe.evaluation.statistics.intervals import FEW_GROUPS
from cdsframe.types import JsonObject, Metrics

_REMEDIES = {
    MISS: "Look at the retriever, the chunking and the documents first",
    NOT_SHOWN: "Look at the prompt's length (prompt.max_tokens) and the number and length of passages first",
    WRONG_REFUSAL: "Look at the prompt, the unanswerable training questions and the calibration's threshold first",
    READING: "Look at the model and the adapter first",
    WRONG: "Without passages, the model answers from memory; compare with a run that retrieves",
}


def summary(rows: Sequence[JsonObject], kinds: Sequence[str], metrics: Metrics) -> ReportSection:
    """What the run shows, in sentences that need no knowledge of the metrics."""
    reading = "Brackets hold 95 % intervals: values outside them do not agree well with these answers."
    if not rows:
        return ReportSection("summary", "In short", reading, [ReportText("The run has no questions.")])
    known = [one for one in zip(rows, kinds, strict=True) if one[0]["answerable"]]
    blocks: list[ReportBlock] = [ReportText(_asked(rows))]
    if known:
        right = share([float(kind == RIGHT) for _, kind in known], [row for row, _ in known])
        doses = sum(bool(row.get("wrong_dose")) for row, _ in known)
        asked = counted(len(known), "answerable question")
        text = f"of {asked} are answered correctly (F1 of .5 or more, no wrong dose)."
        blocks.append(ReportText(text, percent(right)))
        text = f"{doses:,} (an answer states a mass, volume, rate or time that the gold answer does not have)."
        blocks.append(ReportText(text, "Wrong doses:"))
        blocks += _most_frequent([kind for _, kind in known if kind != RIGHT], len(known))
    blocks += _refusals(rows, kinds)
    if (naive := metric(metrics, "qa/always_refuse/f1_all")) and (ours := metric(metrics, "qa/f1_all")):
        text = f"Over all questions, F1 is {bounded(ours)}; refusing every question would score {bounded(naive)}."
        blocks.append(ReportText(text))
    return ReportSection("summary", "In short", reading, blocks)


def measures(metrics: Metrics) -> ReportSection:
    """The main measures as a forest plot, F1 by question type, and the table of all metrics."""
    reading = (
        "A point is the measured value, its bar the 95 % interval: the true values that agree with these answers; 1 is "
        "the best value unless the label says otherwise."
    )
    names = [name for name in metrics if not name.endswith(("/ci_low", "/ci_high"))]
    if not names:
        return ReportSection("measures", "Measures", reading, [ReportText("The run has no metrics.")])
    typed = [name for name in names if name.endswith("/f1") and label(name).startswith("F1, type ")]
    recalls = sorted(name for name in names if name.startswith("retrieval/recall@") and name not in PLOTTED)
    drawn = [name for name in (*PLOTTED, *recalls, *typed) if metric(metrics, name)]
    blocks: list[ReportBlock] = []
    if rows := [(label(name), one) for name in drawn if (one := metric(metrics, name))]:
        blocks.append(ReportPlot("Main measures", forest("Main measures with their intervals", rows, "from 0 to 1")))
    blocks.append(
        ReportTable(
            f"Measures ({len(names)})",
            ("measure", "key", "value", "95 % interval"),
            [(label(name), name, *_cells(metrics, name)) for name in names],
            left=2,
        )
    )
    return ReportSection("measures", "Measures", reading, blocks)


def _cells(metrics: Metrics, name: str) -> tuple[str, str]:
    found = metric(metrics, name)
    return (
        (metric_text(metrics, name), "")
        if found is None
        else (unpadded(f"{found.value:.3f}"), unpadded(f"{found.low:.3f} to {found.high:.3f}"))
    )


def _asked(rows: Sequence[JsonObject]) -> str:
    groups = len({row.get("group") or f" {number}" for number, row in enumerate(rows)})
    known = sum(bool(row["answerable"]) for row in rows)
    text = (
        f"{counted(len(rows), 'question')}: {known:,} that the documents answer and {len(rows) - known:,} that they do "
        f"not. They form {counted(groups, 'group')} of dependent questions, which the intervals count."
    )
    few = f" With fewer than {FEW_GROUPS} groups, nothing certain can be said." if groups < FEW_GROUPS else ""
    return text + few


def _most_frequent(wrong: Sequence[str], answerable: int) -> list[ReportBlock]:
    """The most frequent kind of error and where to look; a tie goes to the earlier stage of the pipeline."""
    if not wrong:
        return [ReportText("No answerable question was answered incorrectly.")]
    counts = Counter(wrong)
    kind = max(_REMEDIES, key=lambda name: counts[name])
    text = f"is the most frequent error, {counts[kind]:,} of {answerable:,} answerable questions. {_REMEDIES[kind]}."
    return [ReportText(text, kind[0].upper() + kind[1:])]


def _refusals(rows: Sequence[JsonObject], kinds: Sequence[str]) -> list[ReportBlock]:
    unknown = [one for one in zip(rows, kinds, strict=True) if not one[0]["answerable"]]
    if not unknown:
        return [
            ReportText(
                "All questions have an answer in the documents: the run does not show whether the system refuses."
            )
        ]
    invented = share([float(kind == ANSWERED) for _, kind in unknown], [row for row, _ in unknown])
    text = f"of {counted(len(unknown), 'question')} that the documents do not answer are answered instead of refused."
    return [ReportText(text, percent(invented))]

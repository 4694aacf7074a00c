"""The sections on retrieval by k, confidence, and cost of a run."""

from __future__ import annotations

from collections.abc import Sequence

from cdsframe.evaluation.ranking import score_rankings
from cdsframe.evaluation.report.blocks import ReportBlock, ReportPlot, ReportSection, ReportTable, ReportText
from cdsframe.evaluation.report.numbers import bounded, counted, quantity, share, unpadded
from cdsframe.evaluation.report.outcomes import is_right, ranked, relevant_ids
from cdsframe.evaluation.report.plots import PlotPoint, curves, histogram, reliability
from cdsframe.evaluation.statistics import Interval
from cdsframe.types import JsonObject

DEPTH = 10
_BINS, _PER_BIN = 10, 10
"""Most bins of the reliability diagram, and fewest answers of a bin."""
_BARS = 20


def retrieval(rows: Sequence[JsonObject]) -> ReportSection:
    """recall@k and nDCG@k for k from 1 to 10, over the questions whose evidence is in the index."""
    reading = (
        "At each k, recall is the share of a question's evidence passages among the first k, and nDCG is higher the "
        "earlier they stand; where the curve is flat, more passages do not help."
    )
    known = [row for row in rows if relevant_ids(row)]
    if not any(ranked(row) for row in known):
        text = "No passages were retrieved for questions with known evidence, so there is nothing to measure."
        return ReportSection("retrieval", "Retrieval by k", reading, [ReportText(text)])
    recall, ndcg = by_k(known)
    named = (("s1", recall), ("s2", ndcg))
    series = [(style, [PlotPoint(k, one) for k, one in enumerate(values, start=1)]) for style, values in named]
    shown = [row["recall@shown"] for row in known if "recall@shown" in row]
    text = f"{counted(len(known), 'question')} with known evidence."
    if shown:
        found = share(shown, [row for row in known if "recall@shown" in row])
        text += f" The prompt shows {bounded(found)} of the evidence passages (recall@shown)."
    lines = [(str(k), bounded(recall[k - 1]), bounded(ndcg[k - 1])) for k in range(1, DEPTH + 1)]
    blocks: list[ReportBlock] = [
        ReportText(text),
        ReportPlot(
            "Retrieval by k",
            curves("recall and nDCG of the first k passages", series, "k, number of passages", "mean over questions"),
            [("s1", "recall@k"), ("s2", "nDCG@k")],
        ),
        ReportTable("Retrieval by k", ("k", "recall@k", "nDCG@k"), lines, left=0),
    ]
    return ReportSection("retrieval", "Retrieval by k", reading, blocks)


def by_k(rows: Sequence[JsonObject]) -> tuple[list[Interval], list[Interval]]:
    """recall@k and nDCG@k with intervals, for k from 1 to 10, by ir-measures."""
    names = [str(place) for place in range(len(rows))]
    qrels = {
        name: {id: int(grade) for id, grade in row["relevant"].items()} for name, row in zip(names, rows, strict=True)
    }
    rankings = {name: ranked(row) for name, row in zip(names, rows, strict=True)}
    measures = {f"{name}{k}": f"{name}@{k}" for name in ("R", "nDCG") for k in range(1, DEPTH + 1)}
    values = score_rankings(qrels, rankings, measures)
    recall, ndcg = ([share(values[f"{name}{k}"], rows) for k in range(1, DEPTH + 1)] for name in ("R", "nDCG"))
    return recall, ndcg


def confidence(rows: Sequence[JsonObject]) -> ReportSection:
    """The reliability diagram: bins of equal mass, the share of right answers of each, with its interval."""
    reading = (
        "Each point is a bin of answers with similar stated probability; on the diagonal, answers are right as often "
        "as they say, below it less often."
    )
    stated = [
        row for row in rows if (row.get("confidence") or {}).get("probability") is not None and not row["refused"]
    ]
    if not stated:
        text = "The answers state no probability: the run has no calibration (evaluation=calibrate makes one)."
        return ReportSection("confidence", "Confidence", reading, [ReportText(text)])
    bins = reliability_bins(stated)
    size = len(stated)
    error = sum(count / size * abs(stated_mean - right.value) for count, stated_mean, right in bins)
    brier = share([(row["confidence"]["probability"] - is_right(row)) ** 2 for row in stated], stated)
    text = (
        f"{counted(size, 'answer')} with a probability; refusals have none. The expected calibration error over these "
        f"bins is {unpadded(format(error, '.3f'))}, the Brier score {bounded(brier)} (0 is best for both)."
    )
    points = [PlotPoint(mean, right) for _, mean, right in bins]
    lines = [(unpadded(f"{mean:.2f}"), str(count), bounded(right)) for count, mean, right in bins]
    blocks: list[ReportBlock] = [
        ReportText(text),
        ReportPlot("Reliability", reliability("share of right answers against stated probability", points)),
        ReportTable("Reliability", ("mean stated probability", "answers", "share that is right"), lines, left=0),
    ]
    return ReportSection("confidence", "Confidence", reading, blocks)


def reliability_bins(rows: Sequence[JsonObject]) -> list[tuple[int, float, Interval]]:
    """`(answers, mean probability, share of right answers)` of bins of equal mass, of at least ten answers each."""
    import numpy as np

    probabilities = np.array([row["confidence"]["probability"] for row in rows], dtype=float)
    order = np.argsort(probabilities, kind="stable")
    found = []
    for places in np.array_split(order, max(1, min(_BINS, len(rows) // _PER_BIN))):
        own = [rows[place] for place in places]
        right = share([float(is_right(row)) for row in own], own)
        found.append((len(own), float(probabilities[places].mean()), right))
    return found


def cost(rows: Sequence[JsonObject]) -> ReportSection:
    """Distributions of seconds and tokens per question."""
    reading = (
        "The table has the mean, the median, the value that nine of ten questions stay below, and the largest; bars "
        "count questions, the last one also those beyond the axis."
    )
    columns = {
        "seconds to retrieve": ("seconds", "retrieve"),
        "seconds to generate": ("seconds", "generate"),
        "prompt tokens": ("tokens", "prompt"),
        "completion tokens": ("tokens", "completion"),
    }
    measured = {
        name: [float(row[group][key]) for row in rows if key in (row.get(group) or {})]
        for name, (group, key) in columns.items()
    }
    measured = {name: values for name, values in measured.items() if values}
    if not measured:
        text = "The rows of this run hold no seconds and no tokens per question."
        return ReportSection("cost", "Cost", reading, [ReportText(text)])
    blocks: list[ReportBlock] = [
        ReportTable(
            "Cost per question",
            ("", "questions", "mean", "median", "90 %", "largest", "sum"),
            [(name, str(len(values)), *_spread(values)) for name, values in measured.items()],
        )
    ]
    for name, values in measured.items():
        counts, top = _bars(values)
        title = f"{name} per question"
        blocks.append(ReportPlot(title[0].upper() + title[1:], histogram(title, counts, top, name)))
    return ReportSection("cost", "Cost", reading, blocks)


def _spread(values: Sequence[float]) -> list[str]:
    import numpy as np

    found = (np.mean(values), np.median(values), np.percentile(values, 90), max(values), sum(values))
    return [quantity(float(value)) for value in found]


def _bars(values: Sequence[float]) -> tuple[list[int], float]:
    """Counts in bars of equal width, and the axis's end: the 99th percentile, so that one value cannot stretch it."""
    import numpy as np

    top = float(np.percentile(values, 99)) or max(values) or 1.0
    counts, _ = np.histogram(np.minimum(values, top), bins=_BARS, range=(0, top))
    return [int(count) for count in counts], top

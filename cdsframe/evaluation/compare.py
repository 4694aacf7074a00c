"""Compares runs in pairs on the same questions: after each job of a multirun, and by `evaluation=compare`.

The test is the sign-flip test over groups of questions, or exact McNemar (see `cdsframe.evaluation.statistics`);
p-values are adjusted by Holm over all pairs of a measure. Reads the files of finished runs; generates no answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, read_json, read_jsonl, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError
from cdsframe.evaluation.naming import name_runs, read_settings
from cdsframe.evaluation.picture import draw
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.statistics import Difference, holm, paired_differences
from cdsframe.evaluation.text import METRICS
from cdsframe.types import JsonObject, Metrics

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
LEVEL = 0.05
"""Significance level of the p-value after Holm's adjustment."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of `predictions.jsonl`, compared over the rows selected by `belongs` that have it in both runs."""

    name: str
    column: str
    belongs: Callable[[JsonObject], bool] = lambda row: True
    printed: bool = True
    """Whether comparisons by this measure are printed; otherwise they are only in `comparison.md`."""


def _answerable(row: JsonObject) -> bool:
    return bool(row.get("answerable", False))


_MEASURES = (
    Measure("F1, answerable", "f1", _answerable),
    Measure("exact match, answerable", "em", _answerable, printed=False),
    Measure("citation precision, answerable", "citation_precision", _answerable),
    Measure("citation recall, answerable", "citation_recall", _answerable),
    Measure("refused, unanswerable", "refused", lambda row: not row.get("answerable", True)),
    Measure("refused, answerable", "refused", _answerable),
    Measure("wrong dose, answerable", "wrong_dose", _answerable, printed=False),
    Measure("accuracy", "correct"),
    Measure("nDCG@10", "ndcg@10"),
)


def _measures() -> list[Measure]:
    """`_MEASURES`, and every other metric of an answer's text."""
    known = {measure.column for measure in _MEASURES}
    others = [Measure(f"{key}, answerable", key, _answerable, printed=False) for key in METRICS if key not in known]
    return [*_MEASURES, *others]


COLUMNS = {
    "F1": "qa/f1", "exact": "qa/em", "wrong dose": "qa/wrong_dose", "cited right": "qa/citation_precision",
    "evidence cited": "qa/citation_recall", "refused, unanswerable": "qa/refusal_recall",
    "refused, answerable": "qa/answerable_refused", "accuracy": "mcq/accuracy", "nDCG@10": "retrieval/ndcg@10",
    "seconds": "qa/seconds_per_question",
}  # fmt: skip
"""Columns of the table: label -> key in `metrics.json`."""


@dataclass(frozen=True)
class FinishedRun:
    """The results of a finished run: its metrics, and its rows by question id."""

    folder: Path
    metrics: Metrics
    rows: dict[str, JsonObject]

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        rows = {row["id"]: row for _, row in read_jsonl(folder / "predictions.jsonl", "predictions")}
        return cls(folder, read_json(folder / "metrics.json", "metrics"), rows)

    @property
    def questions(self) -> dict[str, str]:
        """Question id -> question text. Runs are comparable if these are equal."""
        return {key: row["question"] for key, row in self.rows.items()}


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """`second - first` of one measure: the difference with its interval, and p before and after Holm's adjustment."""

    measure: str
    first: str
    second: str
    questions: int
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float

    @property
    def significant(self) -> bool:
        return self.p_holm < LEVEL

    def __str__(self) -> str:
        verdict = "significant" if self.significant else "not significant"
        return (
            f"{self.measure}: {self.second} - {self.first} = {self.difference:+.3f} [{self.ci_low:+.3f}, "
            f"{self.ci_high:+.3f}], p = {self.p:.3g}, adjusted {self.p_holm:.3g}: {verdict}"
        )


def summarise(sweep_folder: Path) -> str:
    """Compares the finished jobs of a multirun: writes `comparison.{json,md,svg,png}`, returns the text to print.

    Jobs whose questions differ from the first job's are left out, with a warning.
    """
    folders = sorted((f for f in sweep_folder.iterdir() if f.name.isdecimal()), key=lambda folder: int(folder.name))
    runs = [
        FinishedRun.read(f)
        for f in folders
        if all((f / name).is_file() for name in ("metrics.json", "predictions.jsonl"))
    ]
    same = [run for run in runs if run.questions == runs[0].questions]
    if len(same) < len(runs):
        others = ", ".join(run.folder.name for run in runs if run not in same)
        log.warning(
            "jobs with other questions than job %s: %s; they are left out of the comparison",
            runs[0].folder.name,
            others,
        )
    return write(compare(same), sweep_folder) if len(same) > 1 else ""


@declares(asks_generator=False)
def evaluate(run: Run, runs: Annotated[list[InputFolder], Field(min_length=2)]) -> Result:
    """`evaluation=compare`: compares the listed run folders; the headline is the best F1 (or accuracy, or nDCG)."""
    finished = [FinishedRun.read(Path(folder)) for folder in runs]
    for other in finished[1:]:
        if other.questions != finished[0].questions:
            shared = len(other.questions.items() & finished[0].questions.items())
            raise InputError(
                f"evaluation.runs: {other.folder} and {finished[0].folder} have different questions ({shared} are the "
                f"same, of {len(other.questions)} and {len(finished[0].questions)}); evaluate both with the same data, "
                "seed and limit"
            )
    comparison = compare(finished)
    text = write(comparison, run.folder)
    metrics = {
        f"compare/{place}/{key}": value for place, one in enumerate(finished) for key, value in one.metrics.items()
    }
    best = max((one.metrics[key], f"compare/{place}/{key}") for place, one in enumerate(finished)
               for key in _headlines(finished) if key in one.metrics)  # fmt: skip
    run.finish(metrics)
    return Result(metrics, best[1], text)


def _headlines(runs: Sequence[FinishedRun]) -> list[str]:
    """The first of F1, accuracy and nDCG that all runs have, as the only item."""
    shared = [key for key in ("qa/f1", "mcq/accuracy", "retrieval/ndcg@10") if all(key in run.metrics for run in runs)]
    if not shared:
        raise InputError(
            "evaluation.runs: the runs have no common measure; compare runs of one evaluation (qa, mcq or retrieval)"
        )
    return shared[:1]


def compare(runs: Sequence[FinishedRun]) -> JsonObject:
    """The comparison as a JSON object: the runs with their metrics, and every pair of runs by every common measure."""
    names = name_runs([read_settings(run.folder) for run in runs], [run.folder.name for run in runs])
    pairs = [pair for measure in _measures() for pair in _pairs(measure, names, runs)]
    return {
        "format_version": FORMAT_VERSION,
        "questions": len(runs[0].rows),
        "runs": [
            {"name": name, "folder": run.folder.name, "metrics": run.metrics}
            for name, run in zip(names, runs, strict=True)
        ],
        "pairs": [{**asdict(pair), "significant": pair.significant} for pair in pairs],
    }


def _pairs(measure: Measure, names: Sequence[str], runs: Sequence[FinishedRun]) -> list[PairedComparison]:
    """All pairs of runs by one measure, over the questions that have it in both; omits pairs without such questions."""
    import numpy as np

    columns = [
        {key: float(row[measure.column]) for key, row in run.rows.items() if measure.column in row} for run in runs
    ]
    ids = [key for key, row in runs[0].rows.items() if measure.belongs(row)]
    pairs_of: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for first, second in combinations(range(len(runs)), 2):
        if both := tuple(key for key in ids if key in columns[first] and key in columns[second]):
            pairs_of.setdefault(both, []).append((first, second))
    found: dict[tuple[int, int], tuple[int, Difference]] = {}
    for both, pairs in pairs_of.items():
        changes = [[columns[second][key] - columns[first][key] for first, second in pairs] for key in both]
        groups = [runs[0].rows[key].get("group", "") for key in both]
        for pair, difference in zip(pairs, paired_differences(np.array(changes), groups), strict=True):
            found[pair] = len(both), difference
    order = sorted(found)
    adjusted = holm([found[pair][1].p for pair in order])
    return [
        PairedComparison(measure.name, names[pair[0]], names[pair[1]], count, d.value, d.low, d.high, d.p, p_holm)
        for pair, p_holm in zip(order, adjusted, strict=True)
        for count, d in [found[pair]]
    ]


def write(comparison: JsonObject, folder: Path) -> str:
    """Writes `comparison.{json,md,svg,png}`; returns the text to print."""
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", to_text(comparison, every_pair=True))
    draw(comparison, folder / "comparison.svg")
    draw(comparison, folder / "comparison.png")
    return to_text(comparison, every_pair=False)


def to_text(comparison: JsonObject, every_pair: bool) -> str:
    """A Markdown table of the runs, followed by comparisons of pairs.

    Without `every_pair`, only by printed measures, and only of runs that differ in one setting.
    """
    printed = {measure.name for measure in _measures() if measure.printed}
    pairs = [PairedComparison(**{k: v for k, v in pair.items() if k != "significant"}) for pair in comparison["pairs"]]
    shown = [p for p in pairs if every_pair or (p.measure in printed and _differ_in_one(p.first, p.second))]
    lines = [f"{len(comparison['runs'])} runs, {comparison['questions']} questions\n", *_table(comparison["runs"]), ""]
    lines += [f"- {pair}" for pair in shown]
    if len(shown) < len(pairs):
        lines.append(f"\n{len(pairs) - len(shown)} more comparisons are listed in comparison.md.")
    lines.append(f"\np is adjusted by Holm over all pairs of a measure; significant: adjusted p below {LEVEL}.")
    return "\n".join(lines) + "\n"


def _differ_in_one(first: str, second: str) -> bool:
    a, b = first.split(", "), second.split(", ")
    return len(a) != len(b) or sum(x != y for x, y in zip(a, b, strict=True)) == 1


def _table(runs: Sequence[JsonObject]) -> list[str]:
    columns = {label: key for label, key in COLUMNS.items() if any(key in run["metrics"] for run in runs)}
    rows = [
        ["run", *columns],
        *([run["name"], *(_cell(run["metrics"], key) for key in columns.values())] for run in runs),
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _cell(metrics: Metrics, key: str) -> str:
    if key not in metrics:
        return ""
    low, high = metrics.get(f"{key}/ci_low"), metrics.get(f"{key}/ci_high")
    bounds = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return re.sub(r"(?<!\d)0\.", ".", f"{metrics[key]:.2f}{bounds}")

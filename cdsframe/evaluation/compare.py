"""Compares runs on the same questions: after each job of a multirun, and by `evaluation=compare`.

Reads the files of finished runs, or results of other programs (see `cdsframe.evaluation.external_results`). Generates
no answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFile, InputPath, read_json, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError
from cdsframe.evaluation.contrasts import LEVEL, Measure, PairedComparison, can_be_significant, contrast, measures
from cdsframe.evaluation.external_results import read_runs
from cdsframe.evaluation.finished_run import FinishedRun, difference, finished_jobs, require_comparable
from cdsframe.evaluation.naive import naive_rows
from cdsframe.evaluation.naming import name_runs, read_settings
from cdsframe.evaluation.picture import draw
from cdsframe.evaluation.report import write_comparison_report
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.tables import markdown_table
from cdsframe.types import JsonObject, Metrics

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
_USUAL = ("f1", "correct", "ndcg@10", "score")
"""Columns; the first one that all runs have is primary unless another is declared."""

COLUMNS = {
    "F1": "qa/f1", "exact": "qa/em", "wrong dose": "qa/wrong_dose", "cited right": "qa/citation_precision",
    "evidence cited": "qa/citation_recall", "refused, unanswerable": "qa/refusal_recall",
    "refused, answerable": "qa/answerable_refused", "accuracy": "mcq/accuracy",
    "over shifted options": "mcq/permuted_accuracy", "same option": "mcq/same_option", "nDCG@10": "retrieval/ndcg@10",
    "score": "score", "seconds": "qa/seconds_per_question",
}  # fmt: skip
"""Columns of the table: label -> key in `metrics.json`."""


def summarise(sweep_folder: Path) -> str:
    """Compares the finished jobs of a multirun: writes `comparison.{json,md}`, returns the text to print.

    Runs after each job, so it draws nothing (see `illustrate`). The first job is the baseline. Jobs whose questions
    differ from the first job's are left out, with a warning.
    """
    runs = [FinishedRun.read(folder) for folder in finished_jobs(sweep_folder)]
    same = [run for run in runs if not difference(runs[0], run)]
    if len(same) < len(runs):
        others = ", ".join(run.folder.name for run in runs if run not in same)
        log.warning(
            "jobs with other questions than job %s: %s; they are left out of the comparison",
            runs[0].folder.name,
            others,
        )
    return write(compare(same), sweep_folder) if len(same) > 1 else ""


def illustrate(sweep_folder: Path) -> str:
    """Writes the page and the pictures of a multirun's comparison, once at its end; returns an empty text."""
    file = sweep_folder / "comparison.json"
    if file.is_file():
        draw_files(read_json(file, "comparison"), sweep_folder)
    return ""


@declares(asks_generator=False)
def evaluate(
    run: Run,
    runs: Annotated[list[InputPath], Field(min_length=1)],
    qrels: InputFile | None,
    baseline: str | None,
    primary: str | None,
    margin: Annotated[float, Field(gt=0, le=1)] | None,
) -> Result:
    """`evaluation=compare`: compares the listed runs; the headline is the best value of the primary measure."""
    finished = read_runs(runs, qrels)
    require_comparable(finished)
    names = [one.name for one in finished]
    if baseline is not None and baseline not in names:
        raise InputError(f"evaluation.baseline: {baseline} is none of evaluation.runs; use one of {', '.join(names)}")
    comparison = compare(finished, 0 if baseline is None else names.index(baseline), primary, margin)
    text = write(comparison, run.folder)
    draw_files(comparison, run.folder)
    metrics = {
        f"compare/{place}/{key}": value for place, one in enumerate(finished) for key, value in one.metrics.items()
    }
    measure = primary_measure(finished, primary)
    means = [_mean(one, measure) for one in finished]
    metrics |= {f"compare/{place}/primary": mean for place, mean in enumerate(means)}
    best = (max if measure.higher_is_better else min)(range(len(means)), key=lambda place: means[place])
    run.finish(metrics)
    return Result(metrics, f"compare/{best}/primary", text)


def _mean(run: FinishedRun, measure: Measure) -> float:
    return fmean(row[measure.column] for row in run.rows.values() if measure.belongs(row) and measure.column in row)


def compare(
    runs: Sequence[FinishedRun], baseline: int = 0, primary: str | None = None, margin: float | None = None
) -> JsonObject:
    """The comparison as a JSON object: the runs with their metrics, and every pair of runs by every common measure.

    Args:
        baseline: number of the run with which the others are compared by the primary measure.
        primary: column of the primary measure; None: F1, accuracy, nDCG@10 or score, the first that all runs have.
        margin: difference that matters; None: none is declared.
    """
    names = _names(runs)
    chosen = primary_measure(runs, primary)
    rows = [run.rows for run in runs]
    pairs = [
        pair for measure in measures() for pair in contrast(measure, names, rows, baseline, measure == chosen, margin)
    ]
    return {
        "format_version": FORMAT_VERSION,
        "questions": len(runs[0].rows),
        "primary": chosen.name,
        "baseline": names[baseline],
        "margin": margin,
        "runs": [
            {"name": name, "folder": run.folder.name, "metrics": run.metrics}
            for name, run in zip(names, runs, strict=True)
        ],
        "pairs": [{**asdict(pair), "significant": pair.significant} for pair in pairs],
    }


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """Short names: by the settings in which our runs differ, else the folders' or the given names."""
    short = [run.given_name or run.folder.name for run in runs]
    if not any(run.given_name for run in runs) and all((run.folder / "config.yaml").is_file() for run in runs):
        return name_runs([read_settings(run.folder) for run in runs], short)
    return short if len(set(short)) == len(short) else [run.name for run in runs]


def primary_measure(runs: Sequence[FinishedRun], declared: str | None) -> Measure:
    """The primary measure, declared by its column or its name. Raises InputError if not all runs have it."""
    shared = [
        measure
        for measure in measures()
        if all(any(measure.belongs(row) and measure.column in row for row in run.rows.values()) for run in runs)
    ]
    named = {measure.column: measure for measure in reversed(shared)} | {measure.name: measure for measure in shared}
    if declared is not None and declared not in named:
        raise InputError(
            f"evaluation.primary: {declared} is no common measure of the runs; use one of "
            f"{', '.join(dict.fromkeys(name for measure in shared for name in (measure.column, measure.name)))}"
        )
    for name in (declared,) if declared is not None else (*_USUAL, *named):
        if name in named:
            return named[name]
    raise InputError(
        "evaluation.runs: the runs have no common measure; compare runs of one evaluation (qa, mcq or retrieval)"
    )


def write(comparison: JsonObject, folder: Path) -> str:
    """Writes `comparison.{json,md}`; returns the text to print."""
    write_json(folder / "comparison.json", comparison)
    write_text(folder / "comparison.md", to_text(comparison, every_pair=True))
    return to_text(comparison, every_pair=False)


def draw_files(comparison: JsonObject, folder: Path) -> None:
    """Writes the page and the pictures: `comparison.{html,svg,png}`."""
    write_comparison_report(comparison, folder)
    for kind in ("svg", "png"):
        draw(comparison, folder / f"comparison.{kind}")


def to_text(comparison: JsonObject, every_pair: bool) -> str:
    """A Markdown table of the runs, the primary contrasts, and exploratory comparisons of pairs.

    Without `every_pair`, only by printed measures, and only of runs that differ in one setting.
    """
    names = {field.name for field in fields(PairedComparison)}
    pairs = [PairedComparison(**{k: v for k, v in pair.items() if k in names}) for pair in comparison["pairs"]]
    contrasts = [pair for pair in pairs if pair.p_holm is not None]
    others = [pair for pair in pairs if pair.p_holm is None]
    printed = {measure.name for measure in measures() if measure.printed}
    shown = [p for p in others if every_pair or (p.measure in printed and _differ_in_one(p.first, p.second))]
    lines = [f"{len(comparison['runs'])} runs, {comparison['questions']} questions\n", *_table(comparison["runs"]), ""]
    lines += [line for pair in contrasts for line in _contrast(pair, comparison.get("margin"), len(contrasts))]
    family = f"the comparisons with the baseline ({len(contrasts)})"
    lines.append(f"\np is adjusted by Holm over {family}; significant: adjusted p of at most {LEVEL}.")
    lines.append(
        "The tests are of these runs: a claim about a method of training needs several seeds (evaluation=methods)."
    )
    if shown:
        lines += ["\nExploratory, not adjusted for the number of comparisons:\n", *(f"- {pair}" for pair in shown)]
    if len(shown) < len(others):
        lines.append(f"\n{len(others) - len(shown)} more comparisons are listed in comparison.md.")
    return "\n".join(lines) + "\n"


def _contrast(pair: PairedComparison, margin: float | None, contrasts: int) -> list[str]:
    """The lines of a primary contrast: the result, and what this number of questions can show."""
    lines = [f"- {pair}"]
    if pair.groups is not None and not can_be_significant(pair.groups, contrasts):
        lines.append(f"  {pair.groups} groups of dependent questions: no difference can be significant")
    elif pair.found_from is not None:
        lines.append(f"  a true difference of {pair.found_from:.3f} would be found with a probability of .8")
    if margin is not None and pair.not_worse is not None:
        worse = "not worse by more than" if pair.not_worse else "may be worse by more than"
        lines.append(f"  {worse} {margin}")
        if pair.questions_for_margin is not None:
            lines[-1] += f"; to find such a difference takes about {pair.questions_for_margin:,} questions"
    return lines


def _differ_in_one(first: str, second: str) -> bool:
    a, b = first.split(", "), second.split(", ")
    return len(a) != len(b) or sum(x != y for x, y in zip(a, b, strict=True)) == 1


def _table(runs: Sequence[JsonObject]) -> list[str]:
    columns = {label: key for label, key in COLUMNS.items() if any(key in run["metrics"] for run in runs)}
    shown = [*runs, *naive_rows(runs)]
    rows = [[run["name"], *(_cell(run["metrics"], key) for key in columns.values())] for run in shown]
    return markdown_table([["run", *columns], *rows])


def _cell(metrics: Metrics, key: str) -> str:
    if key not in metrics:
        return ""
    low, high = metrics.get(f"{key}/ci_low"), metrics.get(f"{key}/ci_high")
    bounds = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return re.sub(r"(?<!\d)0\.", ".", f"{metrics[key]:.2f}{bounds}")

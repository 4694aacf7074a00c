"""Reads the runs of a factorial comparison and writes its table, its picture and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import checked_by, declares
from cdsframe.errors import InputError
from cdsframe.evaluation.compare import primary_measure
from cdsframe.evaluation.contrasts import Measure, common_groups, measures, score_of
from cdsframe.evaluation.factorial.costs import costs
from cdsframe.evaluation.factorial.design import Cell, Design, read_design
from cdsframe.evaluation.factorial.effects import Contrast, Effect, contrasts, estimate
from cdsframe.evaluation.factorial.picture import draw
from cdsframe.evaluation.factorial.settings import EvaluatedRun
from cdsframe.evaluation.factorial.summary import Analysis, to_json, to_text
from cdsframe.evaluation.finished_run import finished_jobs, require_comparable
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.statistics import interval
from cdsframe.types import Metrics

if TYPE_CHECKING:
    import numpy as np


def runs_problems(runs: list[str], sweep: str | None) -> list[str]:
    """Returns a problem if no runs are given."""
    if runs or sweep is not None:
        return []
    return [
        "evaluation=factorial needs runs: evaluation.sweep=FOLDER of a multirun, or evaluation.runs=[FOLDER,FOLDER]"
    ]


@declares(asks_generator=False)
@checked_by(runs_problems)
def evaluate(
    run: Run,
    runs: list[InputFolder],
    sweep: InputFolder | None,
    factors: Annotated[list[str], Field(min_length=1)] | None,
    baseline: dict[str, str] | None,
    adapters: dict[str, list[str]] | None,
    primary: str | None,
    margin: Annotated[float, Field(gt=0, le=1)],
) -> Result:
    """Estimates what each setting adds, and what settings add together; the headline is the best system's mean.

    Args:
        runs, sweep: folders of finished runs, and of a multirun, whose finished jobs are added.
        factors: settings that are factors (`adapter`, a group, a config path); None: those in which the runs differ.
        baseline: setting -> its baseline level; None: without the component, or the smallest value.
        adapters: name -> folders of adapters that differ only in their training seed; None: found by their manifests.
        primary: column of `predictions.jsonl`; None: F1, accuracy or nDCG@10.
        margin: largest interaction that does not matter.

    Raises InputError if runs have different questions, or a combination of levels has no run.
    """
    folders = {Path(folder).resolve() for folder in runs} | {*(finished_jobs(Path(sweep).resolve()) if sweep else ())}
    if len(folders) < 2:
        raise InputError("evaluation.runs: a factorial comparison needs two finished runs or more")
    found = [EvaluatedRun.read(folder) for folder in sorted(folders)]
    require_comparable([one.results for one in found])
    measure = primary_measure([one.results for one in found], primary)
    design = read_design(found, measure.column, factors, baseline, adapters)
    analysis = analyse(design, found, measure, margin)
    text = to_text(analysis, exploratory=False)
    write_json(run.folder / "factorial.json", to_json(analysis))
    write_text(run.folder / "factorial.md", to_text(analysis, exploratory=True))
    for suffix in ("svg", "png"):
        draw(analysis, run.folder / f"factorial.{suffix}")
    metrics = _metrics(analysis)
    run.finish(metrics)
    means = {f"factorial/cells/{place}": one.value for place, one in enumerate(analysis.systems.values())}
    best = (max if measure.higher_is_better else min)(means, key=lambda key: means[key])
    return Result(metrics, best, text)


def analyse(design: Design, runs: Sequence[EvaluatedRun], measure: Measure, margin: float) -> Analysis:
    """Estimates the effects by the primary measure, and as exploration by every other measure that all runs have."""
    found, inseparable = contrasts(design)
    ids = shared_questions(measure, runs)
    groups = common_groups([one.results.rows for one in runs], ids)
    if len(set(groups)) < 2:
        raise InputError("evaluation.runs: the runs share fewer than two independent groups of questions")
    scores = scores_of(design, measure, ids)
    systems = [
        cell for place, cell in enumerate(scores) if not any(design.same(cell, one) for one in [*scores][:place])
    ]
    return Analysis(
        design, measure, len(ids), len(set(groups)), margin,
        effects=estimate(found, scores, design.families, groups, adjusted=True),
        exploratory=_exploratory(design, runs, found, measure),
        systems={cell: interval(scores[cell].mean(0).tolist(), groups) for cell in systems},
        costs={cell: costs(design.cells[cell]) for cell in systems},
        inseparable=inseparable,
    )  # fmt: skip


def _exploratory(
    design: Design, runs: Sequence[EvaluatedRun], found: Sequence[Contrast], primary: Measure
) -> dict[str, list[Effect]]:
    effects = {}
    for measure in measures():
        ids = shared_questions(measure, runs)
        groups = common_groups([one.results.rows for one in runs], ids)
        if measure != primary and len(set(groups)) > 1:
            scores = scores_of(design, measure, ids)
            effects[measure.name] = estimate(found, scores, design.families, groups, adjusted=False)
    return effects


def shared_questions(measure: Measure, runs: Sequence[EvaluatedRun]) -> list[str]:
    """The ids of the questions that have the measure in every run, sorted."""
    rows = [one.results.rows for one in runs]
    asked = [id for id, row in rows[0].items() if measure.belongs(row)]
    return sorted(id for id in asked if all(measure.column in one[id] for one in rows))


def scores_of(design: Design, measure: Measure, ids: Sequence[str]) -> dict[Cell, np.ndarray]:
    """The scores of each combination, `[replicates, questions]`; runs of one replicate are averaged."""
    import numpy as np

    def of_cell(replicates: Mapping[str, Sequence[EvaluatedRun]]) -> np.ndarray:
        return np.array(
            [
                np.mean([[score_of(run.results.rows[id], measure.column) for id in ids] for run in own], axis=0)
                for own in replicates.values()
            ]
        )

    return {cell: of_cell(replicates) for cell, replicates in design.cells.items()}


def _metrics(analysis: Analysis) -> Metrics:
    metrics: Metrics = {}
    for effect in analysis.effects:
        key, one = f"factorial/{effect.contrast.key}", effect.estimate
        metrics |= {key: one.value, f"{key}/ci_low": one.low, f"{key}/ci_high": one.high, f"{key}/p": one.p}
        metrics[f"{key}/p_holm"] = float(effect.p_holm if effect.p_holm is not None else one.p)
    for place, (cell, mean) in enumerate(analysis.systems.items()):
        key = f"factorial/cells/{place}"
        metrics |= {key: mean.value, f"{key}/ci_low": mean.low, f"{key}/ci_high": mean.high}
        metrics |= {f"{key}/{name}": value for name, value in analysis.costs[cell].items()}
    return metrics

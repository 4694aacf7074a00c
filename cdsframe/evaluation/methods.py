"""`evaluation=methods`: compares methods, each evaluated with several seeds of its training, on the same questions.

Reads the folders of finished runs; generates no answers. `evaluation=compare` compares single runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError
from cdsframe.evaluation.compare import primary_measure
from cdsframe.evaluation.contrasts import PairedComparison, common_groups, score_of
from cdsframe.evaluation.finished_run import FinishedRun, require_comparable
from cdsframe.evaluation.naive import naive_means
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.statistics import holm, seeds_difference
from cdsframe.evaluation.statistics.seeds import ENOUGH
from cdsframe.types import Metrics

if TYPE_CHECKING:
    import numpy as np

Runs = Annotated[list[InputFolder], Field(min_length=2)]


@declares(asks_generator=False)
def evaluate(
    run: Run, methods: Annotated[dict[str, Runs], Field(min_length=2)], baseline: str | None, primary: str | None
) -> Result:
    """Compares each method with the baseline by the primary measure; p is adjusted by Holm over these comparisons.

    Args:
        methods: name -> folders of its runs, one for each seed of the training.
        baseline: name of a method; None: the first.
        primary: column of `predictions.jsonl`; None: F1, accuracy or nDCG@10.
    """
    import numpy as np

    if baseline is not None and baseline not in methods:
        raise InputError(f"evaluation.baseline: {baseline} is no method; use one of {', '.join(methods)}")
    base = baseline if baseline is not None else next(iter(methods))
    finished = {name: [FinishedRun.read(Path(folder)) for folder in folders] for name, folders in methods.items()}
    every = [one for runs in finished.values() for one in runs]
    require_comparable(every)
    measure = primary_measure(every, primary)
    rows = every[0].rows
    asked = [id for id, row in rows.items() if measure.belongs(row)]
    ids = [id for id in asked if all(measure.column in one.rows[id] for one in every)]
    groups = common_groups([one.rows for one in every], ids)
    if len(set(groups)) < 2:
        raise InputError("evaluation.methods: the runs share fewer than two independent groups of questions")
    scores = {
        name: np.array([[score_of(one.rows[id], measure.column) for id in ids] for one in runs])
        for name, runs in finished.items()
    }
    metrics: Metrics = {}
    for name, table in scores.items():
        metrics |= {f"methods/{name}": float(table.mean()), f"methods/{name}/seeds": float(len(table))}
        metrics[f"methods/{name}/seeds_sd"] = float(table.mean(1).std(ddof=1))
    others = [name for name in scores if name != base]
    found = {name: seeds_difference(scores[base], scores[name], groups) for name in others}
    adjusted = dict(zip(others, holm([found[name].p for name in others]), strict=True))
    lines = [f"{measure.name}, {len(ids)} questions"]
    lines += [f"- {name}: {table.mean():.3f}, by seed {_written(table)}" for name, table in scores.items()]
    shown = [{"name": name, "metrics": one.metrics} for name, runs in finished.items() for one in runs[:1]]
    lines += [f"- {name}: {mean:.3f}" for name, mean in naive_means(shown, measure.metric).items()]
    for name, one in found.items():
        key = f"methods/{name}_minus_{base}"
        metrics |= {key: one.value, f"{key}/ci_low": one.low, f"{key}/ci_high": one.high, f"{key}/p": one.p}
        pair = PairedComparison(measure.name, base, name, len(ids), one.value, one.low, one.high, one.p, adjusted[name])
        enough = min(len(scores[base]), len(scores[name])) >= ENOUGH
        about = "" if enough else f"; fewer than {ENOUGH} seeds: this describes these adapters, not the method"
        lines.append(f"- {pair}{about}")
    text = "\n".join(lines) + "\n"
    write_json(run.folder / "methods.json", {"format_version": 1, "measure": measure.name, "metrics": metrics})
    write_text(run.folder / "methods.md", text)
    run.finish(metrics)
    best = (max if measure.higher_is_better else min)(scores, key=lambda name: metrics[f"methods/{name}"])
    return Result(metrics, f"methods/{best}", text)


def _written(table: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in table.mean(1))

"""`evaluation=paper`: the exam results of arXiv 2505.03406 beside those of finished runs, with what differs.

Reads the runs' folders; asks no model. Shows only figures of the paper that are recorded with their source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFile, InputFolder, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import declares
from cdsframe.evaluation.exams.paper_results import paired, read_figures, read_results
from cdsframe.evaluation.exams.paper_table import paper_table, remarks
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.statistics import holm
from cdsframe.types import Metrics

_MEASURES = ("accuracy", "permuted_accuracy", "majority_letter", "longest_option", "chance", "questions")


@declares(asks_generator=False)
def evaluate(run: Run, runs: Annotated[list[InputFolder], Field(min_length=1)], figures: InputFile) -> Result:
    """Writes `paper.md` and `paper.json`: a row for each exam, the paper's figures and ours.

    Ours have 95 % intervals, the accuracies of strategies without knowledge, and the paired difference of each run to
    the first run on the same questions, p adjusted by Holm over all differences. Metrics name runs by their number.

    Args:
        runs: folders of `evaluation=lm_eval` or `mcq`; the first is the baseline.
        figures: JSON Lines: `task`, `quantity` (base, tuned or gain), `value` from -1 to 1, `source`; optionally
            `questions` and `note`.
    """
    known = read_figures(figures)
    results = read_results([Path(folder) for folder in runs])
    tasks = list(dict.fromkeys([*results, *(str(figure["task"]) for figure in known)]))
    pairs = {
        (task, other.number): pair
        for task, own in results.items()
        for other in own[1:]
        if (pair := paired(own[0], other)) is not None
    }
    adjusted = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    metrics: Metrics = {}
    for task, own in results.items():
        for one in own:
            for name in _MEASURES:
                keys = (name, f"{name}/ci_low", f"{name}/ci_high")
                found = {key: one.metrics[f"mcq/{key}"] for key in keys if f"mcq/{key}" in one.metrics}
                metrics |= {f"paper/{task}/{one.number}/{key}": value for key, value in found.items()}
    text = paper_table(tasks, known, results, pairs, adjusted) + remarks(known, results)
    write_text(run.folder / "paper.md", text)
    differences = [
        {"task": task, "run": number, "difference": pair.value, "ci_low": pair.low, "ci_high": pair.high, "p": pair.p,
         "p_holm": adjusted[task, number]}
        for (task, number), pair in pairs.items()
    ]  # fmt: skip
    names = {task: {one.number: one.run for one in own} for task, own in results.items()}
    content = {"format_version": 1, "figures": known, "runs": names, "ours": metrics, "differences": differences}
    write_json(run.folder / "paper.json", content)
    run.finish(metrics)
    return Result(metrics, next(iter(metrics)), text)

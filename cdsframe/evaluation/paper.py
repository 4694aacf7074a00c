"""`evaluation=paper`: the exam results of arXiv 2505.03406 beside those of finished runs, with what differs.

Reads the runs' folders; asks no model. Shows only figures of the paper that are recorded with their source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cdsframe.artifacts.files import InputFile, InputFolder, read_jsonl, write_json, write_text
from cdsframe.artifacts.run import Run
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError, named
from cdsframe.evaluation.contrasts import common_groups
from cdsframe.evaluation.exam_scoring import decided, exam_metrics
from cdsframe.evaluation.finished_run import FinishedRun, difference
from cdsframe.evaluation.naming import Settings, name_runs, read_settings
from cdsframe.evaluation.result import Result
from cdsframe.evaluation.statistics import Difference, holm, paired_difference
from cdsframe.types import JsonObject, Metrics

_QUANTITIES = {"base": "paper, base", "tuned": "paper, tuned", "gain": "paper, tuned - base"}
"""Quantity of a figure -> its column in the table."""
_QUESTIONS = ("evaluation.task", "evaluation.path", "evaluation.sample")
"""Config paths that choose questions, which the table's first column shows."""
_OF_THE_PAPER = (
    "The paper's model is Llama-3.2-3B-Instruct, tuned in NF4. Its figures have no intervals. How it asked (prompt, "
    "examples, scoring) is not recorded here."
)


@dataclass(frozen=True)
class OwnResult:
    """A run's results on one task: `finished` has its rows only."""

    run: str
    settings: Settings
    finished: FinishedRun

    @property
    def metrics(self) -> Metrics:
        return self.finished.metrics

    @property
    def rows(self) -> Mapping[str, JsonObject]:
        return self.finished.rows


@declares(asks_generator=False)
def evaluate(run: Run, runs: Annotated[list[InputFolder], Field(min_length=1)], figures: InputFile) -> Result:
    """Writes `paper.md` and `paper.json`: a row for each exam, the paper's figures and ours.

    Ours have 95 % intervals, the share of the most frequent right letter, and the paired difference of each run to the
    first run on the same questions, p adjusted by Holm over all differences.

    Args:
        runs: folders of `evaluation=lm_eval` or `mcq`; the first is the baseline.
        figures: JSON Lines: `task`, `quantity` (base, tuned or gain), `value` from -1 to 1, `source`; optionally
            `questions` and `note`.
    """
    known = read_figures(figures)
    results = _results([Path(folder) for folder in runs])
    tasks = list(dict.fromkeys([*results, *(str(figure["task"]) for figure in known)]))
    pairs = {
        (task, other.run): pair
        for task, own in results.items()
        for other in own[1:]
        if (pair := _paired(own[0], other)) is not None
    }
    adjusted = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    metrics: Metrics = {}
    for task, own in results.items():
        for one in own:
            for name in ("accuracy", "permuted_accuracy", "majority_letter", "chance", "questions"):
                keys = (name, f"{name}/ci_low", f"{name}/ci_high")
                found = {key: one.metrics[f"mcq/{key}"] for key in keys if f"mcq/{key}" in one.metrics}
                metrics |= {f"paper/{task}/{one.run}/{key}": value for key, value in found.items()}
    text = _table(tasks, known, results, pairs, adjusted) + _remarks(known, results)
    write_text(run.folder / "paper.md", text)
    differences = [
        {"task": task, "run": name, "difference": pair.value, "ci_low": pair.low, "ci_high": pair.high, "p": pair.p,
         "p_holm": adjusted[task, name]}
        for (task, name), pair in pairs.items()
    ]  # fmt: skip
    content = {"format_version": 1, "figures": known, "ours": metrics, "differences": differences}
    write_json(run.folder / "paper.json", content)
    run.finish(metrics)
    return Result(metrics, next(iter(metrics)), text)


def read_figures(path: str) -> list[JsonObject]:
    """Reads figures of the paper. Raises InputError, with the line, if one is incomplete or has no source."""
    found = []
    for number, record in read_jsonl(path, "evaluation.figures"):
        where, value = f"evaluation.figures: {path}, line {number}", record.get("value")
        if not isinstance(record.get("task"), str) or record.get("quantity") not in _QUANTITIES:
            raise InputError(f"{where}: expected task, and quantity: {', '.join(_QUANTITIES)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise InputError(f"{where}: value must be a share from -1 to 1 (2.64 points are 0.0264)")
        if not isinstance(record.get("source"), str) or not record["source"].strip():
            raise InputError(f"{where}: source must say where the figure is from; figures without one are not shown")
        found.append(record)
    return found


def _results(folders: Sequence[Path]) -> dict[str, list[OwnResult]]:
    """Task -> the results of the runs that have it, in the order of the runs."""
    parts: dict[str, list[FinishedRun]] = {}
    for folder in folders:
        rows: dict[str, dict[str, JsonObject]] = {}
        for id, row in FinishedRun.read(folder).rows.items():
            rows.setdefault(str(row.get("task") or row.get("dataset") or "exam"), {})[id] = row
        for task, own in rows.items():
            metrics = exam_metrics(list(own.values()), f"evaluation.runs: {folder}")
            parts.setdefault(task, []).append(FinishedRun(folder, metrics, own))
    settings = {folder: read_settings(folder) for folder in folders}
    found = {}
    for task, runs in parts.items():
        names = _names([settings[one.folder] for one in runs], [str(one.folder) for one in runs])
        found[task] = [OwnResult(name, settings[one.folder], one) for name, one in zip(names, runs, strict=True)]
    return found


def _names(settings: Sequence[Settings], folders: Sequence[str]) -> list[str]:
    """A name for each run of a task: base or tuned, and what else differs in how the exam was asked."""
    if len(settings) == 1:
        return ["tuned" if settings[0].values.get("adapter") else "base"]
    kept = [
        Settings(one.choices, {path: value for path, value in one.values.items() if path not in _QUESTIONS})
        for one in settings
    ]
    return name_runs(kept, folders)


def _paired(base: OwnResult, other: OwnResult) -> Difference | None:
    """`other - base` on the same questions. Raises InputError if a question differs; None if they have other ones."""
    if base.rows.keys() != other.rows.keys():
        return None
    if reason := difference(base.finished, other.finished):
        raise InputError(f"evaluation.runs: {other.run} and {base.run} {reason}; evaluate both in the same way")
    ids = list(base.rows)
    groups = common_groups([base.rows, other.rows], ids)
    first, second = ([decided(one.rows[id])["correct"] for id in ids] for one in (base, other))
    return paired_difference(first, second, groups)


def _table(
    tasks: Sequence[str],
    figures: Sequence[JsonObject],
    results: Mapping[str, Sequence[OwnResult]],
    pairs: Mapping[tuple[str, str], Difference],
    adjusted: Mapping[tuple[str, str], float],
) -> str:
    """Markdown: a line for each task and run; the paper's figures stand in the first line of their task."""
    recorded = {(str(figure["task"]), str(figure["quantity"])): float(figure["value"]) for figure in figures}
    shown = [quantity for quantity in _QUANTITIES if any(key[1] == quantity for key in recorded)]
    head = ["exam", *(_QUANTITIES[quantity] for quantity in shown), "ours", "questions", "accuracy"]
    head += ["over shifted options", "majority letter", "difference to the first run"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for task in tasks:
        papers = [
            "" if (value := recorded.get((task, quantity))) is None else _points(value, quantity) for quantity in shown
        ]
        for number, one in enumerate(results.get(task, ())):
            key = (task, one.run)
            cells = [task, *(papers if number == 0 else [""] * len(shown)), one.run]
            cells += [f"{one.metrics['mcq/questions']:.0f}", _with_interval(one.metrics, "mcq/accuracy")]
            cells += [_with_interval(one.metrics, "mcq/permuted_accuracy"), f"{one.metrics['mcq/majority_letter']:.3f}"]
            cells += [_written(pairs[key], adjusted[key]) if key in pairs else ""]
            lines.append("| " + " | ".join(cells) + " |")
        if task not in results:
            lines.append("| " + " | ".join([task, *papers, "not run", *[""] * 5]) + " |")
    return "\n".join(lines) + "\n"


def _points(value: float, quantity: str) -> str:
    return f"{value:+.4f}" if quantity == "gain" else f"{value:.4f}"


def _with_interval(metrics: Metrics, name: str) -> str:
    if name not in metrics:
        return ""
    return f"{metrics[name]:.3f} [{metrics[f'{name}/ci_low']:.3f}, {metrics[f'{name}/ci_high']:.3f}]"


def _written(pair: Difference, adjusted: float) -> str:
    return f"{pair.value:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}], p = {pair.p:.3g}, adjusted {adjusted:.3g}"


def _remarks(figures: Sequence[JsonObject], results: Mapping[str, Sequence[OwnResult]]) -> str:
    """Sources, how our runs asked, and where their questions are not the paper's."""
    lines = ["", "The paper's figures that are recorded here, with their source; others are not known here:", ""]
    for figure in figures:
        note = f" ({figure['note']})" if figure.get("note") else ""
        lines.append(f"- {figure['task']}, {_QUANTITIES[figure['quantity']]}: {figure['source']}{note}")
    lines += ["", "What differs:", "", f"- {_OF_THE_PAPER}"]
    numbers = {str(figure["task"]): figure["questions"] for figure in figures if figure.get("questions")}
    for task, own in results.items():
        for one in own:
            asked, paper = len(one.rows), numbers.get(task)
            of_paper = f" (the paper: {paper})" if paper not in (None, asked) else ""
            lines.append(f"- {one.run}, {task}: {asked} questions{of_paper}; {_how(one)}")
    return "\n".join(lines) + "\n"


def _how(result: OwnResult) -> str:
    """Model, adapter, precision, form and number of examples of a run."""
    rows, values = list(result.rows.values()), result.settings.values
    adapter = f", adapter {named(Path(str(values['adapter'])).name)}" if values.get("adapter") else ", no adapter"
    facts = {
        "quantization": {str(result.settings.choices.get("quantization"))},
        "computed in": {str(row.get("precision", "")).removeprefix("torch.") for row in rows},
        "scored": {str(row.get("form", "")) for row in rows},
        "examples": {str(row.get("num_fewshot", 0)) for row in rows},
    }
    said = "; ".join(f"{name}: {', '.join(sorted(found))}" for name, found in facts.items())
    return f"{values.get('model.name', result.settings.choices.get('model'))}{adapter}; {said}"

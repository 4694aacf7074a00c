"""`evaluation=score`: scores finished runs again from their answers, without a model, an index or the questions' file.

Asks nothing: gives the metrics of this version for answers of an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, read_json, read_jsonl, require_file, write_jsonl
from cdsframe.artifacts.run import Run, read_manifest
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError
from cdsframe.evaluation import qa
from cdsframe.evaluation.exam_scoring import decided, exam_metrics
from cdsframe.evaluation.naming import read_settings
from cdsframe.evaluation.prediction import read_predictions
from cdsframe.evaluation.report import facts_of, write_report
from cdsframe.evaluation.result import Result, with_table
from cdsframe.types import Metrics


@declares(asks_generator=False)
def evaluate(run: Run, runs: Annotated[list[InputFolder], Field(min_length=1)]) -> Result:
    """Scores each run; writes its files into a folder `0`, `1`, … of this run, as a finished run.

    The headline is the first run's.
    """
    checked = [_checked(Path(folder)) for folder in runs]
    metrics: Metrics = {}
    headlines, texts = [], []
    for number, (folder, manifest) in enumerate(checked):
        target = Run(
            run.folder / str(number), run.task, int(manifest["seed"]),
            require_file(folder / "config.yaml", "evaluation.runs").read_text(encoding="utf-8"), manifest["choices"],
            run.group,
        )  # fmt: skip
        found = _SCORED[manifest["choices"]["evaluation"]](folder, target, manifest)
        kept = {key: manifest[key] for key in _KEPT if key in manifest}
        target.finish(found.metrics, manifest["digests"], **kept)
        metrics |= {f"score/{number}/{name}": value for name, value in found.metrics.items()}
        headlines.append(f"score/{number}/{found.headline}")
        texts.append(f"{folder}\n{found.text}")
    run.finish(metrics)
    return Result(metrics, headlines[0], "\n\n".join(texts))


def _checked(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder with its manifest. Raises InputError if it is not a finished run whose answers can be scored."""
    if not (folder / "metrics.json").is_file():
        raise InputError(
            f"evaluation.runs: {folder} is no finished run; start its evaluation again: what was computed is read from "
            "the cache"
        )
    manifest = read_manifest(folder, "evaluation.runs", "evaluate again")
    kind = manifest["choices"].get("evaluation")
    if kind not in _SCORED:
        raise InputError(
            f"evaluation.runs: {folder} is a run of evaluation={kind}; runs of evaluation={', '.join(_SCORED)} can be "
            "scored again"
        )
    return folder, manifest


def _score_qa(folder: Path, target: Run, manifest: dict[str, Any]) -> Result:
    if not isinstance(manifest.get("top_k"), int):
        raise InputError(f"evaluation.runs: {folder} was made by an older cdsframe; evaluate again")
    metrics, rows = qa.write_scores(target.folder, read_predictions(folder), manifest["top_k"])
    settings = read_settings(folder).values
    facts = facts_of(manifest, folder, str(settings.get("name", "")), settings.get("adapter"))
    write_report(target.folder, rows, metrics, facts)
    return with_table(metrics, qa.HEADLINE)


def _score_exam(folder: Path, target: Run, manifest: dict[str, Any]) -> Result:
    where = f"evaluation.runs: {folder / 'predictions.jsonl'}"
    rows = [row for _, row in read_jsonl(folder / "predictions.jsonl", "evaluation.runs")]
    before = read_json(folder / "metrics.json", "evaluation.runs")
    metrics = exam_metrics(rows, where) | {key: before[key] for key in _NOT_IN_ROWS if key in before}
    write_jsonl(target.folder / "predictions.jsonl", [row | decided(row) for row in rows])
    return with_table(metrics, "mcq/accuracy")


_NOT_IN_ROWS = ("mcq/left_out", "mcq/equal_options")
"""Metrics of an exam that count questions before they were asked."""

_SCORED: dict[str, Callable[[Path, Run, dict[str, Any]], Result]] = {
    "qa": _score_qa,
    "mcq": _score_exam,
    "lm_eval": _score_exam,
}
"""Option of `evaluation` -> writes a run's scores into another run's folder and returns them."""

_KEPT = ("generator", "data_scope", "top_k", "precision", "quantization", "tasks")
"""Facts of a run's manifest that its scores depend on, besides the digests."""

"""`evaluation=score`: scores finished runs again from their answers, without a model, an index or the questions' file.

Asks nothing: gives the metrics of this version for answers of an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputFolder, resolve, write_json, write_jsonl, write_text
from cdsframe.artifacts.run import Run, read_config, read_manifest, write_metrics
from cdsframe.contracts.declarations import declares
from cdsframe.errors import InputError
from cdsframe.evaluation import qa
from cdsframe.evaluation.exams.scoring import decided, exam_metrics
from cdsframe.evaluation.finished_run import read_metrics, read_rows
from cdsframe.evaluation.naming import read_settings
from cdsframe.evaluation.prediction import read_predictions
from cdsframe.evaluation.report import facts_of, write_report
from cdsframe.evaluation.report.facts import OVERRIDES
from cdsframe.evaluation.result import Result, with_table
from cdsframe.evaluation.scoring import score, searched
from cdsframe.types import JsonObject, Metrics

_WHERE = "evaluation.runs"
_FIX = "evaluate again"


@dataclass(frozen=True)
class _Finished:
    """A finished run: its folder, its files that scoring copies or needs, and the facts of its report."""

    folder: Path
    manifest: Mapping[str, Any]
    before: Metrics
    config: str
    overrides: str | None
    facts: JsonObject


@dataclass(frozen=True)
class _Scored:
    """New scores of a run. `write`: writes the scored rows, and what else comes from them, into a folder."""

    source: _Finished
    metrics: Metrics
    headline: str
    write: Callable[[Path], None]


@declares(asks_generator=False)
def evaluate(run: Run, runs: Annotated[list[InputFolder], Field(min_length=1)]) -> Result:
    """Scores each run; writes its files into a folder `0`, `1`, … of this run, as a finished run.

    The headline is the first run's. `manifest.json` of a scored run is the source's, and has this scoring's version,
    machine and cost in `scored`.

    Raises InputError, before anything is written, if one of the runs cannot be scored.
    """
    scored = [_scored(resolve(folder)) for folder in runs]
    metrics: Metrics = {}
    texts = []
    for number, one in enumerate(scored):
        _write(one, run.folder / str(number), run.manifest())
        metrics |= {f"score/{number}/{name}": value for name, value in one.metrics.items()}
        texts.append(f"{one.source.folder}\n{with_table(one.metrics, one.headline).text}")
    run.finish(metrics)
    return Result(metrics, f"score/0/{scored[0].headline}", "\n\n".join(texts))


def _scored(folder: Path) -> _Scored:
    """Reads and scores a run. Raises InputError if it is not a finished run whose answers can be scored."""
    if not (folder / "metrics.json").is_file():
        raise InputError(
            f"{_WHERE}: {folder} is not a finished run; start its evaluation again: what was computed is read from the "
            "cache"
        )
    manifest = read_manifest(folder, _WHERE, _FIX, _NEEDED)
    kind = manifest["choices"].get("evaluation")
    if not isinstance(kind, str) or kind not in _SCORED:
        raise InputError(
            f"{_WHERE}: {folder} is a run of evaluation={kind}; runs of evaluation={', '.join(_SCORED)} can be scored "
            "again"
        )
    settings, (config, _) = read_settings(folder).values, read_config(folder, _WHERE, _FIX)
    facts = facts_of(manifest, folder, str(settings.get("name", "")), settings.get("adapter"))
    overrides = (folder / OVERRIDES).read_text(encoding="utf-8") if (folder / OVERRIDES).is_file() else None
    return _SCORED[kind](_Finished(folder, manifest, read_metrics(folder, _WHERE), config, overrides, facts))


def _score_qa(source: _Finished) -> _Scored:
    top_k = source.manifest.get("top_k")
    if type(top_k) is not int:
        raise InputError(f"{_WHERE}: {source.folder} was made by an older cdsframe; {_FIX}")
    predictions = read_predictions(source.folder)
    if not (1 if searched(predictions) else 0) <= top_k <= _DEEPEST:
        raise InputError(
            f"{_WHERE}: {source.folder} is damaged: top_k of manifest.json must be a number of passages; {_FIX}"
        )
    metrics, rows = score(predictions, top_k)

    def write(target: Path) -> None:
        qa.write_rows(target, predictions, rows)
        write_report(target, rows, metrics, source.facts)

    return _Scored(source, metrics, qa.HEADLINE, write)


def _score_exam(source: _Finished) -> _Scored:
    rows = [row for _, row in read_rows(source.folder, _WHERE)]
    metrics = exam_metrics(rows, f"{_WHERE}: {source.folder / 'predictions.jsonl'}")
    metrics |= {key: source.before[key] for key in _NOT_IN_ROWS if key in source.before}

    def write(target: Path) -> None:
        write_jsonl(target / "predictions.jsonl", [row | decided(row) for row in rows])

    return _Scored(source, metrics, "mcq/accuracy", write)


def _write(one: _Scored, target: Path, scoring: Mapping[str, Any]) -> None:
    """Writes a finished run. `scoring`: the manifest of the run that scores."""
    write_text(target / "config.yaml", one.source.config)
    if one.source.overrides is not None:
        write_text(target / OVERRIDES, one.source.overrides)
    one.write(target)
    own = {key: scoring[key] for key in _OF_SCORING if key in scoring}
    write_json(target / "manifest.json", {**one.source.manifest, "scored": own})
    write_metrics(target, one.metrics)


_NEEDED = {"choices": dict, "digests": dict, "seed": int, "task": str}

_NOT_IN_ROWS = ("mcq/left_out", "mcq/equal_options")
"""Metrics of an exam that count questions before they were asked."""

_DEEPEST = 10**6
"""A larger `top_k` is damaged."""

_OF_SCORING = ("versions", "commit", "processor", "started", "seconds", "cpu_seconds", "peak_mib")
"""Facts that differ between the run that answered and the run that scores."""

_SCORED: dict[str, Callable[[_Finished], _Scored]] = {"qa": _score_qa, "mcq": _score_exam, "lm_eval": _score_exam}
"""Option of `evaluation` -> scores a run of it, without writing."""

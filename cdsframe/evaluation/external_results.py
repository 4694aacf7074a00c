"""Reads results of other programs as finished runs: lm-eval's samples, TREC runs, and CSV tables.

Does not compare them (see `cdsframe.evaluation.compare`).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cdsframe.artifacts.files import open_utf8, read_jsonl, resolve
from cdsframe.errors import InputError, named
from cdsframe.evaluation.contrasts import measures
from cdsframe.evaluation.finished_run import FinishedRun
from cdsframe.evaluation.ranking import score_rankings
from cdsframe.evaluation.result import Scores
from cdsframe.evaluation.retrieval import read_qrels
from cdsframe.types import JsonObject

_COLUMNS = ("question", "run", "score")
_TIME = re.compile(r"_\d{4}-\d\d-\d\dT[\d.:-]+$")
"""What lm-eval appends to the name of a task."""
_RIGHT = ("acc", "exact_match")
"""lm-eval's metrics that are 1 for a right answer and 0 for a wrong one."""
_WHERE = "evaluation.runs"


def read_runs(paths: Sequence[str], qrels: str | None) -> list[FinishedRun]:
    """Reads two or more runs.

    Args:
        paths: each a folder of one of our runs, a folder with lm-eval's `samples_*.jsonl`, a CSV file with the columns
            `question, run, score` and optionally `group` (which may hold several runs), or a TREC run file.
        qrels: relevance judgements of TREC runs.

    Raises InputError if a path is none of these, or there are fewer than two runs.
    """
    found: list[FinishedRun] = []
    for path in paths:
        place = resolve(path)
        if not place.exists():
            raise InputError(f"{_WHERE}: {path} does not exist (paths are relative to the working folder)")
        if place.is_dir():
            found.append(_folder(Path(path), place))
        elif place.suffix == ".csv":
            found += read_csv(Path(path))
        elif qrels is None:
            raise InputError(f"{_WHERE}: {path} is read as a TREC run, which needs evaluation.qrels=FILE")
        else:
            found.append(read_trec(Path(path), qrels))
    if len(found) < 2:
        raise InputError(f"{_WHERE}: {', '.join(paths)} hold one run; a comparison needs two or more")
    names = [run.name for run in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{_WHERE}: {', '.join(map(named, repeated))} occurs twice; give each run once")
    return found


def _folder(path: Path, place: Path) -> FinishedRun:
    if (place / "predictions.jsonl").is_file():
        return FinishedRun.read(path)
    if any(place.glob("samples_*.jsonl")):
        return read_lm_eval(path)
    inside = sorted(folder.name for folder in place.iterdir() if any(folder.glob("samples_*.jsonl")))
    hint = f"; use {path / inside[0]}" if inside else ""
    raise InputError(
        f"{_WHERE}: {path} has neither predictions.jsonl of a finished run nor samples_*.jsonl of lm-eval "
        f"(--log_samples){hint}"
    )


def read_lm_eval(folder: Path) -> FinishedRun:
    """Reads the samples that lm-eval logs with `--log_samples`; a question's id is its task and `doc_id`.

    The column `correct` is the accuracy or the exact match; without either, `score` is the task's first metric.
    """
    rows: dict[str, JsonObject] = {}
    files: dict[str, Path] = {}
    for file in sorted(resolve(folder).glob("samples_*.jsonl")):
        task = _TIME.sub("", file.stem.removeprefix("samples_"))
        if task in files:
            raise InputError(
                f"{_WHERE}: {folder} has several results of the task {task} ({files[task].name}, {file.name}); keep one"
            )
        files[task] = file
        chosen = None
        for number, sample in read_jsonl(file, _WHERE):
            where = f"{_WHERE}: {file}, line {number}"
            if "doc_id" not in sample or not isinstance(sample.get("metrics"), list) or not sample["metrics"]:
                raise InputError(f"{where}: expected doc_id and metrics, as lm-eval --log_samples writes them")
            chosen = chosen or sample.get("filter")
            if sample.get("filter") != chosen:  # the same answer, extracted in another way
                continue
            id = f"{task}-{sample['doc_id']}"
            if id in rows:
                raise InputError(f"{where}: the doc_id occurs twice")
            metric = next((name for name in _RIGHT if name in sample["metrics"]), str(sample["metrics"][0]))
            row = {"id": id, "question": sample.get("doc_hash", id), "gold": sample.get("target_hash", "")}
            score = _score(sample.get(metric), where)
            rows[id] = {**row, "form": f"{metric}, {chosen}", "correct" if metric in _RIGHT else "score": score}
    return _run(folder, rows)


def read_trec(path: Path, qrels: str) -> FinishedRun:
    """Reads a TREC run file and scores it by nDCG@10; queries with a relevant passage that the run lacks score 0."""
    judged = {query: grades for query, grades in read_qrels(qrels).items() if any(g > 0 for g in grades.values())}
    ranked: dict[str, dict[str, float]] = {query: {} for query in judged}
    for where, cells in _lines(path):
        try:
            query, _, passage, _, score, *_ = cells
            given = float(score)
        except ValueError:
            given = math.nan
        if not math.isfinite(given):
            raise InputError(f"{where}: expected a TREC run: query Q0 passage rank score name")
        if passage in ranked.get(query, ()):
            raise InputError(f"{where}: the passage occurs twice for its query")
        if query in ranked:
            ranked[query][passage] = given
    if not any(ranked.values()):
        raise InputError(f"{_WHERE}: {path} and evaluation.qrels have no query in common")
    rankings = {query: sorted(hits, key=lambda passage: (-hits[passage], passage)) for query, hits in ranked.items()}
    values = score_rankings(judged, rankings, {"ndcg@10": "nDCG@10"})["ndcg@10"]
    rows = {q: {"id": q, "ndcg@10": value} for q, value in zip(rankings, values, strict=True)}
    return _run(path, rows)


def read_csv(path: Path) -> list[FinishedRun]:
    """Reads runs from a table with the columns `question, run, score` and optionally `group`."""
    runs: dict[str, dict[str, JsonObject]] = {}
    for where, record in _records(path):
        question, run = record["question"], record["run"]
        if not question or not run:
            raise InputError(f"{where}: question and run must not be empty")
        rows = runs.setdefault(run, {})
        if question in rows:
            raise InputError(f"{where}: the question occurs twice in the run {named(run)}")
        score = _score(record["score"], where)
        rows[question] = {"id": question, "question": question, "group": record.get("group") or "", "score": score}
    if not runs:
        raise InputError(f"{_WHERE}: {path} has no rows; expected the columns {', '.join(_COLUMNS)} and rows")
    for question in {question for rows in runs.values() for question in rows}:
        groups = {rows[question]["group"] for rows in runs.values() if question in rows}
        if len(groups) > 1:
            raise InputError(
                f"{_WHERE}: {path}: the question {named(question)} is in different groups; give it the same in all runs"
            )
    return [_run(path, rows, name) for name, rows in runs.items()]


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The place and the cells of each line that is not blank."""
    with open_utf8(path, _WHERE) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{_WHERE}: {path}, line {number}", line.split()


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        with open_utf8(path, _WHERE) as lines:
            reader = csv.DictReader(lines)
            columns = [name.strip() for name in reader.fieldnames or []]
            if missing := [name for name in _COLUMNS if name not in columns]:
                raise InputError(
                    f"{_WHERE}: {path} lacks the columns {', '.join(missing)}; it has {', '.join(columns) or 'none'}"
                )
            if len(set(columns)) < len(columns):
                raise InputError(f"{_WHERE}: {path} has a column twice; it has {', '.join(columns)}")
            reader.fieldnames = columns
            for record in reader:
                where = f"{_WHERE}: {path}, line {reader.line_num}"
                if None in record or None in record.values():
                    raise InputError(f"{where}: another number of cells than the header")
                yield where, {name: cell.strip() for name, cell in record.items()}
    except csv.Error as error:
        raise InputError(f"{_WHERE}: {path}: not a CSV table ({error})") from None


def _score(value: object, where: str) -> float:
    """Raises InputError if the value is no number from 0 to 1."""
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:
        raise InputError(f"{where}: a score must be a number from 0 to 1")
    return score


def _run(path: Path, rows: Mapping[str, JsonObject], name: str = "") -> FinishedRun:
    """A finished run with the mean of its score and its interval."""
    scores = Scores()
    for measure in measures():
        own = [row for row in rows.values() if measure.column in row and measure.belongs(row)]
        scores.add(measure.metric, [row[measure.column] for row in own], [row.get("group", "") for row in own])
    return FinishedRun(path, scores.metrics, rows, name)

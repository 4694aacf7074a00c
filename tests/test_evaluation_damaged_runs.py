"""Finished runs whose files are damaged: an error that names the file, and no partial output."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation_doubles import run_in
from test_evaluation_compare import exam as compared_rows
from test_evaluation_compare import written
from test_evaluation_exam_scoring import row
from test_evaluation_score import asked, change, score

from cdsframe.artifacts.files import write_jsonl
from cdsframe.errors import InputError
from cdsframe.evaluation.compare import evaluate as compare
from cdsframe.evaluation.generation_cache import GenerationCache
from cdsframe.evaluation.paper import evaluate as paper
from cdsframe.types import Generation

EVIDENCE = {"document_id": "alpha", "start": 5, "end": 2}


def examined(folder: Path) -> Path:
    """A finished exam of two questions whose options were shifted."""
    run = run_in(folder, evaluation="mcq")
    rows = [row(id, "A", [0.0, 1.0], log_likelihoods_by_shift=[{"A": 0.0, "B": 1.0}] * 2) for id in ("1", "2")]
    write_jsonl(folder / "predictions.jsonl", rows)
    run.finish({"mcq/accuracy": 0.0, "mcq/left_out": 1})
    return folder


def refusal(tmp_path: Path, folder: Path) -> str:
    """The message with which scoring a good run and this one is refused, before anything is written."""
    again = tmp_path / "again"
    with pytest.raises(InputError) as refused:
        score(again, examined(tmp_path / "good"), folder)
    assert [path.name for path in again.iterdir()] == ["config.yaml"]
    return str(refused.value)


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"cited": ["nope"]}, "cited"), ({"tokens": {"completion": 1}}, "tokens"),
        ({"tokens": {"prompt": 10**400, "completion": 1}}, "tokens"), ({"seconds": {"retrieve": 1.0}}, "seconds"),
        ({"seconds": {"retrieve": 1.0, "generate": -1.0}}, "seconds"),
        ({"confidence": {"word": "high", "probability": 7}}, "confidence"), ({"shown": 99}, "shown"),
        ({"shown": -3}, "shown"), ({"evidence": [EVIDENCE]}, "evidence"), ({"removed": 10**400}, "removed"),
        ({"relevant": {"alpha-0": 10**400}}, "relevant"),
    ],
)  # fmt: skip
def test_an_answer_that_contradicts_itself_is_named(changed: dict[str, Any], column: str, tmp_path: Path) -> None:
    folder = asked(tmp_path / "asked")
    change(folder / "predictions.jsonl", **changed)
    assert re.search(
        rf"asked/predictions.jsonl, line 1: not as .* \({column}\); evaluate again", refusal(tmp_path, folder)
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"options": {"A": 5, "B": "x"}}, "every option must be a text"),
        ({"options": {"A": "", "B": "x"}, "form": "text"}, "every option must be a text"),
        ({"gold": ["A"]}, "gold must be the letter of an option"),
        ({"log_likelihoods": {"A": 10**400, "B": 0}}, "log_likelihoods must be finite numbers"),
        ({"log_likelihoods": {"A": True, "B": 0}}, "log_likelihoods must be finite numbers"),
        ({"log_likelihoods": {"A": 0.5, "B": 1.0}}, "log_likelihoods must equal the first of log_likelihoods_by_shift"),
    ],
)
def test_an_exam_that_contradicts_itself_is_named(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = examined(tmp_path / "exam")
    change(folder / "predictions.jsonl", **changed)
    assert re.search(f"exam/predictions.jsonl, row 1: '1': {message}.*; evaluate again", refusal(tmp_path, folder))


def test_a_name_of_a_data_set_may_be_a_number(tmp_path: Path) -> None:
    folder = examined(tmp_path / "exam")
    change(folder / "predictions.jsonl", dataset=5)
    assert score(tmp_path / "again", folder)["score/0/mcq/5/accuracy"] == 0


@pytest.mark.parametrize("kind", [asked, examined])
def test_the_same_question_twice_and_no_question_are_refused(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = kind(tmp_path / "run")
    file = folder / "predictions.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[0]]) + "\n")
    id = json.loads(lines[0])["id"]
    assert re.search(
        f"run/predictions.jsonl, line {len(lines) + 1}: the id occurs twice: '{id}'; evaluate",
        refusal(tmp_path, folder),
    )
    for text in ("", "\n\n"):
        file.write_text(text)
        with pytest.raises(InputError, match=r"predictions.jsonl has no rows, expected one for each question"):
            score(tmp_path / "again", folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": ...}, "manifest.json has no seed"), ({"seed": None}, "manifest.json has no seed"),
        ({"digests": ...}, "manifest.json has no digests"), ({"digests": [1]}, "manifest.json has no digests"),
        ({"task": ...}, "manifest.json has no task"), ({"choices": {"evaluation": ["qa"]}}, r"evaluation=\['qa'\]"),
        ({"choices": {"evaluation": "qa", "model": ["x"]}}, "choices.model must be the name of an option"),
        ({"format_version": [1]}, r"format version \[1\]"), ({"top_k": 0}, "top_k of manifest.json must be"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_named(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = asked(tmp_path / "asked")
    change(folder / "manifest.json", **changed)
    assert re.search(message, refusal(tmp_path, folder))


@pytest.mark.parametrize("kind", [asked, examined])
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.yaml", "a: [", "config.yaml is not YAML; evaluate again"),
        ("config.yaml", "- a", "config.yaml is damaged: expected a mapping of settings"),
        ("config.yaml", "adapter: 5", "config.yaml is damaged: adapter must be a folder or null"),
        (".hydra/overrides.yaml", "{a: [", "overrides.yaml is damaged: expected a YAML list of overrides"),
        (".hydra/overrides.yaml", "5", "overrides.yaml is damaged: expected a YAML list of overrides"),
        ("metrics.json", '{"mcq/left_out": "x"}', "metrics.json: 'mcq/left_out' must be a number; evaluate again"),
        ("metrics.json", '{"qa/f1": null}', "metrics.json: 'qa/f1' must be a number"),
    ],
)  # fmt: skip
def test_other_damaged_files_are_named(
    kind: Callable[[Path], Path], name: str, text: str, message: str, tmp_path: Path
) -> None:
    folder = kind(tmp_path / "run")
    (folder / ".hydra").mkdir()
    (folder / name).write_text(text)
    assert re.search(message, refusal(tmp_path, folder))


def test_a_paper_of_a_run_without_questions_is_refused(tmp_path: Path) -> None:
    folder = examined(tmp_path / "exam")
    (folder / "predictions.jsonl").write_text("")
    with pytest.raises(InputError, match="has no rows"):
        paper(run_in(tmp_path / "paper"), [str(folder)], "package:evaluation/paper_figures.jsonl")
    assert not (tmp_path / "paper" / "paper.md").exists()


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("predictions.jsonl", {"group": ["x"]}, "line 1: the group of 'q0' must be a text"),
        ("metrics.json", {"qa/f1": "x"}, "'qa/f1' must be a number"),
        ("metrics.json", {"qa/f1": None}, "'qa/f1' must be a number"),
    ],
)
def test_a_damaged_run_is_not_compared(file: str, changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    for name in "ab":
        written(tmp_path / name, compared_rows([0, 1]), **{"mcq/accuracy": 0.5})
    change(tmp_path / "b" / file, **changed)
    with pytest.raises(InputError, match=message):
        compare(run_in(tmp_path / "c"), [str(tmp_path / "a"), str(tmp_path / "b")], None, None, None, None)
    assert not (tmp_path / "c" / "comparison.json").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prompt_tokens", "Infinity"),
        ("completion_tokens", "1.5"),
        ("seconds", "1" * 400),
        ("log_probabilities", "[NaN]"),
    ],
)
def test_a_stored_text_with_impossible_numbers_is_refused(key: str, value: str, tmp_path: Path) -> None:
    store = GenerationCache(tmp_path)
    store.write({"k": Generation("x", None, 1, 1)})
    with sqlite3.connect(tmp_path / "generations.sqlite") as database:
        (text,) = database.execute("SELECT value FROM generations").fetchone()
        damaged = json.dumps(json.loads(text) | {key: "HERE"}).replace('"HERE"', value)
        database.execute("UPDATE generations SET value = ?", [damaged])
    database.close()
    with pytest.raises(InputError, match=r"generations.sqlite cannot be used"):
        store.read(["k"])

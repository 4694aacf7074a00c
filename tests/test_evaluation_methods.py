"""Methods with several seeds are compared; few seeds are said."""

from pathlib import Path

import pytest
from evaluation_doubles import run_in

from cdsframe.artifacts.files import write_jsonl
from cdsframe.errors import InputError
from cdsframe.evaluation.methods import evaluate


def runs(folder: Path, method: str, scores: list[float], questions: int = 20, **changed: object) -> list[str]:
    """One run for each seed, in which the share of right answers is the seed's score."""
    folders = []
    for seed, score in enumerate(scores):
        run = run_in(folder / f"{method}-{seed}", name=method)
        run.finish({"mcq/accuracy": score})
        rows = [
            {"id": str(n), "question": "?", "gold": "A", "correct": float(n < score * questions), **changed}
            for n in range(questions)
        ]
        write_jsonl(run.folder / "predictions.jsonl", rows)
        folders.append(str(run.folder))
    return folders


def test_methods_are_compared_over_seeds(tmp_path: Path) -> None:
    methods = {
        "short": runs(tmp_path, "short", [0.2, 0.25, 0.2, 0.3, 0.25]),
        "long": runs(tmp_path, "long", [0.9, 0.95, 0.9, 1.0, 0.85]),
        "other": runs(tmp_path, "other", [0.25, 0.25, 0.2, 0.25, 0.3]),
    }
    result = evaluate(run_in(tmp_path / "run"), methods, "short", None)
    assert result.metrics["methods/long"] == pytest.approx(0.92)
    assert result.metrics["methods/long_minus_short"] == pytest.approx(0.68)
    assert result.headline == "methods/long"
    assert "long - short = +0.680" in result.text
    assert "other - short = +0.010" in result.text
    assert result.text.count(": significant") == 1
    assert "fewer than" not in result.text
    assert (tmp_path / "run" / "methods.md").read_text() == result.text


def test_few_seeds_are_said(tmp_path: Path) -> None:
    methods = {"a": runs(tmp_path, "a", [0.2, 0.25]), "b": runs(tmp_path, "b", [0.9, 0.95, 1.0])}
    text = evaluate(run_in(tmp_path / "run"), methods, None, "correct").text
    assert "fewer than 5 seeds: this describes these adapters, not the method" in text


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    methods = {"a": runs(tmp_path, "a", [0.2, 0.3]), "b": runs(tmp_path, "b", [0.9, 0.8])}
    with pytest.raises(InputError, match=r"evaluation\.baseline: c is no method; use one of a, b"):
        evaluate(run_in(tmp_path / "run"), methods, "c", None)
    other = {**methods, "c": runs(tmp_path, "c", [0.9, 0.8], gold="B")}
    with pytest.raises(InputError, match="different gold answers"):
        evaluate(run_in(tmp_path / "run"), other, None, None)
    spoiled = {**methods, "c": runs(tmp_path, "d", [0.9, 0.8], correct="nan")}
    with pytest.raises(InputError, match="correct of the question '0' is no number from 0 to 1"):
        evaluate(run_in(tmp_path / "run"), spoiled, None, None)
    grouped = {name: runs(tmp_path / "g", name, [0.2, 0.3], group="one") for name in "ab"}
    with pytest.raises(InputError, match="fewer than two independent groups"):
        evaluate(run_in(tmp_path / "run"), grouped, None, None)

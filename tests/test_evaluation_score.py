"""Asking and scoring are apart: rows are written as they come, and give the same scores again without a model."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_doubles import QUESTIONS, Questions, SystemDouble, pipeline, rows_without_seconds, run_in

from cdsframe.errors import InputError
from cdsframe.evaluation.prediction import Prediction, read_predictions
from cdsframe.evaluation.qa import evaluate as ask
from cdsframe.evaluation.score import evaluate
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.types import Filter, Generation, Hit, Message


def change(file: Path, **changed: Any) -> None:
    """Changes keys of a JSON file, or of the first row of JSON Lines. `...` removes a key."""
    first, *others = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    row = json.loads(first) | changed
    file.write_text("\n".join([json.dumps({k: v for k, v in row.items() if v is not ...}), *others]) + "\n")


def asked(folder: Path, top_k: int = 2, answer: str = "15 mg twice daily [1]") -> Path:
    system, index = pipeline(answer, top_k)
    retriever = "none" if top_k == 0 else "bm25"
    ask(SystemDouble(system, index=index), run_in(folder, evaluation="qa", retriever=retriever), 1, "test", None, None)
    return folder


def score(folder: Path, *runs: Path) -> dict[str, float]:
    return evaluate(run_in(folder, evaluation="score"), list(map(str, runs))).metrics


@pytest.mark.parametrize("top_k", [2, 0])
def test_the_same_answers_give_the_same_files(top_k: int, tmp_path: Path) -> None:
    first = asked(tmp_path / "asked", top_k)
    metrics = score(tmp_path / "again", first)
    again = tmp_path / "again" / "0"
    assert {f"score/0/{k}": v for k, v in json.loads((first / "metrics.json").read_text()).items()} == metrics
    for name in ("predictions.jsonl", "metrics.json", "run.trec", "config.yaml"):
        assert (again / name).exists() == (first / name).exists()
        if (first / name).exists():
            assert (again / name).read_bytes() == (first / name).read_bytes(), name
    old, new = (json.loads((folder / "manifest.json").read_text()) for folder in (first, again))
    assert old == _without(new, "scored"), "what the run is and what it cost is not changed by scoring"
    assert score(tmp_path / "third", again) == metrics, "scored runs can be scored"


def test_a_scored_run_keeps_its_cost_and_its_command(tmp_path: Path) -> None:
    first = asked(tmp_path / "asked")
    overrides = first / ".hydra" / "overrides.yaml"
    overrides.parent.mkdir()
    overrides.write_text("- evaluation=qa\n- name=first\n")
    change(first / "manifest.json", seconds=1e6, cpu_seconds=2e6, peak_mib=3e6, commit="earlier", recipe="own")
    score(tmp_path / "second", first)
    score(tmp_path / "third", tmp_path / "second" / "0")
    pages = []
    for name in ("second", "third"):
        again = tmp_path / name / "0"
        manifest = json.loads((again / "manifest.json").read_text())
        assert [manifest[key] for key in ("seconds", "cpu_seconds", "commit", "recipe")] == [1e6, 2e6, "earlier", "own"]
        assert manifest["scored"]["seconds"] < 1e6
        assert manifest["scored"]["commit"] != "earlier"
        assert manifest["scored"]["versions"]["cdsframe"]
        assert (again / ".hydra" / "overrides.yaml").read_bytes() == overrides.read_bytes()
        pages.append((again / "report.html").read_text())
    assert pages[0] == pages[1]
    assert "python evaluate.py evaluation=qa name=first" in pages[0]


def test_scores_come_from_the_answers_alone(tmp_path: Path) -> None:
    """Another answer changes the scores; scores in the rows are computed anew."""
    folder = asked(tmp_path / "asked")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    rows[0]["text"], rows[1]["f1"] = "no idea", 0.123
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = json.loads((folder / "metrics.json").read_text())
    found = score(tmp_path / "again", folder)
    answerable = sum(question.answerable for question in QUESTIONS)
    assert found["score/0/qa/em"] == pytest.approx(before["qa/em"] - 1 / answerable)
    again = [json.loads(line) for line in (tmp_path / "again" / "0" / "predictions.jsonl").read_text().splitlines()]
    assert again[1]["f1"] not in (0.123, rows[0]["f1"])


def test_several_runs_are_scored_into_folders_of_their_own(tmp_path: Path) -> None:
    runs = [asked(tmp_path / name, answer=answer) for name, answer in (("a", "15 mg"), ("b", "in the pharmacy"))]
    found = score(tmp_path / "again", *runs)
    for number, run in enumerate(runs):
        assert rows_without_seconds(tmp_path / "again" / str(number)) == rows_without_seconds(run)
        assert found[f"score/{number}/qa/f1"] == json.loads((run / "metrics.json").read_text())["qa/f1"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("unfinished", "not a finished run; start its evaluation again"),
        ("kind", "evaluation=retrieval; runs of evaluation=qa, mcq, lm_eval"),
        ("row", r"predictions.jsonl, line 2: not as this cdsframe writes it \(hits\)"),
        ("missing", r"line 1: .*\(aliases\)"),
        ("old", "older cdsframe"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_written(damage: str, message: str, tmp_path: Path) -> None:
    folder = asked(tmp_path / "asked")
    manifest, lines = folder / "manifest.json", (folder / "predictions.jsonl").read_text().splitlines()
    written = json.loads(manifest.read_text())
    if damage == "unfinished":
        (folder / "metrics.json").unlink()
    elif damage == "kind":
        manifest.write_text(json.dumps(written | {"choices": {"evaluation": "retrieval"}}))
    elif damage == "old":
        manifest.write_text(json.dumps({key: value for key, value in written.items() if key != "top_k"}))
    else:
        number = 1 if damage == "row" else 0
        row = json.loads(lines[number])
        lines[number] = json.dumps(row | {"hits": [{"id": 5}]} if damage == "row" else _without(row, "aliases"))
        (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        score(tmp_path / "again", asked(tmp_path / "good"), folder)
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["config.yaml"]


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def test_a_row_keeps_all_of_a_prediction(tmp_path: Path) -> None:
    folder = asked(tmp_path, top_k=1)
    predictions = read_predictions(folder)
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    for one, row in zip(predictions, rows, strict=True):
        assert json.loads(json.dumps(one.row())).items() <= row.items()
    by_id = {one.id: one for one in predictions}
    assert by_id["q1"].relevant == {"alpha-0": 1}
    assert by_id["q5"].relevant is None
    assert by_id["q3"].aliases == ("bleep 4417",)
    assert (len(by_id["q6"].ranking), len(by_id["q6"].hits)) == (2, 1), "rankings are kept ten deep"
    assert by_id["q1"].hits[0].text == "Give velorapine 15 mg twice daily."


class Stopping(ScriptedGenerator):
    """Answers one conversation at a time, the last first; stops after some."""

    def __init__(self, after: int) -> None:
        super().__init__("15 mg")
        self._after = after

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        for number in reversed(range(len(conversations))):
            if len(conversations) - number > self._after:
                raise KeyboardInterrupt
            yield {number: self.generate([conversations[number]])[0]}


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    system, index = pipeline("")
    with pytest.raises(KeyboardInterrupt):
        ask(SystemDouble(system.with_generator(Stopping(4)), index=index), run_in(tmp_path), 1, "test", None, None)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["q6", "q5", "q4", "q3"]
    assert not (tmp_path / "metrics.json").exists()
    ask(SystemDouble(system.with_generator(Stopping(6)), index=index), run_in(tmp_path), 1, "test", None, None)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [question.id for question in QUESTIONS], "in the order of the questions"


def test_each_question_is_searched_once(tmp_path: Path) -> None:
    system, index = pipeline("15 mg")
    searched: list[str] = []
    plain = system.retriever.search_many

    def counting(queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None) -> list[list[Hit]]:
        searched.extend(queries)
        return plain(queries, top_k, filter)

    system.retriever.search_many = counting
    ask(SystemDouble(system, index=index), run_in(tmp_path), 1, "test", None, None)
    assert searched == ["warm-up", *(question.question for question in QUESTIONS)], "the index is opened before"


def test_costs_leave_out_loading(tmp_path: Path) -> None:
    """Opening the index and loading the model count neither as seconds nor as CPU-seconds of answering."""
    system, index = pipeline("15 mg")
    plain, opened = system.retriever.search_many, []

    def slow_at_first(
        queries: Sequence[str], top_k: int | None = None, filter: Filter | None = None
    ) -> list[list[Hit]]:
        if not opened:
            opened.append(True)
            _work(0.3)
        return plain(queries, top_k, filter)

    class SlowToLoad(ScriptedGenerator):
        def load(self) -> None:
            _work(0.3)

    system.retriever.search_many = slow_at_first
    asked_by = system.with_generator(SlowToLoad("15 mg"))
    metrics = ask(SystemDouble(asked_by, index=index), run_in(tmp_path), 1, "test", None, None).metrics
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["answering_cpu_seconds"] < 0.3
    assert manifest["read_from_cache"] == 0
    assert metrics["qa/seconds_per_question"] * len(QUESTIONS) < 0.3


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_department_comes_from_the_passages_that_answer(tmp_path: Path) -> None:
    from dataclasses import replace

    from cdsframe.evaluation.asking import ask as ask_questions
    from cdsframe.index.memory import MemoryIndex

    system, index = pipeline("x")
    own = MemoryIndex(identity={})
    own.write([replace(p, metadata={"department": "Pharmacy"}) for p in index.passages(["alpha", "beta"])], None)
    own.commit()
    found = ask_questions(system, own, Questions(QUESTIONS).questions("test"), tmp_path / "rows.jsonl", 10).predictions
    assert [one.department for one in found] == ["Pharmacy"] * 4 + ["", ""]
    assert isinstance(found[0], Prediction)


@pytest.mark.parametrize("kind", ["mcq", "lm_eval"])
def test_exams_are_scored_from_their_log_likelihoods(kind: str, tmp_path: Path) -> None:
    from cdsframe.artifacts.files import write_jsonl

    row = {
        "options": {"A": "one", "B": "two"},
        "gold": "B",
        "form": "letter",
        "dataset": "",
        "group": "",
        "question": "?",
    }
    scores = [{"A": -2.0, "B": -1.0}, {"A": -1.0, "B": -3.0}, {"A": -1.0, "B": -1.0}]
    rows = [row | {"id": str(n), "log_likelihoods": one, "correct": 0.25} for n, one in enumerate(scores)]
    folder, run = tmp_path / "exam", run_in(tmp_path / "exam", evaluation=kind)
    write_jsonl(folder / "predictions.jsonl", rows)
    run.finish({"mcq/accuracy": 0.1, "mcq/left_out": 4}, precision="torch.float32")
    found = score(tmp_path / "again", folder)
    assert found["score/0/mcq/accuracy"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert found["score/0/mcq/left_out"] == 4
    again = [json.loads(line) for line in (tmp_path / "again" / "0" / "predictions.jsonl").read_text().splitlines()]
    assert [one["correct"] for one in again] == [1, 0, 0.5]
    assert [one["predicted"] for one in again] == ["B", "A", None]
    assert json.loads((tmp_path / "again" / "0" / "manifest.json").read_text())["precision"] == "torch.float32"

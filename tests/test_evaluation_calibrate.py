"""A confidence that is fitted, thresholded and tested on parts of its own, and says when it is of no use."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from evaluation_doubles import (
    First,
    InOrder,
    Questions,
    Search,
    SystemDouble,
    memory_index,
    prompt,
    question_of,
    run_in,
)

from cdsframe.artifacts.files import write_jsonl
from cdsframe.confidence import Calibrator, NoCalibration, open_calibration
from cdsframe.data.jsonl import JsonlQuestions
from cdsframe.errors import CalibrationMismatchError, ConfigError
from cdsframe.evaluation.calibrate import choose_threshold, evaluate, expected_calibration_error, split_by_group
from cdsframe.evaluation.dependence import question_groups
from cdsframe.evaluation.result import Result
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.pipeline import Pipeline
from cdsframe.types import Document, JsonObject, Message, Question, Unreadable

IDENTITY = {"model": {"name": "scripted"}}


class NoDocuments:
    """A corpus that need not be read."""

    def documents(self) -> Iterator[Document | Unreadable]:
        yield from ()


def questions(count: int) -> list[Question]:
    return [
        Question(f"q{n}", f"question {n}", "right", (), "fact", "validation", (), f"g{n // 2}") for n in range(count)
    ]


def calibrate(folder: Path, asked: list[Question], answer: Callable[[Sequence[Message]], str]) -> Result:
    index = memory_index()
    parts = Search(index, 0), InOrder(), First(), prompt(), ScriptedGenerator(answer), NoCalibration()
    system = SystemDouble(Pipeline(*parts, identity=lambda: IDENTITY), data=Questions(asked), index=index)
    return evaluate(
        system, run_in(folder / "run"), 1,
        "validation", None, 0.5, 0.9, 10, 200, None, str(folder / "out" / "calibration.json"),
    )  # fmt: skip


def fit(folder: Path, count: int, misleading: bool = False) -> Result:
    """Answers half of them right; the long answers are the wrong ones, misleading: outside the fit part the right."""
    asked = questions(count)
    parts = dict(zip([q.question for q in asked], split_by_group(question_groups(asked), 1), strict=True))

    def answer(messages: Sequence[Message]) -> str:
        question = question_of(messages)
        correct = random.Random(question).random() < 0.5
        longer = correct if misleading and parts[question] != "fit" else not correct
        return " ".join(["right" if correct else "wrong"] + ["the"] * (6 if longer else 1))

    return calibrate(folder, asked, answer)


def rows_of(folder: Path) -> list[JsonObject]:
    return [json.loads(line) for line in (folder / "run" / "predictions.jsonl").read_text().splitlines()]


def test_a_wrong_dose_is_not_right_however_many_words_are(tmp_path: Path) -> None:
    doses = {0: "15 mg twice daily", 1: "10 mg twice daily", 2: "15 mg", 3: "nobody knows"}
    asked = [Question(f"q{n}", f"question {n}", "15 mg twice daily", split="validation") for n in range(40)]
    calibrate(tmp_path, asked, lambda messages: doses[int(question_of(messages).split()[1]) % 4])
    rows = {row["id"]: row for row in rows_of(tmp_path)}
    assert {row["part"] for row in rows.values()} == {"fit", "threshold", "test"}  # no group: each one of its own
    assert rows["q1"]["f1"] >= 0.5
    assert [rows[f"q{n}"]["correct"] for n in range(4)] == [True, False, True, False]


def test_each_part_does_its_own_work_alone(tmp_path: Path) -> None:
    """Everything is computed again here from the rows of the part that it should come from."""
    asked = questions(240)
    parts = dict(zip([q.question for q in asked], split_by_group(question_groups(asked), 1), strict=True))
    rate = {"fit": 0.6, "threshold": 0.8, "test": 0.3}

    def answer(messages: Sequence[Message]) -> str:
        question = question_of(messages)
        dice = random.Random(question)
        correct = dice.random() < rate[parts[question]]
        return " ".join(["right" if correct else "wrong"] + ["the"] * (dice.randrange(1, 5) + 2 * (not correct)))

    metrics = calibrate(tmp_path, asked, answer).metrics
    rows = rows_of(tmp_path)
    assert {row["question"]: row["part"] for row in rows} == parts
    own = {part: [row for row in rows if row["part"] == part] for part in rate} | {"all": rows}
    fitted = Calibrator.fit([row["features"] for row in own["fit"]], [row["correct"] for row in own["fit"]])
    assert [row["probability"] for row in rows] == pytest.approx([fitted.predict(row["features"]) for row in rows])
    found = {
        part: choose_threshold([r["probability"] for r in own[part]], [r["correct"] for r in own[part]], 0.9, 10)
        for part in own
    }
    assert metrics["calibration/threshold"] == found.pop("threshold")
    assert metrics["calibration/threshold"] not in found.values(), "equal thresholds would not tell the parts apart"
    right = {part: sum(row["correct"] for row in own[part]) / len(own[part]) for part in own}
    assert len(set(right.values())) == 4
    assert metrics["calibration/accuracy"] == pytest.approx(right["test"])
    assert metrics["calibration/brier_constant"] == pytest.approx(
        sum((right["fit"] - row["correct"]) ** 2 for row in own["test"]) / len(own["test"])
    )
    assert metrics["calibration/brier"] == pytest.approx(
        sum((row["probability"] - row["correct"]) ** 2 for row in own["test"]) / len(own["test"])
    )


def test_questions_about_one_document_stay_in_one_part(tmp_path: Path) -> None:
    """With the groups that the data gives: the document of the first evidence, or else the question itself."""
    evidence = [[{"document_id": f"d{n // 4}", "start": 0, "end": 9}, {"document_id": f"e{n}", "start": 0, "end": 9}]
                for n in range(120)]  # fmt: skip
    write_jsonl(
        tmp_path / "questions.jsonl",
        (
            {"id": f"q{n}", "question": f"question {n}", "answer": "right", "split": "validation", "evidence": spans}
            for n, spans in enumerate([*evidence, *([[]] * 40)])
        ),
    )
    asked = JsonlQuestions([str(tmp_path / "questions.jsonl")], "a test", NoDocuments()).questions("validation")
    assert [question.group for question in asked] == [f"d{n // 4}" for n in range(120)] + [
        f"q{n}" for n in range(120, 160)
    ]
    calibrate(tmp_path, asked, lambda messages: "right" if len(question_of(messages)) % 2 else "wrong")
    rows = rows_of(tmp_path)
    assert len({(row["group"], row["part"]) for row in rows}) == 30 + 40
    assert {row["part"] for row in rows} == {"fit", "threshold", "test"}


def test_a_telling_feature_is_learnt(tmp_path: Path) -> None:
    metrics = fit(tmp_path, 200).metrics
    assert metrics["calibration/usable"] == 1
    assert metrics["calibration/brier"] < 0.05 < 0.2 < metrics["calibration/brier_constant"]
    assert metrics["calibration/accuracy_at_threshold"] > 0.9
    assert 0.3 < metrics["calibration/coverage"] < 0.7
    assert metrics["calibration/ece/ci_low"] <= metrics["calibration/ece"] <= metrics["calibration/ece/ci_high"]
    made = open_calibration(str(tmp_path / "out" / "calibration.json"), IDENTITY)
    with pytest.raises(CalibrationMismatchError, match="another model"):
        open_calibration(str(tmp_path / "out" / "calibration.json"), {"model": {"name": "other"}})
    assert isinstance(made, Calibrator)
    assert made.usable
    assert made.threshold == metrics["calibration/threshold"] > 0
    assert (tmp_path / "run" / "calibration.json").read_bytes() == (tmp_path / "out" / "calibration.json").read_bytes()


def test_no_skill_is_not_usable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = fit(tmp_path, 200, misleading=True).metrics
    assert metrics["calibration/brier"] > metrics["calibration/brier_constant"]
    assert metrics["calibration/brier_skill"] < 0
    assert metrics["calibration/usable"] == 0
    assert "no better than a constant" in caplog.text
    assert not open_calibration(str(tmp_path / "out" / "calibration.json"), IDENTITY).usable


def test_too_little_data_is_not_usable(tmp_path: Path) -> None:
    assert fit(tmp_path, 20).metrics["calibration/usable"] == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert any("at least 10 are needed" in reason for reason in manifest["reasons"])
    assert not open_calibration(str(tmp_path / "out" / "calibration.json"), IDENTITY).usable


def test_a_model_that_is_always_wrong_leaves_a_calibration_that_is_not_usable(tmp_path: Path) -> None:
    metrics = calibrate(tmp_path, questions(80), lambda messages: "wrong").metrics
    assert (metrics["calibration/accuracy"], metrics["calibration/usable"]) == (0, 0)
    assert not open_calibration(str(tmp_path / "out" / "calibration.json"), IDENTITY).usable


def test_parts_are_disjoint_by_group_and_about_half_and_quarters() -> None:
    groups = [f"g{n // 3}" for n in range(300)]
    parts = split_by_group(groups, seed=1)
    assert len({(group, part) for group, part in zip(groups, parts, strict=True)}) == len(set(groups))
    shares = {part: parts.count(part) / 300 for part in ("fit", "threshold", "test")}
    assert shares == pytest.approx({"fit": 0.5, "threshold": 0.25, "test": 0.25}, abs=0.02)
    assert split_by_group(groups, seed=2) != parts


def test_the_threshold_is_the_lowest_that_reaches_the_target() -> None:
    probabilities = [0.2, 0.2, 0.4, 0.4, 0.6, 0.8]
    correct = [False, False, True, False, True, True]
    assert choose_threshold(probabilities, correct, 0.75, 2) == 0.4  # 3 of 4
    assert choose_threshold(probabilities, correct, 0.9, 2) == 0.6
    assert choose_threshold(probabilities, correct, 0.9, 3) == 0
    assert choose_threshold(probabilities, correct, 0.5, 2) == 0.2
    assert choose_threshold([], [], 0.5, 2) == 0


def test_calibration_error_by_hand() -> None:
    perfect = np.array([0.0] * 10 + [1.0] * 10)
    assert expected_calibration_error(perfect, perfect) == 0
    assert expected_calibration_error(np.full(20, 0.9), perfect) == pytest.approx(0.5 * 0.9 + 0.5 * 0.1)
    assert expected_calibration_error(np.array([0.3]), np.array([1.0])) == pytest.approx(0.7)


def test_a_calibration_in_use_is_refused(tmp_path: Path) -> None:
    used = Calibrator({}, {}, {}, 0.0)
    system = SystemDouble(pipeline=None, calibration=used)
    with pytest.raises(ConfigError, match="calibration=null"):
        evaluate(system, run_in(tmp_path), 1, "validation", None, 0.5, 0.8, 10, 200, None, "x")

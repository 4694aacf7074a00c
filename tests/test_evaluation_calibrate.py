"""A confidence that is fitted, thresholded and tested on parts of its own, and says when it is of no use."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from evaluation_doubles import InOrder, Questions, Search, memory_index, prompt, question_of, run_in

from cdsframe.confidence import Calibrator, NoCalibration, open_calibration
from cdsframe.errors import ConfigError
from cdsframe.evaluation.calibrate import choose_threshold, evaluate, expected_calibration_error, split_by_group
from cdsframe.evaluation.result import Result
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.pipeline import Pipeline
from cdsframe.types import Message, Question


def questions(count: int) -> list[Question]:
    return [
        Question(f"q{n}", f"question {n}", "right", (), "fact", "validation", (), f"g{n // 2}") for n in range(count)
    ]


def fit(folder: Path, count: int, misleading: bool = False) -> Result:
    """Answers half of them right; the long answers are the wrong ones, misleading: outside the fit part the right."""
    asked = questions(count)
    parts = dict(zip([q.question for q in asked], split_by_group([q.group for q in asked], 1), strict=True))

    def answer(messages: Sequence[Message]) -> str:
        question = question_of(messages)
        correct = random.Random(question).random() < 0.5
        longer = correct if misleading and parts[question] != "fit" else not correct
        return " ".join(["right" if correct else "wrong"] + ["the"] * (6 if longer else 1))

    index = memory_index()
    asking = Pipeline(Search(index, 0), InOrder(), prompt(), ScriptedGenerator(answer), NoCalibration())
    return evaluate(
        asking, Questions(asked), None, run_in(folder / "run"), NoCalibration(), 1,
        "validation", None, 0.5, 0.9, 10, 200, str(folder / "out" / "calibration.json"),
    )  # fmt: skip


def test_a_telling_feature_is_learnt(tmp_path: Path) -> None:
    metrics = fit(tmp_path, 200).metrics
    assert metrics["calibration/usable"] == 1
    assert metrics["calibration/brier"] < 0.05 < 0.2 < metrics["calibration/brier_constant"]
    assert metrics["calibration/accuracy_at_threshold"] > 0.9
    assert 0.3 < metrics["calibration/coverage"] < 0.7
    assert metrics["calibration/ece/ci_low"] <= metrics["calibration/ece"] <= metrics["calibration/ece/ci_high"]
    made = open_calibration(str(tmp_path / "out" / "calibration.json"))
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
    assert not open_calibration(str(tmp_path / "out" / "calibration.json")).usable


def test_too_little_data_is_not_usable(tmp_path: Path) -> None:
    assert fit(tmp_path, 20).metrics["calibration/usable"] == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert any("at least 10 are needed" in reason for reason in manifest["reasons"])
    assert not open_calibration(str(tmp_path / "out" / "calibration.json")).usable


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
    with pytest.raises(ConfigError, match="calibration=null"):
        evaluate(None, None, None, run_in(tmp_path), used, 1, "validation", None, 0.5, 0.8, 10, 200, "x")  # type: ignore[arg-type]

"""Exams are scored from their rows alone, as `predictions.jsonl` has them, and again with the same result."""

import json
from typing import Any

import pytest

from cdsframe.errors import InputError
from cdsframe.evaluation.exams.scoring import decided, exam_metrics


def row(id: str, gold: str, scores: list[float], **more: Any) -> dict[str, Any]:
    letters = "ABCD"[: len(scores)]
    return {
        "id": id, "dataset": "", "group": "", "question": "?", "options": {letter: letter * 3 for letter in letters},
        "gold": gold, "form": "letter", "log_likelihoods": dict(zip(letters, scores, strict=True)), **more,
    }  # fmt: skip


def shifted(id: str, gold: str, letter: str, dataset: str = "") -> dict[str, Any]:
    """A row of a model that prefers a letter."""
    scores = {one: float(one == letter) for one in "ABC"}
    return row(id, gold, [scores[one] for one in "ABC"], dataset=dataset, log_likelihoods_by_shift=[scores] * 3)


def test_columns_that_follow_from_the_scores_are_computed_and_not_read() -> None:
    wrong = {"predicted": "B", "correct": 1.0, "tied": ["A", "B"], "correct_per_byte": 1.0}
    scored = exam_metrics([row("1", "B", [-1.0, -2.0], **wrong), row("2", "A", [-3.0, -3.0 - 1e-6], **wrong)], "x")
    assert (scored["mcq/accuracy"], scored["mcq/ties"], scored["mcq/chosen/A"]) == (0.25, 1, 0.5)
    assert decided(row("2", "A", [-3.0, -3.0 - 1e-6])) == {
        "predicted": None, "tied": ["A", "B"], "correct": 0.5, "correct_per_byte": 0.5
    }  # fmt: skip


def test_rows_read_back_give_the_same_metrics() -> None:
    rows = [shifted(str(n), "ABC"[n % 3], "A") for n in range(7)]
    again = [json.loads(json.dumps({**one, **decided(one)})) for one in rows]
    assert exam_metrics(again, "x") == exam_metrics(rows, "x")


def test_shifts_are_scored_by_the_option_and_not_by_the_letter() -> None:
    found = decided(shifted("1", "B", "A"))
    assert (found["chosen_by_shift"], found["same_option"]) == (["A", "B", "C"], 0)
    assert found["permuted_correct"] == pytest.approx(1 / 3)
    knows = shifted("1", "B", "A") | {
        "log_likelihoods_by_shift": [{one: float(one == right) for one in "ABC"} for right in "BAC"]
    }
    assert decided(knows)["chosen_by_shift"] == ["B", "B", "B"]
    assert (decided(knows)["permuted_correct"], decided(knows)["same_option"]) == (1, 1)


def test_longer_texts_are_compared_per_byte() -> None:
    one = row("1", "B", [-2.0, -3.0], form="text, plain", options={"A": "x", "B": "xxx"})
    assert (decided(one)["correct"], decided(one)["correct_per_byte"]) == (0, 1)
    assert exam_metrics([one], "x")["mcq/accuracy_per_byte"] == 1
    assert "mcq/accuracy_per_byte" not in exam_metrics([one | {"form": "letter"}], "x")


def test_a_tie_per_byte_is_one_of_the_sums_and_not_of_nats_per_byte() -> None:
    def best(first: float, second: float, length: int) -> float:
        options = {"A": "x" * length, "B": "y" * length}
        found: float = decided(row("1", "A", [first, second], form="text, plain", options=options))["correct_per_byte"]
        return found

    assert best(-80.0, -80.0 - 2e-4, 100) == 1, "2e-4 nats of the sum are no rounding, though 2e-6 nats per byte"
    assert best(-80.0 - 2e-4, -80.0, 100) == 0
    assert best(-80.0, -80.0 - 5e-6, 100) == best(-8.0 - 5e-6, -8.0, 1) == 0.5
    uneven = row("1", "A", [-4.0, -400.0 - 2e-4], form="text, plain", options={"A": "x", "B": "y" * 100})
    assert decided(uneven)["correct_per_byte"] == 0.5, "5e-6 nats more for A make both equal"


def test_beside_every_accuracy_stands_what_needs_no_knowledge() -> None:
    rows = [shifted("1", "A", "A", "one"), shifted("2", "B", "A", "one"), row("3", "D", [0, 0, 0, 1], dataset="two")]
    metrics = exam_metrics(rows, "x")
    beside = ("majority_letter", "longest_option", "chance", "macro_f1", "chosen/A", "questions", "ties")
    for name in ("mcq", "mcq/one", "mcq/two"):
        assert {f"{name}/{key}" for key in ("accuracy", *beside)} <= metrics.keys()
    assert metrics["mcq/one/permuted_accuracy"] == pytest.approx(1 / 3)
    assert "mcq/permuted_accuracy" not in metrics, "not all questions are shifted"
    assert metrics["mcq/two/accuracy"] == 1
    alone = exam_metrics(rows[:2], "x")
    assert "mcq/one/accuracy" in alone
    assert "mcq/one/chance" not in alone, "one data set: the same as mcq/chance"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "expected id and options"), ({"options": {"A": "x"}}, "expected id and options"),
        ({"gold": "E"}, "gold must be the letter of an option"),
        ({"log_likelihoods": {"A": 1.0}}, "one number for each option"),
        ({"log_likelihoods": None}, "one number for each option"),
        ({"log_likelihoods": {"A": 1.0, "B": float("nan")}}, "finite numbers"),
        ({"log_likelihoods_by_shift": [{"A": 1.0, "B": 0.0}]}, "one entry for each option"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_scored_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^runs, row 2: .*{message}"):
        exam_metrics([row("1", "A", [0.0, 1.0]), row("2", "A", [0.0, 1.0]) | change], "runs")


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="runs: no questions"):
        exam_metrics([], "runs")

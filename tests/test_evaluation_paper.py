"""The paper's exam results beside ours: only figures with a source, and differences on the same questions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluation_doubles import run_in
from test_evaluation_exam_scoring import row

from cdsframe.artifacts.files import write_jsonl
from cdsframe.errors import InputError
from cdsframe.evaluation.exams.paper_results import read_figures
from cdsframe.evaluation.paper import evaluate

FIGURES = "package:evaluation/paper_figures.jsonl"
ANATOMY, KNOWLEDGE = "mmlu_anatomy", "mmlu_clinical_knowledge"


def finished(
    folder: Path, right: dict[str, list[int]], adapter: str | None = None, config: str = "", **more: Any
) -> str:
    """A finished run: its tasks, and for each question whether it was answered right."""
    facts = {"form": "letter, plain", "num_fewshot": 0, "precision": "torch.float32", **more}
    rows = [
        row(f"{task}-{n}", "A", [float(one), 0.5], dataset=task, task=task, **facts)
        for task, own in right.items()
        for n, one in enumerate(own)
    ]
    run = run_in(folder, model="smollm2", adapter=adapter, base=config)
    write_jsonl(folder / "predictions.jsonl", rows)
    run.finish({"mcq/accuracy": 0.5})
    return str(folder)


def test_the_table_has_the_papers_figure_and_ours_with_what_differs(tmp_path: Path) -> None:
    base = finished(tmp_path / "a", {ANATOMY: [0, 1] * 10, KNOWLEDGE: [0] * 20})
    tuned = finished(tmp_path / "b", {ANATOMY: [0, 1] * 10, KNOWLEDGE: [1] * 20}, adapter="outputs/adapters/x")
    result = evaluate(run_in(tmp_path / "paper"), [base, tuned], FIGURES)
    text = (tmp_path / "paper/paper.md").read_text(encoding="utf-8")
    assert result.text == text
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if " | " in line]
    assert cells[0][4:9] == ["accuracy", "over shifted options", "majority letter", "longest option", "chance"]
    assert cells[1][6:9] == ["1.000", "0.500", "0.500"], "what needs no knowledge, on the same questions"
    lines = {own[0] + own[2]: " | ".join(own) for own in cells}
    assert "+0.0264" in lines[f"{KNOWLEDGE}base"]
    assert "+0.0264" not in lines[f"{KNOWLEDGE}tuned"]
    assert "+1.000" in lines[f"{KNOWLEDGE}tuned"]
    assert "+0.000" in lines[f"{ANATOMY}tuned"]
    assert "7 of 265 questions" in text
    assert "20 questions (the paper: 265); smollm2, adapter 'x'" in text
    content = json.loads((tmp_path / "paper/paper.json").read_text(encoding="utf-8"))
    assert [figure["value"] for figure in content["figures"]] == [0.0264]
    assert [(pair["task"], pair["difference"]) for pair in content["differences"]] == [(ANATOMY, 0), (KNOWLEDGE, 1)]
    assert content["differences"][1]["p_holm"] == pytest.approx(2 * content["differences"][1]["p"])
    assert content["ours"][f"paper/{ANATOMY}/0/accuracy"] == 0.5
    assert content["ours"][f"paper/{ANATOMY}/1/longest_option"] == content["ours"][f"paper/{ANATOMY}/1/chance"] == 0.5
    assert content["runs"][ANATOMY] == {"0": "base", "1": "tuned"}


def test_an_exam_that_was_not_run_is_said(tmp_path: Path) -> None:
    evaluate(run_in(tmp_path / "paper"), [finished(tmp_path / "a", {ANATOMY: [0, 1]})], FIGURES)
    text = (tmp_path / "paper/paper.md").read_text(encoding="utf-8")
    assert re.search(rf"\| {KNOWLEDGE} +\| \+0\.0264 +\| not run +\|", text)


def test_equal_settings_and_other_folders_are_told_apart_without_paths(tmp_path: Path) -> None:
    first, second = (finished(tmp_path / name, {"a|b": [0, 1] * 3}) for name in ("a", "b"))
    cached = finished(tmp_path / "c", {"a|b": [0, 1] * 3}, config=str(tmp_path / "llama"))
    result = evaluate(run_in(tmp_path / "paper"), [first, second, cached], FIGURES)
    assert str(tmp_path) not in " ".join(result.metrics)
    assert str(tmp_path) not in result.text
    assert {"paper/a|b/0/accuracy", "paper/a|b/1/accuracy", "paper/a|b/2/accuracy"} <= result.metrics.keys()
    assert "run 0" in result.text
    assert "run 1" in result.text
    lines = [line for line in result.text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {lines[0].count("|")}, "a bar in a name is escaped"


def test_a_folder_given_twice_is_refused(tmp_path: Path) -> None:
    base = finished(tmp_path / "a", {ANATOMY: [0, 1]})
    with pytest.raises(InputError, match=r"evaluation\.runs: .* is given twice; give each run once"):
        evaluate(run_in(tmp_path / "paper"), [base, str(tmp_path / "x/../a")], FIGURES)


def test_other_questions_give_no_difference_and_another_form_is_refused(tmp_path: Path) -> None:
    base = finished(tmp_path / "a", {ANATOMY: [0, 1] * 3})
    more = finished(tmp_path / "b", {ANATOMY: [0, 1] * 4}, adapter="x")
    evaluate(run_in(tmp_path / "paper"), [base, more], FIGURES)
    assert json.loads((tmp_path / "paper/paper.json").read_text(encoding="utf-8"))["differences"] == []
    chat = finished(tmp_path / "c", {ANATOMY: [0, 1] * 3}, adapter="x", form="letter, chat")
    with pytest.raises(InputError, match="tuned and base have different forms of scoring"):
        evaluate(run_in(tmp_path / "refused"), [base, chat], FIGURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": " "}, "source must say"), ({"source": None}, "source must say"), ({"value": 2.64}, "from -1 to 1"),
        ({"value": "x"}, "from -1 to 1"), ({"quantity": "f1"}, "quantity: base, tuned, gain"),
        ({"task": 1}, "expected task"),
    ],
)  # fmt: skip
def test_a_figure_without_a_source_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    figure = {"task": "medmcqa", "quantity": "base", "value": 0.5, "source": "table 3"}
    write_jsonl(tmp_path / "figures.jsonl", [figure, figure | change])
    with pytest.raises(InputError, match=f"line 2: .*{message}"):
        read_figures(str(tmp_path / "figures.jsonl"))


def test_the_shipped_figures_have_sources() -> None:
    assert all("arXiv 2505.03406" in figure["source"] for figure in read_figures(FIGURES))

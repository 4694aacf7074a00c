"""Runs compared in pairs: names, tests, files, and what is refused."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evaluation_doubles import QUESTIONS, Questions, SystemDouble, passages, pipeline, question_of, run_in

from cdsframe.artifacts.files import write_jsonl
from cdsframe.errors import InputError
from cdsframe.evaluation import asking, text
from cdsframe.evaluation.compare import _cell, compare, evaluate, illustrate, summarise, to_text
from cdsframe.evaluation.contrasts import PairedComparison
from cdsframe.evaluation.finished_run import FinishedRun
from cdsframe.evaluation.naming import Settings, name_runs
from cdsframe.evaluation.qa import evaluate as ask
from cdsframe.types import Message, Question

GOLD = {question.question: question.answer for question in QUESTIONS}
MANY = [
    Question(
        f"{question.id}-{n}", question.question, question.answer, (), question.type, "test", question.evidence, f"g{n}"
    )
    for n in range(8)
    for question in QUESTIONS
]


@pytest.fixture(scope="module", autouse=True)
def declared_groups() -> Iterator[None]:
    """Takes the declared groups alone: two documents would connect all questions into two groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "question_groups", lambda questions: [question.group for question in questions])
        yield


def right(messages: list[Message]) -> str:
    return GOLD[question_of(messages)] or "The documents do not say."


def wrong(messages: list[Message]) -> str:
    return "nobody knows"


def job(folder: Path, knows: bool, retriever: str, adapter: str | None, questions: list[Question] = MANY) -> Path:
    asked, index = pipeline(right if knows else wrong, 0 if retriever == "none" else 2)
    run = run_in(folder, retriever=retriever, adapter=adapter)
    ask(SystemDouble(asked, index=index, data=Questions(questions)), run, 1, "test", None, None)
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    job(folder / "0", False, "none", None)
    summarise(folder)
    assert not (folder / "comparison.json").exists()  # one job has nothing to be compared with
    job(folder / "1", True, "hybrid", None)
    job(folder / "2", True, "hybrid", "outputs/adapters/demo")
    (folder / "3").mkdir()  # failed: it left nothing
    summarise(folder)
    return folder


def test_a_sweep_is_compared(sweep: Path) -> None:
    comparison = json.loads((sweep / "comparison.json").read_text())
    assert [run["name"] for run in comparison["runs"]] == ["base, closed-book", "base, hybrid", "tuned, hybrid"]
    pairs = {(pair["measure"], pair["first"], pair["second"]): pair for pair in comparison["pairs"]}
    gain = pairs["F1, answerable", "base, closed-book", "base, hybrid"]
    assert gain["difference"] == 1
    assert gain["questions"] == 32
    assert gain["significant"]
    same = pairs["F1, answerable", "base, hybrid", "tuned, hybrid"]
    assert (same["difference"], same["p"], same["p_holm"]) == (0, 1, None)
    refused = pairs["refused, unanswerable", "base, closed-book", "base, hybrid"]
    assert refused["p"] == pytest.approx(2 * 0.5**8)  # eight groups of two such questions
    assert refused["p_holm"] is None, "exploratory: F1 is the primary measure"
    assert not refused["significant"]
    assert (comparison["primary"], comparison["baseline"]) == ("F1, answerable", "base, closed-book")
    assert [gain["p"], gain["p_holm"]] == pytest.approx([2 * 0.5**8, 2 * 2 * 0.5**8]), "two contrasts with the baseline"


def citing(shown: bool) -> Callable[[list[Message]], str]:
    """Answers rightly and cites the passage that shows the evidence, or else the other one of two."""
    evidence = {q.question: e for q in QUESTIONS for e in q.evidence}
    texts = {p.text: p for p in passages()}

    def answer(messages: list[Message]) -> str:
        question = question_of(messages)
        if question not in evidence:
            return right(messages)
        lines = [line[4:] for line in messages[-1].content.splitlines() if line.startswith("[")]
        known = [evidence[question].overlaps(texts[line]) for line in lines]
        return f"{GOLD[question]} [{known.index(shown) + 1}]" if shown in known else GOLD[question]

    return answer


def test_citations_are_compared_where_both_runs_have_them(tmp_path: Path) -> None:
    for place, (answer, top_k) in enumerate([(citing(False), 2), (citing(True), 2), (right, 2), (right, 0)]):
        asked, index = pipeline(answer, top_k)
        system = SystemDouble(asked, index=index, data=Questions(MANY))
        ask(system, run_in(tmp_path / str(place), job=place), 1, "test", None, None)
    runs = [FinishedRun.read(tmp_path / str(place)) for place in range(4)]
    pairs = {
        (pair["measure"].partition(",")[0], pair["first"][-1], pair["second"][-1]): pair
        for pair in compare(runs)["pairs"]
    }
    precision = {key[1:]: pair for key, pair in pairs.items() if key[0] == "citation precision"}
    assert list(precision) == [("0", "1")]  # the third cites nothing, the last is closed-book
    assert precision["0", "1"]["difference"] == 1
    assert precision["0", "1"]["p"] == 2 * 0.5**8
    recall = {key[1:]: pair for key, pair in pairs.items() if key[0] == "citation recall"}
    assert set(recall) == {("0", "1"), ("0", "2"), ("1", "2")}
    assert recall["1", "2"]["difference"] == -runs[1].metrics["qa/citation_recall"] < 0
    assert recall["1", "2"]["p"] == 2 * 0.5**8
    assert recall["0", "2"]["difference"] == 0


def test_the_metric_of_the_documentation_is_reported_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "extend.md").read_text(encoding="utf-8").split("## A metric")[1]
    function, entry = re.findall(r"```py(?:thon)?\n(.*?)```", page, re.DOTALL)[:2]
    there = dict(vars(text))
    exec(function, there)
    for key, metric in eval(f"{{{entry}}}", there).items():
        monkeypatch.setitem(text.METRICS, key, metric)
    job(tmp_path / "0", False, "hybrid", None)
    job(tmp_path / "1", True, "hybrid", None)
    runs = [FinishedRun.read(tmp_path / place) for place in "01"]
    # One of the four answerable questions of each group has no quantity in its gold answer.
    assert [run.metrics["qa/quantity_recall"] for run in runs] == [0, 3 / 4]
    assert runs[1].metrics["qa/quantity_recall/ci_low"] <= 3 / 4
    assert "qa/quantity_recall" in (tmp_path / "1" / "report.html").read_text()
    (pair,) = (pair for pair in compare(runs)["pairs"] if pair["measure"] == "quantity_recall, answerable")
    assert (pair["difference"], pair["p"]) == (3 / 4, 2 * 0.5**8)


def test_what_is_certain_is_significant_among_many_pairs(tmp_path: Path) -> None:
    for place in range(15):
        run = run_in(tmp_path / str(place), job=place)
        run.finish({"qa/f1": place / 15})
        rows = [{"id": str(n), "question": "?", "answerable": True, "f1": place / 15} for n in range(20)]
        write_jsonl(run.folder / "predictions.jsonl", rows)
    pairs = compare([FinishedRun.read(tmp_path / str(place)) for place in range(15)])["pairs"]
    assert len(pairs) == 105
    contrasts = [pair for pair in pairs if pair["p_holm"] is not None]
    assert {pair["first"] for pair in contrasts} == {"job=0"}
    assert len(contrasts) == 14
    assert all(pair["significant"] for pair in contrasts)


def test_the_text_says_what_is_not_significant(sweep: Path) -> None:
    page = (sweep / "comparison.md").read_text()
    assert "base, hybrid - base, closed-book = +1.000" in page
    assert "tuned, hybrid - base, hybrid = +0.000 [-0.312, +0.312], p = 1: exploratory" in page
    assert "| base, hybrid " in page
    cells = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
        for line in page.splitlines()
        if line[:1] == "|"
    }
    head = cells["run"]
    refusing, copying = cells["(always refuse)"], cells["(first passage of: base, hybrid)"]
    assert [refusing[head.index(name)] for name in ("F1", "refused, answerable")] == [".00", "1.00"]
    metrics = json.loads((sweep / "comparison.json").read_text())["runs"][1]["metrics"]
    assert copying[head.index("F1")] == _cell(metrics, "qa/copy_passage/f1")
    assert "(first passage of: tuned, hybrid)" not in cells, "the same passages"


def test_the_pictures_are_drawn_and_the_same_twice(sweep: Path) -> None:
    summarise(sweep)
    assert not list(sweep.glob("comparison.[sp]*g")), "not after each job, but at the multirun's end"
    assert not illustrate(sweep)
    first = (sweep / "comparison.svg").read_bytes()
    assert b"tuned, hybrid" in first
    assert (sweep / "comparison.png").read_bytes().startswith(b"\x89PNG")
    illustrate(sweep)
    assert (sweep / "comparison.svg").read_bytes() == first


def test_runs_are_compared_by_name(sweep: Path, tmp_path: Path) -> None:
    result = evaluate(run_in(tmp_path), [str(sweep / "0"), str(sweep / "1")], None, None, None, 0.03)
    assert result.value == 1
    assert "adjusted 0.00781: significant" in result.text
    assert "not worse by more than 0.03; to find such a difference takes about" in result.text
    assert (tmp_path / "comparison.json").is_file()
    assert json.loads((tmp_path / "metrics.json").read_text())["compare/1/qa/f1"] == 1


def test_other_questions_are_refused_or_left_out(sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = job(tmp_path / "2", True, "hybrid", None, MANY[:30])
    with pytest.raises(InputError, match="30 are the same, of 30 and 48"):
        evaluate(run_in(tmp_path / "run"), [str(sweep / "0"), str(other)], None, None, None, None)
    job(tmp_path / "0", True, "hybrid", None)
    job(tmp_path / "1", True, "none", None)
    with caplog.at_level(logging.WARNING):
        summarise(tmp_path)
    assert "other questions than job 0: 2" in caplog.text
    assert len(json.loads((tmp_path / "comparison.json").read_text())["runs"]) == 2


def test_names_say_what_differs() -> None:
    def run(retriever: str, adapter: str | None, **values: object) -> Settings:
        return Settings({"retriever": retriever, "model": "m", "paths": "p"}, {"adapter": adapter, **values})

    folders = ["0", "1", "2"]
    assert name_runs([run("bm25", None), run("knn", None)], folders[:2]) == ["bm25", "knn"]
    assert name_runs([run("bm25", None), run("bm25", "a/b")], folders[:2]) == ["base", "tuned"]
    assert name_runs([run("bm25", None), run("bm25", "a/x"), run("bm25", "a/y")], folders) == ["base", "x", "y"]
    numbers = [run("bm25", None, **{"retriever.top_k": k, "paths.outputs": k}) for k in (1, 2)]
    assert name_runs(numbers, folders[:2]) == ["retriever.top_k=1", "retriever.top_k=2"]
    several = [run("bm25", None, **{"retriever.top_k": 1}), run("none", None, **{"retriever.top_k": 2})]
    assert name_runs(several, folders[:2]) == ["bm25", "closed-book"]
    assert name_runs([run("bm25", None), run("bm25", None)], folders[:2]) == ["0", "1"]
    withholding = [run("bm25", None, calibration=file) for file in (None, "a.json")] + [
        run("knn", "x", calibration=None)
    ]
    assert name_runs(withholding, folders) == ["base, bm25", "base, bm25, withholding", "tuned, knn"]


def test_a_pair_reads_as_a_sentence() -> None:
    pair = PairedComparison("F1", "base", "tuned", 40, 0.12, 0.01, 0.2, 0.01, 0.06)
    assert str(pair) == "F1: tuned - base = +0.120 [+0.010, +0.200], p = 0.01, adjusted 0.06: not significant"
    pair = PairedComparison("F1", "base", "tuned", 40, 0.12, 0.01, 0.2, 0.001)
    assert str(pair) == "F1: tuned - base = +0.120 [+0.010, +0.200], p = 0.001: exploratory"
    assert not pair.significant


def written(folder: Path, rows: list[dict[str, object]], **metrics: float) -> FinishedRun:
    run = run_in(folder, name=folder.name)
    run.finish(metrics)
    write_jsonl(folder / "predictions.jsonl", rows)
    return FinishedRun.read(folder)


def exam(correct: list[int], **changed: object) -> list[dict[str, object]]:
    row = {"question": "?", "options": {"A": "x", "B": "y"}, "gold": "A", "form": "letter", "group": ""}
    return [
        {"id": f"q{n}", **row, "correct": float(one), **(changed if n % 2 else {})} for n, one in enumerate(correct)
    ]


def test_baseline_and_primary_measure_are_declared(tmp_path: Path) -> None:
    runs = [
        written(tmp_path / name, [row | {"other": 1 - row["correct"]} for row in exam(right)], **{"mcq/accuracy": 0.5})
        for name, right in (("a", [1] * 12), ("b", [0] * 12), ("c", [0] * 6 + [1] * 6))
    ]
    pairs = compare(runs, baseline=1)["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs if pair["p_holm"] is not None] == [
        ("b", "a"),
        ("b", "c"),
    ]
    paths = [str(run.folder) for run in runs]
    with pytest.raises(InputError, match=r"evaluation.primary: f1 is no common measure .* use one of correct"):
        evaluate(run_in(tmp_path / "d"), paths, None, None, "f1", None)
    with pytest.raises(InputError, match=r"evaluation.baseline: elsewhere is none of evaluation.runs"):
        evaluate(run_in(tmp_path / "d"), paths, None, "elsewhere", None, None)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"question": "!"}, "questions"),
        ({"gold": "B"}, "gold answers"),
        ({"options": {"A": "x", "B": "z"}}, "options"),
        ({"form": "text"}, "forms of scoring"),
    ],
)
def test_runs_that_measure_something_else_are_refused(changed: dict[str, object], named: str, tmp_path: Path) -> None:
    one = written(tmp_path / "a", exam([1] * 14), **{"mcq/accuracy": 1})
    other = written(tmp_path / "b", exam([1] * 14, **changed), **{"mcq/accuracy": 1})
    told = rf"different {named} \(7 of 14 questions: 'q1', 'q3', 'q5', 'q7', 'q9' and 2 more\)"
    with pytest.raises(InputError, match=told):
        evaluate(run_in(tmp_path / "c"), [str(one.folder), str(other.folder)], None, None, None, None)


def test_few_groups_and_margins_are_explained(tmp_path: Path) -> None:
    rows = [[row | {"group": str(n % 5)} for n, row in enumerate(exam(right))] for right in ([0] * 40, [1] * 40)]
    runs = [written(tmp_path / str(n), own, **{"mcq/accuracy": n}) for n, own in enumerate(rows)]
    comparison = compare(runs, margin=0.1)
    text = to_text(comparison, every_pair=False)
    assert "5 groups of dependent questions: no difference can be significant" in text
    assert comparison["pairs"][0]["not_worse"] is False, "with five groups nothing is excluded"
    runs = [
        written(tmp_path / f"u{n}", exam(right), **{"mcq/accuracy": n})
        for n, right in enumerate(([0, 1] * 100, [0] * 10 + [1] * 10 + [0, 1] * 90))
    ]
    (pair,) = compare(runs, margin=0.1)["pairs"]
    error = 10**0.5 / 200  # ten of two hundred questions changed
    assert pair["found_from"] == pytest.approx(2.801585 * error)
    assert pair["questions_for_margin"] == pytest.approx(200 * (2.801585 * error / 0.1) ** 2, abs=1)
    assert pair["not_worse"]


def test_only_the_leading_zero_of_a_figure_is_left_out() -> None:
    assert _cell({"qa/seconds": 10.53}, "qa/seconds") == "10.53"
    assert _cell({"a": 0.5, "a/ci_low": 0.25, "a/ci_high": 100.0}, "a") == ".50 [.25, 100.00]"
    assert _cell({"a": -0.5}, "a") == "-.50"


def test_worse_means_more_wrong_doses(tmp_path: Path) -> None:
    rows = [
        [{"id": str(n), "question": "?", "answerable": True, "wrong_dose": float(n < wrong)} for n in range(100)]
        for wrong in (10, 40)
    ]
    runs = [written(tmp_path / str(n), own, **{"qa/wrong_dose": 0.1}) for n, own in enumerate(rows)]
    (pair,) = compare(runs, primary="wrong_dose", margin=0.03)["pairs"]
    assert (pair["significant"], pair["not_worse"]) == (True, False)
    (pair,) = compare(runs[::-1], primary="wrong dose, answerable", margin=0.03)["pairs"]
    assert (pair["significant"], pair["not_worse"]) == (True, True)
    result = evaluate(run_in(tmp_path / "c"), [str(run.folder) for run in runs], None, None, "wrong_dose", None)
    assert (result.headline, result.value) == ("compare/0/primary", 0.1)


@pytest.mark.parametrize("first", [0, 1])
def test_groups_of_any_run_count(first: int, tmp_path: Path) -> None:
    plain, grouped = exam([0] * 12), [row | {"group": str(n // 6)} for n, row in enumerate(exam([1] * 12))]
    runs = [
        written(tmp_path / "a", plain, **{"mcq/accuracy": 0}),
        written(tmp_path / "b", grouped, **{"mcq/accuracy": 1}),
    ]
    (pair,) = compare(runs[:: 1 - 2 * first])["pairs"]
    assert (pair["groups"], pair["p"]) == (2, 0.5)


@pytest.mark.parametrize("value", ["nan", 7, -0.1, None, "0.5"])
def test_scores_that_are_no_shares_are_refused(value: object, tmp_path: Path) -> None:
    rows = exam([1] * 8)
    rows[3]["correct"] = value
    for name, own in (("a", exam([0] * 8)), ("b", rows)):
        written(tmp_path / name, own, **{"mcq/accuracy": 1})
    with pytest.raises(InputError, match=r"correct of the question 'q3' is no number from 0 to 1"):
        evaluate(run_in(tmp_path / "c"), [str(tmp_path / "a"), str(tmp_path / "b")], None, None, None, None)


def test_equal_runs_are_not_worse(tmp_path: Path) -> None:
    runs = [written(tmp_path / name, exam([0, 1] * 150), **{"mcq/accuracy": 0.5}) for name in "ab"]
    comparison = compare(runs, margin=0.03)
    text = to_text(comparison, every_pair=False)
    assert "not worse by more than 0.03\n" in text
    assert "would be found" not in text, "without any difference, its spread is not known"
    [pair] = [pair for pair in comparison["pairs"] if pair["p_holm"] is not None]
    assert pair["found_from"] is pair["questions_for_margin"] is None

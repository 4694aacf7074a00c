"""Results of other programs are read as runs: lm-eval's samples, TREC runs, CSV tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation_doubles import run_in

from cdsframe.errors import InputError
from cdsframe.evaluation.compare import evaluate
from cdsframe.evaluation.external_results import read_csv, read_lm_eval, read_runs, read_trec


def samples(
    folder: Path, task: str, scores: list[float], time: str = "2026-01-02T03-04-05.678901", **more: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"doc_id": n, "metrics": ["acc", "acc_norm"], "filter": "none", "acc": score, "acc_norm": 0.0,
         "doc_hash": f"d{n}", "target_hash": "t", **more}
        for n, score in enumerate(scores)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"samples_{task}_{time}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_lm_evals_samples_are_compared(tmp_path: Path) -> None:
    for name, right in (("a", 0.0), ("b", 1.0)):
        samples(tmp_path / name, "medqa_4options", [right] * 10)
        samples(tmp_path / name, "mmlu_anatomy", [1.0] * 10)
    result = evaluate(run_in(tmp_path / "c"), [str(tmp_path / "a"), str(tmp_path / "b")], None, None, None, 0.03)
    assert result.value == 1
    assert "accuracy: b - a = +0.500" in result.text
    assert "p = 0.00195, adjusted 0.00195: significant" in result.text, "exact McNemar of ten questions"


def test_lm_evals_other_metrics_and_filters(tmp_path: Path) -> None:
    folder = samples(tmp_path / "a", "qa", [0.25, 0.5], metrics=["f1"], f1=0.25)
    (file,) = folder.iterdir()
    text = file.read_text(encoding="utf-8")
    extracted = [json.loads(line) | {"filter": "strict", "f1": 1.0} for line in text.splitlines()]
    file.write_text(text + "".join(json.dumps(line) + "\n" for line in extracted), encoding="utf-8")
    run = read_lm_eval(folder)
    assert [row["score"] for row in run.rows.values()] == [0.25, 0.25]
    assert list(run.rows) == ["qa-0", "qa-1"]
    assert run.metrics["score"] == 0.25


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: samples(folder, "t", [1.0], "2027-01-02T03-04-05"), "several results of the task t"),
        (lambda folder: samples(folder, "u", [1.5]), "samples_u_.*line 1: a score must be a number from 0 to 1"),
        (lambda folder: samples(folder, "u", [1.0], metrics=[]), "line 1: expected doc_id and metrics"),
        (lambda folder: samples(folder, "u", [1.0, 1.0], doc_id=3), "line 2: the doc_id occurs twice"),
    ],
)
def test_bad_samples(change: Any, told: str, tmp_path: Path) -> None:
    change(samples(tmp_path / "a", "t", [1.0]))
    with pytest.raises(InputError, match=told):
        read_lm_eval(tmp_path / "a")


def test_a_folder_above_the_samples_is_corrected(tmp_path: Path) -> None:
    samples(tmp_path / "results" / "model", "t", [1.0])
    with pytest.raises(InputError, match=r"neither predictions.jsonl .* use .*results/model"):
        read_runs([str(tmp_path / "results")], None)


def test_trec_runs_are_compared(tmp_path: Path) -> None:
    queries = range(8)
    (tmp_path / "qrels").write_text("".join(f"q{n} 0 good{n} 1\nq{n} 0 bad{n} 0\n" for n in queries))
    (tmp_path / "best.trec").write_text("".join(f"q{n} Q0 good{n} 1 2.5 x\nq{n} Q0 bad{n} 2 1.5 x\n" for n in queries))
    (tmp_path / "half.trec").write_text("".join(f"q{n} Q0 bad{n} 1 2 x\nq{n} Q0 good{n} 2 1 x\n" for n in range(4)))
    run = read_trec(tmp_path / "half.trec", str(tmp_path / "qrels"))
    assert [round(row["ndcg@10"], 3) for row in run.rows.values()] == [0.631] * 4 + [0.0] * 4, "missing queries count"
    paths = [str(tmp_path / "half.trec"), str(tmp_path / "best.trec")]
    result = evaluate(run_in(tmp_path / "c"), paths, str(tmp_path / "qrels"), None, None, None)
    assert "p = 0.00781, adjusted 0.00781: significant" in result.text
    with pytest.raises(InputError, match=r"needs evaluation.qrels=FILE"):
        read_runs(paths, None)
    (tmp_path / "bad.trec").write_text("q1 good1 1\n")
    with pytest.raises(InputError, match="line 1: expected a TREC run"):
        read_trec(tmp_path / "bad.trec", str(tmp_path / "qrels"))
    (tmp_path / "other.trec").write_text("x Q0 good1 1 1.0 x\n")
    with pytest.raises(InputError, match="no query in common"):
        read_trec(tmp_path / "other.trec", str(tmp_path / "qrels"))


def test_a_table_holds_several_runs_and_groups(tmp_path: Path) -> None:
    lines = ["question,run,score,group"]
    lines += [f"q{n},{run},{score},p{n // 3}" for n in range(30) for run, score in (("old", 0), ("new", 1))]
    (tmp_path / "scores.csv").write_text("\n".join(lines), encoding="utf-8")
    result = evaluate(run_in(tmp_path / "c"), [str(tmp_path / "scores.csv")], None, "old", None, None)
    assert "score: new - old = +1.000" in result.text
    assert "p = 0.00195" in result.text, "ten groups, not thirty questions"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("question,score\nq,1", r"lacks the columns run; it has question, score"),
        ("", r"lacks the columns question, run, score; it has none"),
        ("question,run,score", r"has no rows"),
        ("question,run,score\nq,a,1\nq,a,0", r"line 3: the question occurs twice in the run 'a'"),
        ("question,run,score\nq,a,high", r"line 2: a score must be a number from 0 to 1"),
        ("question,run,score\nq,a,nan", r"line 2: a score must be a number from 0 to 1"),
        ("question,run,score\nq,a", r"line 2: another number of cells"),
        ("question,run,score,score\nq,a,1,1", r"has a column twice"),
        ("question,run,score\n,a,1", r"line 2: question and run must not be empty"),
        ("question,run,score,group\nq,a,1,x\nq,b,1,y", r"the question 'q' is in different groups"),
    ],
)
def test_bad_tables(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        read_csv(tmp_path / "scores.csv")


def test_one_run_or_the_same_twice_is_refused(tmp_path: Path) -> None:
    folder = samples(tmp_path / "a", "t", [1.0])
    with pytest.raises(InputError, match="hold one run; a comparison needs two or more"):
        read_runs([str(folder)], None)
    with pytest.raises(InputError, match="occurs twice"):
        read_runs([str(folder), str(folder)], None)
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_runs(["nowhere", str(folder)], None)


def test_names_in_tables_are_no_paths_and_no_formulas(tmp_path: Path) -> None:
    """A run in a table may be called anything: the name of a folder, of a formula, or too long for a file."""
    write = run_in(tmp_path / "folder", secret="x")
    write.finish({})
    names = [str(write.folder), "$\\foo$ | x", "n" * 300]
    lines = [f'q{n},"{name}",{n % 2}' for n in range(8) for name in names]
    (tmp_path / "scores.csv").write_text("\n".join(["question, run, score", *lines]), encoding="utf-8")
    text = evaluate(run_in(tmp_path / "c"), [str(tmp_path / "scores.csv")], None, None, None, 0.03).text
    assert "secret" not in text
    assert "$\\foo$ \\| x" in text, "a bar would end the table's cell"


@pytest.mark.parametrize("text", ["q1 Q0 good1 1 nan x", "q1 Q0 good1 1 2 x\nq1 Q0 good1 2 1 x"])
def test_bad_trec_runs(text: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q1 0 good1 1\n")
    (tmp_path / "a.trec").write_text(text)
    with pytest.raises(InputError, match=r"line \d: (expected a TREC run|the passage occurs twice)"):
        read_trec(tmp_path / "a.trec", str(tmp_path / "qrels"))
    (tmp_path / "b.trec").write_bytes(b"q1 Q0 \xff 1 2 x\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_trec(tmp_path / "b.trec", str(tmp_path / "qrels"))

"""Factorial comparisons: planted effects are found, designs are read from folders, incomplete ones are refused."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from children import run_child
from entry_points import run_command
from evaluation_doubles import run_in

from benchmarks.coverage import factorial_design, simulated_effects
from cdsframe.artifacts.files import write_json, write_jsonl
from cdsframe.artifacts.resources import Resources
from cdsframe.artifacts.run import Run
from cdsframe.errors import InputError
from cdsframe.evaluation.factorial.analysis import evaluate, runs_problems
from cdsframe.evaluation.factorial.effects import contrasts, estimate
from cdsframe.evaluation.factorial.settings import usual_order
from cdsframe.evaluation.result import Result

TRIALS = 300
OPTIONS = {"none": {}, "bm25": {"top_k": 4}, "hybrid": {"top_k": 4}, "cross_encoder": {"depth": 20}}


def adapter_in(folder: Path, seed: int, **facts: object) -> str:
    """An adapter's folder with its manifest: what `train.py` writes, without weights."""
    folder.mkdir(parents=True)
    manifest = {"format_version": 1, "seed": seed, "choices": {}, "digests": {"adapter": folder.name}}
    write_json(folder / "manifest.json", {**manifest, "recipe": "one", **facts})
    return str(folder)


def finished(
    folder: Path,
    scores: Mapping[str, float],
    adapter: str | None = None,
    retriever: str = "none",
    reranker: str = "none",
    groups: Callable[[str], str] = str,
    metrics: Mapping[str, float] | None = None,
    facts: Mapping[str, object] | None = None,
    **config: object,
) -> Path:
    """A finished run's folder, with a row for each question id and score."""
    groups_of_options = {"retriever": retriever, "reranker": reranker}
    nodes = {group: {"_target_": option, **OPTIONS[option]} for group, option in groups_of_options.items()}
    folder.mkdir(parents=True)
    text = yaml.safe_dump({**nodes, "adapter": adapter, "seed": 1, "name": folder.name, **config})
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    digests = {"adapter": Path(adapter).name if adapter else None}
    manifest = {"format_version": 1, "choices": groups_of_options, "digests": digests, "seconds": 100.0}
    write_json(folder / "manifest.json", {**manifest, **(facts or {})})
    write_json(folder / "metrics.json", dict(metrics or {}))
    rows = [
        {"id": id, "group": groups(id), "question": "?", "gold": "a", "answerable": True, "f1": score}
        for id, score in scores.items()
    ]
    write_jsonl(folder / "predictions.jsonl", rows)
    return folder


def analysed(folder: Path, runs: list[Path], **changed: object) -> Result:
    given = {"sweep": None, "factors": None, "baseline": None, "adapters": None, "primary": None, "margin": 0.03}
    return evaluate(run_in(folder), [str(run) for run in runs], **{**given, **changed})  # type: ignore[arg-type]


def planted(folder: Path, effects: Mapping[tuple[str, ...], float], questions: int = 300) -> tuple[list[Path], str]:
    """The runs of a 2 x 2 x 2 design whose true means are sums of effects of what is switched on; and the adapter."""
    chooser = np.random.default_rng(5)
    adapter = adapter_in(folder / "adapters" / "demo", 1)
    hard = 0.15 * chooser.normal(size=questions // 3).repeat(3)  # three questions share a document
    runs = []
    for switched in product((False, True), repeat=3):
        on = {name for name, is_on in zip(("tuned", "hybrid", "reranked"), switched, strict=True) if is_on}
        mean = 0.4 + sum(value for names, value in effects.items() if on.issuperset(names))
        values = np.clip(mean + hard + 0.1 * chooser.normal(size=questions), 0, 1)
        run = finished(
            folder / "runs" / str(len(runs)), dict(zip(map(str, range(questions)), values.tolist(), strict=True)),
            adapter if switched[0] else None, "hybrid" if switched[1] else "none",
            "cross_encoder" if switched[2] else "none", groups=lambda id: str(int(id) // 3),
        )  # fmt: skip
        runs.append(run)
    return runs, adapter


NAMES = ("adapter=tuned", "retriever=hybrid", "reranker=cross_encoder")


def test_planted_effects_are_recovered(tmp_path: Path) -> None:
    runs, _ = planted(tmp_path, {("tuned",): 0.1, ("hybrid",): 0.15, ("tuned", "hybrid"): -0.1, ("reranked",): 0.0})
    metrics = analysed(tmp_path / "run", runs).metrics
    true = {
        NAMES[0]: 0.1 - 0.1 / 2, NAMES[1]: 0.15 - 0.1 / 2, NAMES[2]: 0.0, f"{NAMES[0]}*{NAMES[1]}": -0.1,
        f"{NAMES[0]}*{NAMES[2]}": 0.0, f"{NAMES[1]}*{NAMES[2]}": 0.0, "*".join(NAMES): 0.0,
    }  # fmt: skip
    assert {name for name in metrics if name.count("/") == 1} == {f"factorial/{name}" for name in true}
    for name, value in true.items():
        key = f"factorial/{name}"
        assert metrics[key] == pytest.approx(value, abs=0.03)
        assert metrics[f"{key}/ci_low"] <= value <= metrics[f"{key}/ci_high"]
        assert (metrics[f"{key}/p_holm"] <= 0.05) == (value != 0), name
    text = (tmp_path / "run" / "factorial.md").read_text()
    assert "fine-tuning × retrieval: together they gain less than the sum of both effects (-0." in text
    assert "fine-tuning × reranking: whether they add up is open" in text or "fine-tuning × reranking: they add" in text
    assert "Fewer than 5 seeds: the effects are those of these adapters" in text


@pytest.mark.parametrize("seeds", [1, 5])
def test_without_effects_few_tests_are_significant(seeds: int) -> None:
    chooser, design = np.random.default_rng(7), factorial_design(seeds)
    trials = [simulated_effects(design, 0.0, 0.0, chooser) for _ in range(TRIALS)]
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)
    tested = (1, 2) if seeds == 1 else (0, 1, 2)  # with one adapter, its luck is part of the effect of tuning
    for place in tested:
        assert sum(trial[place].estimate.p <= 0.05 for trial in trials) / TRIALS <= most
    assert sum(any(trial[place].significant for place in tested) for trial in trials) / TRIALS <= most


@pytest.mark.parametrize("seeds", [1, 5])
def test_intervals_cover_planted_effects(seeds: int) -> None:
    chooser, design = np.random.default_rng(8), factorial_design(seeds)
    trials = [simulated_effects(design, 0.2, -0.15, chooser) for _ in range(100)]
    true = (0.2 - 0.15 / 2, -0.15 / 2, -0.15)
    for place in (1, 2) if seeds == 1 else (0, 1, 2):
        covered = [t[place].estimate.low <= true[place] <= t[place].estimate.high for t in trials]
        assert sum(covered) >= 88
    assert sum(t[0].significant and t[2].significant for t in trials) >= 80


def test_effects_by_hand() -> None:
    design = factorial_design(1)
    scores = {("base", "closed-book"): [0.0, 0.1, 0.2], ("base", "hybrid"): [0.3, 0.5, 0.2],
              ("tuned", "closed-book"): [0.1, 0.1, 0.1], ("tuned", "hybrid"): [1.0, 0.9, 0.5]}  # fmt: skip
    found, _ = contrasts(design)
    effects = estimate(found, {k: np.array([v]) for k, v in scores.items()}, design.families, ["", "", ""], True)
    assert [effect.contrast.key for effect in effects] == [*NAMES[:2], "*".join(NAMES[:2])]
    tuning, retrieval, together = (effect.estimate for effect in effects)
    assert tuning.value == pytest.approx(((0.1 + 0.0 - 0.1) / 3 + (0.7 + 0.4 + 0.3) / 3) / 2)
    assert retrieval.value == pytest.approx(((0.3 + 0.4 + 0.0) / 3 + (0.9 + 0.8 + 0.4) / 3) / 2)
    assert together.value == pytest.approx((0.7 + 0.4 + 0.3) / 3 - (0.1 + 0.0 - 0.1) / 3)
    assert [effect.contrast.limit for effect in effects] == [1, 1, 2]
    # Of the four pairs of signs, both all-equal ones are as extreme; per question: .4, .2, .1 and .6, .6, .2.
    assert [tuning.p, retrieval.p, together.p] == [0.25, 0.25, 0.25]
    assert [effect.p_holm for effect in effects] == [0.75, 0.75, 0.75]


def four_runs(folder: Path, adapter: str | None = None, **changed: object) -> list[Path]:
    """{base, tuned} x {closed-book, hybrid} over 20 questions."""
    adapter = adapter or adapter_in(folder / "adapters" / "demo", 1)
    scores = {"base none": 0.2, "base hybrid": 0.5, "tuned none": 0.3, "tuned hybrid": 0.8}
    return [
        finished(
            folder / name.replace(" ", "-"), {str(n): value - n % 3 / 100 for n in range(20)},
            adapter if name.startswith("tuned") else None, name.split()[1], **changed,  # type: ignore[arg-type]
        )
        for name, value in scores.items()
    ]  # fmt: skip


def test_the_order_of_the_runs_does_not_matter(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    first, second = analysed(tmp_path / "a", runs), analysed(tmp_path / "b", runs[::-1])
    assert first == second
    for name in ("factorial.json", "factorial.md", "factorial.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first.value == pytest.approx(0.8 - 19 / 20 / 100)
    assert "What paid? F1, answerable: 20 questions in 20 independent groups, 4 systems" in first.text
    picture = (tmp_path / "a" / "factorial.svg").read_text()
    assert "fine-tuning (tuned instead of base)" in picture
    assert "tuned, closed-book" in picture


def test_an_incomplete_design_names_what_is_missing(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    with pytest.raises(InputError) as refused:
        analysed(tmp_path / "a", [runs[0], runs[3]])
    assert "missing 2 of the combinations:\n  base, hybrid: adapter=null retriever=hybrid\n" in str(refused.value)
    assert f"  tuned, closed-book: adapter={tmp_path}/adapters/demo retriever=none\n" in str(refused.value)
    assert "run evaluate.py with these arguments" in str(refused.value)
    many = [finished(tmp_path / f"many-{n}", {"1": 0.5}, None, "hybrid", k=n, l=n) for n in range(4)]
    with pytest.raises(InputError, match=r"missing 12 of the combinations:(\n.*){5}\n  and 7 more\n"):
        analysed(tmp_path / "b", many)
    with pytest.raises(InputError, match="the runs differ in no setting"):
        analysed(tmp_path / "c", [runs[0], finished(tmp_path / "same", {str(n): 0.1 for n in range(20)}, seed=2)])
    other = finished(tmp_path / "other", {"1": 0.5}, None, "hybrid")
    with pytest.raises(InputError, match="have different questions"):
        analysed(tmp_path / "d", [*runs, other])


def seeded(folder: Path, numbers: range, **facts: object) -> list[Path]:
    """The base with one run, and an adapter for each training seed, closed-book and with retrieval."""
    runs = []
    for retriever in ("none", "hybrid"):
        gain = 0.3 * (retriever == "hybrid")
        scores = {str(n): 0.1 + gain + n % 4 / 100 for n in range(20)}
        runs.append(finished(folder / f"base-{retriever}", scores, None, retriever))
        for seed in numbers:
            adapter = folder / "adapters" / f"short-{seed}"
            if not adapter.exists():
                adapter_in(adapter, seed, **facts)
            own = {id: value + 0.2 + seed / 100 for id, value in scores.items()}
            runs.append(finished(folder / f"{retriever}-{seed}", own, str(adapter), retriever))
    return runs


def test_training_seeds_are_replicates(tmp_path: Path) -> None:
    result = analysed(tmp_path / "run", seeded(tmp_path, range(1, 6)))
    assert "Fewer than" not in result.text
    written = json.loads((tmp_path / "run" / "factorial.json").read_text())
    assert [factor["levels"] for factor in written["factors"]] == [["base", "tuned"], ["closed-book", "hybrid"]]
    assert [len(cell["runs"]) for cell in written["cells"]] == [1, 1, 5, 5]
    assert written["adapters"] == 5
    tuning = written["effects"][0]
    assert tuning["estimate"] == pytest.approx(0.23)
    # All questions gain equally; the five adapters' means are .01 apart: Student's t with four degrees of freedom.
    half = 2.776445 * math.sqrt(0.00025 / 5)
    assert tuning["ci_high"] - tuning["estimate"] == pytest.approx(half, rel=1e-4)
    together = written["effects"][2]
    assert together["estimate"] == pytest.approx(0)
    with pytest.raises(InputError, match=r"tuned, hybrid with another seed: adapter=.*short-5 retriever=hybrid"):
        analysed(tmp_path / "less", seeded(tmp_path / "b", range(1, 6))[:-1])


def test_adapters_of_other_recipes_are_levels(tmp_path: Path) -> None:
    runs = seeded(tmp_path, range(1, 3))
    for seed in (1, 2):
        adapter = adapter_in(tmp_path / "adapters" / f"long-{seed}", seed, recipe="two")
        for retriever in ("none", "hybrid"):
            scores = {str(n): 0.5 for n in range(20)}
            runs.append(finished(tmp_path / f"long-{retriever}-{seed}", scores, adapter, retriever))
    text = analysed(tmp_path / "run", runs).text
    assert "fine-tuning (long instead of base)" in text
    assert "fine-tuning (short instead of base) × retrieval" in text
    assert "Fewer than 5 seeds" in text
    short = analysed(tmp_path / "other", runs, baseline={"adapter": "short"}).text
    assert "adapter (base instead of short)" in short
    with pytest.raises(InputError, match=r"evaluation\.baseline\.adapter: shrot is not a level; did you mean short\?"):
        analysed(tmp_path / "typo", runs, baseline={"adapter": "shrot"})


def test_adapters_without_a_recipe_are_known_by_their_facts(tmp_path: Path) -> None:
    runs = seeded(tmp_path, range(1, 3), recipe=None, trainable=5)
    assert "2 questions" not in analysed(tmp_path / "run", runs).text
    adapter_in(tmp_path / "adapters" / "other", 2, recipe=None, trainable=5)
    runs.append(finished(tmp_path / "r", {str(n): 0.5 for n in range(20)}, str(tmp_path / "adapters" / "other")))
    with pytest.raises(
        InputError, match=r"have the same recipe and the same seed, 2; name them: evaluation\.adapters="
    ):
        analysed(tmp_path / "same", runs)
    runs[-1] = finished(tmp_path / "s", {str(n): 0.5 for n in range(20)}, "outputs/adapters/gone")
    with pytest.raises(InputError, match="which adapters differ only in their training seed is not known: adapter: "):
        analysed(tmp_path / "gone", runs)
    declared = {"tuned": [str(tmp_path / "adapters" / f"short-{seed}") for seed in (1, 2)]}
    assert analysed(tmp_path / "told", runs[:-1], adapters=declared).text
    with pytest.raises(InputError, match=r"evaluation\.adapters: names no level of outputs/adapters/gone"):
        analysed(tmp_path / "left", runs, adapters=declared)


def test_a_reranker_without_retrieval_is_the_same_system(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    adapter = str(tmp_path / "adapters" / "demo")
    for name, value in (("base", 0.6), ("tuned", 0.9)):
        scores = {str(n): value - n % 3 / 100 for n in range(20)}
        folder = tmp_path / f"{name}-reranked"
        runs.append(finished(folder, scores, adapter if name == "tuned" else None, "hybrid", "cross_encoder"))
    result = analysed(tmp_path / "run", runs)
    assert result.metrics["factorial/reranker=cross_encoder"] == pytest.approx(0.1), "only where passages are retrieved"
    assert result.metrics["factorial/retriever=hybrid"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.6) / 4)
    assert "reranking (cross_encoder instead of no reranker), not closed-book" in result.text
    assert "The runs of base, closed-book; tuned, closed-book stand for every level" in result.text
    assert "no interaction, because one of these changes has no effect without the other" in result.text
    assert "factorial/retriever=hybrid*reranker=cross_encoder" not in result.metrics
    assert "6 systems" in result.text
    # Closed-book runs with a reranker add nothing, unless they differ.
    same = {str(n): 0.2 - n % 3 / 100 for n in range(20)}
    again = finished(tmp_path / "again", same, None, "none", "cross_encoder")
    assert analysed(tmp_path / "b", [*runs, again]).metrics == result.metrics
    other = finished(
        tmp_path / "another", {id: value + 0.1 for id, value in same.items()}, None, "none", "cross_encoder"
    )
    with pytest.raises(InputError, match="tuned, closed-book, cross_encoder: "):
        analysed(tmp_path / "c", [*runs, other])


def test_settings_that_change_together(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    for run in runs[1::2]:
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "index": {"name": "a"}, "prompt": {"cites": True}}))
    for run in runs[::2]:
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "index": {"name": "b"}, "prompt": {"cites": False}}))
    with pytest.raises(InputError, match=r"missing 4 of the combinations:\n  base, closed-book, prompt.cites=True"):
        analysed(tmp_path / "a", runs)
    text = analysed(tmp_path / "b", runs, factors=["adapter", "retriever"]).text
    assert "prompt.cites changes with retriever: the effect of retriever includes it" in text
    with pytest.raises(InputError, match="the runs do not differ in adapterr; did you mean adapter"):
        analysed(tmp_path / "c", runs, factors=["adapterr"])
    with pytest.raises(InputError, match="the runs differ in retriever too, which changes with none"):
        analysed(tmp_path / "d", runs, factors=["adapter"])


def test_values_under_an_option_are_factors(tmp_path: Path) -> None:
    runs = [finished(tmp_path / "none", {str(n): 0.1 for n in range(20)})]
    for top_k, value in ((4, 0.5), (16, 0.6)):
        node = {"_target_": "hybrid", "top_k": top_k}
        runs.append(finished(tmp_path / str(top_k), {str(n): value for n in range(20)}, None, "hybrid"))
        config = yaml.safe_load((runs[-1] / "config.yaml").read_text())
        (runs[-1] / "config.yaml").write_text(yaml.safe_dump({**config, "retriever": node}))
    result = analysed(tmp_path / "run", runs)
    assert result.metrics["factorial/retriever.top_k=16"] == pytest.approx(0.1)
    assert "retriever.top_k (16 instead of 4), not closed-book" in result.text
    assert sorted(["b=16", "b=4", "a", "no a", "b=None"], key=usual_order) == ["b=None", "no a", "a", "b=4", "b=16"]


def test_costs_stand_beside_quality(tmp_path: Path) -> None:
    metrics = {"qa/prompt_tokens": 271.0, "qa/completion_tokens": 6.5, "qa/seconds_per_question": 2.0}
    metrics |= {"qa/copy_passage/f1": 0.4}
    runs = four_runs(tmp_path, metrics=metrics, facts={"answering_cpu_seconds": 60.0, "peak_mib": 1234.5})
    result = analysed(tmp_path / "run", runs)
    assert result.metrics["factorial/cells/3/cpu_seconds"] == 3
    assert "| (first passage of: " in result.text, "what needs no model"
    assert result.metrics["factorial/cells/3/peak_mib"] == 1234.5
    assert "| 271           | 6.50              | 2.00    | 3.00        | 1234     |" in result.text
    assert "seconds per question" in (tmp_path / "run" / "factorial.svg").read_text()
    manifest = json.loads((runs[3] / "manifest.json").read_text())
    write_json(runs[3] / "manifest.json", {**manifest, "read_from_cache": 1})
    cached = analysed(tmp_path / "cached", runs)
    assert "factorial/cells/3/cpu_seconds" not in cached.metrics
    assert cached.metrics["factorial/cells/3/seconds"] == 2
    assert "read texts from the cache" in cached.text


def test_few_groups_are_said(tmp_path: Path) -> None:
    runs = four_runs(tmp_path, groups=lambda id: str(int(id) % 6))
    text = analysed(tmp_path / "run", runs).text
    assert "6 groups of dependent questions: no effect can be significant" in text
    assert "| significant" not in text
    with pytest.raises(InputError, match="fewer than two independent groups"):
        analysed(tmp_path / "one", four_runs(tmp_path / "b", groups=lambda id: "one"))


def test_a_multirun_gives_its_finished_jobs(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    for place, run in enumerate(runs):
        (tmp_path / "sweep").mkdir(exist_ok=True)
        run.rename(tmp_path / "sweep" / str(place))
    (tmp_path / "sweep" / "4").mkdir()  # a job that failed
    assert analysed(tmp_path / "run", [], sweep=str(tmp_path / "sweep")).metrics["factorial/adapter=tuned"] > 0
    assert "evaluation.sweep=FOLDER" in runs_problems([], None)[0]
    assert runs_problems([], "x") == runs_problems(["x"], None) == []
    with pytest.raises(InputError, match="needs two finished runs or more"):
        analysed(tmp_path / "few", [tmp_path / "sweep" / "0"])


def test_a_multirun_of_the_command_is_analysed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["embedder=none", "index.name=words"]
    run_command("ingest", tmp_path, *words)
    search = [
        "evaluation=retrieval",
        "evaluation.sample=5",
        "retriever=bm25",
        "~hydra.callbacks.compare",
    ]
    factors = ["expansion=none,feedback", "retriever.num_candidates=50,60"]
    run_command("evaluate", tmp_path, "-m", *words, *search, *factors, "hydra.sweep.dir=sweep")
    run_command("evaluate", tmp_path, "evaluation=factorial", "evaluation.sweep=sweep", "hydra.run.dir=run")
    written = json.loads((tmp_path / "run" / "factorial.json").read_text())
    assert [factor["setting"] for factor in written["factors"]] == ["expansion", "retriever.num_candidates"]
    assert [factor["levels"][0] for factor in written["factors"]] == ["no expansion", "retriever.num_candidates=50"]
    assert [cell["runs"] for cell in written["cells"]] == [["0"], ["1"], ["2"], ["3"]]
    assert all("cpu_seconds" not in cell["costs"] for cell in written["cells"]), "rankings cost no answering"
    assert "query expansion × retriever.num_candidates" in capsys.readouterr().out


def test_runs_of_one_adapter_are_one_replicate(tmp_path: Path) -> None:
    runs = four_runs(tmp_path)
    first = analysed(tmp_path / "a", runs).metrics
    for run, retriever in zip(runs[2:], ("none", "hybrid"), strict=True):
        rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
        scores = {row["id"]: row["f1"] + 0.1 for row in rows}
        runs.append(
            finished(tmp_path / f"seed-2-{retriever}", scores, str(tmp_path / "adapters" / "demo"), retriever, seed=2)
        )
    second = analysed(tmp_path / "b", runs)
    assert second.metrics["factorial/adapter=tuned"] == pytest.approx(first["factorial/adapter=tuned"] + 0.05)
    assert second.metrics["factorial/adapter=tuned/p"] == first["factorial/adapter=tuned/p"], "still the sign-flip test"
    runs.append(finished(tmp_path / "twice", scores, str(tmp_path / "adapters" / "demo"), "hybrid", seed=2))
    with pytest.raises(InputError, match=r"seed-2-hybrid and .*twice are both tuned, hybrid, with the same seed"):
        analysed(tmp_path / "c", runs)


def test_a_forked_process_has_a_peak_and_cpu_seconds_of_its_own(tmp_path: Path) -> None:
    code = """
import os
from cdsframe.artifacts.resources import Resources
first, second = Resources(), Resources()
sum(range(3_000_000))
process = os.fork()
if process == 0:
    used = second.used()
    os._exit(0 if 0 <= used["cpu_seconds"] < first._cpu and used["peak_mib"] > 1 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), first.used()["peak_mib"] > 1, "peak_mib" in second.used())
"""
    done = run_child([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    assert done.stdout.split() == ["0", "True", "False"], done.stderr


def test_a_run_records_what_it_cost_and_a_digest_of_its_recipe(tmp_path: Path) -> None:
    def recipe(**config: object) -> str:
        run = Run(tmp_path, "train", 1, yaml.safe_dump(config), {}, "g")
        return str(run.manifest()["recipe"])

    resources = Resources()
    while resources.used()["cpu_seconds"] < 0.05:
        pass
    assert Resources().used()["cpu_seconds"] < resources.used()["cpu_seconds"], "from its construction on"
    assert "peak_mib" not in Resources().used(), "the process did other work before"
    manifest = run_in(tmp_path / "run", name="x").manifest()
    assert 0 <= manifest["cpu_seconds"] < 60
    same = recipe(name="a", seed=1, lora={"r": 8}, data={"seed": 1})
    assert same == recipe(name="b", seed=2, lora={"r": 8}, data={"seed": 2}, paths={"outputs": "elsewhere"})
    assert same != recipe(name="a", seed=1, lora={"r": 16}, data={"seed": 1})
